package edge_test

import (
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestT14ASessionIsGoodForItsEndpointAndRevisionAlone uses the id of one session elsewhere, and as another revision.
func TestT14ASessionIsGoodForItsEndpointAndRevisionAlone(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.server("other", u.url(), []string{echoTool}, nil)
	w.grant("person/ana", "other", "*", "call")
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/echo", mcp.V20251125, `{}`)
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, path := range []string{"/mcp/other", "/mcp"} {
		there := *ana
		there.path = path
		if r := there.post(ping, there.header("", "")); r.status != http.StatusNotFound {
			t.Errorf("at %s: %d %s", path, r.status, r.body)
		}
		if k := there.exchange(http.MethodDelete, "", "", there.header("", "")); k.res.StatusCode != http.StatusNotFound {
			t.Errorf("ended at %s with %d", path, k.res.StatusCode)
		}
	}
	for _, version := range []string{mcp.V20250618, mcp.V20250326} {
		header := ana.header("", "")
		header.Set("MCP-Protocol-Version", version)
		for _, body := range []string{ping, "[" + ping + "]"} {
			r := ana.post(body, header)
			if says := string(r.body); !strings.Contains(says, "begun with the revision 2025-11-25") && !strings.Contains(says, "A batch is not taken") {
				t.Errorf("%s as %s: %d %s", body, version, r.status, r.body)
			}
		}
	}
	if r := ana.post(ping, ana.header("", "")); r.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", r.status, r.body)
	}
}

// TestEachRequestOfABatchHasItsAnswer refuses all of them with one status, each for itself.
func TestEachRequestOfABatchHasItsAnswer(t *testing.T) {
	h := start(t, support(t, newUpstream(t, echoTool)), nil)
	ana := h.guest("ana", "/mcp/echo", mcp.V20250326, `{}`)
	r := ana.post(`[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{}}]`, ana.header("", ""))
	answers := mcp.Elements(r.body)
	if r.status != http.StatusOK || len(answers) != 2 || string(mcp.Get(answers[0], "id")) != "1" || string(mcp.Get(answers[1], "id")) != "2" {
		t.Errorf("%d %s", r.status, r.body)
	}
	ana.token = "none"
	if r := ana.post(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`, ana.header("", "")); r.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", r.status, r.body)
	}
}
