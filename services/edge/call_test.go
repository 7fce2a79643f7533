package edge_test

import (
	"net/http"
	"slices"
	"testing"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestAGrantedToolIsListedAndCalledAndRecordedTwice(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		h := start(t, support(t, u), nil)
		ana := h.client("ana", "/mcp/echo", modern)
		if got := ana.names(); !slices.Equal(got, []string{"echo"}) {
			t.Fatalf("ana sees %v", got)
		}
		r := ana.call("echo", `{"text":"a  b","n":12345678901234567890}`)
		if r.status != 200 || r.refused() || r.text() != `{"text":"a  b","n":12345678901234567890}` {
			t.Fatalf("%d %s", r.status, r.body)
		}
		if kind := string(mcp.Get(r.body, "result", "resultType")); (kind == `"complete"`) != modern {
			t.Errorf("resultType is %s", kind)
		}
		final := h.final(r.id)
		if final.GetAction() != "tool-call" || final.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || final.GetPrincipal().GetPerson() != "ana" ||
			final.GetTarget().GetTool() != "echo" || final.GetTarget().GetDefinitionHash() == "" || final.GetDecision().GetEffect() != "allow" ||
			final.GetDecision().GetSentence() == "" || final.GetArguments().GetHmac() == "" || final.GetResult().GetHmac() == "" ||
			final.GetPrincipal().GetClientName() != "check" || final.GetTenant() != acme {
			t.Errorf("final record: %v", final)
		}
		var phases []eventsv1.Phase
		for _, ev := range h.all() {
			if ev.GetCallId() == final.GetCallId() {
				phases = append(phases, ev.GetPhase())
			}
		}
		if !slices.Equal(phases, []eventsv1.Phase{eventsv1.Phase_PHASE_STARTED, eventsv1.Phase_PHASE_FINAL}) {
			t.Errorf("phases %v", phases)
		}
	})
}

func TestAllServersAreOneEndpointWithPrefixedNames(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		w := support(t, u)
		w.server("down", "http://127.0.0.1:1/mcp", []string{echoTool}, nil)
		w.grant("person/ana", "down", "*", "call")
		h := start(t, w, nil)
		ana := h.client("ana", "/mcp", modern)
		r := ana.send("tools/list", "")
		if got := string(mcp.Get(r.body, "result", "_meta", mcp.MetaUnavailable)); got != `["down"]` {
			t.Errorf("unavailable: %s", got)
		}
		if got := ana.names(); !slices.Equal(got, []string{"echo.echo"}) {
			t.Fatalf("ana sees %v", got)
		}
		if r := ana.call("echo.echo", `{"text":"x"}`); r.text() != `{"text":"x"}` {
			t.Fatalf("%s", r.body)
		}
		if name, _ := mcp.Text([]byte(u.called()[0].body), "params", "name"); name != "echo" {
			t.Errorf("the upstream was asked for %s", name)
		}
	})
}

func TestEveryEraOfClientWorksWithEveryEraOfServer(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		u.legacy = true
		h := start(t, support(t, u), nil)
		ana := h.client("ana", "/mcp/echo", modern)
		for range 2 {
			if r := ana.call("echo", `{"text":"x"}`); r.text() != `{"text":"x"}` {
				t.Fatalf("%s", r.body)
			}
		}
		if got := u.called()[1].header.Get("Mcp-Session-Id"); got == "" {
			t.Error("the call had no session")
		}
	})
}

func TestTheCallersOwnHeadersNeverGoUpstream(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		h := start(t, support(t, u), nil)
		ana := h.client("ana", "/mcp/echo", modern)
		body, _ := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
		header := ana.header("tools/call", "echo")
		for _, name := range []string{"Cookie", "X-Api-Key", "Proxy-Authorization", "Forwarded", "X-Forwarded-For"} {
			header.Set(name, "mine")
		}
		if r := ana.post(body, header); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		for _, one := range u.everything() {
			for name, values := range one.header {
				if slices.Contains(values, "mine") || name == "Authorization" {
					t.Errorf("%s went upstream with %s", name, one.method)
				}
			}
		}
	})
}

func TestStartedRecordIsWrittenBeforeTheUpstreamSeesAByte(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		h.find("started", func(ev *eventsv1.Event) bool {
			return ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetTarget().GetTool() == "echo"
		})
		for _, ev := range h.all() {
			if ev.GetPhase() == eventsv1.Phase_PHASE_FINAL && ev.GetAction() == "tool-call" {
				t.Error("the final record was there before the answer")
			}
		}
		write(w, 200, string(mcp.Result(m.ID, textResult("done", "}"))))
	})
	if r := ana.call("echo", `{}`); r.text() != "done" {
		t.Fatalf("%s", r.body)
	}
}

func TestNoRecordNoCall(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	ana.call("echo", `{}`)
	before := len(u.called())
	h.broken.Store(true)
	must(t, h.journal.Close())
	r := ana.call("echo", `{}`)
	if !r.refused() || r.reason() != "journal" || len(u.called()) != before {
		t.Fatalf("%s, %d calls", r.body, len(u.called())-before)
	}
}

func TestNotVisibleAnswersAreTheSameBytes(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool, `{"name":"other","inputSchema":{"type":"object"}}`)
		w := support(t, u)
		w.person("eve", nil)
		w.server("waits", u.url(), nil, nil)
		w.grant("person/ana", "waits", "*", "call")
		h := start(t, w, nil)
		want := map[faultv1.Reason]*client{
			faultv1.Reason_REASON_UNKNOWN_TOOL: h.client("ana", "/mcp/nowhere", modern),
			faultv1.Reason_REASON_NOT_GRANTED:  h.client("eve", "/mcp/echo", modern),
		}
		first := ""
		for reason, c := range want {
			r := c.call("echo", `{}`)
			answer := string(mcp.Get(r.body, "error"))
			if first == "" {
				first = answer
			}
			if answer != first || r.status != 200 || answer != `{"code":-32602,"message":"Unknown tool: echo"}` {
				t.Errorf("%v: %d %s", reason, r.status, r.body)
			}
			if ev := h.final(r.id); ev.GetDecision().GetReason() != reason || ev.GetDecision().GetEffect() != "block" {
				t.Errorf("recorded %v, want %v", ev.GetDecision(), reason)
			}
			if names := c.names(); len(names) != 0 {
				t.Errorf("%v lists %v", reason, names)
			}
		}
		if len(u.called()) != 0 {
			t.Error("the upstream was called")
		}
	})
}
