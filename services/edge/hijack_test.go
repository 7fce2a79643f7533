package edge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// TestT14AStateIsGoodForTheServerThatItBeganAtAlone: a server that has the name by now gets neither the other's state nor the call.
func TestT14AStateIsGoodForTheServerThatItBeganAtAlone(t *testing.T) {
	before := newScript(t, mcp.V20260728)
	before.does("tools/call", func(c *turn) {
		c.result(requires(`{"request":{"method":"elicitation/create","params":`+form("Name?")+`}}`, `"a secret of the one before"`))
	})
	after := newScript(t, mcp.V20260728)
	w := scripted(t, before)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q := required(t, ana.call("act", `{}`))
	w.server("acts", after.URL+"/mcp", after.tools, nil)
	h.settled()
	r := ana.send("tools/call", again(q, `{}`, accepted("A")))
	if !strings.Contains(r.error(), "not good for this request") || len(after.sent("tools/call")) != 0 {
		t.Errorf("%s, the other server got %v", r.body, after.sent("tools/call"))
	}
	if r := ana.call("act", `{}`); r.refused() || r.text() != "{}" {
		t.Errorf("%s", r.body)
	}
}

// TestT26AWaitingCallDoesNotGoOnAsTheRulesWouldNotHaveIt: a rule that changes the arguments of a call by now cannot change those of one that was made.
func TestT26AWaitingCallDoesNotGoOnAsTheRulesWouldNotHaveIt(t *testing.T) {
	s := asking(t, "Name?")
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q, other := required(t, ana.call("act", `{"n":9}`)), required(t, ana.call("act", `{"n":3,"m":1}`))
	top, r := 5.0, rule("cap", "true", "modify")
	r.Modify = []*authzv1.Modification{{Path: "/n", Action: &authzv1.Modification_Clamp{Clamp: &authzv1.Clamp{Max: &top}}}}
	h.policy("acts", onActs([]string{"act"}, r))
	h.settled()
	got := ana.send("tools/call", again(q, `{"n":9}`, accepted("A")))
	if !got.refused() || !strings.Contains(got.text(), "was cancelled") || !strings.Contains(got.text(), "acts/cap") {
		t.Errorf("%s", got.body)
	}
	if ev := h.final(got.id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_RULE || ev.GetDecision().GetEffect() != "block" || recordsOf(h, got.id) != 1 {
		t.Errorf("%d records, %v", recordsOf(h, got.id), ev.GetDecision())
	}
	eventually(t, 20*time.Second, "the server is told", func() bool { return len(s.sent("notifications/cancelled")) == 1 })
	if got := ana.send("tools/call", again(other, `{ "m":1, "n":3 }`, accepted("A"))); got.text() != accepted("A") {
		t.Errorf("one that it does not change: %s", got.body)
	}
}

// TestT14ASessionIDMeansNothingInARevisionWithoutSessions: no client makes sessions with servers, or finds another's, by an id of its own invention.
func TestT14ASessionIDMeansNothingInARevisionWithoutSessions(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, asks)
	first := 0
	for i, id := range []string{"", "one", "two", strings.Repeat("three", 500)} {
		body, _ := ana.body("tools/call", `{"name":"act","arguments":{}}`)
		header := ana.header("tools/call", "act")
		if id != "" {
			header.Set("Mcp-Session-Id", id)
		}
		if r := ana.post(body, header); r.status != http.StatusOK || r.refused() {
			t.Errorf("%.20s: %d %s", id, r.status, r.body)
		}
		if i == 0 {
			first = len(s.sent("initialize"))
		}
	}
	if n := len(s.sent("initialize")); n != first {
		t.Errorf("%d sessions with the server, not %d", n, first)
	}
}

// TestT20HeadersOfOlderRevisionsDoNotSayAnythingElse: the revisions before 2026-07-28 need no headers that name the request, but whoever stands in front
// may go by them.
func TestT20HeadersOfOlderRevisionsDoNotSayAnythingElse(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", false)
	for what, c := range map[string]struct {
		method, name string
		good         bool
	}{
		"none": {"", "", true}, "the same": {"tools/call", "echo", true}, "the method alone": {"tools/call", "", true}, "another method": {"tools/list", "", false},
		"another name": {"tools/call", "other", false}, "another name alone": {"", "other", false}, "another case": {"Tools/Call", "", false},
	} {
		body, _ := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
		header := ana.header("", "")
		if c.method != "" {
			header.Set("Mcp-Method", c.method)
		}
		if c.name != "" {
			header.Set("Mcp-Name", c.name)
		}
		before := len(u.called())
		r := ana.post(body, header)
		called := len(u.called()) > before
		if called != c.good || !c.good && (r.status != http.StatusBadRequest || string(mcp.Get(r.body, "error", "code")) != "-32020") {
			t.Errorf("%s: %d %s", what, r.status, r.body)
		}
	}
}
