package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// greeter is a server as a program, with more of its spec.
func greeter(t *testing.T, name, more string) string {
	t.Helper()
	path, err := stack.Build("./tools/e2e/greeter")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
apiVersion: headgate/v1
kind: Server
metadata: {name: %s, tenant: acme}
spec: {approve: initial, stdio: {command: [%q]%s}}
`, name, path, more)
}

func guests(server string) string {
	return fmt.Sprintf(`
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [guest]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: bob, tenant: acme}, spec: {email: bob@acme.example, roles: [guest]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: guest, tenant: acme}, spec: {grants: [{server: %s, tools: ["*"], can: call}]}}
`, server)
}

// self is the number and the variables of the process that a call reaches.
func self(t *testing.T, c *product.Client) (pid string, env []string) {
	t.Helper()
	answer := c.Call("self", nil)
	if !answer.OK() {
		t.Fatalf("%s", answer.Body)
	}
	lines := strings.Split(answer.Text(), "\n")
	return lines[0], lines[1:]
}

func runs(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, rest, _ := strings.Cut(string(status), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

// TestAProgramOfTheFilesIsServed starts headgate dev with a server on standard input and output, looks at it as people do, and ends headgate by force.
func TestAProgramOfTheFilesIsServed(t *testing.T) {
	t.Setenv("GREETER_KEY", "s3cret-of-the-operator")
	p := product.Start(t, product.Dev, greeter(t, "greeter", `, env: {MODE: strict}, inherit: [GREETER_KEY], scope: person`)+guests("greeter"), "--no-demo")
	var pids []string
	for _, person := range []string{"ana", "bob"} {
		for _, modern := range []bool{true, false} {
			c := p.Client(person, "greeter", modern)
			if names := c.List().Names(); strings.Join(names, " ") != "greet self" {
				t.Fatalf("%s lists %v", person, names)
			}
			if answer := c.Call("greet", map[string]any{"name": person}); answer.Text() != "hello "+person {
				t.Errorf("%s", answer.Body)
			}
		}
		pid, env := self(t, p.Client(person, "greeter", true))
		pids = append(pids, pid)
		for _, one := range env {
			name, value, _ := strings.Cut(one, "=")
			if !strings.Contains(" PATH HOME LANG MODE GREETER_KEY ", " "+name+" ") || name == "GREETER_KEY" && value != "[redacted:credential]" {
				t.Errorf("it has %s", one)
			}
		}
	}
	if pids[0] == pids[1] {
		t.Error("two people have one process")
	}
	shown := p.MustCLI("admin", "server", "show", "greeter", "--tenant", "acme")
	for _, word := range []string{"command", "e2e/greeter", "approved", "greet", "self", "initial"} {
		if !strings.Contains(shown, word) {
			t.Errorf("server show does not say %q: %s", word, shown)
		}
	}
	if code, out, words := p.CLI("admin", "server", "diff", "greeter", "--tenant", "acme"); code != 0 {
		t.Errorf("server diff: %d %s%s", code, out, words)
	}
	product.Eventually(t, 10*time.Second, "the record names the program", func() bool {
		records := p.Records("--action", "tool-call")
		return len(records) > 0 && strings.HasPrefix(records[0].Get("server.address"), "stdio:greeter")
	})
	p.Kill()
	product.Eventually(t, 5*time.Second, "its processes end with it", func() bool { return !runs(pids[0]) && !runs(pids[1]) })
}

// TestT16AProgramThatOnlyTheAPINamedIsNotStarted applies servers to a headgate dev whose operator named no program, or only one.
func TestT16AProgramThatOnlyTheAPINamedIsNotStarted(t *testing.T) {
	path, err := stack.Build("./tools/e2e/greeter")
	if err != nil {
		t.Fatal(err)
	}
	p := product.Start(t, product.Dev, guests("greeter"), "--no-demo", "--allow-command", path)
	mark := filepath.Join(t.TempDir(), "started")
	for name, spec := range map[string]string{
		"another program":        fmt.Sprintf(`{command: ["/bin/sh", "-c", %q]}`, "touch "+mark),
		"a variable that runs":   fmt.Sprintf(`{command: [%q], env: {LD_PRELOAD: %q}}`, path, mark),
		"a variable of Headgate": fmt.Sprintf(`{command: [%q], inherit: [HEADGATE_TOKEN]}`, path),
		"a folder":               fmt.Sprintf(`{command: [%q], directory: /tmp}`, path),
	} {
		p.Apply(fmt.Sprintf("apiVersion: headgate/v1\nkind: Server\nmetadata: {name: greeter, tenant: acme}\nspec: {approve: initial, stdio: %s}\n", spec))
		answer := p.Client("ana", "greeter", true).List()
		if answer.OK() && len(answer.Names()) > 0 {
			t.Errorf("%s: %s", name, answer.Body)
		}
		if shown := p.MustCLI("admin", "server", "show", "greeter", "--tenant", "acme"); !strings.Contains(shown, "No edge has reported it yet") || !strings.Contains(shown, "pending") {
			t.Errorf("%s: %s", name, shown)
		}
		if code, _, words := p.CLI("admin", "server", "approve", "greeter", "--tenant", "acme"); code == 0 || !strings.Contains(words, "no edge has reported it yet") {
			t.Errorf("%s: %d %s", name, code, words)
		}
	}
	product.Eventually(t, 10*time.Second, "the log says what to allow", func() bool { return p.LogsContain("ask the operator to allow it in service.stdio.") })
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was started")
	}
	p.Apply(greeter(t, "greeter", "")) // what the operator did name
	product.Eventually(t, 15*time.Second, "it is served", func() bool { return len(p.Client("ana", "greeter", true).List().Names()) == 2 })
}
