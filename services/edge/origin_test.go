package edge_test

import (
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge"
)

// TestT15PagesOfAllowedOriginsCanUseTheEndpointAndOthersCannot asks and calls as a browser does.
func TestT15PagesOfAllowedOriginsCanUseTheEndpointAndOthersCannot(t *testing.T) {
	const allowed = "https://console.example"
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		c.says(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}`)
		c.result(string(textResult("x", "}")))
	})
	h := start(t, scripted(t, s), func(c *edge.Config) { c.AllowedOrigins = []string{allowed} })
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	for _, origins := range [][]string{{allowed}, {"https://evil.example"}, {"null"}, {allowed, allowed}, nil} {
		yes := len(origins) == 1 && origins[0] == allowed
		q, err := http.NewRequest(http.MethodOptions, h.base+"/mcp/acts", nil)
		must(t, err)
		q.Header["Origin"] = origins
		q.Header.Set("Access-Control-Request-Method", "POST")
		q.Header.Set("Access-Control-Request-Headers", "authorization,content-type,mcp-param-region,x-other")
		res, err := h.http.Do(q)
		must(t, err)
		must(t, res.Body.Close())
		sendable := strings.ToLower(res.Header.Get("Access-Control-Allow-Headers"))
		if (res.StatusCode == http.StatusNoContent) != yes || (res.Header.Get("Access-Control-Allow-Origin") == allowed) != yes ||
			strings.Contains(res.Header.Get("Access-Control-Allow-Methods"), "POST") != yes || strings.Contains(sendable, "authorization") != yes ||
			strings.Contains(sendable, "mcp-param-region") != yes || strings.Contains(sendable, "x-other") {
			t.Errorf("%q: %d %v", origins, res.StatusCode, res.Header)
		}
		shared := func(what string, got http.Header) {
			if (got.Get("Access-Control-Allow-Origin") == allowed) != yes || (got.Get("Vary") == "Origin") != yes ||
				strings.Contains(got.Get("Access-Control-Expose-Headers"), "Mcp-Session-Id") != yes {
				t.Errorf("%s of %q: %v", what, origins, got)
			}
		}
		header := ana.header("", "")
		header["Origin"] = origins
		body, _ := ana.body("tools/list", "")
		shared("a list", ana.post(body, header).header)
		body, _ = ana.body("tools/call", `{"name":"act","arguments":{},"_meta":{"progressToken":"p"}}`)
		shared("a stream", ana.post(body, header).header)
		header.Del("Authorization")
		shared("a refusal", ana.post(body, header).header)
	}
}
