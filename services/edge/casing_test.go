package edge_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

// A server that reads names in any case, as most in Go do, must not get a call that rules saw under another name.
func TestT19ACallIsDecidedByTheNamesThatItsServerReads(t *testing.T) {
	const tool = `{"name":"echo","description":"Echoes.","inputSchema":{"type":"object","properties":{"user":{"type":"object","properties":{"id":{"type":"string"}}}},` +
		`"additionalProperties":true}}`
	u := newUpstream(t, tool)
	w := support(t, u)
	w.server("echo", u.url(), []string{tool}, nil)
	w.policy("users", onEcho(rule("admin", `has(args.user) && has(args.user.id) && args.user.id == "admin"`, "block"), rule("rest", "true", "allow")))
	h := start(t, w, nil)
	for _, modern := range []bool{true, false} {
		ana := h.client("ana", "/mcp/echo", modern)
		if r := ana.call("echo", `{"user":{"id":"guest","more":1},"free":{"a":1}}`); r.refused() || r.error() != "" {
			t.Fatalf("what is in order is refused: %s", r.body)
		}
		before := len(u.called())
		for arguments, says := range map[string]string{
			`{"user":{"id":"admin"}}`:                     "users/admin",
			`{"user":{"id":"guest","ID":"admin"}}`:        "differ only by case",
			`{"user":{"Id":"admin","id":"guest"}}`:        "differ only by case",
			`{"user":{"id":"guest"},"User":{"id":"adm"}}`: "differ only by case",
			`{"free":{"path":"/a","Path":"/b"}}`:          "differ only by case",
			`{"user":{"ID":"admin"}}`:                     "/user/ID",
			`{"USER":{"id":"admin"}}`:                     "/USER",
			`{"u\u017fer":{"id":"admin"}}`:                "in another case",
		} {
			r := ana.call("echo", arguments)
			if !r.refused() && r.error() == "" || !strings.Contains(string(r.body), says) || strings.Contains(string(r.body), "/b") {
				t.Errorf("%s was answered with %s", arguments, r.body)
			}
		}
		if got := len(u.called()) - before; got != 0 {
			t.Errorf("%d of the calls reached the server", got)
		}
	}
}

func TestT19ACompletionIsDecidedByTheNamesThatItsServerReads(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	for _, ref := range []string{`{"type":"ref/prompt","name":"p","Name":"secret"}`, `{"type":"ref/prompt","Name":"secret"}`, `{"type":"ref/prompt","Type":"ref/resource","name":"p"}`} {
		if r := ana.send("completion/complete", `{"ref":`+ref+`,"argument":{"name":"who","value":"x"}}`); r.error() == "" || strings.Contains(r.error(), "secret") {
			t.Errorf("%s was answered with %s", ref, r.body)
		}
	}
	if got := s.sent("completion/complete"); len(got) != 0 {
		t.Errorf("the server saw %v", got)
	}
	if r := ana.send("completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"who","value":"x"}}`); r.error() != "" {
		t.Errorf("what is in order is refused: %s", r.body)
	}
}
