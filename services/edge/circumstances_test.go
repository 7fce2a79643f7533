package edge_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/geoip/geoiptest"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/token"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/edge"
)

// with gives a client of one era a token that says more.
func (h *harness) with(person string, modern bool, change func(*token.Claims)) *client {
	h.t.Helper()
	c := h.client(person, "/mcp/echo", modern)
	c.token = h.tokenFor(person, h.base+"/mcp", change)
	return c
}

func stepUpRule(name, when string, acr []string, age string) *authzv1.Rule {
	r := rule(name, when, policy.StepUp)
	r.StepUp = &authzv1.StepUp{AcrValues: acr, MaxAge: age}
	return r
}

func TestAStepUpIsAnsweredAsRFC9470SaysAndPassesWithTheSignInThatItWants(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		w := support(t, u)
		w.policy("large", onEcho(stepUpRule("fresh", "args.n > 100", []string{"mfa", "hwk"}, "5m"), rule("rest", "true", "allow")))
		h := start(t, w, nil)
		old := h.with("ana", modern, func(c *token.Claims) { c.ACR, c.AuthTime = "mfa", time.Now().Add(-time.Hour) })
		if r := old.call("echo", `{"n":1}`); r.refused() || r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.body)
		}
		for _, c := range []*client{old, h.client("ana", "/mcp/echo", modern), h.with("ana", modern, func(c *token.Claims) { c.ACR, c.AuthTime = "pwd", time.Now() })} {
			r := c.call("echo", `{"n":101}`)
			challenge := r.header.Get("WWW-Authenticate")
			if r.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer error="insufficient_user_authentication", error_description="`) ||
				!strings.Contains(challenge, `, acr_values="mfa hwk", max_age="300", resource_metadata="`+h.base+`/.well-known/oauth-protected-resource/mcp/echo"`) {
				t.Fatalf("%d %s", r.status, challenge)
			}
			said := string(mcp.Get(r.body, "error", "data", mcp.MetaDecision, "stepUp"))
			if said != `{"error":"insufficient_user_authentication","acr_values":"mfa hwk","max_age":300}` || r.reason() != "step-up" || !strings.Contains(r.error(), "Sign in again") {
				t.Errorf("%s", r.body)
			}
			if ev := h.final(r.id); ev.GetDecision().GetEffect() != "block" || ev.GetDecision().GetRule() != "large/fresh" || ev.GetAlert() {
				t.Errorf("%v", ev)
			}
		}
		if r := h.with("ana", modern, func(c *token.Claims) { c.ACR, c.AuthTime = "hwk", time.Now() }).call("echo", `{"n":101}`); r.refused() || r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
		if got := len(u.called()); got != 2 {
			t.Errorf("%d calls arrived", got)
		}
	})
}

func TestRulesReadWhatTokenAndRequestSay(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		w := support(t, u)
		w.policy("circumstances", onEcho(
			rule("unmanaged", `args.n == 1 && device.managed != true`, "block"), rule("broken", `args.n == 2 && device.compliant == false`, "block"),
			rule("purpose", `args.n == 3 && purpose != "support"`, "block"), rule("granted", `args.n == 4 && session.purpose != "audit"`, "block"),
			rule("client", `args.n == 5 && session.client == "check" && session.clientVersion == "3"`, "block"),
			rule("old", `args.n == 6 && has(session.started) && session.age > duration("8h")`, "block"),
			rule("needs-a-session", `args.n == 7 && session.age > duration("8h")`, "block"), rule("rest", "true", "allow")))
		h := start(t, w, nil)
		yes, no, id := true, false, "laptop-7"
		plain, managed := h.client("ana", "/mcp/echo", modern), h.with("ana", modern, func(c *token.Claims) {
			c.Device, c.Purpose = &token.Device{ID: &id, Managed: &yes, Compliant: &no}, "audit"
		})
		call := func(c *client, n int, purpose string) string {
			t.Helper()
			method, params := "tools/call", fmt.Sprintf(`{"name":"echo","arguments":{"n":%d}}`, n)
			body, id := c.body(method, params)
			if purpose != "" && c.modern {
				body = strings.Replace(body, `"_meta":{`, `"_meta":{"`+mcp.MetaPurpose+`":`+purpose+`,`, 1)
			} else if purpose != "" {
				body = strings.Replace(body, `"params":{`, `"params":{"_meta":{"`+mcp.MetaPurpose+`":`+purpose+`},`, 1)
			}
			r := c.post(body, c.header(method, "echo"))
			r.id = id
			if reason := r.reason(); reason != "" {
				return reason
			}
			return fmt.Sprint(r.refused())
		}
		for _, c := range []struct {
			who     *client
			n       int
			purpose string
			want    string
		}{
			{plain, 1, "", "rule"}, {managed, 1, "", "false"}, {plain, 2, "", "false"}, {managed, 2, "", "rule"},
			{plain, 3, "", "rule"}, {plain, 3, `"support"`, "false"}, {managed, 3, `"support"`, "rule"}, {plain, 3, `7`, "invalid"}, {plain, 3, `""`, "invalid"},
			{plain, 4, `"audit"`, "rule-error"}, {managed, 4, "", "false"}, {plain, 5, "", "rule"}, {plain, 6, "", "false"},
			{plain, 7, "", map[bool]string{true: "rule-error", false: "false"}[modern]},
		} {
			if got := call(c.who, c.n, c.purpose); got != c.want {
				t.Errorf("n %d, purpose %s: %s, want %s", c.n, c.purpose, got, c.want)
			}
		}
	})
}

func TestTheCountryOfACallerIsThatOfTheDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "countries.mmdb")
	place := func(country string) {
		must(t, geoiptest.Replace(file, map[string]string{"127.0.0.0/8": country}))
	}
	place("DE")
	for _, with := range []bool{true, false} {
		w := support(t, newUpstream(t, echoTool))
		w.policy("at-home", onEcho(rule("abroad", `!inRegion(request.country, "EEA")`, "block"), rule("rest", "true", "allow")))
		h := start(t, w, func(c *edge.Config) {
			if with {
				c.GeoIP.File = file
			}
		})
		ana := h.client("ana", "/mcp/echo", true)
		r := ana.call("echo", `{"n":1}`)
		if !with {
			if r.reason() != "rule-error" || !strings.Contains(r.text(), "request.country is not known") || !h.final(r.id).GetAlert() {
				t.Errorf("%s", r.body)
			}
			continue
		}
		if r.refused() {
			t.Fatalf("%s", r.body)
		}
		place("US")
		eventually(t, 30*time.Second, "the database is read again", func() bool { return ana.call("echo", `{"n":1}`).reason() == "rule" })
	}
}

func TestT26ARuleAsksAuthzForARelationAndBlocksWithoutAnAnswer(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.related = map[string]bool{"ana#ticket:7#owner": true}
	w.policy("mine", onEcho(rule("others", `args.n > 5 && !related("ticket:" + string(args.n), "owner")`, "block"), rule("rest", "true", "allow")))
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	for n, want := range map[int]string{1: "", 7: "", 8: "rule"} {
		if r := ana.call("echo", fmt.Sprintf(`{"n":%d}`, n)); r.reason() != want {
			t.Errorf("%d: %s", n, r.body)
		}
	}
	w.unrelated.Store(true)
	if r := ana.call("echo", `{"n":1}`); r.refused() {
		t.Errorf("a rule that does not get so far: %s", r.body)
	}
	r := ana.call("echo", `{"n":7}`)
	if r.reason() != "relation-unavailable" || !strings.Contains(r.text(), "ticket:7#owner is not known: authz, which looks relations up") {
		t.Errorf("%s", r.body)
	}
	if ev := h.final(r.id); !ev.GetAlert() {
		t.Errorf("%v", ev)
	}
}

func TestRulesAreJudgedByWhatTrustSaysOfTheTool(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.policy("known", onEcho(rule("sam", `trust.standing == "approved" && trust.definition == "approved" && trust.transport == "http" && !trust.pinned`, "allow")))
	h := start(t, w, nil)
	if r := h.client("ana", "/mcp/echo", true).call("echo", `{"n":1}`); r.refused() || r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}
