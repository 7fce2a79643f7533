package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func bearer[T any](as string, message *T) *connect.Request[T] {
	request := connect.NewRequest(message)
	if as != "" {
		request.Header().Set("Authorization", "Bearer "+as)
	}
	return request
}

func (h *house) export(as string, r *auditv1.ExportRequest) ([]byte, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if r.GetFormat() == 0 {
		r.Format = auditv1.Format_FORMAT_JSONL
	}
	stream, err := h.client.Export(ctx, bearer(as, r))
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	var out []byte
	for stream.Receive() {
		out = append(out, stream.Msg().GetLines()...)
	}
	return out, stream.Err()
}

func (h *house) mustExport(as string, r *auditv1.ExportRequest) []byte {
	h.t.Helper()
	out, err := h.export(as, r)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *house) keys() *ledger.Keyring {
	h.t.Helper()
	answer, err := h.client.GetLog(h.t.Context(), bearer("ana", &auditv1.GetLogRequest{}))
	if err != nil {
		h.t.Fatal(err)
	}
	keys, err := ledger.NewKeyring(answer.Msg.GetPublicKey())
	if err != nil {
		h.t.Fatal(err)
	}
	return keys
}

func (h *house) holds(data []byte, checkpoints ...string) *ledger.Report {
	h.t.Helper()
	report, err := ledger.Verify(bytes.NewReader(data), h.keys(), checkpoints...)
	if err != nil || !report.Holds() || len(report.Notes) > 0 && !strings.Contains(report.Notes[0], "hashes") && !strings.Contains(report.Notes[0], "on its way") {
		h.t.Fatalf("%+v, %v\n%s", report, err, data)
	}
	return report
}

// exported are the ids of the records that stand whole in an export.
func exported(data []byte) []string {
	out := []string{}
	for text := range bytes.Lines(data) {
		if _, after, found := strings.Cut(string(text), `"event":{`); found {
			_, id, _ := strings.Cut(after, `"id":"`)
			id, _, _ = strings.Cut(id, `"`)
			out = append(out, id)
		}
	}
	return out
}

func filled(t *testing.T) *house {
	t.Helper()
	h := start(t)
	for i := range 12 {
		h.record(fmt.Sprint("e", i), []string{"acme", "globex"}[i%2], []string{"ana", "ana", "bob", "bob"}[i%4], func(ev *eventsv1.Event) {
			ev.Time = ago(time.Duration(12-i) * time.Hour)
			if i == 4 {
				ev.Decision = &eventsv1.Decision{Effect: "block", Rule: "tickets/no", Sentence: "Never on a Sunday."}
			}
		})
	}
	h.eventually("admin", &auditv1.SearchRequest{Action: "tool-call"}, "e11", "e10", "e9", "e8", "e7", "e6", "e5", "e4", "e3", "e2", "e1", "e0")
	return h
}

func TestEveryoneExportsWhatTheyMayAndTheExportHolds(t *testing.T) {
	h := filled(t)
	for name, c := range map[string]struct {
		as      string
		request *auditv1.ExportRequest
		want    []string
	}{
		"an auditor, the tenant":      {"vera", &auditv1.ExportRequest{}, []string{"e0", "e2", "e4", "e6", "e8", "e10"}},
		"an auditor, a person":        {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Person: "bob"}}, []string{"e2", "e6", "e10"}},
		"an auditor, the last hours":  {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Since: ago(5 * time.Hour)}}, []string{"e8", "e10"}},
		"an auditor, hours before":    {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Since: ago(9 * time.Hour), Until: ago(5 * time.Hour)}}, []string{"e4", "e6"}},
		"an auditor, an effect":       {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Effect: "block"}}, []string{"e4"}},
		"an auditor, words":           {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Text: "sunday NEVER"}}, []string{"e4"}},
		"an auditor, a tool":          {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Server: "tickets", Tool: "other"}}, []string{}},
		"an auditor of another":       {"gus", &auditv1.ExportRequest{}, []string{"e1", "e3", "e5", "e7", "e9", "e11"}},
		"a member, their own":         {"ana", &auditv1.ExportRequest{}, []string{"e0", "e4", "e8"}},
		"the platform, one tenant":    {"admin", &auditv1.ExportRequest{Tenant: "globex"}, []string{"e1", "e3", "e5", "e7", "e9", "e11"}},
		"the platform, an action":     {"admin", &auditv1.ExportRequest{Filter: &auditv1.Filter{Action: "tool-call"}}, []string{"e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "e8", "e9", "e10", "e11"}},
		"an agent that nobody called": {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Agent: "client:x"}}, []string{}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			data := h.mustExport(c.as, c.request)
			got := slices.DeleteFunc(exported(data), func(id string) bool { return !strings.HasPrefix(id, "e") || len(id) > 3 })
			slices.Sort(got) // the ledger's order is that of arrival
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("exported %v", got)
			}
			h.holds(data)
		})
	}
	for name, c := range map[string]struct {
		as      string
		request *auditv1.ExportRequest
		want    faultv1.Reason
	}{
		"a member asks for another":    {"ana", &auditv1.ExportRequest{Filter: &auditv1.Filter{Person: "bob"}}, faultv1.Reason_REASON_ROLE_REQUIRED},
		"an auditor of another tenant": {"gus", &auditv1.ExportRequest{Tenant: "acme"}, faultv1.Reason_REASON_WRONG_TENANT},
		"nobody":                       {"mallory", &auditv1.ExportRequest{}, faultv1.Reason_REASON_UNAUTHENTICATED},
		"a text without words":         {"vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Text: " -- "}}, faultv1.Reason_REASON_INVALID},
		"a size that was never signed": {"vera", &auditv1.ExportRequest{Size: 100_000}, faultv1.Reason_REASON_INVALID},
		"a place beyond":               {"vera", &auditv1.ExportRequest{NextIndex: 5}, faultv1.Reason_REASON_INVALID},
		"a table that is longer":       {"vera", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CSV, Size: 100_000, NextIndex: 3}, faultv1.Reason_REASON_INVALID},
		"a table's place beyond":       {"vera", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CSV, Size: 3, NextIndex: 4}, faultv1.Reason_REASON_INVALID},
		"a table's place of no size":   {"vera", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CSV, NextIndex: 1}, faultv1.Reason_REASON_INVALID},
	} {
		if out, err := h.export(c.as, c.request); !fault.Is(err, c.want) || len(out) > 0 {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}

// An export that broke off anywhere goes on where it was, and becomes the same bytes.
func TestAnExportGoesOnWhereItBrokeOff(t *testing.T) {
	h := filled(t)
	filter := &auditv1.Filter{Since: ago(9 * time.Hour)}
	for _, request := range []*auditv1.ExportRequest{{Filter: filter}, {Filter: &auditv1.Filter{Person: "bob"}}} {
		whole := h.mustExport("vera", request)
		statement, err := ledger.ParseStatement(whole)
		if err == nil {
			t.Fatal("the whole export was read as one line")
		}
		lines := bytes.SplitAfter(whole, []byte("\n"))
		if statement, err = ledger.ParseStatement(lines[0]); err != nil {
			t.Fatal(err)
		}
		for i := 2; i < len(lines); i++ {
			next, ok := ledger.NextIndex(lines[i-1])
			if !ok {
				continue
			}
			request := &auditv1.ExportRequest{Filter: request.GetFilter(), Size: statement.Size, NextIndex: next}
			again := append(bytes.Join(lines[:i], nil), h.mustExport("vera", request)...)
			if !bytes.Equal(again, whole) {
				t.Fatalf("after line %d it goes on as\n%s\nand was\n%s", i, again, whole)
			}
		}
	}
}

// The log grows while an export is broken off, also by records of the time that it asks for: its rest is the same.
func TestWhatArrivesMeanwhileChangesNoExport(t *testing.T) {
	h := filled(t)
	for _, filter := range []*auditv1.Filter{{Since: ago(-time.Minute)}, {Since: ago(-time.Minute), Person: "bob"}} {
		whole := h.mustExport("vera", &auditv1.ExportRequest{Filter: filter})
		lines := bytes.SplitAfter(whole, []byte("\n"))
		statement, err := ledger.ParseStatement(lines[0])
		if err != nil {
			t.Fatal(err)
		}
		id := "late" + filter.GetPerson()
		h.record(id, "acme", "bob", func(ev *eventsv1.Event) { ev.Time = ago(-2 * time.Minute) })
		h.eventually("vera", &auditv1.SearchRequest{Text: id, Until: ago(-time.Hour)}, id)
		for i := 2; i < len(lines); i++ {
			next, ok := ledger.NextIndex(lines[i-1])
			if !ok {
				continue
			}
			rest := h.mustExport("vera", &auditv1.ExportRequest{Filter: filter, Size: statement.Size, NextIndex: next})
			if again := append(bytes.Join(lines[:i], nil), rest...); !bytes.Equal(again, whole) {
				t.Fatalf("after line %d it goes on as\n%s\nand was\n%s", i, again, whole)
			}
		}
		h.holds(whole)
	}
}

// A message carries many lines; here one each is asked for, so that an export breaks off after every record.
func TestATableGoesOnWhereItBrokeOff(t *testing.T) {
	h := filled(t)
	for _, format := range []auditv1.Format{auditv1.Format_FORMAT_CSV, auditv1.Format_FORMAT_OCSF, auditv1.Format_FORMAT_CEF} {
		whole, size, _ := h.parcel(&auditv1.ExportRequest{Format: format})
		seen := 0
		for next := int64(1); next <= size; next++ {
			before, _, reached := h.parcel(&auditv1.ExportRequest{Format: format, Size: next})
			rest, again, _ := h.parcel(&auditv1.ExportRequest{Format: format, Size: size, NextIndex: next})
			if got := before + rest; got != whole || rest != "" && again != size || reached > next {
				t.Fatalf("%s goes on behind %d with\n%s\nand not as\n%s", format, next, rest, whole)
			}
			if rest != "" {
				seen++
			}
		}
		if seen < 5 {
			t.Errorf("%s was continued at %d places", format, seen)
		}
	}
}

// parcel exports what is one message, and what it says of its place.
func (h *house) parcel(request *auditv1.ExportRequest) (lines string, size, next int64) {
	h.t.Helper()
	stream, err := h.client.Export(h.t.Context(), bearer("vera", request))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		m := stream.Msg()
		lines, size, next = lines+string(m.GetLines()), m.GetSize(), m.GetNextIndex()
	}
	if stream.Err() != nil {
		h.t.Fatal(stream.Err())
	}
	return lines, size, next
}

func TestAnEventIsProvedToWhoMayReadIt(t *testing.T) {
	h := filled(t)
	for _, c := range []struct {
		as, id string
		found  bool
	}{
		{"vera", "e0", true}, {"vera", "e2", true}, {"ana", "e0", true}, {"admin", "e1", true}, {"gus", "e1", true},
		{"vera", "e1", false}, {"ana", "e2", false}, {"gus", "e0", false}, {"vera", "e99", false},
	} {
		answer, err := h.client.Prove(t.Context(), bearer(c.as, &auditv1.ProveRequest{EventId: c.id}))
		switch {
		case c.found && err != nil:
			t.Errorf("%s, %s: %v", c.as, c.id, err)
		case c.found:
			if report := h.holds(answer.Msg.GetProof()); report.Records != 1 || !slices.Equal(exported(answer.Msg.GetProof()), []string{c.id}) {
				t.Errorf("%s, %s: %s", c.as, c.id, answer.Msg.GetProof())
			}
		case !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND):
			t.Errorf("%s, %s: %v", c.as, c.id, err)
		}
	}
	if _, err := h.client.Prove(t.Context(), bearer("gus", &auditv1.ProveRequest{Tenant: "acme", EventId: "e0"})); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := h.client.Prove(t.Context(), bearer("mallory", &auditv1.ProveRequest{EventId: "e0"})); !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
		t.Errorf("nobody: %v", err)
	}
}

func TestATailSendsWhatArrivesToWhoMayReadIt(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		as   string
		want string
	}{{"vera", "acme-bob"}, {"ana", "acme-ana"}, {"gus", "globex-ana"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		stream, err := h.client.Tail(ctx, bearer(c.as, &auditv1.TailRequest{Filter: &auditv1.Filter{Action: "tool-call"}}))
		if err != nil || !stream.Receive() { // the first message: it listens
			t.Fatal(err, stream.Err())
		}
		for _, tenant := range []string{"globex", "acme"} {
			for _, person := range []string{"ana", "bob"} {
				h.record(c.as+"-"+tenant+"-"+person, tenant, person)
			}
		}
		var got []string
		for want := map[string]int{"vera": 2, "ana": 1, "gus": 2}[c.as]; len(got) < want; {
			if !stream.Receive() {
				t.Fatalf("%s got %v, then %v", c.as, got, stream.Err())
			}
			for _, ev := range stream.Msg().GetEvents() {
				got = append(got, strings.TrimPrefix(ev.GetId(), c.as+"-"))
				if ev.GetTenant() != map[string]string{"vera": "acme", "ana": "acme", "gus": "globex"}[c.as] || c.as == "ana" && ev.GetPrincipal().GetPerson() != "ana" {
					t.Errorf("%s got %v", c.as, ev)
				}
			}
		}
		if !slices.Contains(got, c.want) {
			t.Errorf("%s got %v", c.as, got)
		}
		cancel()
		_ = stream.Close()
	}
	for as, want := range map[string]faultv1.Reason{"ana": faultv1.Reason_REASON_ROLE_REQUIRED, "mallory": faultv1.Reason_REASON_UNAUTHENTICATED} {
		stream, err := h.client.Tail(t.Context(), bearer(as, &auditv1.TailRequest{Filter: &auditv1.Filter{Person: "bob"}}))
		if err == nil {
			if stream.Receive() {
				t.Errorf("%s got %v", as, stream.Msg())
			}
			err = stream.Err()
			_ = stream.Close()
		}
		if !fault.Is(err, want) {
			t.Errorf("%s: %v", as, err)
		}
	}
}

func TestATailBeginsWhereItIsTold(t *testing.T) {
	h := start(t)
	h.record("old", "acme", "ana", func(ev *eventsv1.Event) { ev.Time = ago(2 * time.Hour) })
	h.record("there", "acme", "ana")
	h.record("theirs", "globex", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "there", "old")
	filter := &auditv1.Filter{Action: "tool-call", Since: ago(time.Hour)}
	stream, err := h.client.Tail(t.Context(), bearer("vera", &auditv1.TailRequest{Filter: filter}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	var got []string
	for len(got) < 2 && stream.Receive() {
		for _, ev := range stream.Msg().GetEvents() {
			got = append(got, ev.GetId())
			if len(got) == 1 {
				h.record("new", "acme", "ana")
			}
		}
	}
	if !slices.Equal(got, []string{"there", "new"}) {
		t.Errorf("got %v, %v", got, stream.Err())
	}
}

func TestThatTheRecordWasReadIsRecorded(t *testing.T) {
	h := filled(t)
	h.mustExport("vera", &auditv1.ExportRequest{Filter: &auditv1.Filter{Person: "bob"}})
	h.eventually("vera", &auditv1.SearchRequest{Action: "tool-call", Person: "vera"})
	deadline := time.After(20 * time.Second)
	for {
		answer, err := h.search("vera", &auditv1.SearchRequest{Action: "audit-export"})
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.GetEvents()) > 0 {
			ev := answer.GetEvents()[0]
			if ev.GetPrincipal().GetPerson() != "vera" || !strings.Contains(ev.GetDecision().GetSentence(), `person="bob"`) || ev.GetTenant() != "acme" {
				t.Errorf("recorded %v", ev)
			}
			return
		}
		select {
		case <-deadline:
			t.Fatal("the export was not recorded")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestWhatArrivesInOtherFormsIsWhatWasAskedFor(t *testing.T) {
	h := filled(t)
	for format, want := range map[auditv1.Format]string{
		auditv1.Format_FORMAT_CSV:  ",e4,tool-call,final,success,acme,edge,ana,",
		auditv1.Format_FORMAT_OCSF: `"uid":"e4"`,
		auditv1.Format_FORMAT_CEF:  "CEF:0|Headgate|headgate|1|tool-call|tool-call tickets.close_ticket|6|rt=",
	} {
		out := string(h.mustExport("ana", &auditv1.ExportRequest{Format: format, Filter: &auditv1.Filter{Effect: "block"}}))
		if !strings.Contains(out, want) || strings.Contains(out, "globex") || strings.Contains(out, "bob") {
			t.Errorf("%s: %s", format, out)
		}
	}
}
