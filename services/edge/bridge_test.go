package edge_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// requires is an answer of 2026-07-28 that asks for these things, a JSON object, with a state or without.
func requires(requests, state string) string {
	if state != "" {
		state = `,"requestState":` + state
	}
	return `{"resultType":"input_required","inputRequests":` + requests + state + `}`
}

func TestALegacyClientIsAskedWhatAModernServerRequires(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) {
		switch state, _ := mcp.Text(c.m.Params, "requestState"); state {
		case "":
			c.result(requires(`{"b":{"method":"elicitation/create","params":`+form("Name?")+`},"a":{"method":"sampling/createMessage","params":{"maxTokens":1}}}`, `"one \u00e9"`))
		case "one é":
			c.result(requires(`{"c":{"method":"roots/list"}}`, `"two"`))
		default:
			c.result(`{"resultType":"complete","content":[],"structuredContent":{"n":1.0}}`)
		}
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	k := ana.begin("tools/call", `{"name":"act","arguments":{"x":1}}`)
	for _, one := range []struct{ method, params, answer string }{
		{"elicitation/create", form("Name?"), `{"action":"accept","content":{"name":"A\u00e9"}}`},
		{"sampling/createMessage", `{"maxTokens":1}`, `{"model":"m","role":"assistant","content":{"type":"text","text":"hi"}}`},
		{"roots/list", "", `{"roots":[{"uri":"file:///a"}]}`},
	} {
		id, params := k.asked(one.method)
		if string(params) != one.params {
			t.Errorf("asked with %s", params)
		}
		if r := ana.answers(id, one.answer); r.status != http.StatusAccepted {
			t.Fatalf("the answer to %s: %d %s", one.method, r.status, r.body)
		}
		if r := ana.answers(id, `{"late":true}`); r.status != http.StatusAccepted { // taken without an error, and without effect
			t.Errorf("a second answer: %d", r.status)
		}
	}
	r := k.last()
	if want := `{"content":[],"structuredContent":{"n":1.0}}`; string(r.result()) != want {
		t.Errorf("%s, not %s", r.result(), want)
	}
	rounds := s.sent("tools/call")
	if len(rounds) != 3 {
		t.Fatalf("%d rounds", len(rounds))
	}
	for i, want := range []string{
		"", `{"b":{"action":"accept","content":{"name":"A\u00e9"}},"a":{"model":"m","role":"assistant","content":{"type":"text","text":"hi"}}}`,
		`{"c":{"roots":[{"uri":"file:///a"}]}}`,
	} {
		if got := string(mcp.Get([]byte(rounds[i].body), "params", "inputResponses")); got != want {
			t.Errorf("round %d brought %s", i, got)
		}
		if got := string(mcp.Get([]byte(rounds[i].body), "params", "arguments")); got != `{"x":1}` {
			t.Errorf("round %d has the arguments %s", i, got)
		}
	}
	h.final(r.id)
	if n := recordsOf(h, r.id); n != 2 {
		t.Errorf("%d records of one call", n)
	}
}

// recordsOf counts the records of the request with a JSON-RPC id.
func recordsOf(h *harness, id string) int {
	return len(slices.DeleteFunc(h.all(), func(ev *eventsv1.Event) bool { return ev.GetRequest().GetId() != id }))
}

func TestALegacyClientThatRefusesToAnswerEndsTheCall(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) {
		c.result(requires(`{"a":{"method":"elicitation/create","params":`+form("Name?")+`}}`, `"s"`))
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	k := ana.begin("tools/call", `{"name":"act","arguments":{}}`)
	id, _ := k.asked("elicitation/create")
	ana.post(`{"jsonrpc":"2.0","id":`+id+`,"error":{"code":-1,"message":"no"}}`, ana.header("", ""))
	r := k.last()
	if r.reason() != "cancelled" || !strings.Contains(r.text(), "refused to answer") {
		t.Errorf("%s", r.body)
	}
	if ev := h.final(r.id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_CANCELLED || len(s.sent("tools/call")) != 1 {
		t.Errorf("%v after %d rounds", ev.GetDecision(), len(s.sent("tools/call")))
	}
}

func TestT22AServerThatAsksForTooMuchAtOnceAsksNothing(t *testing.T) {
	many := make([]string, 17)
	for i := range many {
		many[i] = fmt.Sprintf(`"q%d":{"method":"elicitation/create","params":%s}`, i, form("Name?"))
	}
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) { c.result(requires(`{`+strings.Join(many, ",")+`}`, `"s"`)) })
	h := start(t, scripted(t, s), nil)
	for _, revision := range []string{mcp.V20251125, mcp.V20260728} {
		r := h.guest("ana", "/mcp/acts", revision, asks).call("act", `{}`)
		if r.reason() != "upstream" || !strings.Contains(r.text(), "more than 16 things at once") {
			t.Errorf("%s: %s", revision, r.body)
		}
	}
}

func TestT22AServerThatAsksWithoutEndIsStopped(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) { c.result(requires(`{}`, `"again"`)) })
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	r := ana.call("act", `{}`)
	if r.reason() != "upstream" || !strings.Contains(r.text(), "without an end") || len(s.sent("tools/call")) != 16 {
		t.Errorf("after %d rounds: %s", len(s.sent("tools/call")), r.body)
	}
}

func TestT14AnAnswerIsTakenOnlyFromWhoWasAsked(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		answer := c.asks("elicitation/create", form("Name?"))
		c.result(string(textResult(string(mcp.Get(answer, "result")), "}")))
	})
	h := start(t, scripted(t, s), nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20251125, asks), h.guest("bob", "/mcp/acts", mcp.V20251125, asks)
	k := ana.begin("tools/call", `{"name":"act","arguments":{}}`)
	id, _ := k.asked("elicitation/create")
	for _, wrong := range []string{id, `"1"`, "1", `"` + strings.Repeat("A", 80) + `"`} {
		if r := bob.answers(wrong, `{"action":"accept","content":{"name":"bob"}}`); r.status != http.StatusBadRequest {
			t.Errorf("bob answers %s: %d", wrong, r.status)
		}
	}
	if r := ana.answers("1", `{"action":"accept"}`); r.status != http.StatusBadRequest {
		t.Errorf("the server's own id is taken: %d", r.status)
	}
	if r := ana.answers(id, `{"action":"accept","content":{"name":"ana"}}`); r.status != http.StatusAccepted {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := k.last(); r.text() != `{"action":"accept","content":{"name":"ana"}}` {
		t.Errorf("%s", r.body)
	}
}

// TestT14EqualIDsOfClientsAreNotMixedUp lets two people and two sessions of one of them use the same ids and progress tokens at once.
func TestT14EqualIDsOfClientsAreNotMixedUp(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		t.Run(revision, func(t *testing.T) {
			s := newScript(t, revision)
			arrived, release := make(chan struct{}, 4), make(chan struct{})
			s.does("tools/call", func(c *turn) {
				arrived <- struct{}{}
				<-release
				who, _ := mcp.Text(c.m.Arguments, "who")
				c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"same","progress":1,"message":"` + who + `"}}`)
				c.result(string(textResult(who, "}")))
			})
			h := start(t, scripted(t, s), nil)
			clients := []*client{
				h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`),
				h.guest("bob", "/mcp/acts", mcp.V20251125, `{}`), h.guest("bob", "/mcp/acts", mcp.V20260728, `{}`),
			}
			talks := make(chan *talk, len(clients))
			for i, c := range clients {
				who := string(rune('a' + i))
				h.ids.Store(700)
				body, id := c.body("tools/call", `{"_meta":{"progressToken":"same"},"name":"act","arguments":{"who":"`+who+`"}}`)
				if c.modern {
					body = strings.Replace(body, modernMeta+",\"_meta\":{\"progressToken\":\"same\"}", strings.TrimSuffix(modernMeta, "}")+`,"progressToken":"same"}`, 1)
				}
				go func() {
					k := c.exchange(http.MethodPost, body, id, c.header("tools/call", "act"))
					k.id = who
					talks <- k
				}()
			}
			for range clients {
				<-arrived
			}
			close(release)
			for range clients {
				k := <-talks
				if text, _ := mcp.Text(k.next(), "params", "message"); text != k.id {
					t.Errorf("the progress of %s came to %s", text, k.id)
				}
				answer := reply{body: k.next()}
				if answer.text() != k.id || string(mcp.Get(answer.body, "id")) != "701" {
					t.Errorf("%s got %s", k.id, answer.body)
				}
			}
		})
	}
}

func TestErrorsOfOneEraAreSaidInTheOther(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("resources/read", func(c *turn) { c.fails(-32002, "Resource not found", `{"uri":"memo://x"}`) })
	s.does("tools/call", func(c *turn) {
		c.fails(-32042, "Sign in first", `{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://idp.example/go","message":"Sign in"}]}`)
	})
	h := start(t, scripted(t, s), nil)
	modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, asks), h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
	for _, one := range []struct {
		c    *client
		code string
	}{{modern, "-32602"}, {legacy, "-32002"}} {
		r := one.c.send("resources/read", `{"uri":"memo://x"}`)
		if string(mcp.Get(r.body, "error", "code")) != one.code || string(mcp.Get(r.body, "error", "data")) != `{"uri":"memo://x"}` || r.error() != "Resource not found" {
			t.Errorf("%s", r.body)
		}
	}
	if r := legacy.call("act", `{}`); string(mcp.Get(r.body, "error", "code")) != "-32042" {
		t.Errorf("%s", r.body)
	}
	r := modern.call("act", `{}`)
	want := `{"mode":"url","url":"https://idp.example/go","message":"Sign in"}`
	names, requests := mcp.Members(mcp.Get(r.result(), "inputRequests"))
	if len(names) != 1 || string(mcp.Get(requests[0], "params")) != want {
		t.Errorf("%s", r.body)
	}
	modern.send("tools/call", again(required(t, r), `{}`, `{"action":"accept"}`))
	if calls := s.sent("tools/call"); len(calls) != 3 || mcp.Get([]byte(calls[2].body), "params", "inputResponses") != nil {
		t.Errorf("made again, the call came as %v", calls[len(calls)-1])
	}
	for name, cannot := range map[string]*client{
		"a client without elicitation by URL": h.guest("ana", "/mcp/acts", mcp.V20260728, `{"elicitation":{"form":{}}}`),
		"a client without capabilities":       h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`),
	} {
		if r := cannot.call("act", `{}`); string(mcp.Get(r.body, "error", "code")) != "-32603" {
			t.Errorf("%s: %s", name, r.body) // no code that this revision does not have
		}
	}
}

// TestTheQuestionOfAnErrorNamesItsServerOnce looks at /mcp, where clients must be able to tell who asks.
func TestTheQuestionOfAnErrorNamesItsServerOnce(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	urls := make([]string, 16) // as many as may be asked at once
	for i := range urls {
		urls[i] = `{"mode":"url","elicitationId":"e","url":"https://idp.example/","message":"Sign in"}`
	}
	s.does("tools/call", func(c *turn) { c.fails(-32042, "Sign in", `{"elicitations":[`+strings.Join(urls, ",")+`]}`) })
	h := start(t, scripted(t, s), nil)
	r := h.guest("ana", "/mcp", mcp.V20260728, asks).call("acts.act", `{}`)
	names, requests := mcp.Members(mcp.Get(r.result(), "inputRequests"))
	slices.Sort(names)
	if len(slices.Compact(names)) != len(urls) || !mcp.Valid(r.body) {
		t.Fatalf("%d questions: %s", len(names), r.body)
	}
	if message, _ := mcp.Text(requests[0], "params", "message"); message != "acts: Sign in" {
		t.Errorf("%q", message)
	}
}

// TestT17OnlyPlainAddressesAreOpened: what a server wants a person to open is https, or the person's own machine.
func TestT17OnlyPlainAddressesAreOpened(t *testing.T) {
	refused := []string{
		"http://idp.example/", "javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "https://user:pw@idp.example/", "https://", "/relative", "",
		"https://idp.example/\\n", "https://idp.example/ x", "https://bücher.example/", "HTTPS:idp.example", "ssh://idp.example/", "https:///path",
	}
	passed := []string{"https://idp.example/a?b=c#d", "http://localhost:8080/cb", "http://127.0.0.1/", "http://[::1]:1/"}
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := newScript(t, revision)
		s.does("tools/call", func(c *turn) {
			at, _ := mcp.Text(c.m.Arguments, "url")
			params := `{"mode":"url","elicitationId":"e","message":"Go","url":` + string(mcp.Quote(at)) + `}`
			if mcp.Modern(revision) {
				c.result(requires(`{"a":{"method":"elicitation/create","params":`+params+`}}`, `"s"`))
				return
			}
			answer := c.asks("elicitation/create", params)
			c.result(string(textResult("refused: "+string(mcp.Get(answer, "error", "message")), "}")))
		})
		h := start(t, scripted(t, s), nil)
		for _, front := range []string{mcp.V20260728, mcp.V20251125} {
			c := h.guest("ana", "/mcp/acts", front, asks)
			for _, at := range refused {
				r := c.call("act", `{"url":`+string(mcp.Quote(strings.ReplaceAll(at, `\n`, "\n")))+`}`)
				if at != "" && strings.Contains(string(r.body), at) || !strings.Contains(r.text(), "address that is not plain https") {
					t.Errorf("%s to %s, %q: %s", front, revision, at, r.body)
				}
			}
			for _, at := range passed {
				k := c.begin("tools/call", `{"name":"act","arguments":{"url":`+string(mcp.Quote(at))+`}}`)
				message := k.next()
				if !strings.Contains(string(message), at) {
					t.Errorf("%s to %s, %q: %s", front, revision, at, message)
				}
				k.cancel()
			}
		}
	}
}

func TestT21WhatAServerCallsPublicIsKeptForItsCallerAlone(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := newScript(t, revision)
		keep := ""
		if mcp.Modern(revision) {
			keep = `,"resultType":"complete","ttlMs":60000,"cacheScope":"public"`
		}
		s.does("resources/read", func(c *turn) { c.result(`{"contents":[{"uri":"memo://x","text":"t"}]` + keep + `}`) })
		s.does("prompts/list", func(c *turn) { c.result(`{"prompts":[{"name":"p"}]` + keep + `}`) })
		s.does("prompts/get", func(c *turn) { c.result(`{"messages":[]` + strings.Split(keep, `,"ttlMs"`)[0] + `}`) })
		h := start(t, scripted(t, s), nil)
		modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
		for _, one := range []struct{ method, params string }{{"resources/read", `{"uri":"memo://x"}`}, {"prompts/list", ""}, {"prompts/get", `{"name":"p"}`}} {
			said := modern.send(one.method, one.params).result()
			scope, _ := mcp.Text(said, "cacheScope")
			kind, _ := mcp.Text(said, "resultType")
			if one.method != "prompts/get" && (scope != "private" || mcp.Get(said, "ttlMs") == nil) || kind != "complete" {
				t.Errorf("%s of %s: %s", one.method, revision, said)
			}
			said = legacy.send(one.method, one.params).result()
			for _, member := range []string{"resultType", "ttlMs", "cacheScope"} {
				if mcp.Get(said, member) != nil {
					t.Errorf("%s of %s has %s: %s", one.method, revision, member, said)
				}
			}
		}
	}
}

// TestServersAreOfferedWhatTheClientCanDoAndHeadgateCarries looks at what a server is told of its client.
func TestServersAreOfferedWhatTheClientCanDoAndHeadgateCarries(t *testing.T) {
	const said = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true},"tasks":{},` +
		`"extensions":{"io.modelcontextprotocol/tasks":{},"com.example/x":{},"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}},"experimental":{"x":{}}}`
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		for _, front := range []string{mcp.V20260728, mcp.V20251125} {
			carried := `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true},"extensions":{`
			if mcp.Modern(revision) && mcp.Modern(front) {
				carried += `"io.modelcontextprotocol/tasks":{},`
			}
			carried += `"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}`
			s := newScript(t, revision)
			h := start(t, scripted(t, s), nil)
			offered := func() string {
				if mcp.Modern(revision) {
					calls := s.sent("tools/call")
					return string(mcp.Get([]byte(calls[len(calls)-1].body), "params", "_meta", mcp.MetaCapabilities))
				}
				greets := s.sent("initialize")
				return string(mcp.Get([]byte(greets[len(greets)-1].body), "params", "capabilities"))
			}
			can, cannot := h.guest("ana", "/mcp/acts", front, said), h.guest("bob", "/mcp/acts", front, `{}`)
			if r := can.call("act", `{}`); r.refused() || offered() != carried {
				t.Errorf("%s to %s: %s after %s", front, revision, offered(), r.body)
			}
			if r := cannot.call("act", `{}`); r.refused() || offered() != `{}` {
				t.Errorf("%s to %s, without capabilities: %s after %s", front, revision, offered(), r.body)
			}
			if mcp.Modern(front) {
				continue
			}
			body, _ := can.body("tools/call", `{"name":"act","arguments":{}}`)
			header := can.header("", "")
			header.Set("Accept", "application/json")
			if r := can.post(body, header); r.refused() || offered() != `{}` {
				t.Errorf("%s to %s, who takes no stream: %s after %s", front, revision, offered(), r.body)
			}
		}
	}
}

func TestAServerCannotAskForWhatTheClientDidNotOffer(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		method, _ := mcp.Text(c.m.Arguments, "method")
		answer := c.asks(method, `{}`)
		c.result(string(textResult(string(mcp.Get(answer, "error", "code")), "}")))
	})
	h := start(t, scripted(t, s), nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		c := h.guest("ana", "/mcp/acts", front, `{"sampling":{}}`)
		for _, method := range []string{"elicitation/create", "roots/list", "tasks/get", "x/y", "tools/call"} {
			if r := c.call("act", `{"method":"`+method+`"}`); r.text() != "-32601" {
				t.Errorf("%s, asked for %s: %s", front, method, r.body)
			}
		}
		if r := c.call("act", `{"method":"ping"}`); r.text() != "" { // answered with a result
			t.Errorf("%s, pinged: %s", front, r.body)
		}
	}
}

func TestTheLogGoesAtTheLevelThatTheClientWants(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := newScript(t, revision)
		s.does("logging/setLevel", func(c *turn) { c.result(`{}`) })
		s.does("tools/call", func(c *turn) {
			for _, level := range []string{"debug", "warning", "error"} {
				c.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `","data":"` + level + `"}}`)
			}
			c.result(`{"content":[]}`)
		})
		h := start(t, scripted(t, s), nil)
		modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("bob", "/mcp/acts", mcp.V20251125, `{}`)
		heard := func(k *talk) (levels []string) {
			for {
				message := k.next()
				level, isLog := mcp.Text(message, "params", "level")
				if !isLog {
					return levels
				}
				levels = append(levels, level)
			}
		}
		if got := heard(modern.begin("tools/call", `{"name":"act","arguments":{}}`)); got != nil {
			t.Errorf("%s: unasked, the log came at %v", revision, got)
		}
		body, id := modern.body("tools/call", `{"name":"act","arguments":{}}`)
		body = strings.Replace(body, `"_meta":{`, `"_meta":{"`+mcp.MetaLogLevel+`":"warning",`, 1)
		k := modern.exchange(http.MethodPost, body, id, modern.header("tools/call", "act"))
		if got := heard(k); !slices.Equal(got, []string{"warning", "error"}) {
			t.Errorf("%s: asked for warnings, the log came at %v", revision, got)
		}
		if r := legacy.send("logging/setLevel", `{"level":"error"}`); string(r.result()) != `{}` {
			t.Errorf("%s", r.body)
		}
		heard(legacy.begin("tools/call", `{"name":"act","arguments":{}}`))
		if mcp.Modern(revision) {
			calls := s.sent("tools/call")
			if level, _ := mcp.Text([]byte(calls[len(calls)-1].body), "params", "_meta", mcp.MetaLogLevel); level != "error" {
				t.Errorf("the level was not said: %s", calls[len(calls)-1].body)
			}
			continue
		}
		var levels []string
		for _, one := range s.sent("logging/setLevel") {
			level, _ := mcp.Text([]byte(one.body), "params", "level")
			levels = append(levels, level)
		}
		if !slices.Equal(levels, []string{"warning", "error"}) { // ana's request, bob's wish
			t.Errorf("the server was told %v", levels)
		}
		for _, one := range s.sent("tools/call") {
			if mcp.Get([]byte(one.body), "params", "_meta", mcp.MetaLogLevel) != nil {
				t.Errorf("a server of the older revisions sees %s", one.body)
			}
		}
	}
}

// TestT14ChangedRootsAreToldToTheServersOfThatClientAlone: in the sessions that are open for it, recorded before.
func TestT14ChangedRootsAreToldToTheServersOfThatClientAlone(t *testing.T) {
	const changed = "notifications/roots/list_changed"
	s := newScript(t, mcp.V20251125)
	h := start(t, scripted(t, s), nil)
	tell := func(c *client) {
		t.Helper()
		if r := c.post(`{"jsonrpc":"2.0","method":"`+changed+`"}`, c.header("", "")); r.status != http.StatusAccepted {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20251125, asks), h.guest("bob", "/mcp/acts", mcp.V20251125, asks)
	never := h.guest("ana", "/mcp/acts", mcp.V20251125, `{"roots":{}}`)
	tell(ana)
	if len(s.sent(changed)) != 0 {
		t.Error("a server was told that does not know the client")
	}
	for _, c := range []*client{ana, bob, never} {
		k := c.begin("tools/call", `{"name":"act","arguments":{}}`)
		if r := k.last(); r.error() != "" || r.refused() {
			t.Fatalf("%s", r.body)
		}
	}
	session := s.sent("tools/call")[0].header.Get("Mcp-Session-Id")
	tell(never)
	tell(ana)
	told := s.sent(changed)
	if len(told) != 1 || told[0].header.Get("Mcp-Session-Id") != session {
		t.Fatalf("%v, not one in the session %s", told, session)
	}
	h.find("started", func(ev *eventsv1.Event) bool {
		return ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetRequest().GetMethod() == changed && ev.GetPrincipal().GetPerson() == "ana"
	})
}
