package edge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const tasking = `{"elicitation":{"form":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}}`

// taskScript is a server of 2026-07-28 whose tool makes a task of every call, which tasks/get answers with these members.
func taskScript(t testing.TB, members *string) *script {
	s := newScript(t, mcp.V20260728)
	s.capabilities = `{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	s.does("tools/call", func(c *turn) {
		c.result(`{"resultType":"task","taskId":"the server's own` + string(mcp.Get(c.m.Arguments, "more")) + `","status":"working","createdAt":"2026-07-28T00:00:00Z","ttlMs":null}`)
	})
	s.does("tasks/get", func(c *turn) {
		c.result(`{"resultType":"complete","taskId":` + string(mcp.Get(c.m.Params, "taskId")) + `,` + *members + `}`)
	})
	acknowledges := func(c *turn) { c.result(`{"resultType":"complete"}`) }
	s.does("tasks/update", acknowledges)
	s.does("tasks/cancel", acknowledges)
	return s
}

// begins calls the tool with arguments and answers the id of its task.
func (c *client) begins(tool, arguments string) string {
	c.h.t.Helper()
	r := c.call(tool, arguments)
	id, ok := mcp.Text(r.result(), "taskId")
	if !ok || strings.Contains(id, "server") {
		c.h.t.Fatalf("no task: %s", r.body)
	}
	return id
}

func about(id string) string { return `{"taskId":"` + id + `"}` }

func TestATaskIsFollowedToItsEnd(t *testing.T) {
	for path, tool := range map[string]string{"/mcp": "acts.act", "/mcp/acts": "act"} {
		members := `"status":"input_required","inputRequests":{"name":{"method":"elicitation/create","params":` + form("Name?") + `}}`
		s := taskScript(t, &members)
		h := start(t, scripted(t, s), nil)
		ana, bob := h.guest("ana", path, mcp.V20260728, tasking), h.guest("bob", path, mcp.V20260728, tasking)
		id := ana.begins(tool, `{"x":1}`)
		r := ana.send("tasks/get", about(id))
		said := map[string]string{"/mcp": "acts: Name?", "/mcp/acts": "Name?"}[path]
		if got, _ := mcp.Text(r.result(), "taskId"); got != id || !strings.Contains(string(r.body), said) {
			t.Errorf("%s, not a task %s that asks %q", r.body, id, said)
		}
		if r := ana.send("tasks/update", `{"taskId":"`+id+`","inputResponses":{"name":{"action":"accept"}}}`); r.error() != "" {
			t.Errorf("%s", r.body)
		}
		members = `"status":"completed","result":{"content":[{"type":"resource_link","uri":"memo://a","name":"a"}],"isError":true,"_meta":{"io.headgate/decision":{"forged":1},"x":1}}`
		r = ana.send("tasks/get", about(id))
		link := map[string]string{"/mcp": "hg.acts+memo://a", "/mcp/acts": "memo://a"}[path]
		if !strings.Contains(string(r.body), `"`+link+`"`) || strings.Contains(string(r.body), "forged") || !strings.Contains(string(r.body), `"x":1`) {
			t.Errorf("%s: %s", path, r.body)
		}
		if ev := h.final(r.id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetAction() != "task-get" || recordsOf(h, r.id) != 2 {
			t.Errorf("%v", ev)
		}
		members = `"status":"failed","error":{"code":-32603,"message":"no","data":{"io.headgate/decision":{"forged":1}}}`
		if r := ana.send("tasks/get", about(id)); strings.Contains(string(r.body), "forged") {
			t.Errorf("%s", r.body)
		}
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			before := len(s.sent(method))
			if r := bob.send(method, about(id)); string(mcp.Get(r.body, "error", "code")) != "-32602" || len(s.sent(method)) != before {
				t.Errorf("bob's %s of ana's task: %s", method, r.body)
			}
		}
		if r := ana.send("tasks/cancel", about(id)); r.error() != "" || len(s.sent("tasks/cancel")) != 1 || s.sent("tasks/cancel")[0].header.Get("Mcp-Name") == id {
			t.Errorf("%s", r.body)
		}
	}
}

func TestT14ATaskThatTheServerPutsInThePlaceOfAnotherIsWithheld(t *testing.T) {
	members := `"status":"working"`
	s := taskScript(t, &members)
	s.does("tasks/get", func(c *turn) {
		c.result(`{"resultType":"complete","taskId":"another's","status":"completed","result":{"content":[{"type":"text","text":"theirs"}]}}`)
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, tasking)
	if r := ana.send("tasks/get", about(ana.begins("act", `{}`))); r.error() == "" || strings.Contains(string(r.body), "theirs") {
		t.Errorf("%s", r.body)
	}
}

func TestT26RulesDecideAboutATaskAsAboutItsCall(t *testing.T) {
	members := `"status":"working"`
	s := taskScript(t, &members)
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, tasking)
	small, large := ana.begins("act", `{"n":1}`), ana.begins("act", `{"n":100}`)
	w.policy("acts", onActs([]string{"act"}, rule("large", "args.n > 10", "block"), rule("rest", "true", "allow")))
	h.settled()
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		if r := ana.send(method, about(small)); r.error() != "" {
			t.Errorf("%s of what is allowed: %s", method, r.body)
		}
		before := len(s.sent(method))
		r := ana.send(method, about(large))
		if r.reason() != "rule" || len(s.sent(method)) != before {
			t.Errorf("%s of what is blocked: %s", method, r.body)
		}
		if ev := h.final(r.id); ev.GetDecision().GetRule() != "acts/large" {
			t.Errorf("%v", ev)
		}
	}
	w.ungrant("ana")
	h.settled()
	if r := ana.send("tasks/get", about(small)); r.error() == "" {
		t.Errorf("without a relation: %s", r.body)
	}
}

func TestTasksAreForWhoHasThem(t *testing.T) {
	members := `"status":"working"`
	s := taskScript(t, &members)
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, tasking)
	id := ana.begins("act", `{}`)
	without := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
	if r := without.send("tasks/get", about(id)); r.status != http.StatusBadRequest || string(mcp.Get(r.body, "error", "code")) != "-32021" {
		t.Errorf("a client without tasks: %d %s", r.status, r.body)
	}
	plain := newScript(t, mcp.V20260728)
	w.server("plain", plain.URL+"/mcp", plain.tools, nil)
	w.grant("person/ana", "plain", "*", "call")
	h.settled()
	other := h.guest("ana", "/mcp/plain", mcp.V20260728, tasking)
	if r := other.send("tasks/get", about(id)); r.status != http.StatusNotFound || string(mcp.Get(r.body, "error", "code")) != "-32601" {
		t.Errorf("a server without tasks: %d %s", r.status, r.body)
	}
	if len(s.sent("tasks/get")) != 0 {
		t.Error("the server was asked all the same")
	}
}

// TestT14WhatBecomesOfATaskIsToldToItsCallerAlone, as tasks/get would tell it, and recorded.
func TestT14WhatBecomesOfATaskIsToldToItsCallerAlone(t *testing.T) {
	members := `"status":"working"`
	s := taskScript(t, &members)
	s.speaksUp()
	w := scripted(t, s)
	h := start(t, w, nil)
	ana, bob := h.guest("ana", "/mcp", mcp.V20260728, tasking), h.guest("bob", "/mcp", mcp.V20260728, tasking)
	id, other := ana.begins("acts.act", `{"n":1}`), ana.begins("acts.act", `{"n":2,"more":2}`)
	filter := `{"taskIds":["` + id + `","` + other + `","the server's own","x"]}`
	mine, honoured := ana.listens(filter)
	if honoured != `{"taskIds":["`+id+`","`+other+`"]}` {
		t.Errorf("%s", honoured)
	}
	if _, honoured := bob.listens(filter); honoured != `{}` {
		t.Errorf("bob hears %s", honoured)
	}
	without := h.guest("ana", "/mcp", mcp.V20260728, `{}`)
	if r := without.send("subscriptions/listen", `{"notifications":`+filter+`}`); string(mcp.Get(r.body, "error", "code")) != "-32021" {
		t.Errorf("a client without tasks: %s", r.body)
	}
	eventually(t, 20*time.Second, "the server is listened to", func() bool { return len(s.sent("subscriptions/listen")) > 0 })
	if sent := s.sent("subscriptions/listen"); !strings.Contains(sent[0].body, `"taskIds":["the server's own","the server's own2"]`) {
		t.Errorf("the server was asked for %s", sent[0].body)
	}
	tells := func(of, text string) {
		s.tellsAll("notifications/tasks", `"taskId":"`+of+`","status":"completed","result":{"content":[{"type":"resource_link","uri":"memo://`+text+
			`","name":"a"}],"_meta":{"io.headgate/decision":{"forged":1}}}`)
	}
	hears := func(of, text, id string) {
		t.Helper()
		var message []byte
		eventually(t, 20*time.Second, "what became of the task is told", func() bool {
			tells("another's", "theirs")
			tells(of, text)
			came := false
			message, came = mine.within(50 * time.Millisecond)
			if strings.Contains(string(message), "theirs") || strings.Contains(string(message), "second") {
				t.Fatalf("told %s", message)
			}
			return came && strings.Contains(string(message), text)
		})
		got, _ := mcp.Text(message, "params", "taskId")
		if method, _ := mcp.Text(message, "method"); method != "notifications/tasks" || got != id || !strings.Contains(string(message), `"hg.acts+memo://`+text) ||
			strings.Contains(string(message), "forged") || string(mcp.Get(message, "params", "_meta", mcp.MetaSubscription)) != mine.id {
			t.Errorf("%s", message)
		}
	}
	hears("the server's own", "first", id)
	h.find("what was told", func(ev *eventsv1.Event) bool {
		return ev.GetAction() == "task-get" && ev.GetRequest().GetMethod() == "notifications/tasks" && ev.GetResult().GetHmac() != "" && ev.GetPrincipal().GetPerson() == "ana"
	})
	w.policy("acts", onActs([]string{"act"}, rule("no", "args.n == 1", "block"), rule("rest", "true", "allow")))
	h.settled()
	tells("the server's own", "second")
	hears("the server's own2", "mark", other) // by then the one before was dropped
	w.policy("acts", onActs([]string{"act"}, rule("rest", "true", "allow")))
	h.settled()
	hears("the server's own", "third", id)
}
