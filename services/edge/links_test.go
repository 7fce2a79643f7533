package edge_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestLinksInWhatAModelIsAskedHaveTheirVisibleNames lets servers of both eras ask for sampling about their resources, and looks at what clients of both are
// asked, and at what comes back of it.
func TestLinksInWhatAModelIsAskedHaveTheirVisibleNames(t *testing.T) {
	const (
		own = `{"messages":[{"role":"user","content":{"type":"resource_link","uri":"memo://a","name":"a"}},` +
			`{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"read","input":{"uri":"memo://a"}}]},` +
			`{"role":"user","content":[{"type":"tool_result","toolUseId":"1","content":[{"type":"resource","resource":{"uri":"ui://panel/x","text":"memo://a"}},` +
			`{"type":"resource_link","uri":"https://www.example.com/r.pdf","name":"r"},{"type":"resource_link","uri":"memo://b","name":"b"}],` +
			`"structuredContent":{"uri":"memo://a"}}]}],"maxTokens":1}`
		back = `{"model":"m","role":"assistant","content":[{"type":"tool_use","id":"2","name":"read","input":{"uri":"memo://c","about":["memo://d"],"n":1.0}},` +
			`{"type":"tool_result","toolUseId":"2","content":[{"type":"resource_link","uri":"memo://e","name":"e"}]},{"type":"text","text":"hg.other+memo://a"}]}`
	)
	visible := func(doc, server, prefix string) string {
		return strings.NewReplacer(`"type":"resource_link","uri":"memo://`, `"type":"resource_link","uri":"`+prefix+`memo://`, `ui://panel`, `ui://`+server+`/panel`).Replace(doc)
	}
	w, a, b := many(t)
	a.does("tools/call", func(c *turn) {
		if answer := mcp.Get(c.m.Params, "inputResponses", "x"); answer != nil {
			c.result(string(textResult(string(answer), `,"resultType":"complete"}`)))
			return
		}
		c.result(requires(`{"x":{"method":"sampling/createMessage","params":`+own+`}}`, `"s"`))
	})
	b.does("tools/call", func(c *turn) {
		c.result(string(textResult(string(mcp.Get(c.asks("sampling/createMessage", own), "result")), "}")))
	})
	h := start(t, w, nil)
	for server, prefix := range map[string]string{"a": "hg.a+", "b_b": "hg.b..b+"} {
		answer := strings.NewReplacer(`:"memo://`, `:"`+prefix+`memo://`, `["memo://`, `["`+prefix+`memo://`).Replace(back)
		for _, front := range []string{mcp.V20260728, mcp.V20251125} {
			var asked string
			var r reply
			c := h.guest("ana", "/mcp", front, asks)
			if mcp.Modern(front) {
				first := c.call(server+".act", `{}`)
				_, requests := mcp.Members(mcp.Get(first.result(), "inputRequests"))
				q := required(t, first)
				asked = string(mcp.Get(requests[0], "params"))
				r = c.send("tools/call", strings.Replace(again(q, `{}`, answer), `"act"`, `"`+server+`.act"`, 1))
			} else {
				k := c.begin("tools/call", `{"name":"`+server+`.act","arguments":{}}`)
				id, params := k.asked("sampling/createMessage")
				asked = string(params)
				c.answers(id, answer)
				r = k.last()
			}
			if want := visible(own, server, prefix); asked != want {
				t.Errorf("%s asks a client of %s\n%s, not\n%s", server, front, asked, want)
			}
			if r.text() != back {
				t.Errorf("%s, asked by a client of %s, heard\n%s, not\n%s", server, front, r.text(), back)
			}
		}
	}
}
