package e2e

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/e2e/product"
)

// rendered is the demo's seed as this run applied it, in a file. The servers' credentials are not known outside: they are some other text.
func (c *company) rendered(t *testing.T) string {
	t.Helper()
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "services", "headgate", "internal", "demo", "seed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	filled := regexp.MustCompile(`\{\{(url|host|secret) "(\w+)"\}\}`).ReplaceAllStringFunc(string(text), func(hole string) string {
		words := strings.Fields(strings.Trim(hole, "{}"))
		name := strings.Trim(words[1], `"`)
		switch words[0] {
		case "url":
			return c.server(t, name)
		case "host":
			at, err := url.Parse(c.server(t, name))
			if err != nil {
				t.Fatal(err)
			}
			return at.Host
		}
		return "another-secret"
	})
	return c.file(t, "seed.yaml", filled)
}

func (c *company) file(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func seedInForce(t *testing.T, c *company) {
	seed := c.rendered(t)
	var results []struct {
		Policy, Test, Note string
		OK                 bool
	}
	if err := json.Unmarshal([]byte(c.MustCLI("admin", "policy", "test", "-f", seed, "-o", "json")), &results); err != nil || len(results) < 20 {
		t.Fatalf("policy test printed %d results: %v", len(results), err)
	}
	for _, one := range results {
		if !one.OK {
			t.Errorf("%s: %s: %s", one.Policy, one.Test, one.Note)
		}
	}
	if code, out, words := c.CLI("admin", "diff", "-f", seed); code != 0 || out != "" {
		t.Errorf("the seed differs from what is in force: exit %d: %s%s", code, out, words)
	}
	text, err := os.ReadFile(seed)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(text), "clamp: {max: 100}", "clamp: {max: 50}", 1)
	failing := c.file(t, "failing.yaml", broken)
	if code, out, _ := c.CLI("admin", "policy", "test", "-f", failing); code != 3 || !strings.Contains(out, "false") {
		t.Errorf("a policy that breaks its test: exit %d: %s", code, out)
	}
	if code, out, words := c.CLI("admin", "apply", "-f", failing); code != 1 || !strings.Contains(words, "everything becomes a page") {
		t.Errorf("a policy that breaks its test was applied: exit %d: %s%s", code, out, words)
	}
	changed := c.file(t, "changed.yaml", strings.Replace(broken, "expectArgs: {limit: 100,", "expectArgs: {limit: 50,", 1))
	if code, out, _ := c.CLI("admin", "diff", "-f", changed); code != 3 || !strings.Contains(out, "-") || !strings.Contains(out, "max: 50") {
		t.Errorf("diff of a changed policy: exit %d: %s", code, out)
	}
	dry := c.MustCLI("admin", "apply", "--dry-run", "-f", changed, "-o", "json")
	var changes []struct {
		Kind, Name, Action string
		DryRun             bool
	}
	if err := json.Unmarshal([]byte(dry), &changes); err != nil {
		t.Fatal(err)
	}
	actions := map[string][]string{}
	for _, change := range changes {
		if !change.DryRun {
			t.Errorf("%v is no dry run", change)
		}
		actions[change.Action] = append(actions[change.Action], change.Kind+" "+change.Name)
	}
	if got := strings.Join(actions["updated"], ", "); !strings.Contains(got, "Policy crm-lists") || len(actions["created"])+len(actions["deleted"]) > 0 || len(actions["unchanged"]) < 20 {
		t.Errorf("a dry run of one changed policy says %v", actions)
	}
	misspelt := c.file(t, "misspelt.yaml", `apiVersion: headgate/v1
kind: Policy
metadata: {name: misspelt, tenant: acme}
spec:
  match: {server: tickets, tools: [close_tikcet]}
  rules: [{name: r, when: '"suppport" in principal.roles', effect: allow}]
`)
	code, out, words := c.CLI("admin", "apply", "--dry-run", "-f", misspelt)
	for _, says := range []string{`warning: misspelt: Rule r: the role "suppport" is not known; the nearest is "support".`, `the nearest is "close_ticket"`} {
		if code != 0 || !strings.Contains(out, "created") || !strings.Contains(words, says) {
			t.Errorf("a dry run of a misspelt policy: exit %d: %s%s", code, out, words)
		}
	}
	if code, _, _ := c.CLI("admin", "diff", "-f", seed); code != 0 {
		t.Error("a dry run changed something")
	}
}

func demoCommands(t *testing.T, c *company) {
	role := c.file(t, "role.yaml", "{apiVersion: headgate/v1, kind: Role, metadata: {name: night, tenant: acme}, spec: {grants: [{server: docs, tools: [read_doc], can: see}]}}\n")
	broken := c.file(t, "broken.yaml", "{apiVersion: headgate/v1, kind: Role, metadata: {name: night, tenant: acme}, spec: {grants: [{server: docs, can: fly}]}}\n")
	for _, want := range []struct {
		person string
		code   int
		says   string // part of what is printed, data or words
		args   []string
	}{
		{"admin", 3, "night", []string{"diff", "-f", role}},
		{"admin", 0, "created", []string{"apply", "-f", role, "--dry-run"}},
		{"admin", 1, "There is no Role night", []string{"get", "Role", "night", "--tenant", "acme"}},
		{"sam", 4, "", []string{"apply", "-f", role}},
		{"admin", 1, "broken.yaml:1", []string{"apply", "-f", broken}},
		{"admin", 0, "created", []string{"apply", "-f", role}},
		{"admin", 0, "unchanged", []string{"apply", "-f", role}},
		{"admin", 0, "", []string{"diff", "-f", role}},
		{"admin", 0, "can: see", []string{"get", "role", "night", "-o", "yaml"}},
		{"admin", 0, `"night"`, []string{"get", "roles", "-o", "json"}},
		{"sam", 4, "", []string{"delete", "Role", "night"}},
		{"admin", 0, "deleted Role night", []string{"delete", "Role", "night"}},
		{"admin", 1, "There is no Role night", []string{"delete", "Role", "night"}},
		{"admin", 2, "", []string{"delete", "Role"}}, {"admin", 2, "", []string{"apply"}}, {"admin", 2, "", []string{"diff"}}, {"admin", 2, "", []string{"policy", "test"}},
		{"admin", 0, "__start_headgate", []string{"completion", "bash"}},
		{"admin", 0, `"edge hears authz"`, []string{"doctor", "-o", "json"}},
		{"admin", 0, `"roles": []`, []string{"whoami", "-o", "json"}},
		{"sam", 0, "support", []string{"whoami"}},
		{"admin", 2, "", []string{"get", "Role", "-o", "xml"}},
		{"admin", 6, "does not answer", []string{"get", "Role", "--api", "http://127.0.0.1:9"}},
		{"admin", 1, "not an agent", []string{"token", "sam", "--agent", "nobody"}},
		{"sam", 4, "", []string{"token", "ana"}},
		{"sam", 4, "", []string{"kill", "agent", "desk-assistant"}},
		{"admin", 2, "", []string{"kill", "planet", "mars"}},
		{"admin", 1, "Nothing was stopped", []string{"kill", "person", "ghost"}},
		{"admin", 1, "Nothing was stopped", []string{"kill", "agent", "ghost", "--tenant", "acme"}},
		{"admin", 1, "Nothing was stopped", []string{"kill", "server", "ghost"}},
		{"admin", 1, "Nothing was stopped", []string{"kill", "tool", "crm.ghost"}},
		{"sam", 0, "a right that you do not have", []string{"doctor"}},
		{"admin", 2, "--effect takes", []string{"audit", "search", "--effect", "explode"}},
		{"sam", 4, "", []string{"grants", "unused"}},
		{"admin", 2, "--days takes", []string{"grants", "unused", "--days", "0"}},
		{"admin", 0, "The records begin later", []string{"grants", "unused", "--days", "30"}},
		{"admin", 0, "and no other", []string{"relations", "check"}},
		{"admin", 0, "and no other", []string{"relations", "mend"}},
		{"sam", 4, "", []string{"relations", "mend"}},
		{"admin", 0, "in use, carried by this version", []string{"relations", "models"}},
		{"admin", 1, "No other model was in use before", []string{"relations", "use", "previous"}},
		{"admin", 2, "24h", []string{"token", "sam", "--ttl", "48h"}},
		{"admin", 2, "", []string{"audit", "search", "--limit", "0"}},
	} {
		code, out, words := c.CLI(want.person, want.args...)
		if code != want.code || !strings.Contains(out+words, want.says) {
			t.Errorf("headgate %v as %s: exit %d, not %d, or it does not say %q: %s%s", want.args, want.person, code, want.code, want.says, out, words)
		}
	}
	// What get prints, diff reads again.
	all := c.file(t, "all.yaml", c.MustCLI("admin", "get", "Policy", "-o", "yaml"))
	if code, out, words := c.CLI("admin", "diff", "-f", all); code != 0 || strings.Count(c.MustCLI("admin", "policy", "test", "-f", all), "crm-") < 8 {
		t.Errorf("diff of what get printed: exit %d: %s%s", code, out, words)
	}
	searches(t, c)
	attributed(t, c)
}

// attributed looks at what the record says of administrators and services: who did it, from where, in which request; whom somebody looked up; that services began.
func attributed(t *testing.T, c *company) {
	t.Helper()
	requests := map[string]bool{}
	looked := false
	for _, call := range c.Records("--action", "api-call") {
		if !strings.HasPrefix(call.Get("headgate.rpc.method"), "/headgate.") || call.Get("mcp.method.name") != "" || call.Get("source.ip") == "" {
			t.Errorf("a call of the API is recorded as %v", call)
			break
		}
		requests[call.Get("http.request.id")] = true
		looked = looked || call.Get("headgate.rpc.method") == "/headgate.audit.v1.AuditService/Search" && strings.Contains(call.Get("event.reason"), `person="sam"`)
	}
	if !looked {
		t.Error("nobody can tell whom the record was searched for")
	}
	for _, action := range []string{"resource-applied", "kill", "token-issued", "server-approved"} {
		found := c.Records("--action", action)
		if len(found) == 0 {
			t.Errorf("no record of %s", action)
		}
		for _, record := range found {
			own := strings.HasPrefix(record.Get("user.id"), "service:")
			if !own && (record.Get("source.ip") == "" || !requests[record.Get("http.request.id")]) {
				t.Errorf("%s is recorded as %v", action, record)
				break
			}
		}
	}
	for _, service := range []string{"identity", "authz", "trust", "credentials", "audit", "edge"} {
		if len(c.Records("--action", "service-started", "-q", service)) == 0 {
			t.Errorf("nothing says when %s started", service)
		}
	}
	for _, record := range c.Records("-q", "unauthenticated") {
		if record.Get("event.provider") == "edge" && (record.Get("organization.id") != "system" || record.Get("http.request.method") == "") {
			t.Errorf("a request of nobody is recorded as %v", record)
		}
	}
}

// searches tries each filter of the record: what it finds fits, and it finds something.
func searches(t *testing.T, c *company) {
	t.Helper()
	for _, filter := range []struct {
		args        []string
		field, want string
	}{
		{[]string{"--person", "sam"}, "user.name", "sam"},
		{[]string{"--agent", "desk-assistant"}, "gen_ai.agent.id", "desk-assistant"},
		{[]string{"--server", "sql"}, "headgate.server.id", "sql"},
		{[]string{"--tool", "close_ticket"}, "gen_ai.tool.name", "close_ticket"},
		{[]string{"--effect", "escalate"}, "headgate.decision.effect", "escalate"},
		{[]string{"--effect", "modify"}, "headgate.decision.effect", "modify"},
		{[]string{"--action", "kill"}, "event.action", "kill"},
		{[]string{"--tenant", "acme", "--action", "tool-call"}, "organization.id", "acme"},
		{[]string{"-q", "seniors-deploy", "--rule", "deployments/seniors-deploy"}, "rule.name", "seniors-deploy"},
		{[]string{"-q", "nobody-deletes-all", "--person", "adam"}, "event.kind", "alert"},
	} {
		found := c.Records(filter.args...)
		if len(found) == 0 {
			t.Errorf("audit search %v finds nothing", filter.args)
		}
		for _, record := range found {
			if got := record.Get(filter.field); got != filter.want {
				t.Errorf("audit search %v: %s is %q: %v", filter.args, filter.field, got, record)
				break
			}
		}
	}
	for _, none := range [][]string{{"--person", "nobody"}, {"--tenant", "nowhere"}, {"--server", "sql", "--tool", "close_ticket"}, {"-q", "no-such-word"}} {
		if found := c.Records(none...); len(found) != 0 {
			t.Errorf("audit search %v finds %d records", none, len(found))
		}
	}
	if found := c.Records("--limit", "3"); len(found) != 3 {
		t.Errorf("--limit 3 finds %d records", len(found))
	}
	// What there is more of is behind the cursor that a search ends with, and an instant says when as well as how long ago.
	_, out, words := c.CLI("admin", "audit", "search", "--limit", "2", "-o", "json", "--since", "2020-01-01", "--until", time.Now().UTC().Format(time.RFC3339Nano))
	_, cursor, _ := strings.Cut(strings.TrimSpace(words), "--cursor ")
	_, rest, _ := c.CLI("admin", "audit", "search", "--limit", "1", "-o", "json", "--cursor", cursor)
	var first, behind []product.Record
	if json.Unmarshal([]byte(out), &first) != nil || json.Unmarshal([]byte(rest), &behind) != nil || len(first) != 2 || len(behind) != 1 || behind[0].Get("event.id") == first[1].Get("event.id") {
		t.Errorf("the cursor %q of %s goes on with %s", cursor, out, rest)
	}
	// A person of a tenant reads its record with the right to, and no other tenant's.
	if code, out, _ := c.CLI("olga", "audit", "search", "--person", "sam", "-o", "json"); code != 0 || !strings.Contains(out, "sam") {
		t.Errorf("the security officer cannot search: exit %d", code)
	}
	if code, out, _ := c.CLI("olga", "audit", "search", "--tenant", "system"); code != 4 {
		t.Errorf("a person of acme searches the record of another tenant: exit %d: %s", code, out)
	}
	// Without the right, a person reads what they did and nothing else.
	for _, args := range [][]string{{}, {"--person", "adam"}, {"-q", "nobody-deletes-all"}} {
		code, out, words := c.CLI("sam", append([]string{"audit", "search", "-o", "json"}, args...)...)
		var own []product.Record
		if err := json.Unmarshal([]byte(out), &own); code == 0 && err != nil || code != 0 && code != 4 || len(own) == 0 && len(args) == 0 {
			t.Errorf("sam searches %v: exit %d: %v %s%.300s", args, code, err, words, out)
		}
		for _, record := range own {
			if record.Get("user.name") != "sam" {
				t.Errorf("sam searches %v and reads %v", args, record)
				break
			}
		}
	}
}
