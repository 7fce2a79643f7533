package edge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// onActs is a policy over tools and methods of the script.
func onActs(tools []string, rules ...*authzv1.Rule) *authzv1.PolicySpec {
	return &authzv1.PolicySpec{Match: &authzv1.Match{Server: "acts", Tools: tools}, Rules: rules}
}

// methodScript is a script of one revision with a prompt, resources and completion that answer what they were asked.
func methodScript(t testing.TB, revision string) *script {
	s := newScript(t, revision)
	s.does("prompts/get", func(c *turn) {
		text := string(mcp.Get(c.m.Params, "arguments"))
		c.result(`{"messages":[{"role":"user","content":{"type":"text","text":` + string(mcp.Quote(text)) + `}}]}`)
	})
	s.does("resources/read", func(c *turn) {
		uri := string(mcp.Get(c.m.Params, "uri"))
		c.result(`{"contents":[{"uri":` + uri + `,"text":"read"}]}`)
	})
	s.does("resources/subscribe", func(c *turn) { c.result(`{}`) })
	s.does("completion/complete", func(c *turn) { c.result(`{"completion":{"values":["a"]}}`) })
	s.does("prompts/list", func(c *turn) { c.result(`{"prompts":[{"name":"p"}]}`) })
	s.does("resources/list", func(c *turn) { c.result(`{"resources":[{"uri":"memo://a","name":"a"}]}`) })
	s.does("resources/templates/list", func(c *turn) { c.result(`{"resourceTemplates":[{"uriTemplate":"memo://{x}","name":"x"}]}`) })
	return s
}

// requests are what a client can ask of a script besides calls, with the method that relations and rules know it by.
var requests = []struct{ method, params, as string }{
	{"prompts/get", `{"name":"p","arguments":{"who":"x"}}`, "prompts/get"}, {"resources/read", `{"uri":"memo://a"}`, "resources/read"},
	{"completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"who","value":"x"}}`, "completion/complete"},
}

func TestRulesDecideOverMethodsAsOverTools(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		for _, front := range []string{mcp.V20260728, mcp.V20251125} {
			s := methodScript(t, revision)
			w := scripted(t, s)
			blocks := rule("no", `args.uri == "memo://secret"`, "block")
			blocks.Reason = "This one is secret."
			w.policy("reads", onActs([]string{"resources/read"}, blocks, rule("rest", "true", "allow")))
			masks := rule("who", "true", "modify")
			masks.Modify = []*authzv1.Modification{{Path: "/arguments/who", Action: &authzv1.Modification_Remove{Remove: true}}}
			w.policy("greets", onActs([]string{"prompts/get"}, masks))
			h := start(t, w, nil)
			ana := h.guest("ana", "/mcp/acts", front, `{}`)

			r := ana.send("resources/read", `{"uri":"memo://secret"}`)
			if string(mcp.Get(r.body, "error", "code")) != "-31000" || r.reason() != "rule" || !strings.Contains(r.error(), "This one is secret") {
				t.Errorf("%s to %s: %s", front, revision, r.body)
			}
			if len(s.sent("resources/read")) != 0 {
				t.Error("the server saw what was blocked")
			}
			ev := h.final(r.id)
			if ev.GetAction() != "resource-read" || ev.GetDecision().GetRule() != "reads/no" || ev.GetDecision().GetEffect() != "block" || ev.GetTarget().GetResource() != "memo://secret" {
				t.Errorf("recorded %v", ev)
			}
			if r := ana.send("resources/read", `{"uri":"memo://open"}`); string(mcp.Get(r.result(), "contents")) != `[{"uri":"memo://open","text":"read"}]` {
				t.Errorf("%s to %s: %s", front, revision, r.body)
			}

			r = ana.send("prompts/get", `{ "name" : "p" , "arguments":{"who":"x", "b" : "2"} }`)
			messages := mcp.Elements(mcp.Get(r.result(), "messages"))
			if text, _ := mcp.Text(messages[0], "content", "text"); text != `{"b" : "2"}` && text != `{ "b" : "2"}` {
				t.Errorf("%s to %s: arrived %s", front, revision, text)
			}
			if effect, _ := mcp.Text(r.result(), "_meta", mcp.MetaDecision, "effect"); effect != "modify" {
				t.Errorf("%s to %s: %s", front, revision, r.body)
			}
			if ev := h.final(r.id); ev.GetDecision().GetEffect() != "modify" || !slices.Equal(ev.GetDecision().GetChanged(), []string{"/arguments/who"}) {
				t.Errorf("recorded %v", ev.GetDecision())
			}
		}
	}
}

func TestAMethodThatNobodyGrantedLooksAsIfNothingWereThere(t *testing.T) {
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		s := methodScript(t, mcp.V20251125)
		w := scripted(t, s)
		w.person("eve", nil)
		w.grant("person/eve", "acts", "prompts/get", "call")
		h := start(t, w, nil)
		eve := h.guest("eve", "/mcp/acts", front, `{}`)
		for _, one := range requests {
			r := eve.send(one.method, one.params)
			if one.as == "prompts/get" {
				if r.error() != "" {
					t.Errorf("%s: %s", one.method, r.body)
				}
				continue
			}
			ev := h.final(r.id)
			if code := string(mcp.Get(r.body, "error", "code")); code != "-32602" && code != "-32002" || r.reason() != "" {
				t.Errorf("%s: %s", one.method, r.body)
			}
			if ev.GetDecision().GetReason() != faultv1.Reason_REASON_NOT_GRANTED || len(s.sent(one.method)) != 0 {
				t.Errorf("%s: recorded %v", one.method, ev.GetDecision())
			}
		}
		if names := eve.names(); len(names) != 0 {
			t.Errorf("tools %v", names)
		}
		if r := eve.call("act", `{}`); r.error() != "Unknown tool: act" {
			t.Errorf("%s", r.body)
		}
		if r := eve.send("prompts/list", ""); string(mcp.Get(r.result(), "prompts")) != `[{"name":"p"}]` {
			t.Errorf("%s", r.body)
		}
		for _, list := range []string{"resources/list", "resources/templates/list"} {
			r := eve.send(list, "")
			if len(s.sent(list)) != 0 || mcp.Get(r.result(), "resources") == nil && mcp.Get(r.result(), "resourceTemplates") == nil || strings.Contains(string(r.body), "memo") {
				t.Errorf("%s: %s", list, r.body)
			}
		}
		if mcp.Modern(front) {
			continue
		}
		if r := eve.send("resources/subscribe", `{"uri":"memo://a"}`); string(mcp.Get(r.body, "error", "code")) != "-32002" || len(s.sent("resources/subscribe")) != 0 {
			t.Errorf("%s", r.body)
		}
		capabilities := mcp.Get(eve.send("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"check","version":"3"}}`).result(), "capabilities")
		if mcp.Get(capabilities, "prompts") == nil || mcp.Get(capabilities, "resources") != nil || mcp.Get(capabilities, "completions") != nil {
			t.Errorf("eve is told of %s", capabilities)
		}
	}
}

func TestEveryMethodStopsWithAKillAndIsRecorded(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	w := scripted(t, s)
	h := start(t, w, nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		ana := h.guest("ana", "/mcp/acts", front, `{}`)
		for _, one := range requests {
			r := ana.send(one.method, one.params)
			if r.error() != "" {
				t.Fatalf("%s: %s", one.method, r.body)
			}
			ev := h.final(r.id)
			if ev.GetTarget().GetTool() != one.as || ev.GetDecision().GetEffect() != "allow" || recordsOf(h, r.id) != 2 {
				t.Errorf("%s: recorded %d times, %v", one.method, recordsOf(h, r.id), ev)
			}
		}
	}
	modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	w.kill("server", "acts")
	eventually(t, 2*time.Second, "the kill is heard", func() bool { return modern.call("act", `{}`).reason() == "killed" })
	for _, ana := range []*client{modern, legacy} {
		for _, one := range requests {
			seen := len(s.sent(one.method))
			r := ana.send(one.method, one.params)
			if r.reason() != "killed" || r.status != http.StatusOK || len(s.sent(one.method)) != seen {
				t.Errorf("%s: %d %s", one.method, r.status, r.body)
			}
			if ev := h.final(r.id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_KILLED || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
				t.Errorf("%s: recorded %v", one.method, ev)
			}
		}
	}
}

// TestASubscriptionNeedsAServerThatHasThem: a server of 2026-07-28 without subscriptions cannot be subscribed to from a session either.
func TestASubscriptionNeedsAServerThatHasThem(t *testing.T) {
	s := methodScript(t, mcp.V20260728)
	s.capabilities = `{"tools":{},"resources":{}}`
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	r := ana.send("resources/subscribe", `{"uri":"memo://a"}`)
	if string(mcp.Get(r.body, "error", "code")) != "-32601" || !strings.Contains(r.error(), "no subscriptions") {
		t.Errorf("%s", r.body)
	}
	for _, params := range []string{`{}`, `{"uri":""}`, `{"uri":7}`} {
		if r := ana.send("resources/subscribe", params); string(mcp.Get(r.body, "error", "code")) != "-32602" {
			t.Errorf("%s: %s", params, r.body)
		}
	}
	for _, params := range []string{`{"argument":{}}`, `{"ref":{"type":"ref/tool","name":"act"}}`, `{"ref":{"type":"ref/prompt"}}`, `{"ref":{"type":"ref/resource","name":"a"}}`} {
		if r := ana.send("completion/complete", params); string(mcp.Get(r.body, "error", "code")) != "-32602" {
			t.Errorf("%s: %s", params, r.body)
		}
	}
}

func TestT20TheHeadersOfAMethodSayWhatItsBodySays(t *testing.T) {
	s := methodScript(t, mcp.V20260728)
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
	for _, one := range []struct{ method, params, name string }{{"prompts/get", `{"name":"p\u00e9"}`, "pé"}, {"resources/read", `{"uri":"memo://a b"}`, "memo://a b"}} {
		body, _ := ana.body(one.method, one.params)
		header := ana.header(one.method, "")
		header.Set("Mcp-Name", mcp.EncodeHeader(one.name))
		if r := ana.post(body, header); r.status != http.StatusOK || r.error() != "" {
			t.Errorf("%s: %d %s", one.method, r.status, r.body)
		}
		for what, change := range map[string]func(http.Header){
			"another name":   func(hd http.Header) { hd.Set("Mcp-Name", "other") },
			"no name":        func(hd http.Header) { hd.Del("Mcp-Name") },
			"two names":      func(hd http.Header) { hd.Add("Mcp-Name", mcp.EncodeHeader(one.name)) },
			"another method": func(hd http.Header) { hd.Set("Mcp-Method", "tools/list") },
			"no method":      func(hd http.Header) { hd.Del("Mcp-Method") },
		} {
			seen := len(s.sent(one.method))
			spoiled := header.Clone()
			change(spoiled)
			if r := ana.post(body, spoiled); r.status != http.StatusBadRequest || string(mcp.Get(r.body, "error", "code")) != "-32020" || len(s.sent(one.method)) != seen {
				t.Errorf("%s with %s: %d %s", one.method, what, r.status, r.body)
			}
		}
		came := s.sent(one.method)
		if got := came[len(came)-1].header.Get("Mcp-Name"); got != mcp.EncodeHeader(one.name) {
			t.Errorf("the server was told the name %q", got)
		}
	}
}
