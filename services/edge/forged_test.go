package edge_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// asksProgress gives a request the token of its progress.
func asksProgress(body, token string) string {
	if strings.Contains(body, `"_meta":{`) {
		return strings.Replace(body, `"_meta":{`, `"_meta":{"progressToken":`+token+`,`, 1)
	}
	return strings.Replace(body, `"params":{`, `"params":{"_meta":{"progressToken":`+token+`},`, 1)
}

// TestT14AServerCannotSpeakOfTheProgressOfAnothersCall: a client of all servers would take it for that one's.
func TestT14AServerCannotSpeakOfTheProgressOfAnothersCall(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		s, liar := newScript(t, mcp.V20251125), newScript(t, mcp.V20251125)
		liar.does("tools/call", func(c *turn) {
			for _, token := range []string{`"of-acts"`, `7`, `"of-liar"`} {
				c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + token + `,"progress":1}}`)
			}
			c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}`)
			c.result(string(textResult("lied", "}")))
		})
		arrived, release := make(chan struct{}), make(chan struct{})
		s.does("tools/call", func(c *turn) {
			close(arrived)
			<-release
			c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"of-acts","progress":2}}`)
			c.result(string(textResult("done", "}")))
		})
		w := scripted(t, s)
		w.server("liar", liar.URL+"/mcp", liar.tools, nil)
		w.grant("person/ana", "liar", "*", "call")
		h := start(t, w, nil)
		ana := h.client("ana", "/mcp", modern)
		calls := func(tool, token string) *talk {
			body, id := ana.body("tools/call", `{"name":"`+tool+`","arguments":{}}`)
			if token != "" {
				body = asksProgress(body, token)
			}
			return ana.exchange("POST", body, id, ana.header("tools/call", tool))
		}
		first := make(chan *talk, 1)
		go func() { first <- calls("acts.act", `"of-acts"`) }()
		<-arrived
		lied := calls("liar.act", `"of-liar"`)
		if _, params := lied.told(); string(mcp.Get(params, "progressToken")) != `"of-liar"` {
			t.Errorf("it forged %s", params)
		}
		if r := lied.last(); r.text() != "lied" {
			t.Errorf("%s", r.body)
		}
		if r := calls("liar.act", "").last(); r.text() != "lied" {
			t.Errorf("nobody asked for progress: %s", r.body)
		}
		close(release)
		k := <-first
		if _, params := k.told(); string(mcp.Get(params, "progress")) != "2" {
			t.Errorf("%s", params)
		}
		k.last()
	})
}

// TestT17TheErrorThatSendsAPersonToAnAddressIsJudgedInEveryEra as a question is: by its address, in the server's name, and only where it was offered.
func TestT17TheErrorThatSendsAPersonToAnAddressIsJudgedInEveryEra(t *testing.T) {
	const good = "https://idp.example/go"
	s := newScript(t, mcp.V20251125)
	with := func(mode, url string) {
		s.does("tools/call", func(c *turn) {
			c.fails(-32042, "Sign in first", `{"elicitations":[{"mode":"`+mode+`","elicitationId":"e1","url":"`+url+`","message":"Sign in"}]}`)
		})
	}
	h := start(t, scripted(t, s), nil)
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		offers, formOnly := h.guest("ana", "/mcp", revision, asks), h.guest("ana", "/mcp", revision, `{"elicitation":{"form":{}}}`)
		for _, one := range []struct {
			c         *client
			mode, url string
		}{{offers, "url", "javascript:alert(1)"}, {offers, "form", "javascript:alert(1)"}, {offers, "url", "http://idp.example/go"}, {formOnly, "url", good}} {
			with(one.mode, one.url)
			r := one.c.call("acts.act", `{}`)
			if string(mcp.Get(r.body, "error", "code")) != "-32603" || strings.Contains(string(r.body), one.url) || mcp.Get(r.body, "error", "data") != nil {
				t.Errorf("%s %s at %s: %s", one.mode, one.url, revision, r.body)
			}
		}
		with("url", good)
		if r := offers.call("acts.act", `{}`); !strings.Contains(string(r.body), good) || !strings.Contains(string(r.body), `"acts: Sign in"`) {
			t.Errorf("at %s: %s", revision, r.body)
		}
	}
}

// The resource of an error has the name that the client knows it by.
func TestTheURIOfAnErrorIsTheVisibleOne(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	s.does("resources/read", func(c *turn) { c.fails(-32002, "Resource not found", `{"uri":"memo://a","other":"memo://a"}`) })
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp", mcp.V20251125, `{}`)
	listed := mcp.Elements(mcp.Get(ana.send("resources/list", "").result(), "resources"))
	uri, _ := mcp.Text(listed[0], "uri")
	r := ana.send("resources/read", `{"uri":"`+uri+`"}`)
	if got, _ := mcp.Text(r.body, "error", "data", "uri"); got != uri || uri == "memo://a" {
		t.Errorf("%s, not %s", r.body, uri)
	}
}

// The id of an answer that nobody waits for is not that of the client's own request with the same id.
func TestAnAnswerThatNobodyWaitsForIsNotAnswered(t *testing.T) {
	h := start(t, scripted(t, newScript(t, mcp.V20250326)), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20250326, `{}`)
	const stray = `{"jsonrpc":"2.0","id":5,"result":{}}`
	r := ana.post(`[`+stray+`,{"jsonrpc":"2.0","id":5,"method":"ping"}]`, ana.header("", ""))
	if got := mcp.Elements(r.body); r.status != 200 || len(got) != 1 || string(mcp.Get(got[0], "result")) != "{}" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := ana.post(stray, ana.header("", "")); r.status != 400 || mcp.Get(r.body, "id") != nil || mcp.Get(r.body, "error") == nil {
		t.Errorf("%d %s", r.status, r.body)
	}
}
