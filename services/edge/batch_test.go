package edge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestAServerThatBatchesIsCalledLikeAnyOther: what a server of 2025-03-26 puts together comes to a client of any revision message by message.
func TestAServerThatBatchesIsCalledLikeAnyOther(t *testing.T) {
	s := newScript(t, mcp.V20250326)
	progress := func(n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":%d}}`, n)
	}
	h := start(t, scripted(t, s), nil)
	for _, version := range mcp.Supported() {
		c := h.guest("ana", "/mcp/acts", version, `{}`)
		for name, answer := range map[string]func(*turn, string){
			"events": func(c *turn, result string) {
				c.says("[" + progress(1) + "," + progress(2) + "]")
				c.says("[" + progress(3) + "," + result + "]")
			},
			"a body": func(c *turn, result string) {
				write(c.w, http.StatusOK, "["+progress(1)+","+progress(2)+","+progress(3)+","+result+"]")
			},
		} {
			s.does("tools/call", func(c *turn) { answer(c, string(mcp.Result(c.m.ID, textResult("done", "}")))) })
			meta := `{"progressToken":"p"}`
			if c.modern {
				meta = strings.TrimSuffix(strings.TrimPrefix(modernMeta, `"_meta":`), "}") + "," + meta[1:]
			}
			k := c.exchange(http.MethodPost, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"act","arguments":{},"_meta":`+meta+`}}`, "7",
				c.header("tools/call", "act"))
			for i := range 3 {
				if got := string(mcp.Get(k.next(), "params", "progress")); got != fmt.Sprint(i+1) {
					t.Errorf("%s, %s: notice %d has progress %q", version, name, i+1, got)
				}
			}
			if last := k.next(); !strings.Contains(string(mcp.Get(last, "result")), "done") || string(mcp.Get(last, "id")) != "7" {
				t.Errorf("%s, %s: %s", version, name, last)
			}
			k.cancel()
		}
	}
}
