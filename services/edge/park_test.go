package edge_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// A client of 2026-07-28 cannot be asked while its call runs. The call of a server that asks waits, and the client makes its request again with the
// answer and the state that it was given.

// question is what a client of 2026-07-28 was asked, with the state that it has to bring back.
type question struct {
	name, state, text string
}

// required reads an answer that asks for one thing.
func required(t testing.TB, r reply) question {
	t.Helper()
	kind, _ := mcp.Text(r.result(), "resultType")
	names, requests := mcp.Members(mcp.Get(r.result(), "inputRequests"))
	state, _ := mcp.Text(r.result(), "requestState")
	if kind != "input_required" || len(names) != 1 || state == "" {
		t.Fatalf("it asks for nothing, or without a state: %s", r.body)
	}
	text, _ := mcp.Text(requests[0], "params", "message")
	return question{names[0], state, text}
}

// again are the params of a call that is made again.
func again(q question, arguments, answer string) string {
	return `{"name":"act","arguments":` + arguments + `,"inputResponses":{"` + q.name + `":` + answer + `},"requestState":"` + q.state + `"}`
}

func accepted(name string) string { return `{"action":"accept","content":{"name":"` + name + `"}}` }

// asking is a script of 2025-11-25 whose tool asks these questions one after the other and answers what it heard.
func asking(t testing.TB, questions ...string) *script {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		heard := ""
		for _, text := range questions {
			answer := c.asks("elicitation/create", form(text))
			if answer == nil {
				return
			}
			heard += string(mcp.Get(answer, "result"))
		}
		c.result(string(textResult(heard, "}")))
	})
	return s
}

func TestACallWaitsForItsModernClientAndGoesOn(t *testing.T) {
	s := asking(t, "First?", "Second?")
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	r := ana.call("act", `{"x":1}`)
	first := required(t, r)
	ev := h.final(r.id)
	if first.text != "First?" || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN || !strings.Contains(ev.GetFindings().String(), "waits for its client") {
		t.Errorf("%v, recorded %v", first, ev)
	}
	r = ana.send("tools/call", again(first, `{ "x": 1.0 }`, accepted("A")))
	second := required(t, r)
	if second.text != "Second?" || second.state == first.state {
		t.Errorf("%v", second)
	}
	r = ana.send("tools/call", again(second, `{"x":1}`, `{"action":"decline"}`))
	if kind, _ := mcp.Text(r.result(), "resultType"); kind != "complete" || r.text() != accepted("A")+`{"action":"decline"}` {
		t.Errorf("%s", r.body)
	}
	if ev := h.final(r.id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || !strings.Contains(ev.GetFindings().String(), "goes on with call ") {
		t.Errorf("recorded %v", ev)
	}
	if n := recordsOf(h, r.id); n != 2 || len(s.sent("tools/call")) != 1 {
		t.Errorf("%d records of the last request, %d calls", n, len(s.sent("tools/call")))
	}
}

// Some servers ask for something in the course of a call and answer the call without waiting for it.
func TestACallWhoseServerDoesNotWaitForWhatItAskedHasItsAnswer(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		c.puts("roots/list", `{}`)
		c.result(string(textResult("done", "}")))
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	waited := 0
	for range 100 {
		r := ana.call("act", `{}`)
		if kind, _ := mcp.Text(r.result(), "resultType"); kind == "input_required" {
			waited++
			r = ana.send("tools/call", again(required(t, r), `{}`, `{"roots":[]}`))
		}
		if r.text() != "done" {
			t.Fatalf("%s", r.body)
		}
	}
	t.Logf("%d of 100 clients were asked", waited)
}

// TestT26ACallThatNobodyTakesUpHasARecordOfItsEnd, whatever ends it, and its request has one final record.
func TestT26ACallThatNobodyTakesUpHasARecordOfItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(h *harness, ana *client, q question)
		reason faultv1.Reason
		says   string
	}{
		"its client does not come back": {func(h *harness, _ *client, _ question) { h.ahead.Store(int64(11 * time.Minute)) }, faultv1.Reason_REASON_CANCELLED, "did not come back"},
		"its caller is stopped":         {func(h *harness, _ *client, _ question) { h.kill("person", "ana") }, faultv1.Reason_REASON_KILLED, ""},
		"its edge is shut down":         {func(h *harness, _ *client, _ question) { h.end() }, faultv1.Reason_REASON_CANCELLED, "shut down"},
		"its next request is refused by a rule": {func(h *harness, ana *client, q question) {
			h.policy("acts", onActs([]string{"act"}, rule("no", "true", "block")))
			h.settled()
			ana.send("tools/call", again(q, `{"x":1}`, accepted("A")))
		}, faultv1.Reason_REASON_CANCELLED, "was refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := asking(t, "Name?")
			h := start(t, scripted(t, s), nil)
			ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
			r := ana.call("act", `{"x":1}`)
			q := required(t, r)
			first := h.final(r.id)
			c.end(h, ana, q)
			end := h.find("the end of the call", func(ev *eventsv1.Event) bool {
				return strings.Contains(ev.GetFindings().String(), "the end of call "+first.GetCallId())
			})
			if end.GetPhase() != eventsv1.Phase_PHASE_FINAL || end.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || end.GetDecision().GetReason() != c.reason ||
				!strings.Contains(end.GetDecision().GetSentence(), c.says) || end.GetPrincipal().GetPerson() != "ana" || end.GetTarget().GetTool() != "act" ||
				end.GetArguments().GetHmac() != first.GetArguments().GetHmac() || end.GetCallId() == first.GetCallId() {
				t.Errorf("recorded %v", end)
			}
			finals := map[string]int{}
			for _, ev := range h.all() {
				if ev.GetPhase() == eventsv1.Phase_PHASE_FINAL {
					finals[ev.GetCallId()]++
				}
			}
			if finals[first.GetCallId()] != 1 || finals[end.GetCallId()] != 1 {
				t.Errorf("%v", finals)
			}
		})
	}
}

// Only answers to tools/call, prompts/get and resources/read may ask for input: what a server asks in the course of another request is refused in the
// client's place, and the request goes on.
func TestWhatAServerAsksWhereNoAnswerMayAskIsRefused(t *testing.T) {
	heard := make(chan []byte, 1)
	s := newScript(t, mcp.V20251125)
	s.does("completion/complete", func(c *turn) {
		heard <- c.asks("roots/list", `{}`)
		c.result(`{"completion":{"values":["Rhine"]}}`)
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	r := ana.send("completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"gate","value":"R"}}`)
	if got := string(mcp.Get(r.result(), "completion", "values")); got != `["Rhine"]` {
		t.Fatalf("the completion answers %s", r.body)
	}
	if code := string(mcp.Get(<-heard, "error", "code")); code != "-32601" {
		t.Errorf("the server was answered with code %s", code)
	}
}

func TestAnAnswerThatSaysNothingIsAskedForAgain(t *testing.T) {
	s := asking(t, "Name?")
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q := required(t, ana.call("act", `{}`))
	for _, without := range []string{`{}`, `{"other":{"action":"accept"}}`, `{"` + q.name + `":"text"}`, `{"` + q.name + `":null}`} {
		next := required(t, ana.send("tools/call", `{"name":"act","arguments":{},"inputResponses":`+without+`,"requestState":"`+q.state+`"}`))
		if next.state == q.state || next.text != "Name?" {
			t.Errorf("after %s: %v", without, next)
		}
		q = next
	}
	if r := ana.send("tools/call", again(q, `{}`, accepted("A"))); r.text() != accepted("A") || len(s.sent("tools/call")) != 1 {
		t.Errorf("%s", r.body)
	}
}

// TestT14AStateIsGoodForItsCallerAndRequestOnce covers both kinds of state: of a call that waits at Headgate, and of a server of 2026-07-28.
func TestT14AStateIsGoodForItsCallerAndRequestOnce(t *testing.T) {
	modern := newScript(t, mcp.V20260728)
	modern.does("tools/call", func(c *turn) {
		if state, _ := mcp.Text(c.m.Params, "requestState"); state != "" {
			c.result(string(textResult("state "+state, `,"resultType":"complete"}`)))
			return
		}
		c.result(requires(`{"request":{"method":"elicitation/create","params":`+form("Name?")+`}}`, `"the server's own"`))
	})
	waiting := newScript(t, mcp.V20251125)
	waiting.does("tools/call", func(c *turn) {
		if c.asks("elicitation/create", form("Name?")) != nil {
			c.result(string(textResult("state the server's own", "}")))
		}
	})
	for name, s := range map[string]*script{"a waiting call": waiting, "a server's own state": modern} {
		t.Run(name, func(t *testing.T) {
			w := scripted(t, s)
			w.agent("helper", "ana")
			w.grant("agent/helper", "acts", "*", "call")
			h := start(t, w, nil)
			ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, asks), h.guest("bob", "/mcp/acts", mcp.V20260728, asks)
			agent := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
			agent.token = h.agentToken("ana", "helper")
			all := h.guest("ana", "/mcp", mcp.V20260728, asks)
			r := ana.call("act", `{"x":1}`)
			if strings.Contains(string(r.body), "the server's own") {
				t.Errorf("the client sees the server's state: %s", r.body)
			}
			q := required(t, r)
			good := again(q, `{"x":1}`, accepted("A"))
			spoiled := []byte(q.state)
			spoiled[len(spoiled)/2] ^= 1
			for what, try := range map[string]func() reply{
				"another person":   func() reply { return bob.send("tools/call", good) },
				"through an agent": func() reply { return agent.send("tools/call", good) },
				"another endpoint": func() reply { return all.send("tools/call", strings.Replace(good, `"act"`, `"acts.act"`, 1)) },
				"other arguments":  func() reply { return ana.send("tools/call", again(q, `{"x":2}`, accepted("A"))) },
				"another method": func() reply {
					return ana.send("prompts/get", strings.Replace(good, `"arguments":{"x":1}`, `"arguments":{}`, 1))
				},
				"a changed state": func() reply { return ana.send("tools/call", strings.Replace(good, q.state, string(spoiled), 1)) },
				"half a state": func() reply {
					return ana.send("tools/call", strings.Replace(good, q.state, q.state[:len(q.state)/2], 1))
				},
				"an empty state":    func() reply { return ana.send("tools/call", strings.Replace(good, q.state, "", 1)) },
				"the server's own":  func() reply { return ana.send("tools/call", strings.Replace(good, q.state, "the server's own", 1)) },
				"a state of number": func() reply { return ana.send("tools/call", strings.Replace(good, `"`+q.state+`"`, "7", 1)) },
			} {
				if r := try(); string(mcp.Get(r.body, "error", "code")) != "-32602" || strings.Contains(string(r.body), "server's own\"") {
					t.Errorf("%s: %d %s", what, r.status, r.body)
				}
			}
			if r := ana.send("tools/call", good); r.text() != "state the server's own" {
				t.Errorf("the first use: %s", r.body)
			}
			if r := ana.send("tools/call", good); !strings.Contains(r.error(), "not good for this request") {
				t.Errorf("the second use: %s", r.body)
			}
			if ev := h.find("a refused state", func(ev *eventsv1.Event) bool { return ev.GetDecision().GetReason() == faultv1.Reason_REASON_INVALID }); ev.GetPrincipal() == nil {
				t.Errorf("%v", ev)
			}
		})
	}
}

func TestAStateIsGoodForTenMinutes(t *testing.T) {
	s := asking(t, "Name?")
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	early, late := required(t, ana.call("act", `{"n":1}`)), required(t, ana.call("act", `{"n":2}`))
	w.ahead.Store(int64(9 * time.Minute))
	fresh := func() bool { return ana.send("tools/list", "").error() == "" }
	eventually(t, 20*time.Second, "the copies are fresh", fresh)
	if r := ana.send("tools/call", again(early, `{"n":1}`, accepted("A"))); r.text() != accepted("A") {
		t.Errorf("after nine minutes: %s", r.body)
	}
	w.ahead.Store(int64(11 * time.Minute))
	eventually(t, 20*time.Second, "the copies are fresh", fresh)
	if r := ana.send("tools/call", again(late, `{"n":2}`, accepted("A"))); !strings.Contains(r.error(), "not good for this request") {
		t.Errorf("after eleven minutes: %s", r.body)
	}
	eventually(t, 20*time.Second, "the server is told that nobody answers", func() bool { return len(s.sent("notifications/cancelled")) == 1 })
}

func TestT26AKillEndsACallThatWaitsForItsClient(t *testing.T) {
	s := asking(t, "Name?")
	w := scripted(t, s)
	h := start(t, w, nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, asks), h.guest("bob", "/mcp/acts", mcp.V20260728, asks)
	mine, theirs := required(t, ana.call("act", `{}`)), required(t, bob.call("act", `{}`))
	w.kill("person", "ana")
	eventually(t, 10*time.Second, "the server is told", func() bool { return len(s.sent("notifications/cancelled")) == 1 })
	if r := ana.send("tools/call", again(mine, `{}`, accepted("A"))); r.reason() != "killed" {
		t.Errorf("%s", r.body)
	}
	if r := bob.send("tools/call", again(theirs, `{}`, accepted("B"))); r.text() != accepted("B") {
		t.Errorf("somebody else's: %s", r.body)
	}
}

func TestAServerThatGoesAwayWhileACallWaitsIsSaid(t *testing.T) {
	s := asking(t, "Name?")
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q := required(t, ana.call("act", `{}`))
	s.CloseClientConnections()
	var r reply
	eventually(t, 20*time.Second, "the connection's end is noticed", func() bool {
		r = ana.send("tools/call", again(q, `{}`, accepted("A")))
		return mcp.Get(r.result(), "inputRequests") == nil
	})
	if r.reason() != "upstream" || !strings.Contains(r.text(), "before its answer was whole") || len(s.sent("tools/call")) != 1 {
		t.Errorf("%d calls, %s", len(s.sent("tools/call")), r.body)
	}
}

func TestAModernClientThatGoesAwayBeforeItIsAskedEndsTheCall(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	arrived := make(chan struct{})
	s.does("tools/call", func(c *turn) {
		close(arrived)
		<-c.r.Context().Done()
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	body, id := ana.body("tools/call", `{"name":"act","arguments":{}}`)
	ctx, cancel := context.WithCancel(context.Background())
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/mcp/acts", strings.NewReader(body))
	must(t, err)
	q.Header = ana.header("tools/call", "act")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := h.http.Do(q); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-arrived
	cancel()
	<-gone
	if ev := h.final(id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_CANCELLED {
		t.Errorf("%v", ev)
	}
	eventually(t, 10*time.Second, "the server is told", func() bool { return len(s.sent("notifications/cancelled")) == 1 })
}

// TestT22OnePersonsWaitingCallsLeaveRoomForOthers: each of them holds a request at a server.
func TestT22OnePersonsWaitingCallsLeaveRoomForOthers(t *testing.T) {
	s := asking(t, "Name?")
	h := start(t, scripted(t, s), nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, asks), h.guest("bob", "/mcp/acts", mcp.V20260728, asks)
	waiting := 0
	for range 200 {
		r := ana.call("act", `{}`)
		if mcp.Get(r.result(), "inputRequests") == nil {
			if r.reason() != "unavailable" || !strings.Contains(r.text(), "wait for your answers") {
				t.Fatalf("%s", r.body)
			}
			break
		}
		waiting++
	}
	if waiting < 16 || waiting > 128 {
		t.Errorf("%d calls wait for one person", waiting)
	}
	q := required(t, bob.call("act", `{}`))
	if r := bob.send("tools/call", again(q, `{}`, accepted("B"))); r.text() != accepted("B") {
		t.Errorf("%s", r.body)
	}
}

// TestT18AWaitingCallGoesOnWithTheCredentialOfItsMoment: the second request's, whose secret leaves no more than the first's.
func TestT18AWaitingCallGoesOnWithTheCredentialOfItsMoment(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		if c.asks("elicitation/create", form("Name?")) != nil {
			c.result(string(textResult("first-secret and second-secret", "}")))
		}
	})
	w := scripted(t, s)
	w.lend("acts", "X-Key", "first-secret", "first-secret", strings.TrimPrefix(s.URL, "http://"))
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q := required(t, ana.call("act", `{}`))
	w.lend("acts", "X-Key", "second-secret", "second-secret", strings.TrimPrefix(s.URL, "http://"))
	w.ahead.Store(int64(6 * time.Second)) // no lease is used for longer
	eventually(t, 20*time.Second, "the copies are fresh", func() bool { return ana.send("tools/list", "").error() == "" })
	r := ana.send("tools/call", again(q, `{}`, accepted("A")))
	if strings.Contains(string(r.body), "secret") || !strings.Contains(r.text(), "redacted") {
		t.Errorf("%s", r.body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.seen {
		if strings.Contains(one.body, `"action"`) && one.header.Get("X-Key") != "second-secret" {
			t.Errorf("the answer went with the credential %q", one.header.Get("X-Key"))
		}
	}
}

// TestT26AWaitingCallEndsWhenItsNextRequestIsRefused, whatever refuses it: then nobody hears of it any more.
func TestT26AWaitingCallEndsWhenItsNextRequestIsRefused(t *testing.T) {
	for name, refuse := range map[string]func(h *harness){
		"by a rule": func(h *harness) {
			h.policy("acts", onActs([]string{"act"}, rule("no", "true", "block")))
			h.settled()
		},
		"for want of a credential": func(h *harness) {
			h.world.mu.Lock()
			defer h.world.mu.Unlock()
			h.leasing = func(r *credentialsv1.LeaseRequest) {
				h.world.mu.Lock()
				defer h.world.mu.Unlock()
				h.leaseErr = nil
				if r.GetPerson() != "" {
					h.leaseErr = fault.New(faultv1.Reason_REASON_CREDENTIAL, "The connection was revoked.")
				}
			}
			h.ahead.Store(int64(3 * time.Second)) // what was lent is not believed for longer
		},
		"for want of a record": func(h *harness) {
			h.broken.Store(true)
			must(h.t, h.journal.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := asking(t, "Name?")
			h := start(t, scripted(t, s), nil)
			ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
			q := required(t, ana.call("act", `{}`))
			refuse(h)
			r := ana.send("tools/call", again(q, `{}`, accepted("A")))
			if !r.refused() || strings.Contains(r.text(), "accept") {
				t.Errorf("%s", r.body)
			}
			eventually(t, 20*time.Second, "the server is told", func() bool { return len(s.sent("notifications/cancelled")) == 1 })
			if h.broken.Load() {
				return
			}
			h.final(r.id)
			if n := recordsOf(h, r.id); n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
}
