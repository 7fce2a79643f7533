package edge_test

import (
	"net/http"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestAClientThatSendsNoSessionIDIsAskedWhatItOffered, and nobody else is: once a client shows that it sends its session's id, what it offers is its own.
func TestAClientThatSendsNoSessionIDIsAskedWhatItOffered(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		if answer := c.asks("elicitation/create", form("Name?")); answer != nil {
			c.result(string(textResult(string(mcp.Get(answer, "result"))+string(mcp.Get(answer, "error", "code")), "}")))
		}
	})
	h := start(t, scripted(t, s), nil)
	const refused = "-32601"
	stray := &client{h: h, token: h.tokenFor("ana", h.base+"/mcp", nil), path: "/mcp/acts"}
	initialize := `{"protocolVersion":"2025-11-25","capabilities":` + asks + `,"clientInfo":{"name":"check","version":"3"}}`
	if r := stray.send("initialize", initialize); r.error() != "" {
		t.Fatalf("%s", r.body)
	}
	k := stray.begin("tools/call", `{"name":"act","arguments":{}}`)
	id, _ := k.asked("elicitation/create")
	if r := stray.answers(id, accepted("A")); r.status != http.StatusAccepted {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := k.last(); r.text() != accepted("A") {
		t.Errorf("%s", r.body)
	}
	bob := &client{h: h, token: h.tokenFor("bob", h.base+"/mcp", nil), path: "/mcp/acts"}
	if r := bob.call("act", `{}`); r.text() != refused {
		t.Errorf("bob was asked what ana's client offers: %s", r.body)
	}
	sends := h.guest("bob", "/mcp/acts", mcp.V20251125, asks) // its first request shows that it sends its session's id
	if r := bob.call("act", `{}`); r.text() != refused {
		t.Errorf("bob was asked what another of his clients offers: %s", r.body)
	}
	k = sends.begin("tools/call", `{"name":"act","arguments":{}}`)
	id, _ = k.asked("elicitation/create")
	sends.answers(id, accepted("B"))
	if r := k.last(); r.text() != accepted("B") {
		t.Errorf("%s", r.body)
	}
}

// TestT14NobodyTellsAnEdgeWhatOnlyEdgesTell: what edges tell each other of clients cannot be said by a client.
func TestT14NobodyTellsAnEdgeWhatOnlyEdgesTell(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	h := start(t, scripted(t, s), nil)
	ana := h.client("ana", "/mcp/acts", false)
	k := ana.exchange("TELL", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}}}}`, "1", ana.header("", ""))
	if k.res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%d %s", k.res.StatusCode, k.body)
	}
}
