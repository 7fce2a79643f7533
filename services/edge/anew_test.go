package edge_test

import (
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// transfers is a server that asks before it does something, in its own revision's way.
func transfers(t testing.TB, revision string) *script {
	s := newScript(t, revision)
	s.does("tools/call", func(c *turn) {
		switch state, _ := mcp.Text(c.m.Params, "requestState"); {
		case !mcp.Modern(revision):
			answer := c.asks("elicitation/create", form("Transfer?"))
			if action, _ := mcp.Text(answer, "result", "action"); action != "accept" {
				c.fails(-32000, "nothing moved", "")
				return
			}
		case state == "":
			c.result(requires(`{"a":{"method":"elicitation/create","params":`+form("Transfer?")+`}}`, `"s"`))
			return
		}
		c.result(`{"resultType":"complete","content":[{"type":"text","text":"money moved"}]}`)
	})
	return s
}

// While a question is open, minutes pass: what a client says to it reaches its server only if the call would be allowed by then.
func TestT26AnAnswerReachesItsServerOnlyIfTheCallIsStillAllowed(t *testing.T) {
	caps := rule("less", "args.x > 0", "modify")
	caps.Modify = []*authzv1.Modification{{Path: "/x", Action: &authzv1.Modification_Clamp{Clamp: &authzv1.Clamp{Max: new(0.0)}}}}
	for name, stop := range map[string]func(*world, *harness){
		"a relation taken away": func(w *world, _ *harness) { w.ungrant("ana") },
		"a rule that blocks":    func(w *world, _ *harness) { w.policy("acts", onActs([]string{"act"}, rule("no", "true", "block"))) },
		"a rule that changes":   func(w *world, _ *harness) { w.policy("acts", onActs([]string{"act"}, caps)) },
	} {
		for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
			s := transfers(t, revision)
			w := scripted(t, s)
			h := start(t, w, nil)
			ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
			k := ana.begin("tools/call", `{"name":"act","arguments":{"x":1}}`)
			id, _ := k.asked("elicitation/create")
			stop(w, h)
			h.settled()
			ana.answers(id, `{"action":"accept","content":{"name":"yes"}}`)
			if r := k.last(); strings.Contains(string(r.body), "money moved") {
				t.Errorf("%s, a server of %s: %s", name, revision, r.body)
			}
			if n := len(s.sent("tools/call")); n != 1 {
				t.Errorf("%s: a server of %s got %d calls", name, revision, n)
			}
		}
	}
}

func TestACallWhoseQuestionIsAnsweredGoesOn(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := transfers(t, revision)
		ana := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20251125, asks)
		k := ana.begin("tools/call", `{"name":"act","arguments":{"x":1}}`)
		id, _ := k.asked("elicitation/create")
		ana.answers(id, `{"action":"accept","content":{"name":"yes"}}`)
		if r := k.last(); r.text() != "money moved" {
			t.Errorf("%s", r.body)
		}
	}
}

func TestT14AnOlderClientCannotBringAStateOfItsOwn(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	ana := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20251125, asks)
	ana.send("tools/call", `{"name":"act","arguments":{},"requestState":"bob's","inputResponses":{"a":{"action":"accept"}}}`)
	if sent := s.sent("tools/call"); len(sent) != 1 || strings.Contains(sent[0].body, "bob") || strings.Contains(sent[0].body, "inputResponses") {
		t.Errorf("%v", sent)
	}
}

func TestElicitationByURLHasAnIDWhereItsRevisionHasThem(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) {
		c.result(requires(`{"a":{"method":"elicitation/create","params":{"mode":"url","message":"Sign in","url":"https://idp.example/x"}}}`, `"s"`))
	})
	k := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20251125, asks).begin("tools/call", `{"name":"act","arguments":{}}`)
	if _, params := k.asked("elicitation/create"); mcp.Get(params, "elicitationId") == nil {
		t.Errorf("a client of 2025-11-25 gets %s", params)
	}
	old := newScript(t, mcp.V20251125)
	old.does("tools/call", func(c *turn) {
		c.says(`{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}`)
		c.asks("elicitation/create", `{"mode":"url","elicitationId":"e","message":"Go","url":"https://idp.example/"}`)
	})
	r := start(t, scripted(t, old), nil).guest("ana", "/mcp/acts", mcp.V20260728, asks).call("act", `{}`)
	if text := string(r.body); strings.Contains(text, "elicitationId") || strings.Contains(text, "elicitation/complete") || !strings.Contains(text, "idp.example") {
		t.Errorf("a client of 2026-07-28 gets %s", text)
	}
}

func TestAnEndpointPromisesWhatItsServersDo(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.capabilities = `{"tools":{},"resources":{},"prompts":{"listChanged":true}}`
	ana := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
	said := mcp.Get(ana.send("server/discover", ``).result(), "capabilities")
	if string(said) != `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{}}` {
		t.Errorf("%s", said)
	}
	k := ana.begin("subscriptions/listen", `{"notifications":{"resourceSubscriptions":["memo://x"],"resourcesListChanged":true,"promptsListChanged":true}}`)
	if ack := k.next(); string(mcp.Get(ack, "params", "notifications")) != `{"promptsListChanged":true}` {
		t.Errorf("%s", ack)
	}
}

func TestAQuestionThatItsServerTakesBackIsTakenBackFromTheClient(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	asked := make(chan struct{})
	s.does("tools/call", func(c *turn) {
		c.says(`{"jsonrpc":"2.0","id":77,"method":"elicitation/create","params":` + form("Name?") + `}`)
		<-asked
		c.says(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}`)
		c.result(string(textResult("x", "}")))
	})
	k := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20251125, asks).begin("tools/call", `{"name":"act","arguments":{}}`)
	id, _ := k.asked("elicitation/create")
	close(asked)
	if taken := k.next(); string(mcp.Get(taken, "params", "requestId")) != id {
		t.Errorf("%s", taken)
	}
}

func TestABatchInASessionThatIsOverIsNotFound(t *testing.T) {
	h := start(t, scripted(t, newScript(t, mcp.V20251125)), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20250326, `{}`)
	q, err := http.NewRequest(http.MethodDelete, h.base+"/mcp/acts", nil)
	must(t, err)
	q.Header = ana.header("", "")
	res, err := h.http.Do(q)
	must(t, err)
	must(t, res.Body.Close())
	body := `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]`
	if r := ana.post(body, ana.header("", "")); r.status != http.StatusNotFound {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// A rule that takes something out of results holds for a call that was under way when it came.
func TestT26WhatRulesTakeOutSinceACallBeganIsNotDelivered(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := newScript(t, revision)
		s.does("tools/call", func(c *turn) {
			if state, _ := mcp.Text(c.m.Params, "requestState"); mcp.Modern(revision) && state == "" {
				c.result(requires(`{"a":{"method":"elicitation/create","params":`+form("Which?")+`}}`, `"s"`))
				return
			} else if !mcp.Modern(revision) {
				c.asks("elicitation/create", form("Which?"))
			}
			c.result(`{"resultType":"complete","content":[],"structuredContent":{"ssn":"078-05-1120","name":"Ana"}}`)
		})
		w := scripted(t, s)
		h := start(t, w, nil)
		ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
		k := ana.begin("tools/call", `{"name":"act","arguments":{"x":1}}`)
		id, _ := k.asked("elicitation/create")
		hides := rule("hides", "true", "redact")
		hides.Redact = []string{"/structuredContent/ssn"}
		w.policy("acts", onActs([]string{"act"}, hides, rule("rest", "true", "allow")))
		h.settled()
		ana.answers(id, `{"action":"accept","content":{"name":"yes"}}`)
		if r := k.last(); strings.Contains(string(r.body), "078-05") || !strings.Contains(string(r.body), "Ana") {
			t.Errorf("a server of %s: %s", revision, r.body)
		}
	}
}
