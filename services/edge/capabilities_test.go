package edge_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// What a client declares is kept whole or refused: a part of it would be another client.
func TestCapabilitiesThatASessionCannotKeepAreRefused(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	h := start(t, scripted(t, s), nil)
	ana := h.client("ana", "/mcp/acts", false)
	initialize := func(capabilities string) reply {
		return ana.post(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":`+capabilities+
			`,"clientInfo":{"name":"c","version":"1"}}}`, ana.header("", ""))
	}
	filled := func(n int) string {
		const frame = `{"elicitation":{"x":""}}`
		return `{"elicitation":{"x":"` + strings.Repeat("x", n-len(frame)) + `"}}`
	}
	r := initialize(filled(2049))
	if reason, _ := mcp.Text(r.body, "error", "data", "reason"); r.status != http.StatusBadRequest || reason != "too-large" ||
		!strings.Contains(string(r.body), "Declare less") || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := initialize(`{"roots":{},"experimental":{"x":"` + strings.Repeat("x", 4000) + `"}}`); r.status != http.StatusOK {
		t.Errorf("what no server may use is counted: %d %s", r.status, r.body)
	}
	most := filled(2048)
	r = initialize(most)
	ana.session = r.header.Get("Mcp-Session-Id")
	if r.status != http.StatusOK || ana.session == "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := ana.call("act", `{}`); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	offered := ""
	for _, one := range s.sent("initialize") {
		offered += one.body
	}
	if !strings.Contains(offered, most) {
		t.Errorf("the server was not offered all of it: %.200s", offered)
	}
}

// TestPagesOfServersAreSaidInBothEras asks endpoints of servers that have the extension of pages, and of those that have not, what they can do.
func TestPagesOfServersAreSaidInBothEras(t *testing.T) {
	const tasks, pages = `"io.modelcontextprotocol/tasks":{}`, `"io.modelcontextprotocol/ui":{}`
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		for of, want := range map[string][2]string{ // what a client of 2026-07-28 is told, and one of 2025-11-25
			`{"tools":{},"extensions":{"io.modelcontextprotocol/ui":{"x":1},"com.example/x":{},"io.modelcontextprotocol/tasks":{}}}`: {
				`{` + tasks + `,` + pages + `}`, `{` + pages + `}`},
			`{"tools":{},"extensions":{"io.modelcontextprotocol/ui":{}}}`: {`{` + pages + `}`, `{` + pages + `}`},
			`{"tools":{},"extensions":{"com.example/x":{}}}`:              {},
		} {
			s := newScript(t, revision)
			s.capabilities = of
			h := start(t, scripted(t, s), nil)
			for _, endpoint := range []string{"/mcp/acts", "/mcp"} {
				modern, legacy := h.guest("ana", endpoint, mcp.V20260728, `{}`), h.guest("ana", endpoint, mcp.V20251125, `{}`)
				for front, got := range [2]json.RawMessage{
					modern.send("server/discover", "").result(),
					legacy.send("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"check","version":"3"}}`).result(),
				} {
					if said := string(mcp.Get(got, "capabilities", "extensions")); said != want[front] {
						t.Errorf("%s of %s with %s says %s, not %s", endpoint, revision, of, said, want[front])
					}
				}
			}
		}
	}
}
