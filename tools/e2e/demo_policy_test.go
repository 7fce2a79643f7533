package e2e

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// explained asks why, and what would be, with the command line.
func explained(t *testing.T, c *company) {
	for _, want := range []struct {
		code int
		says []string
		args []string
	}{
		{3, []string{"escalate: close_ticket on tickets needs the approval of role supervisor", "sam → ", "+ tickets/high-priority-needs-a-supervisor (escalate)",
			`+ facts.ticket.priority == "high"`, `+ !("supervisor" in principal.roles)`, "+ tickets/support-may-close (allow)"},
			[]string{"--as", "sam", "--tool", "tickets.close_ticket", "--args", `{"id":"T-2"}`, "--facts", `{"ticket":{"priority":"high"}}`}},
		{0, []string{"allow: allowed by tickets/support-may-close", "given, not read: fact tickets/ticket", `- facts.ticket.priority == "high"`},
			[]string{"--as", "sam", "--tool", "tickets.close_ticket", "--args", `{"id":"T-1"}`, "--facts", `{"ticket":{"priority":"normal"}}`}},
		{3, []string{"undecided: needs fact tickets/ticket (--facts)", "not known: fact tickets/ticket"}, []string{"--as", "sam", "--tool", "tickets.close_ticket", "--args", `{"id":"T-1"}`}},
		{3, []string{"block:", "relation: none"}, []string{"--as", "carl", "--tool", "tickets.close_ticket", "--args", `{"id":"T-1"}`}},
		{3, []string{`block: The tool "close_tickt" is not known; the nearest is "close_ticket".`}, []string{"--as", "sam", "--tool", "tickets.close_tickt"}},
		{2, nil, []string{"--as", "samm", "--tool", "tickets.get_ticket"}}, {2, nil, []string{"--as", "sam", "--agent", "nobody", "--tool", "tickets.get_ticket"}},
		{2, nil, []string{"--as", "sam", "--tool", "tickets"}}, {2, nil, []string{"--as", "sam", "--tool", "tickets.x", "--at", "noon"}},
	} {
		args := append([]string{"policy", "explain", "--tenant", "acme"}, want.args...)
		code, out, words := c.CLI("admin", args...)
		if code != want.code {
			t.Errorf("%v: exit %d: %s%s", want.args, code, out, words)
		}
		for _, says := range want.says {
			if !strings.Contains(out, says) {
				t.Errorf("%v does not say %q: %s", want.args, says, out)
			}
		}
	}
	typo := c.file(t, "typo.yaml", policyFor("tickets", "tickets", "list_tickets", `args.statuss == "open"`, "block"))
	if code, out, words := c.CLI("admin", "apply", "--dry-run", "-f", typo); code != 1 || !strings.Contains(words, `line 1, column 5: the argument "statuss" is not known`) {
		t.Errorf("an argument that the tool has not: exit %d: %s%s", code, out, words)
	}
	sam := c.Client("sam", "tickets", true)
	if answer := sam.Call("get_ticket", map[string]any{"id": "T-1"}); !answer.OK() {
		t.Fatalf("%s", answer.Body)
	}
	stops := c.file(t, "stops.yaml", policyFor("no-reading", "tickets", "get_ticket", `"support" in principal.roles`, "block"))
	product.Eventually(t, time.Minute, "the record has the call, and replay finds that it would be refused", func() bool {
		code, out, _ := c.CLI("admin", "policy", "replay", "--tenant", "acme", "-f", stops)
		return code == 3 && strings.Contains(out, "tickets.get_ticket") && strings.Contains(out, "block (no-reading/r)")
	})
	same := c.file(t, "same.yaml", policyFor("no-reading", "tickets", "get_ticket", "false", "block"))
	if code, out, words := c.CLI("admin", "policy", "replay", "--tenant", "acme", "-f", same); code != 0 || !strings.Contains(words, "recorded calls were decided anew") {
		t.Errorf("a policy that changes nothing: exit %d: %s%s", code, out, words)
	}
}

// owned applies what a repository declares, and prunes what it declares no more.
func owned(t *testing.T, c *company) {
	both := policyFor("from-git-one", "docs", "read_doc", "false", "block") + "---\n" + policyFor("from-git-two", "docs", "read_doc", "false", "block")
	one := policyFor("from-git-one", "docs", "read_doc", "false", "block")
	all, less := c.file(t, "all.yaml", both), c.file(t, "less.yaml", one)
	changed := c.file(t, "changed.yaml", policyFor("from-git-one", "docs", "read_doc", "true", "block"))
	for _, want := range []struct {
		code int
		says string
		args []string
	}{
		{2, "", []string{"apply", "-f", all, "--prune"}},
		{0, "created", []string{"apply", "-f", all, "--owner", "git"}},
		{0, "", []string{"diff", "-f", all}},
		{1, "is declared by git", []string{"apply", "-f", less}},
		{1, "is declared by git", []string{"apply", "-f", less, "--owner", "somebody"}},
		{1, "is declared by git", []string{"delete", "Policy", "from-git-two", "--tenant", "acme"}},
		{0, "deleted", []string{"apply", "-f", less, "--owner", "git", "--prune", "--dry-run"}},
		{0, "from-git-two", []string{"get", "Policy", "from-git-two", "--tenant", "acme"}},
		{0, "deleted", []string{"apply", "-f", less, "--owner", "git", "--prune"}},
		{1, "There is no Policy from-git-two", []string{"get", "Policy", "from-git-two", "--tenant", "acme"}},
		{0, "tickets", []string{"get", "Policy", "tickets", "--tenant", "acme"}},
		{0, "created", []string{"policy", "history", "from-git-one", "--tenant", "acme"}},
		{1, "is declared by git", []string{"apply", "-f", changed}},
		{0, "updated", []string{"apply", "-f", changed, "--take-over"}},
		{3, "+ ", []string{"policy", "diff", "from-git-one", "--tenant", "acme", "--from", "1"}},
		{0, "updated", []string{"policy", "rollback", "from-git-one", "--tenant", "acme", "--to", "1"}},
		{0, "rolled-back to 1", []string{"policy", "history", "from-git-one", "--tenant", "acme"}},
		{1, "no version 9", []string{"policy", "rollback", "from-git-one", "--tenant", "acme", "--to", "9"}},
		{2, "--to", []string{"policy", "rollback", "from-git-one", "--tenant", "acme"}},
		{0, "deleted Policy", []string{"delete", "Policy", "from-git-one", "--tenant", "acme"}},
		{0, "created", []string{"policy", "rollback", "from-git-one", "--tenant", "acme", "--to", "2"}},
		{0, "deleted Policy", []string{"delete", "Policy", "from-git-one", "--tenant", "acme"}},
	} {
		if code, out, words := c.CLI("admin", want.args...); code != want.code || !strings.Contains(out+words, want.says) {
			t.Errorf("%v: exit %d: %s%s", want.args, code, out, words)
		}
	}
}

func policyFor(name, server, tool, when, effect string) string {
	return "{apiVersion: headgate/v1, kind: Policy, metadata: {name: " + name + ", tenant: acme}, spec: {match: {server: " + server + ", tools: [" + tool +
		"]}, default: allow, rules: [{name: r, when: '" + when + "', effect: " + effect + "}]}}\n"
}
