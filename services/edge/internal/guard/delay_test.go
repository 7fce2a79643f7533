package guard

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/mcp"
)

// street is a guard with two servers: one that answers, and one that never does.
type street struct {
	shelf
	wire

	quick, never *Server
	guard        *Guard
	// silent says what the one does not answer: what it is asked about itself, or what it is asked in a caller's name. Else it answers the latter after takes.
	silent map[string]bool
	takes  time.Duration
	only   bool         // there is no other
	going  atomic.Int64 // how many of its answers are waited for
}

func newStreet(silent ...string) *street {
	s := &street{silent: map[string]bool{}, quick: &Server{Tenant: "acme", Name: "quick", Delay: &Delay{}}, never: &Server{Tenant: "acme", Name: "never", Delay: &Delay{}}}
	for _, one := range silent {
		s.silent[one] = true
	}
	w := &watched{}
	s.guard = New(Stages{
		Admitter: door{}, Replicas: fresh{}, Catalogue: s, Decider: judge{w}, Lender: purse{}, Journal: recorder{w}, Upstream: s, Inspector: glass{}, Sessions: noSessions{},
		Keys: ring{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	return s
}

type noSessions struct{ Sessions }

func (noSessions) Open(*Caller, string, Client) string { return "" }

func (s *street) Servers(context.Context, *Caller, string) ([]*Server, error) {
	if s.only {
		return []*Server{s.never}, nil
	}
	return []*Server{s.never, s.quick}, nil
}

func (s *street) Method(_ context.Context, _ *Caller, server, method string) (*Tool, error) {
	of := s.quick
	if server == s.never.Name {
		of = s.never
	}
	return &Tool{Server: of, Name: method, Arguments: anything{}}, nil
}
func (*street) Known(*Server) (About, bool) { return About{}, false }

func (s *street) About(ctx context.Context, of *Server, _ *Lease) (About, error) {
	if err := s.waits(ctx, of, "about"); err != nil {
		return About{}, err
	}
	return About{Legacy: true, Capabilities: json.RawMessage(`{"prompts":{},"resources":{},"logging":{}}`)}, nil
}

func (s *street) Forward(ctx context.Context, ex Exchange) (Reply, error) {
	if err := s.waits(ctx, ex.Server, "calls"); err != nil {
		return Reply{}, err
	}
	return Reply{Result: json.RawMessage(`{"prompts":[{"name":"p"}],"resources":[{"uri":"memo://a"}],"resourceTemplates":[{"uriTemplate":"memo://{x}"}]}`)}, nil
}

func (s *street) waits(ctx context.Context, of *Server, what string) error {
	if of != s.never {
		return nil
	}
	s.going.Add(1)
	defer s.going.Add(-1)
	if !s.silent[what] {
		if what == "about" {
			return nil
		}
		select {
		case <-time.After(s.takes):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// request is one at the endpoint of all servers.
func (s *street) request(ctx context.Context, method, params string) Answer {
	_, modern := strings.CutPrefix(method, "server/")
	meta := ""
	if modern {
		meta = `"_meta":{"` + mcp.MetaProtocolVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{}}`
	}
	in := arrives([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+meta+params+`}}`), modern)
	in.Server, in.Endpoint = "", "/mcp"
	return s.guard.Call(ctx, in)
}

var greetings = map[string]string{
	"initialize": `"protocolVersion":"2025-11-25","capabilities":{}`, "server/discover": ``, "prompts/list": ``, "resources/list": ``, "resources/templates/list": ``,
	"logging/setLevel": `"level":"info"`,
}

// TestT22AServerThatNeverAnswersIsWaitedForOnce: whatever is asked of all servers waits for one that does not answer once. From then on the answer is there
// before the server's time would be over.
func TestT22AServerThatNeverAnswersIsWaitedForOnce(t *testing.T) {
	for _, silent := range [][]string{{"about", "calls"}, {"calls"}} {
		for method, params := range greetings {
			if len(silent) == 1 && (method == "initialize" || method == "server/discover") {
				continue // they make no calls
			}
			t.Run(method+" "+strings.Join(silent, "+"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStreet(silent...)
					defer s.guard.patience.close()
					for n, want := range [][]string{{"a second", "answer"}, {"answer", "a second"}, {"answer", "a second"}} {
						if got := s.order(t, method, params); !slices.Equal(got, want) {
							t.Errorf("request %d: %v", n, got)
						}
					}
					for other, params := range greetings { // about itself it is slow for all that it is asked
						if got := s.order(t, other, params); silent[0] == "about" && got[0] != "answer" {
							t.Errorf("after %s, %s: %v", method, other, got)
						}
					}
					time.Sleep(time.Hour)
					if got := s.order(t, method, params); got[0] != "answer" {
						t.Errorf("it is waited for again: %v", got)
					}
				})
			})
		}
	}
}

// order is what comes first, the answer or a second.
func (s *street) order(t *testing.T, method, params string) []string {
	t.Helper()
	events := make(chan string, 2)
	timer := time.AfterFunc(time.Second, func() { events <- "a second" })
	defer timer.Stop()
	answer := s.request(t.Context(), method, params)
	events <- "answer"
	if answer.Status != 200 || mcp.Get(answer.Message(), "result") == nil {
		t.Errorf("%s: %d %s", method, answer.Status, answer.Message())
	}
	return []string{<-events, <-events}
}

// TestT22NobodyMakesAServerLookSlowToOthers: neither a client that goes away nor one for whom a server is slow takes the server from others' lists.
func TestT22NobodyMakesAServerLookSlowToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet("about", "calls")
		defer s.guard.patience.close()
		for method, params := range greetings {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			s.request(ctx, method, params)
		}
		time.Sleep(time.Minute)
		if s.never.Delay.known() || s.guard.patience.with(&Caller{Tenant: "acme", Person: "ana"}, s.never).known() {
			t.Error("clients that went away made it slow")
		}
		s.silent = map[string]bool{"calls": true}
		s.request(t.Context(), "prompts/list", "")
		for who, want := range map[string]time.Duration{"ana": slowWithin, "bob": askWithin} {
			if got := s.guard.patience.with(&Caller{Tenant: "acme", Person: who}, s.never).limit(); got != want {
				t.Errorf("%s waits for %s", who, got)
			}
		}
	})
}

// TestT22AServerThatWasLateIsThereAgainWhenItAnswered: what it was asked goes on without being waited for, one thing at a time, so that it is found out.
func TestT22AServerThatWasLateIsThereAgainWhenItAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreet("calls")
		defer s.guard.patience.close()
		lists := func(want bool) {
			t.Helper()
			answer := s.request(t.Context(), "prompts/list", "")
			if is := mcp.Get(answer.Message(), "result", "_meta", mcp.MetaUnavailable) == nil; is != want {
				t.Errorf("it is there: %t, %s", is, answer.Message())
			}
		}
		lists(false)
		began := time.Now()
		for range 10 {
			lists(false)
		}
		if took := time.Since(began); took != 10*slowWithin || s.going.Load() > 1 {
			t.Errorf("ten lists took %s, %d go on", took, s.going.Load())
		}
		time.Sleep(time.Hour)
		if s.going.Load() != 0 {
			t.Errorf("%d go on for an hour", s.going.Load())
		}
		s.silent, s.takes = nil, 500*time.Millisecond
		lists(false) // it is not known yet that it is quick again
		time.Sleep(time.Second)
		lists(true)
		s.takes = 1900 * time.Millisecond // within what it may take now
		lists(true)
		s.takes = 3 * time.Second
		lists(false)
		lists(false)
		time.Sleep(time.Minute)
		began = time.Now()
		lists(false) // an answer that takes longer than anybody waits is none
		if took := time.Since(began); took != slowWithin {
			t.Errorf("it is waited for %s again", took)
		}
	})
}

// TestT22AServerMayTakeAFewTimesOfWhatItUsuallyTakes, and two seconds only while nothing is known of it, or when it delays no other.
func TestT22AServerMayTakeAFewTimesOfWhatItUsuallyTakes(t *testing.T) {
	for usual, want := range map[time.Duration]time.Duration{
		0: askWithin, time.Millisecond: leastWithin, 50 * time.Millisecond: leastWithin, 100 * time.Millisecond: 800 * time.Millisecond, time.Second: askWithin,
	} {
		d := &Delay{}
		if usual > 0 {
			d.Answered(usual)
		}
		if got := d.limit(); got != want {
			t.Errorf("of %s, %s", usual, got)
		}
	}
	d := &Delay{}
	d.Answered(200 * time.Millisecond)
	for range 100 {
		d.Answered(10 * time.Millisecond)
	}
	if got := d.limit(); got != leastWithin {
		t.Errorf("it is quick by now, and may take %s", got)
	}
	d.late()
	d.Answered(askWithin)
	if d.limit() != slowWithin {
		t.Error("an answer nobody could wait for made it quick")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStreet()
		defer s.guard.patience.close()
		s.request(t.Context(), "prompts/list", "")
		s.takes = time.Second // suddenly
		began := time.Now()
		s.request(t.Context(), "prompts/list", "")
		if took := time.Since(began); took != leastWithin {
			t.Errorf("what usually takes nothing was waited for %s", took)
		}
		time.Sleep(time.Minute)
		s.only = true
		began = time.Now()
		answer := s.request(t.Context(), "prompts/list", "")
		if took := time.Since(began); took != s.takes || mcp.Get(answer.Message(), "result", "_meta") != nil {
			t.Errorf("alone it was waited for %s: %s", took, answer.Message())
		}
	})
}

func TestT22HowManyPacesAreKnownIsBounded(t *testing.T) {
	p, of := newPatience(), &Server{Name: "s"}
	for i := range maxPaces + 100 {
		p.with(&Caller{Tenant: "acme", Person: fmt.Sprint(i)}, of)
	}
	if len(p.paces) != maxPaces {
		t.Errorf("%d", len(p.paces))
	}
}

// TestT22WhatGoesOnWithoutBeingWaitedForEndsWithTheEdge, and is bounded as a whole.
func TestT22WhatGoesOnWithoutBeingWaitedForEndsWithTheEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience()
		var going atomic.Int64
		var all sync.WaitGroup
		for range 2 * maxLingering {
			all.Go(func() {
				_, _ = bide(t.Context(), p, &Server{}, &Delay{}, slowWithin, func(ctx context.Context) (struct{}, error) {
					going.Add(1)
					defer going.Add(-1)
					<-ctx.Done()
					return struct{}{}, ctx.Err()
				})
			})
		}
		all.Wait()
		if got := going.Load(); got != maxLingering {
			t.Errorf("%d go on", got)
		}
		began := time.Now()
		if p.close(); going.Load() != 0 || time.Since(began) != 0 {
			t.Errorf("%d go on after %s", going.Load(), time.Since(began))
		}
	})
}
