package edge_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// TestT22AnswersAreTakenOnceAlsoWhereAServerKeepsNoState brings what a server without a state asked for: once, twice, for another call, as another person, and
// without ever having been asked, which the revision leaves to servers and the record notes.
func TestT22AnswersAreTakenOnceAlsoWhereAServerKeepsNoState(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	s.does("tools/call", func(c *turn) {
		if answer := mcp.Get(c.m.Params, "inputResponses", "a"); answer != nil {
			c.result(string(textResult(string(answer), `,"resultType":"complete"}`)))
			return
		}
		c.result(requires(`{"a":{"method":"elicitation/create","params":`+form("Name?")+`}}`, ""))
	})
	h := start(t, scripted(t, s), nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, asks), h.guest("bob", "/mcp/acts", mcp.V20260728, asks)
	refused := func(who *client, params, why string) {
		t.Helper()
		before := len(s.sent("tools/call"))
		r := who.send("tools/call", params)
		if string(mcp.Get(r.body, "error", "code")) != "-32602" || !strings.Contains(r.error(), why) {
			t.Errorf("%s: %s", params, r.body)
		}
		if after := len(s.sent("tools/call")); after != before {
			t.Errorf("%s came to the server", params)
		}
	}
	r := ana.send("tools/call", `{"name":"act","arguments":{},"inputResponses":{"a":`+accepted("A")+`}}`) // the server's to take
	if notes := strings.Join(h.final(r.id).GetFindings().GetNotes(), " "); r.text() != accepted("A") || !strings.Contains(notes, "not asked for here") {
		t.Errorf("%s, noted %q", r.body, notes)
	}
	q := required(t, ana.send("tools/call", `{"name":"act","arguments":{}}`))
	refused(bob, again(q, `{}`, accepted("B")), "not good for this request")
	refused(ana, again(q, `{"x":1}`, accepted("A")), "not good for this request")
	if r := ana.send("tools/call", again(q, `{}`, accepted("A"))); r.text() != accepted("A") {
		t.Errorf("%s", r.body)
	}
	last := s.sent("tools/call")
	if got := mcp.Get([]byte(last[len(last)-1].body), "params", "requestState"); got != nil {
		t.Errorf("a server that gave no state got %s", got)
	}
	refused(ana, again(q, `{}`, accepted("A")), "not good for this request")
}
