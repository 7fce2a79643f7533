package e2e

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// call counts what the record must hold in the end.
func (s *scene) call(c *product.Client, tool string, args map[string]any) product.Answer {
	s.sent++
	return c.Call(tool, args)
}

func eras() []bool { return []bool{true, false} }

func granted(t *testing.T, s *scene) {
	for _, modern := range eras() {
		ana := s.Client("ana", "echo", modern)
		if got := ana.List().Names(); !slices.Equal(got, []string{"echo"}) {
			t.Errorf("modern %v: ana lists %v", modern, got)
		}
		before := len(s.up.Calls())
		answer := s.call(ana, "echo", map[string]any{"text": "hé\u2028 <&> x", "n": 3})
		if !answer.OK() {
			t.Fatalf("modern %v: %d %s", modern, answer.Status, answer.Body)
		}
		executed := s.up.Calls()
		if len(executed) != before+1 {
			t.Fatalf("the server executed %d calls, not 1", len(executed)-before)
		}
		all := s.Client("ana", "", modern)
		if got := all.List().Names(); !slices.Equal(got, []string{"echo.echo", "vault.echo"}) {
			t.Errorf("modern %v: all servers list %v", modern, got)
		}
		if answer := s.call(all, "echo.echo", map[string]any{"text": "x"}); !answer.OK() {
			t.Errorf("modern %v: %s", modern, answer.Body)
		}
	}
}

func invisible(t *testing.T, s *scene) {
	before := len(s.up.Calls())
	for _, modern := range eras() {
		bob := s.Client("bob", "echo", modern)
		if list := bob.List(); list.Status != 200 || len(list.Names()) != 0 || list.Reply.Result == nil {
			t.Errorf("modern %v: bob lists %s", modern, list.Body)
		}
		answers := map[string]product.Answer{}
		for _, ask := range [][2]string{{"echo", "echo"}, {"echo", "nope"}, {"nowhere", "echo"}} {
			c := s.Client("bob", ask[0], modern)
			s.sent++
			body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + ask[1] + `","arguments":{}` + metaOf(modern) + `}}`
			answers[strings.Join(ask[:], "/")] = c.Raw([]byte(body), c.Headers("tools/call", ask[1]))
		}
		hidden, missing, elsewhere := answers["echo/echo"], answers["echo/nope"], answers["nowhere/echo"]
		if hidden.Reply.Error == nil || hidden.Reply.Error.Code != -32602 || hidden.Reply.Error.Message != "Unknown tool: echo" {
			t.Errorf("modern %v: %s", modern, hidden.Body)
		}
		if want := strings.ReplaceAll(string(missing.Body), "nope", "echo"); string(hidden.Body) != want || hidden.Status != missing.Status {
			t.Errorf("modern %v: a hidden tool differs from a missing one: %s and %s", modern, hidden.Body, missing.Body)
		}
		if string(elsewhere.Body) != string(hidden.Body) || elsewhere.Status != hidden.Status {
			t.Errorf("modern %v: a missing server differs from a hidden one: %s and %s", modern, elsewhere.Body, hidden.Body)
		}
	}
	if len(s.up.Calls()) != before {
		t.Error("the server executed a call that was not granted")
	}
}

func ruled(t *testing.T, s *scene) {
	for _, modern := range eras() {
		ana := s.Client("ana", "echo", modern)
		before := len(s.up.Calls())
		for _, refused := range []struct {
			args                 map[string]any
			effect, rule, reason string
		}{
			{map[string]any{"n": 11}, "block", "echo/small", "rule"},
			{map[string]any{"text": "ask"}, "escalate", "echo/ask", "approval-required"},
			{map[string]any{"surprise": true}, "block", "", "arguments"},
		} {
			answer := s.call(ana, "echo", refused.args)
			d := answer.Decision()
			if answer.Reply.Result == nil || !answer.Reply.Result.IsError || d.Effect != refused.effect || d.Rule != refused.rule || d.Reason != refused.reason || d.ID == "" {
				t.Errorf("modern %v %v: %s", modern, refused.args, answer.Body)
			}
			if len(answer.Text()) < 20 || refused.rule != "" && !strings.Contains(answer.Text(), refused.rule) {
				t.Errorf("modern %v %v: the sentence %q does not name the rule", modern, refused.args, answer.Text())
			}
		}
		if len(s.up.Calls()) != before {
			t.Error("the server executed a refused call")
		}
		changed := s.call(ana, "echo", map[string]any{"text": "keep", "n": 7})
		if !changed.OK() || changed.Decision().Effect != "modify" {
			t.Errorf("modern %v: %s", modern, changed.Body)
		}
		executed := s.up.Calls()
		var args map[string]any
		if err := json.Unmarshal(executed[len(executed)-1].Args, &args); err != nil || args["n"] != 5.0 || args["text"] != "keep" {
			t.Errorf("modern %v: the server got %s", modern, executed[len(executed)-1].Args)
		}
	}
}

func managedCredential(t *testing.T, s *scene) {
	s.secured.OnCall = func(call product.Executed) map[string]any {
		echoed, err := json.Marshal(call.Header)
		if err != nil {
			t.Error(err)
		}
		return product.Text("you sent " + string(echoed))
	}
	for _, modern := range eras() {
		ana := s.Client("ana", "vault", modern)
		answer := s.call(ana, "echo", map[string]any{"text": "x"})
		if !answer.OK() {
			t.Fatalf("modern %v: %s", modern, answer.Body)
		}
		if strings.Contains(string(answer.Body), managedSecret) {
			t.Error("the credential came back to the caller")
		}
	}
	executed := s.secured.Calls()
	if got := executed[len(executed)-1].Header.Get("X-Api-Key"); got != "Key "+managedSecret {
		t.Errorf("the server got the credential %q", got)
	}
	token := s.Token("ana")
	for _, header := range append(s.secured.Headers(), s.up.Headers()...) {
		for name, values := range header {
			if strings.Contains(strings.Join(values, " "), token) {
				t.Errorf("the caller's own token went upstream in %s", name)
			}
		}
	}
	for _, header := range s.up.Headers() {
		if header.Get("X-Api-Key") != "" {
			t.Error("the credential went to another server")
		}
	}
	if out := s.MustCLI("admin", "get", "Connection", "-o", "json"); strings.Contains(out, managedSecret) {
		t.Error("get Connection shows the credential")
	}
	product.Eventually(t, 5*time.Second, "the lease is in the record", func() bool { return len(s.Records("--action", "credential-leased")) > 0 })
	for _, record := range s.Records() {
		encoded, err := json.Marshal(record)
		if err != nil || strings.Contains(string(encoded), managedSecret) || strings.Contains(string(encoded), token) {
			t.Errorf("a record holds a secret: %s %v", encoded, err)
		}
	}
	if s.LogsContain(managedSecret) || s.LogsContain(token) {
		t.Error("a log holds a secret")
	}
}

func otherTenant(t *testing.T, s *scene) {
	for _, modern := range eras() {
		gil := s.Client("gil", "echo", modern)
		if names := gil.List().Names(); len(names) != 0 {
			t.Errorf("a person of globex lists %v of acme", names)
		}
		if answer := s.call(gil, "echo", map[string]any{"text": "x"}); answer.Reply.Error == nil {
			t.Errorf("a person of globex called a tool of acme: %s", answer.Body)
		}
	}
	for _, args := range [][]string{{"get", "Person"}, {"audit", "search", "--tenant", "acme"}, {"kill", "person", "ana", "--tenant", "acme"}, {"server", "show", "echo", "--tenant", "acme"}} {
		if code, out, _ := s.CLI("gil", args...); code != 4 {
			t.Errorf("headgate %v as a person of another tenant: exit %d: %s", args, code, out)
		}
	}
}
