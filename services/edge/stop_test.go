package edge_test

import (
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// stop is something that ends a right, and what the calls that it is about are refused with.
type stop struct {
	name, before, running string // reasons; empty where a call goes on
	act                   func(w *world, u *upstream)
}

var stops = [...]stop{
	{"the person is killed", "killed", "killed", func(w *world, _ *upstream) { w.kill("person", "ana") }},
	{"the agent is killed", "killed", "killed", func(w *world, _ *upstream) { w.kill("agent", "bot") }},
	{"the server is killed", "killed", "killed", func(w *world, _ *upstream) { w.kill("server", "echo") }},
	{"the tool is killed", "killed", "killed", func(w *world, _ *upstream) { w.kill("tool", "echo.echo") }},
	{"the tokens are revoked", "unauthenticated", "unauthenticated", func(w *world, _ *upstream) {
		w.revoke(&identityv1.Revocation{Tenant: acme, Person: "ana", Before: timestamppb.Now()})
	}},
	{"the person is disabled", "unauthenticated", "unauthenticated", func(w *world, _ *upstream) {
		w.person("ana", func(s *identityv1.PersonSpec) { s.Disabled = true })
	}},
	{"the server is deleted", "unknown-tool", "killed", func(w *world, _ *upstream) { w.unserver("echo") }},
	{"the server is quarantined", "quarantined", "quarantined", func(w *world, u *upstream) {
		w.server("echo", u.url(), []string{echoTool}, func(s *trustv1.ServerState) { s.Standing = trustv1.Standing_STANDING_QUARANTINED })
	}},
	{"another definition is approved", "definition-changed", "", func(w *world, u *upstream) {
		w.server("echo", u.url(), []string{`{"name":"echo","inputSchema":{"type":"object"}}`}, nil)
	}},
	{"the right is taken", "not-granted", "", func(w *world, _ *upstream) { w.ungrant("ana") }},
}

// through is ana's client through an agent.
func (h *harness) through(agent string) *client {
	return &client{h: h, path: "/mcp/echo", modern: true, token: h.agentToken("ana", agent)}
}

func agents(t *testing.T) (*upstream, *world) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.agent("bot", "ana")
	w.grant("agent/bot", "echo", "*", "call")
	return u, w
}

func TestT26WhatIsStoppedWhileACallIsPreparedRefusesIt(t *testing.T) {
	for _, c := range stops {
		t.Run(c.name, func(t *testing.T) {
			u, w := agents(t)
			h := start(t, w, nil)
			w.mu.Lock()
			w.leasing = func(r *credentialsv1.LeaseRequest) { // everything was judged, but the call not made
				if r.GetPerson() != "" {
					c.act(w, u)
					h.settled()
				}
			}
			w.mu.Unlock()
			r := h.through("bot").call("echo", `{}`)
			if len(u.called()) != 0 {
				t.Fatalf("called, %s", r.body)
			}
			if ev := h.final(r.id); fault.Code(ev.GetDecision().GetReason()) != c.before || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
				t.Errorf("%v", ev)
			}
			for _, ev := range h.all() {
				if ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetRequest().GetId() == r.id {
					t.Error("recorded as started")
				}
			}
		})
	}
}

func TestT26WhatIsStoppedWhileACallRunsCancelsItAndWithholdsItsResult(t *testing.T) {
	for _, c := range stops {
		t.Run(c.name, func(t *testing.T) {
			u, w := agents(t)
			h := start(t, w, nil)
			bot, arrived, release := h.through("bot"), make(chan struct{}), make(chan struct{})
			u.replies(func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
				close(arrived)
				select {
				case <-r.Context().Done():
				case <-release:
					write(w, 200, string(mcp.Result(m.ID, textResult("late", `,"resultType":"complete"}`))))
				}
			})
			answered := make(chan reply, 1)
			go func() { answered <- bot.call("echo", `{}`) }()
			<-arrived
			c.act(w, u)
			if c.running == "" {
				h.settled()
				close(release)
				if r := <-answered; r.text() != "late" {
					t.Errorf("%s", r.body)
				}
				return
			}
			select {
			case r := <-answered:
				ev := h.final(r.id)
				if fault.Code(ev.GetDecision().GetReason()) != c.running || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || r.text() == "late" {
					t.Errorf("%s, %v", r.body, ev)
				}
			case <-time.After(1500 * time.Millisecond): // the server's own limit is 2 s
				t.Error("the call goes on")
			}
		})
	}
}

func TestT14ANoticeCancelsNothingWhenItCouldBeAboutTwoCalls(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := &client{h: h, path: "/mcp/echo", token: h.tokenFor("ana", h.base+"/mcp", nil)} // without a session
	arrived, release := make(chan struct{}, 2), make(chan struct{})
	u.replies(func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-release:
			write(w, 200, string(mcp.Result(m.ID, textResult("ok", "}"))))
		}
	})
	header := ana.header("", "")
	header.Set("MCP-Protocol-Version", mcp.V20251125)
	answered := make(chan reply, 2)
	for range 2 {
		go func() {
			answered <- ana.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}`, header)
		}()
		<-arrived
	}
	notice := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`
	if r := ana.post(notice, header); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.body)
	}
	close(release)
	for range 2 {
		if r := <-answered; r.text() != "ok" {
			t.Errorf("%s", r.body)
		}
	}
}
