package edge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

func atProgress(token string, n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, token, n)
}

// whileAway is a script that tells of the progress with the token "first" before, while and after its client is away with a question: once it is gone, and
// until all was heard.
func whileAway(t *testing.T, gone <-chan struct{}, heard chan<- struct{}) *script {
	s := newScript(t, mcp.V20251125)
	s.does("tools/call", func(c *turn) {
		c.says(atProgress(`"first"`, 1))
		answer := c.puts("elicitation/create", form("Name?"))
		select {
		case <-gone:
		case <-c.r.Context().Done():
			return
		}
		for n := 2; n < 5; n++ {
			c.says(atProgress(`"first"`, n))
		}
		c.says(atProgress(`"of another"`, 9))
		c.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"while away"}}`)
		if c.asks("not/known", `{}`) == nil { // the edge has read all before this once it has answered
			return
		}
		close(heard)
		select {
		case <-answer:
		case <-c.r.Context().Done():
			return
		}
		c.says(atProgress(`"first"`, 5))
		c.result(string(textResult("done", "}")))
	})
	return s
}

// TestACallThatWaitedTellsTheRequestThatTookItUpWhatCameMeanwhile: of progress the last, under that request's own token, which some clients make anew for each request.
func TestACallThatWaitedTellsTheRequestThatTookItUpWhatCameMeanwhile(t *testing.T) {
	for _, one := range []struct {
		token string
		heard []string
	}{
		{`"second"`, []string{"4", `"while away"`, "5"}},
		{`"first"`, []string{"4", `"while away"`, "5"}},
		{"", []string{`"while away"`}},
	} {
		t.Run("token "+one.token, func(t *testing.T) {
			gone, said := make(chan struct{}), make(chan struct{})
			h := start(t, scripted(t, whileAway(t, gone, said)), nil)
			ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
			calls := func(params, token string) *talk {
				body, id := ana.body("tools/call", params)
				body = strings.Replace(body, `"_meta":{`, `"_meta":{"`+mcp.MetaLogLevel+`":"info",`, 1)
				if token != "" {
					body = asksProgress(body, token)
				}
				return ana.exchange("POST", body, id, ana.header("tools/call", "act"))
			}
			first := calls(`{"name":"act","arguments":{}}`, `"first"`)
			if _, params := first.told(); string(mcp.Get(params, "progress")) != "1" {
				t.Fatalf("%s", params)
			}
			q := required(t, first.last())
			close(gone)
			<-said
			second := calls(again(q, `{}`, accepted("A")), one.token)
			var heard []string
			for message := second.next(); ; message = second.next() {
				if mcp.Get(message, "id") != nil {
					if text := (reply{body: message}).text(); text != "done" {
						t.Errorf("answered %s", message)
					}
					break
				}
				if token := string(mcp.Get(message, "params", "progressToken")); token != "" && token != one.token {
					t.Errorf("the request has the token %s: %s", one.token, message)
				}
				heard = append(heard, string(mcp.Get(message, "params", "progress"))+string(mcp.Get(message, "params", "data")))
			}
			if !slices.Equal(heard, one.heard) {
				t.Errorf("heard %q, not %q", heard, one.heard)
			}
		})
	}
}
