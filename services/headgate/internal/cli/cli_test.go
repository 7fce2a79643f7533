package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/services/headgate/internal/cli"
)

// run is one command line with nothing in its environment but a token that is good nowhere.
func run(t *testing.T, args ...string) (code int, out, words string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": "http://127.0.0.1:9"}
	code = cli.Run(t.Context(), args, cli.IO{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Env: func(key string) string { return env[key] }})
	return code, stdout.String(), stderr.String()
}

func TestWrongUsageIsTwoAndSaysWhatToDo(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"}, {"get"}, {"get", "Nothing"}, {"get", "Server", "a", "b"}, {"delete", "Server"}, {"server"}, {"server", "dance"}, {"server", "show"},
		{"kill", "planet", "earth"}, {"kill", "person"}, {"audit"}, {"audit", "search", "--limit", "0"}, {"audit", "search", "--since", "-1h"}, {"audit", "search", "--since", "soon"},
		{"audit", "search", "--since", "2026-13-01"}, {"audit", "search", "--since", "2026-11-02", "--until", "2026-11-01T00:00:00+02:00"}, {"audit", "search", "--outcome", "well"},
		{"audit", "search", "--cursor", "nonsense"}, {"audit", "search", "--cursor", "MQ", "--since", "1h"},
		{"audit", "export"}, {"audit", "export", "--out", "-", "--format", "xml"}, {"audit", "export", "--out", "-", "--resume"}, {"audit", "export", "--out", "-", "--since", "1h", "--until", "2h"},
		{"audit", "verify"}, {"audit", "verify", "file"}, {"audit", "verify", "file", "--key", "none"}, {"audit", "prove"}, {"audit", "report"}, {"audit", "report", "weather"}, {"audit", "report", "denied", "--format", "pdf"}, {"audit", "tail"}, {"audit", "tail", "-f", "--effect", "no"},
		{"audit", "search", "-q", "\xff"}, {"audit", "export", "--out", "-", "--person", "a\xff"}, {"audit", "tail", "-f", "--rule", "\xc3("}, {"audit", "report", "person", "--person", "\xff"},
		{"apply"}, {"apply", "--nonsense"}, {"whoami", "-o", "xml"}, {"serve"}, {"serve", "nothing", "--config", "x"}, {"serve", "edge"}, {"dev", "--data", "x", "--ephemeral"},
		{"whoami", "--api", "nonsense"}, {"token"}, {"policy"}, {"relations", "put"}, {"relations", "put", "resource:ticket/17#owner"},
		{"relations", "remove", "resource:a/b#owner@person:x until noon"},
		{"stdio", "tickets"}, {"stdio", "--server", "Tickets"}, {"stdio", "--server", "a/b"}, {"stdio", "--server", ".."}, {"stdio", "--mcp", "nonsense"},
		{"stdio", "--mcp", "http://gateway.example/mcp"}, {"stdio", "--token-file", "/nowhere/token"}, {"stdio", "--token", "x", "--token-file", "x"},
	} {
		code, out, words := run(t, args...)
		if code != 2 || len(words) < 20 || out != "" {
			t.Errorf("headgate %s: exit %d, output %q, words %q", strings.Join(args, " "), code, out, words)
		}
	}
}

func TestUnreachableIsSix(t *testing.T) {
	for _, args := range [][]string{{"whoami"}, {"get", "Server"}, {"server", "list"}, {"audit", "search"}, {"kill", "person", "ana"}, {"doctor"}} {
		if code, _, words := run(t, args...); code != 6 || !strings.Contains(words, "127.0.0.1:9") {
			t.Errorf("headgate %s: exit %d, words %q", strings.Join(args, " "), code, words)
		}
	}
}

func TestBadFilesAreRefusedByFileAndLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: headgate/v1\nkind: Person\nmetadata: {name: ana, tenant: acme}\nspec:\n  email: nobody\n  surprise: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"apply", "diff"} {
		code, _, words := run(t, command, "-f", file)
		if code != 1 || !strings.Contains(words, "bad.yaml:6") || !strings.Contains(words, "surprise") {
			t.Errorf("headgate %s: exit %d, words %q", command, code, words)
		}
	}
	if code, _, words := run(t, "apply", "-f", filepath.Join(t.TempDir(), "missing.yaml")); code != 1 || !strings.Contains(words, "missing.yaml") {
		t.Errorf("a missing file: exit %d, words %q", code, words)
	}
}

func TestPolicyTestsRunWithoutAServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	text := `apiVersion: headgate/v1
kind: Policy
metadata: {name: small, tenant: acme}
spec:
  match: {server: echo, tools: [echo]}
  rules: [{name: large, when: args.n > 10, effect: block}, {name: rest, when: 'true', effect: allow}]
  tests:
    - {name: eleven, args: {n: 11}, expect: block}
    - {name: ten, args: {n: 10}, expect: EXPECTED}
`
	for expected, want := range map[string]int{"allow": 0, "block": 3} {
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "EXPECTED", expected)), 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, words := run(t, "policy", "test", "-f", file)
		if code != want || !strings.Contains(out, "eleven") || !strings.Contains(out, "ten") {
			t.Errorf("expecting %s: exit %d: %s%s", expected, code, out, words)
		}
	}
}

func TestWhatIsInstalledInElasticsearchIsShownWithoutIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.yaml")
	text := "listen: 127.0.0.1:1\ndiagnostics: 127.0.0.1:2\njournal: {dir: /nowhere}\nkafka: {brokers: [127.0.0.1:3]}\n" +
		"service: {kafka: {brokers: [127.0.0.1:3]}, elasticsearch: {addresses: [\"http://127.0.0.1:4\"], name: bank}, ledger: {dir: /nowhere/ledger}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, "audit", "install", "--config", file, "--print")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	for _, want := range []string{"PUT _index_template/logs-bank.audit\n", "PUT _index_template/logs-bank.anomaly\n", `"logs-bank.audit-*"`, "PUT _component_template/bank.audit@mappings\n",
		"# kafka-topics.sh --create --if-not-exists --topic headgate.audit.v1 --partitions 6 --replication-factor 3 --config cleanup.policy=delete --config min.insync.replicas=2 ",
		"# kafka-acls.sh --add --allow-principal User:headgate-edge --operation write --topic headgate.audit.v1\n",
		"# kafka-acls.sh --add --allow-principal User:headgate-replay --operation read --group headgate.audit.replay --resource-pattern-type prefixed\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not shown", want)
		}
	}
	if code, _, errs := run(t, "audit", "install", "--config", file); code != 6 || !strings.Contains(errs, "Elasticsearch cannot be reached") {
		t.Errorf("without Elasticsearch: %d %s", code, errs)
	}
	if code, _, errs := run(t, "audit", "install", "--config", file, "--only", "kafka"); code == 0 || code == 2 || strings.Contains(errs, "Elasticsearch") {
		t.Errorf("without Kafka: %d %s", code, errs)
	}
	if code, _, errs := run(t, "audit", "install", "--config", file, "--kafka-user", "me"); code != 2 || !strings.Contains(errs, "--kafka-password-file") {
		t.Errorf("without a password: %d %s", code, errs)
	}
	if code, _, errs := run(t, "audit", "install", "--config", file, "--only", "nothing"); code != 2 || !strings.Contains(errs, "--only") {
		t.Errorf("only nothing: %d %s", code, errs)
	}
	if code, _, errs := run(t, "audit", "install"); code != 2 || !strings.Contains(errs, "--config") {
		t.Errorf("without a file: %d %s", code, errs)
	}
}

func TestPolicyTestWarnsOfPoliciesThatFightAndOfRolesAndGroupsThatNobodyDeclares(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fight.yaml")
	policy := func(name, when, effect string) string {
		return "{apiVersion: headgate/v1, kind: Policy, metadata: {name: " + name + ", tenant: acme}, spec: {match: {server: s, tools: [t]}, default: allow, rules: [{name: r, when: '" +
			when + "', effect: " + effect + "}], tests: [{name: x, as: {roles: [support2]}, expect: " + effect + "}]}}\n---\n"
	}
	text := policy("opens", `"support2" in principal.roles`, "allow") + policy("shuts", `"support2" in principal.roles`, "block") +
		policy("grouped", `"carre" in principal.groups`, "allow") +
		"{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {}}\n---\n{apiVersion: headgate/v1, kind: Group, metadata: {name: care, tenant: acme}, spec: {}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, words := run(t, "policy", "test", "-f", file)
	for _, says := range []string{
		`opens: Rule r: the role "support2" is not known; the nearest is "support".`, `grouped: Rule r: the group "carre" is not known; the nearest is "care".`,
		"Policies opens and shuts fight: what rule opens/r lets pass (allow), rule shuts/r always refuses",
	} {
		if code != 0 || !strings.Contains(words, says) {
			t.Errorf("exit %d, does not say %q: %s", code, says, words)
		}
	}
}

func TestPolicyTestTakesCalendarsFromTheSameFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	calendar := "apiVersion: headgate/v1\nkind: Calendar\nmetadata: {name: berlin, tenant: acme}\nspec:\n  ical: |\n    BEGIN:VCALENDAR\n    BEGIN:VEVENT\n" +
		"    DTSTART:20201225\n    RRULE:FREQ=YEARLY\n    END:VEVENT\n    END:VCALENDAR\n"
	write("policy.yaml", `{apiVersion: headgate/v1, kind: Policy, metadata: {name: hours, tenant: acme}, spec: {match: {server: s, tools: [t]}, default: allow,
  rules: [{name: off, when: 'holiday(request.time, "UTC", "berlin")', effect: block}],
  tests: [{name: Christmas, at: "2026-12-25T12:00:00Z", expect: block}, {name: Boxing Day, at: "2026-12-26T12:00:00Z", expect: allow}]}}`)
	if code, _, words := run(t, "policy", "test", "-f", dir); code == 0 || !strings.Contains(words, `the calendar "berlin" is not known`) {
		t.Errorf("without the calendar: exit %d: %s", code, words)
	}
	write("calendar.yaml", calendar)
	if code, out, words := run(t, "policy", "test", "-f", dir); code != 0 || !strings.Contains(out, "Christmas") {
		t.Errorf("with it: exit %d: %s%s", code, out, words)
	}
	write("calendar.yaml", strings.Replace(calendar, "YEARLY", "DAILY", 1))
	if code, _, words := run(t, "policy", "test", "-f", dir); code == 0 || !strings.Contains(words, "Calendar berlin: line 4 of the calendar") {
		t.Errorf("with one that is not understood: exit %d: %s", code, words)
	}
}
