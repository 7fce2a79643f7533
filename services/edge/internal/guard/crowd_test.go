package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/flood"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// shut is a door for nobody: ana is told that she comes too often, everybody else that they need a token.
type shut struct{ Admitter }

func (shut) Admit(in *Inbound) (*Caller, error) {
	if in.Bearer == "ana" {
		return &Caller{Tenant: "acme", Person: "ana"}, AtHTTP(http.StatusTooManyRequests, faultv1.Reason_REASON_RATE_LIMITED, "Too many requests.")
	}
	return nil, AtHTTP(http.StatusUnauthorized, faultv1.Reason_REASON_UNAUTHENTICATED, "No token.")
}

func (shut) Metadata(*Inbound) string { return "" }

// paper is a journal that can be full.
type paper struct {
	mu      sync.Mutex
	full    bool
	records []*eventsv1.Event
}

func (p *paper) Append(ev *eventsv1.Event, _ journal.Mode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return errors.New("full")
	}
	p.records = append(p.records, ev)
	return nil
}

// written answers how many records there are of an address, and of how many requests.
func (p *paper) written(ip string) (records int, requests int64) {
	for _, ev := range p.records {
		if ev.GetSource().GetIp() == ip {
			records, requests = records+1, requests+max(1, ev.GetRepeats())
		}
	}
	return records, requests
}

func refusing(at *time.Time) (*Guard, *paper) {
	written := &paper{}
	return New(Stages{Admitter: shut{}, Journal: written, Now: func() time.Time { return *at }, Log: slog.New(slog.DiscardHandler)}), written
}

func TestT22AFloodAtTheDoorDoesNotFillTheJournal(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	g, written := refusing(&now)
	const requests = 5000
	for range requests {
		if got := g.Call(t.Context(), &Inbound{Verb: http.MethodPost, Endpoint: "/mcp", IP: "192.0.2.1"}); got.Status != http.StatusUnauthorized {
			t.Fatalf("answered %d", got.Status)
		}
	}
	g.Call(t.Context(), &Inbound{Verb: http.MethodPost, Endpoint: "/mcp", IP: "192.0.2.2"})
	if n, _ := written.written("192.0.2.1"); n != flood.AtOnce {
		t.Errorf("%d records before the count", n)
	}
	if n, _ := written.written("192.0.2.2"); n != 1 {
		t.Error("another address has no record of its own")
	}
	written.full = true
	g.crowd.Tally(g.Now(), g.counted)
	written.full = false
	now = now.Add(flood.Every)
	g.crowd.Tally(g.Now(), g.counted)
	if n, of := written.written("192.0.2.1"); n != flood.AtOnce+1 || of != requests {
		t.Errorf("%d records of %d requests", n, of)
	}
	last := written.records[len(written.records)-1]
	if d := last.GetDecision(); d.GetEffect() != effectBlock || d.GetStage() != stageAdmit || d.GetReason() != faultv1.Reason_REASON_RATE_LIMITED || last.GetCallId() == "" {
		t.Errorf("the count says %v", last)
	}
	before := len(written.records)
	if g.crowd.Tally(g.Now(), g.counted); len(written.records) != before {
		t.Error("counted twice")
	}
	g.Call(t.Context(), &Inbound{Verb: http.MethodPost, Endpoint: "/mcp", IP: "192.0.2.1"})
	if len(written.records) != before+1 {
		t.Error("after ten quiet seconds it has no record of its own")
	}
}

func TestT22ACallerWhoComesTooOftenIsCountedUnderTheirName(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	g, written := refusing(&now)
	for i := range 300 {
		g.Call(t.Context(), &Inbound{Verb: http.MethodPost, Endpoint: "/mcp", Bearer: "ana", IP: fmt.Sprint("192.0.2.", i%200)})
	}
	g.crowd.Tally(g.Now(), g.counted)
	last := written.records[len(written.records)-1]
	if len(written.records) != flood.AtOnce+1 || last.GetRepeats() != 300-flood.AtOnce || last.GetTenant() != "acme" || last.GetPrincipal().GetPerson() != "ana" {
		t.Errorf("%d records, the last: %v", len(written.records), last)
	}
}

func TestWhatIsRefusedBehindTheDoorHasARecordEach(t *testing.T) {
	now := time.Now()
	g, _ := refusing(&now)
	e := newEntry(&Inbound{}, "id", now)
	e.stage = stageParse
	for range 2 * flood.AtOnce {
		if g.counts(e, fault.New(faultv1.Reason_REASON_PARSE, "No.")) {
			t.Fatal("counted")
		}
	}
}
