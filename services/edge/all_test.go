package edge_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// many is a world with a server a of 2026-07-28 and a server b_b of 2025-11-25, both with the same names, that ana may use at /mcp.
func many(t testing.TB) (w *world, a, b *script) {
	w = newWorld(t)
	w.person("ana", nil)
	a, b = everything(t, mcp.V20260728), everything(t, mcp.V20251125)
	for name, s := range map[string]*script{"a": a, "b_b": b} {
		w.server(name, s.URL+"/mcp", []string{actTool, uiTool}, nil)
		w.grant("person/ana", name, "*", "call")
	}
	return w, a, b
}

const uiTool = `{"name":"show","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://panel/main"}}}`

func everything(t testing.TB, revision string) *script {
	s := methodScript(t, revision)
	s.tools = []string{actTool, uiTool}
	s.does("resources/list", func(c *turn) {
		if cursor, _ := mcp.Text(c.m.Params, "cursor"); cursor == "" {
			c.result(`{"resources":[{"uri":"memo://a","name":"a"}],"nextCursor":"more"}`)
			return
		}
		c.result(`{"resources":[{"uri":"ui://panel/main","name":"panel"}]}`)
	})
	s.does("tools/call", func(c *turn) {
		c.result(`{"content":[{"type":"resource_link","uri":"memo://a","name":"a"},{"type":"resource","resource":{"uri":"ui://panel/x","text":"t"}},` +
			`{"type":"text","text":"memo://a"}],"structuredContent":{"uri":"memo://a"},"_meta":{"ui":{"resourceUri":"ui://panel/main"}}}`)
	})
	return s
}

// listed is a list that is read to its end.
func (c *client) listed(method, member string) (all []json.RawMessage) {
	c.h.t.Helper()
	for params := ""; ; {
		r := c.send(method, params)
		if r.result() == nil {
			c.h.t.Fatalf("%s: %s", method, r.body)
		}
		all = append(all, mcp.Elements(mcp.Get(r.result(), member))...)
		next := mcp.Get(r.result(), "nextCursor")
		if next == nil {
			return all
		}
		params = `{"cursor":` + string(next) + `}`
	}
}

func members(list []json.RawMessage, member string) []string {
	out := []string{}
	for _, one := range list {
		text, _ := mcp.Text(one, member)
		out = append(out, text)
	}
	return out
}

func TestAllServersAreOneWithNamesThatSayWhoseTheyAre(t *testing.T) {
	w, a, b := many(t)
	h := start(t, w, nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		ana := h.guest("ana", "/mcp", front, `{}`)
		for _, one := range []struct {
			method, list, member string
			want                 []string
		}{
			{"tools/list", "tools", "name", []string{"a.act", "a.show", "b_b.act", "b_b.show"}},
			{"prompts/list", "prompts", "name", []string{"a.p", "b_b.p"}},
			{"resources/list", "resources", "uri", []string{"hg.a+memo://a", "hg.b..b+memo://a", "ui://a/panel/main", "ui://b_b/panel/main"}},
			{"resources/templates/list", "resourceTemplates", "uriTemplate", []string{"hg.a+memo://{x}", "hg.b..b+memo://{x}"}},
		} {
			if got := members(ana.listed(one.method, one.list), one.member); !slices.Equal(got, one.want) {
				t.Errorf("%s: %v", one.method, got)
			}
		}
		tools := mcp.Elements(mcp.Get(ana.send("tools/list", "").result(), "tools"))
		if at, _ := mcp.Text(tools[3], "_meta", "ui", "resourceUri"); at != "ui://b_b/panel/main" {
			t.Errorf("the panel of a tool is %q", at)
		}
		r := ana.call("b_b.act", `{}`)
		want := `[{"type":"resource_link","uri":"hg.b..b+memo://a","name":"a"},{"type":"resource","resource":{"uri":"ui://b_b/panel/x","text":"t"}},{"type":"text","text":"memo://a"}]`
		if got := string(mcp.Get(r.result(), "content")); got != want {
			t.Errorf("%s", got)
		}
		if got := string(mcp.Get(r.result(), "structuredContent")); got != `{"uri":"memo://a"}` {
			t.Errorf("the server's own data became %s", got)
		}
		if at, _ := mcp.Text(r.result(), "_meta", "ui", "resourceUri"); at != "ui://b_b/panel/main" {
			t.Errorf("the panel of a result is %q", at)
		}
		r = ana.send("resources/read", `{"uri":"hg.b..b+memo://a"}`)
		if got := string(mcp.Get(r.result(), "contents")); got != `[{"uri":"hg.b..b+memo://a","text":"read"}]` {
			t.Errorf("%s", r.body)
		}
		if r := ana.send("resources/read", `{"uri":"ui://a/panel/main"}`); string(mcp.Get(r.result(), "contents")) != `[{"uri":"ui://a/panel/main","text":"read"}]` {
			t.Errorf("%s", r.body)
		}
		if r := ana.send("prompts/get", `{"name":"b_b.p","arguments":{"who":"x"}}`); !strings.Contains(string(r.body), `{\"who\":\"x\"}`) {
			t.Errorf("%s", r.body)
		}
		for ref, own := range map[string]string{
			`{"type":"ref/prompt","name":"b_b.p"}`: `{"type":"ref/prompt","name":"p"}`, `{"type":"ref/resource","uri":"hg.b..b+memo://{x}"}`: `{"type":"ref/resource","uri":"memo://{x}"}`,
		} {
			ana.send("completion/complete", `{"ref":`+ref+`,"argument":{"name":"who","value":"x"}}`)
			came := b.sent("completion/complete")
			if got := string(mcp.Get([]byte(came[len(came)-1].body), "params", "ref")); got != own {
				t.Errorf("%s came as %s", ref, got)
			}
		}
		for _, nobody := range []string{`{"uri":"memo://a"}`, `{"uri":"hg.c+memo://a"}`, `{"uri":"ui://panel/main"}`, `{"uri":"hg.+memo://a"}`, `{"uri":"hg.a"}`} {
			if r := ana.send("resources/read", nobody); mcp.Get(r.body, "error") == nil || r.reason() != "" {
				t.Errorf("%s: %s", nobody, r.body)
			}
		}
	}
	for _, one := range slices.Concat(a.sent("resources/read"), b.sent("resources/read")) {
		if uri, _ := mcp.Text([]byte(one.body), "params", "uri"); uri != "memo://a" && uri != "ui://panel/main" {
			t.Errorf("a server was asked for %q", uri)
		}
	}
}

// TestLinksToTheWebStayWhatClientsCanFetch: clients fetch http and https by themselves, so that links to them stay at /mcp; what lists and reads are
// about has its visible name.
func TestLinksToTheWebStayWhatClientsCanFetch(t *testing.T) {
	w, _, b := many(t)
	b.does("tools/call", func(c *turn) {
		c.result(`{"content":[{"type":"resource_link","uri":"https://www.example.com/report.pdf","name":"r"},{"type":"resource_link","uri":"HTTP://x.example/a","name":"a"},` +
			`{"type":"resource","resource":{"uri":"https://www.example.com/b","text":"t"}},{"type":"resource_link","uri":"httpsx://c","name":"c"}]}`)
	})
	b.does("prompts/get", func(c *turn) {
		c.result(`{"messages":[{"role":"user","content":{"type":"resource_link","uri":"https://www.example.com/report.pdf","name":"r"}}]}`)
	})
	b.does("resources/list", func(c *turn) { c.result(`{"resources":[{"uri":"https://www.example.com/b","name":"b"}]}`) })
	b.does("resources/read", func(c *turn) { c.result(`{"contents":[{"uri":"https://www.example.com/b","text":"read"}]}`) })
	h := start(t, w, nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		ana := h.guest("ana", "/mcp", front, `{}`)
		want := `[{"type":"resource_link","uri":"https://www.example.com/report.pdf","name":"r"},{"type":"resource_link","uri":"HTTP://x.example/a","name":"a"},` +
			`{"type":"resource","resource":{"uri":"https://www.example.com/b","text":"t"}},{"type":"resource_link","uri":"hg.b..b+httpsx://c","name":"c"}]`
		if got := string(mcp.Get(ana.call("b_b.act", `{}`).result(), "content")); got != want {
			t.Errorf("%s", got)
		}
		if r := ana.send("prompts/get", `{"name":"b_b.p"}`); !strings.Contains(string(r.body), `"uri":"https://www.example.com/report.pdf"`) {
			t.Errorf("%s", r.body)
		}
		listed := members(mcp.Elements(mcp.Get(ana.send("resources/list", "").result(), "resources")), "uri")
		if !slices.Contains(listed, "hg.b..b+https://www.example.com/b") {
			t.Errorf("listed are %v", listed)
		}
		if r := ana.send("resources/read", `{"uri":"hg.b..b+https://www.example.com/b"}`); !strings.Contains(string(r.body), `"uri":"hg.b..b+https://www.example.com/b"`) {
			t.Errorf("%s", r.body)
		}
		if r := ana.send("resources/read", `{"uri":"https://www.example.com/b"}`); mcp.Get(r.body, "error") == nil {
			t.Errorf("a page of the web was read through the gateway: %s", r.body)
		}
	}
}

// TestAnEmptyCursorBeginsAList that is Headgate's; a server's own list gets it as it is.
func TestAnEmptyCursorBeginsAList(t *testing.T) {
	w, _, b := many(t)
	h := start(t, w, nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		for _, path := range []string{"/mcp", "/mcp/b_b"} {
			ana, before := h.guest("ana", path, front, `{}`), len(b.sent("prompts/list"))
			for method, member := range map[string]string{"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"} {
				bare, empty := ana.send(method, ""), ana.send(method, `{"cursor":""}`)
				if got, want := string(mcp.Get(empty.result(), member)), string(mcp.Get(bare.result(), member)); got != want || got == "" {
					t.Errorf("%s at %s: %s, not %s", method, path, empty.body, want)
				}
				if r := ana.send(method, `{"cursor":"other"}`); (path == "/mcp" || method == "tools/list") && mcp.Get(r.body, "error") == nil {
					t.Errorf("%s at %s took a cursor that it did not give: %s", method, path, r.body)
				}
			}
			passed := 0
			for _, one := range b.sent("prompts/list")[before:] {
				if cursor := mcp.Get([]byte(one.body), "params", "cursor"); string(cursor) == `""` {
					passed++
				}
			}
			if own := path != "/mcp"; own != (passed > 0) {
				t.Errorf("at %s the server was sent %d empty cursors", path, passed)
			}
		}
	}
}

// TestAServerThatFailsTakesNothingFromTheOthers: at /mcp, what does not answer is left out and named, and delays the rest for two seconds at most.
func TestAServerThatFailsTakesNothingFromTheOthers(t *testing.T) {
	w, _, _ := many(t)
	slow := newScript(t, mcp.V20251125)
	heals := make(chan struct{})
	for _, method := range []string{"initialize", "server/discover", "prompts/list", "tools/list"} {
		slow.does(method, func(c *turn) {
			select {
			case <-c.r.Context().Done():
			case <-heals:
				c.w.WriteHeader(http.StatusServiceUnavailable) // once more, so that everything is asked anew
			}
		})
	}
	for name, url := range map[string]string{"dead": "http://127.0.0.1:1/mcp", "slow": slow.URL + "/mcp"} {
		w.server(name, url, []string{actTool}, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "20s" })
		w.grant("person/ana", name, "*", "call")
	}
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp", mcp.V20260728, `{}`)
	began := time.Now()
	var all sync.WaitGroup
	for _, one := range []struct {
		method, list, member string
		want                 []string
	}{
		{"prompts/list", "prompts", "name", []string{"a.p", "b_b.p"}}, {"tools/list", "tools", "name", []string{"a.act", "a.show", "b_b.act", "b_b.show"}},
	} {
		all.Go(func() {
			r := ana.send(one.method, "")
			if got := members(mcp.Elements(mcp.Get(r.result(), one.list)), one.member); !slices.Equal(got, one.want) {
				t.Errorf("%s: %v", one.method, got)
			}
			if got := string(mcp.Get(r.result(), "_meta", mcp.MetaUnavailable)); got != `["dead","slow"]` {
				t.Errorf("%s: missing are %s", one.method, got)
			}
		})
	}
	all.Go(func() {
		if capabilities := mcp.Get(ana.send("server/discover", "").result(), "capabilities"); mcp.Get(capabilities, "prompts") == nil {
			t.Errorf("the endpoint can do %s", capabilities)
		}
	})
	if r := ana.call("b_b.act", `{}`); r.refused() || time.Since(began) > 2*time.Second {
		t.Errorf("a call of another server took %s: %s", time.Since(began), r.body)
	}
	all.Wait()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the lists took %s", took)
	}
	began = time.Now()
	for range 10 {
		if got := string(mcp.Get(ana.send("tools/list", "").result(), "_meta", mcp.MetaUnavailable)); got != `["dead","slow"]` {
			t.Errorf("missing are %s", got)
		}
	}
	if took := time.Since(began); took > 5*time.Second { // each would take two
		t.Errorf("ten more lists took %s", took)
	}
	for _, method := range []string{"initialize", "server/discover", "prompts/list", "tools/list"} {
		slow.does(method, nil)
	}
	close(heals)
	eventually(t, 20*time.Second, "the slow server is there again", func() bool {
		return string(mcp.Get(ana.send("tools/list", "").result(), "_meta", mcp.MetaUnavailable)) == `["dead"]`
	})
}

func TestAQuestionAtAllServersSaysWhoAsks(t *testing.T) {
	w, a, b := many(t)
	a.does("tools/call", func(c *turn) {
		if mcp.Get(c.m.Params, "inputResponses") != nil {
			c.result(`{"resultType":"complete","content":[{"type":"text","text":"done"}]}`)
			return
		}
		c.result(requires(`{"x":{"method":"elicitation/create","params":`+form("Name?")+`}}`, `"s"`))
	})
	b.does("tools/call", func(c *turn) {
		c.asks("elicitation/create", form("Name?"))
		c.result(string(textResult("done", "}")))
	})
	h := start(t, w, nil)
	modern, legacy := h.guest("ana", "/mcp", mcp.V20260728, asks), h.guest("ana", "/mcp", mcp.V20251125, asks)
	for _, server := range []string{"a", "b_b"} {
		q := required(t, modern.call(server+".act", `{}`))
		if q.text != server+": Name?" {
			t.Errorf("%s asks %q", server, q.text)
		}
		if r := modern.send("tools/call", strings.Replace(again(q, `{}`, accepted("A")), `"act"`, `"`+server+`.act"`, 1)); r.text() != "done" {
			t.Errorf("%s", r.body)
		}
		k := legacy.begin("tools/call", `{"name":"`+server+`.act","arguments":{}}`)
		id, params := k.asked("elicitation/create")
		if text, _ := mcp.Text(params, "message"); text != server+": Name?" {
			t.Errorf("%s asks %q", server, text)
		}
		legacy.answers(id, accepted("A"))
		if r := k.last(); r.text() != "done" {
			t.Errorf("%s", r.body)
		}
	}
}

// TestABatchIsAuthorisedElementByElement sends what only 2025-03-26 has: one call that is allowed, one that is refused, one message that is none, and
// a notice.
func TestABatchIsAuthorisedElementByElement(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.policy("small", onEcho(rule("big", `has(args.n) && args.n > 10`, "block"), rule("rest", "true", "allow")))
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/echo", mcp.V20250326, `{}`)
	r := ana.post(`[{"jsonrpc":"2.0","id":"ok","method":"tools/call","params":{"name":"echo","arguments":{"n":1}}},
		{"jsonrpc":"2.0","id":"no","method":"tools/call","params":{"name":"echo","arguments":{"n":11}}},
		{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}},
		{"jsonrpc":"2.0","id":"bad","id":"worse","method":"ping"},
		{"jsonrpc":"2.0","id":"what","Method":"ping"},
		{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"x","version":"1"}}},
		[]]`, ana.header("", ""))
	if r.status != http.StatusBadRequest || !strings.Contains(string(r.body), "twice") {
		t.Errorf("a batch with a name twice in it: %d %s", r.status, r.body)
	}
	if len(u.called()) != 0 {
		t.Error("something of a batch that is no strict JSON was called")
	}
	r = ana.post(`[{"jsonrpc":"2.0","id":"ok","method":"tools/call","params":{"name":"echo","arguments":{"n":1}}},
		{"jsonrpc":"2.0","id":"no","method":"tools/call","params":{"name":"echo","arguments":{"n":11}}},
		{"jsonrpc":"2.0","id":"gone","method":"tools/call","params":{"name":"none"}},
		{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}},
		{"jsonrpc":"2.0","id":"what","Method":"ping"},
		{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"x","version":"1"}}},
		[]]`, ana.header("", ""))
	answers := mcp.Elements(r.body)
	if r.status != http.StatusOK || len(answers) != 6 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	byID := map[string]reply{}
	for _, one := range answers {
		byID[string(mcp.Get(one, "id"))] = reply{body: one}
	}
	if byID[`"ok"`].text() != `{"n":1}` || byID[`"no"`].reason() != "rule" || byID[`"gone"`].error() != "Unknown tool: none" {
		t.Errorf("%s", r.body)
	}
	if code := string(mcp.Get(byID[`"init"`].body, "error", "code")); code != "-32600" {
		t.Errorf("initialize in a batch: %s", byID[`"init"`].body)
	}
	for id, outcome := range map[string]string{`"ok"`: "allow", `"no"`: "block", `"gone"`: "block", `"init"`: "block"} {
		if ev := h.final(id); ev.GetDecision().GetEffect() != outcome {
			t.Errorf("%s recorded as %v", id, ev.GetDecision())
		}
	}
	h.find("the notice", func(ev *eventsv1.Event) bool { return ev.GetRequest().GetMethod() == "notifications/cancelled" })
	if len(u.called()) != 1 {
		t.Errorf("%d calls", len(u.called()))
	}
	if r := ana.post(`[{"jsonrpc":"2.0","method":"notifications/initialized"}]`, ana.header("", "")); r.status != http.StatusAccepted || len(r.body) != 0 {
		t.Errorf("a batch of notices: %d %s", r.status, r.body)
	}
	for name, batch := range map[string]string{"empty": `[]`, "too long": "[" + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"ping"},`, 64) + `{"jsonrpc":"2.0","id":1,"method":"ping"}]`} {
		if r := ana.post(batch, ana.header("", "")); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for _, other := range []string{mcp.V20251125, mcp.V20250618, mcp.V20260728} {
		c := h.guest("ana", "/mcp/echo", other, `{}`)
		body, _ := c.body("tools/list", "")
		if r := c.post("["+body+"]", c.header("tools/list", "")); r.status != http.StatusBadRequest {
			t.Errorf("%s has batches: %d %s", other, r.status, r.body)
		}
	}
	nobody := ana.header("", "")
	nobody.Del("Authorization")
	if r := ana.post(`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, nobody); r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: %d %s", r.status, r.body)
	}
}

// TestABatchesServersCanAskAndItsNoticesStream: a batch has one stream, and its answer is the last message there.
func TestABatchesServersCanAskAndItsNoticesStream(t *testing.T) {
	s := newScript(t, mcp.V20250326)
	s.does("tools/call", func(c *turn) {
		who, _ := mcp.Text(c.m.Arguments, "who")
		answer := c.asks("sampling/createMessage", `{"for":"`+who+`"}`)
		c.result(string(textResult(who+" heard "+string(mcp.Get(answer, "result", "n")), "}")))
	})
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20250326, `{"sampling":{}}`)
	k := ana.exchange(http.MethodPost, `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":{"who":"a"}}},
		{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"act","arguments":{"who":"b"}}}]`, "", ana.header("", ""))
	for range 2 {
		id, params := k.asked("sampling/createMessage")
		n := map[string]string{`{"for":"a"}`: "1", `{"for":"b"}`: "2"}[string(params)]
		ana.answers(id, `{"n":`+n+`}`)
	}
	answers := mcp.Elements(k.next())
	if len(answers) != 2 || (reply{body: answers[0]}).text() != "a heard 1" || (reply{body: answers[1]}).text() != "b heard 2" || k.next() != nil {
		t.Errorf("%s", answers)
	}
}
