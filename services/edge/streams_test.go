package edge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge"
)

const toolsAlone = `{"toolsListChanged":true}`

// TestT22OpenStreamsOfOnePrincipalAreBounded: nobody takes the connections of others with streams, of whatever revision, and there is room again when some end.
func TestT22OpenStreamsOfOnePrincipalAreBounded(t *testing.T) {
	h := start(t, support(t, newUpstream(t, echoTool)), func(c *edge.Config) { c.MaxStreamsOfOne = 2 })
	ana, session := h.client("ana", "/mcp/echo", true), h.client("ana", "/mcp/echo", false)
	first, _ := ana.listens(toolsAlone)
	session.stands("")
	for name, one := range map[string]*talk{
		"a subscription": ana.begin("subscriptions/listen", `{"notifications":`+toolsAlone+`}`), "a standing stream": h.client("ana", "/mcp", false).stands(""),
	} {
		if text := string(one.body); one.res.StatusCode != http.StatusTooManyRequests || !strings.Contains(text, "This caller has 2 streams open") ||
			!strings.Contains(text, `"rate-limited"`) {
			t.Errorf("%s: %d %s", name, one.res.StatusCode, text)
		}
		if one.id == "" {
			continue
		}
		if ev := h.final(one.id); fault.Code(ev.GetDecision().GetReason()) != "rate-limited" {
			t.Errorf("%v", ev)
		}
	}
	h.client("bob", "/mcp/echo", true).listens(toolsAlone)
	if r := ana.call("echo", `{}`); r.refused() {
		t.Errorf("a call beside them: %s", r.body)
	}
	first.cancel()
	eventually(t, 20*time.Second, "there is room again", func() bool {
		return ana.begin("subscriptions/listen", `{"notifications":`+toolsAlone+`}`).res.StatusCode == http.StatusOK
	})
}

// TestT22OpenStreamsAreBounded: those of all principals together, whose connections are not among those that maxConnections bounds.
func TestT22OpenStreamsAreBounded(t *testing.T) {
	h := start(t, support(t, newUpstream(t, echoTool)), func(c *edge.Config) { c.MaxStreams = 1 })
	first, _ := h.client("bob", "/mcp/echo", true).listens(toolsAlone)
	ana := h.client("ana", "/mcp/echo", true)
	refused := ana.begin("subscriptions/listen", `{"notifications":`+toolsAlone+`}`)
	if refused.res.StatusCode != http.StatusServiceUnavailable || refused.res.Header.Get("Retry-After") == "" || mcp.Get(refused.body, "error") == nil ||
		!strings.Contains(string(refused.body), "This edge has 1 streams open") {
		t.Errorf("%d %s", refused.res.StatusCode, refused.body)
	}
	first.cancel()
	eventually(t, 20*time.Second, "there is room again", func() bool {
		return ana.begin("subscriptions/listen", `{"notifications":`+toolsAlone+`}`).res.StatusCode == http.StatusOK
	})
}
