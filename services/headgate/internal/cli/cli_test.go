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
		{"apply"}, {"apply", "--nonsense"}, {"whoami", "-o", "xml"}, {"serve"}, {"serve", "nothing", "--config", "x"}, {"serve", "edge"}, {"dev", "--data", "x", "--ephemeral"},
		{"whoami", "--api", "nonsense"}, {"token"}, {"policy"},
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
