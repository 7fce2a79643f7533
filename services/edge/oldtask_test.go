package edge_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

const relatedTask = "io.modelcontextprotocol/related-task"

// oldTaskScript is a server of 2025-11-25 whose tool makes a task of a call that asks for one. While it goes on it wants to know a name.
func oldTaskScript(t testing.TB, id string) *script {
	s := newScript(t, mcp.V20251125)
	s.capabilities = `{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}`
	meta := `"_meta":{"` + relatedTask + `":{"taskId":"` + id + `"}}`
	s.does("tools/call", func(c *turn) {
		if mcp.Get(c.m.Params, "task") == nil {
			c.result(string(textResult("at once", "}")))
			return
		}
		c.result(`{"task":{"taskId":"` + id + `","status":"working","createdAt":"2025-11-25T00:00:00Z","ttl":60000,"x":1}}`)
	})
	state := func(c *turn) { c.result(`{"taskId":"` + id + `","status":"working","ttl":60000,"y":2,` + meta + `}`) }
	s.does("tasks/get", state)
	s.does("tasks/cancel", state)
	s.does("tasks/result", func(c *turn) {
		c.says(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"` + id + `","status":"input_required"}}`)
		c.says(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"of another","status":"working"}}`)
		answer := c.asks("elicitation/create", `{"message":"Name?","requestedSchema":{"type":"object","properties":{}},`+meta+`}`)
		c.result(`{"content":[{"type":"text","text":"for ` + strings.ReplaceAll(string(mcp.Get(answer, "result", "action")), `"`, "") + `"}],` + meta + `}`)
	})
	return s
}

// beginsOld asks for a task of 2025-11-25 and answers its id.
func (c *client) beginsOld(tool, arguments string) string {
	c.h.t.Helper()
	r := c.send("tools/call", `{"name":"`+tool+`","arguments":`+arguments+`,"task":{"ttl":60000}}`)
	id, ok := mcp.Text(r.result(), "task", "taskId")
	if !ok || strings.Contains(id, "server") {
		c.h.t.Fatalf("no task: %s", r.body)
	}
	return id
}

func TestATaskOf20251125IsFollowedToItsResult(t *testing.T) {
	for path, tool := range map[string]string{"/mcp": "acts.act", "/mcp/acts": "act"} {
		s := oldTaskScript(t, "the server's own")
		h := start(t, scripted(t, s), nil)
		ana, bob := h.guest("ana", path, mcp.V20251125, asks), h.guest("bob", path, mcp.V20251125, asks)
		id := ana.beginsOld(tool, `{"x":1}`)
		if sent := s.sent("tools/call"); !strings.Contains(sent[0].body, `"task":{"ttl":60000}`) {
			t.Errorf("the server got %s", sent[0].body)
		}
		for _, method := range []string{"tasks/get", "tasks/cancel"} {
			r := ana.send(method, about(id))
			got, _ := mcp.Text(r.result(), "taskId")
			if of, _ := mcp.Text(r.result(), "_meta", relatedTask, "taskId"); got != id || of != id || !strings.Contains(string(r.body), `"y":2`) {
				t.Errorf("%s: %s", method, r.body)
			}
			if r := bob.send(method, about(id)); string(mcp.Get(r.body, "error", "code")) != "-32602" || len(s.sent(method)) != 1 {
				t.Errorf("bob's %s of ana's task: %s", method, r.body)
			}
		}
		k := ana.begin("tasks/result", about(id))
		status := k.next()
		if got, _ := mcp.Text(status, "params", "taskId"); got != id {
			t.Errorf("%s", status)
		}
		question, params := k.asked("elicitation/create") // of another task nothing was told
		if of, _ := mcp.Text(params, "_meta", relatedTask, "taskId"); of != id {
			t.Errorf("the question is of %s", params)
		}
		ana.answers(question, `{"action":"accept","content":{}}`)
		r := k.last()
		if of, _ := mcp.Text(r.result(), "_meta", relatedTask, "taskId"); r.text() != "for accept" || of != id {
			t.Errorf("%s", r.body)
		}
		if ev := h.final(k.id); ev.GetAction() != "task-result" || ev.GetTarget().GetTool() != "act" || ev.GetDecision().GetEffect() != "allow" || recordsOf(h, k.id) != 2 {
			t.Errorf("%v", ev)
		}
	}
}

func TestT26RulesDecideAboutATaskOf20251125AsAboutItsCall(t *testing.T) {
	s := oldTaskScript(t, "the server's own")
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	small, large := ana.beginsOld("act", `{"n":1}`), ana.beginsOld("act", `{"n":100}`)
	w.policy("acts", onActs([]string{"act"}, rule("large", "args.n > 10", "block"), rule("rest", "true", "allow")))
	h.settled()
	if r := ana.send("tasks/get", about(small)); r.error() != "" {
		t.Errorf("of what is allowed: %s", r.body)
	}
	for _, method := range []string{"tasks/get", "tasks/result", "tasks/cancel"} {
		before := len(s.sent(method))
		if r := ana.send(method, about(large)); r.reason() != "rule" || len(s.sent(method)) != before {
			t.Errorf("%s of what is blocked: %s", method, r.body)
		}
	}
}

func TestT14ATaskOf20251125ThatTheServerPutsInThePlaceOfAnotherIsWithheld(t *testing.T) {
	s := oldTaskScript(t, "the server's own")
	s.does("tasks/get", func(c *turn) { c.result(`{"taskId":"theirs","status":"completed"}`) })
	s.does("tasks/result", func(c *turn) { c.result(`{"task":{"taskId":"theirs"}}`) })
	ana := start(t, scripted(t, s), nil).guest("ana", "/mcp/acts", mcp.V20251125, asks)
	id := ana.beginsOld("act", `{}`)
	for _, method := range []string{"tasks/get", "tasks/result"} {
		if r := ana.send(method, about(id)); r.error() == "" || strings.Contains(string(r.body), "theirs") {
			t.Errorf("%s: %s", method, r.body)
		}
	}
}

func TestTasksOf20251125AreForWhoHasThem(t *testing.T) {
	s := oldTaskScript(t, "the server's own")
	w := scripted(t, s)
	plain := newScript(t, mcp.V20251125)
	w.server("plain", plain.URL+"/mcp", plain.tools, nil)
	w.grant("person/ana", "plain", "*", "call")
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	id := ana.beginsOld("act", `{}`)
	hello := `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}`
	if r := ana.send("initialize", hello); string(mcp.Get(r.result(), "capabilities", "tasks")) != `{"cancel":{},"requests":{"tools":{"call":{}}}}` {
		t.Errorf("%s", r.body)
	}
	older := h.guest("ana", "/mcp/acts", mcp.V20250618, asks)
	if r := older.send("initialize", strings.Replace(hello, "2025-11-25", "2025-06-18", 1)); mcp.Get(r.result(), "capabilities", "tasks") != nil {
		t.Errorf("%s", r.body)
	}
	if r := older.send("tools/call", `{"name":"act","arguments":{},"task":{}}`); r.text() != "at once" {
		t.Errorf("an older client: %s", r.body)
	}
	other := h.guest("ana", "/mcp/plain", mcp.V20251125, asks)
	for who, c := range map[string]*client{"an older client": older, "a server without tasks": other} {
		for _, method := range []string{"tasks/get", "tasks/result"} {
			if r := c.send(method, about(id)); string(mcp.Get(r.body, "error", "code")) != "-32601" {
				t.Errorf("%s: %s", who, r.body)
			}
		}
	}
	if r := other.send("tools/call", `{"name":"act","arguments":{},"task":{}}`); r.error() != "" || strings.Contains(plain.sent("tools/call")[0].body, "task") {
		t.Errorf("a server without tasks: %s, and it got %s", r.body, plain.sent("tools/call")[0].body)
	}
	for _, method := range []string{"tasks/list", "tasks/update"} {
		if r := ana.send(method, about(id)); string(mcp.Get(r.body, "error", "code")) != "-32601" || len(s.sent(method)) != 0 {
			t.Errorf("%s: %s", method, r.body)
		}
	}
}
