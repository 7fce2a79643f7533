// Package product starts the real Headgate for end-to-end tests, in either shape: everything in one process, or six processes with mutual TLS.
// Tests act through the front doors: the MCP endpoints, the API, the command line.
package product

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// readyWithin is generous: a test machine compiles and runs other things at the same time.
const readyWithin = 60 * time.Second

// Shape is how Headgate runs.
type Shape string

// The two shapes: one suite runs against both. Balanced is Stack with something before its two edges that gives each request to the next.
const (
	Dev      Shape = "dev"
	Stack    Shape = "stack"
	Balanced Shape = "balanced"
)

// Shapes are all of them.
func Shapes() []Shape { return []Shape{Dev, Stack} }

// Product is a running Headgate.
type Product struct {
	t      testing.TB
	binary string
	dir    string
	flags  []string
	info   stack.Info
	dev    *proc.Process
	stack  *stack.Stack
}

// Start runs Headgate with the resources that yaml declares and waits until it is ready. The test's end stops it.
func Start(t testing.TB, shape Shape, yaml string, flags ...string) *Product {
	t.Helper()
	p := &Product{t: t, binary: Binary(t), dir: t.TempDir(), flags: flags}
	t.Cleanup(p.Stop)
	p.declare(yaml)
	if shape == Stack || shape == Balanced {
		p.startStack(stack.Config{Edges: 2, Balanced: shape == Balanced})
		return p
	}
	p.StartAgain()
	return p
}

// StartStack runs Headgate as processes of their own in a way that cfg says; the binary and the folder are the test's.
func StartStack(t testing.TB, cfg stack.Config, yaml string) *Product {
	t.Helper()
	p := &Product{t: t, binary: Binary(t), dir: t.TempDir()}
	t.Cleanup(p.Stop)
	p.declare(yaml)
	p.startStack(cfg)
	return p
}

// declare keeps resources for the start.
func (p *Product) declare(yaml string) {
	p.t.Helper()
	if yaml == "" {
		return
	}
	file := filepath.Join(p.dir, "in.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.flags = append(p.flags, "-f", file)
}

func (p *Product) startStack(cfg stack.Config) {
	p.t.Helper()
	cfg.Binary, cfg.Dir = p.binary, p.dir
	s, err := stack.Start(cfg)
	p.stack = s
	if err != nil {
		p.t.Fatal(err)
	}
	p.info = s.Info()
	for i, flag := range p.flags {
		if flag == "-f" {
			if err := s.Apply(p.flags[i+1]); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	p.info = s.Info()
}

// StartAgain runs dev on the data that is there, after Kill.
func (p *Product) StartAgain() {
	p.t.Helper()
	ready := filepath.Join(p.dir, "ready.json")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	args := append([]string{"dev", "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--data", p.Data(), "--ready-file", ready}, p.flags...)
	started, err := proc.Start(filepath.Join(p.dir, "log"), nil, p.binary, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.dev = started
	text, err := started.WaitFile(ready, readyWithin)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &p.info); err != nil {
		p.t.Fatal(err)
	}
}

// Kill ends dev with SIGKILL.
func (p *Product) Kill() { p.dev.Kill() }

// Stack is the six processes; nil in the shape dev.
func (p *Product) Stack() *stack.Stack { return p.stack }

// Process is the one process of the shape dev.
func (p *Product) Process() *proc.Process { return p.dev }

// Stop ends Headgate and fails the test when it does not end as it should.
func (p *Product) Stop() {
	if p.stack != nil {
		p.stack.Stop()
	}
	if p.dev == nil {
		return
	}
	select {
	case <-p.dev.Done():
		return
	default:
	}
	p.dev.Stop()
	if code := p.dev.Cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("headgate dev ended with %d after SIGTERM: %s", code, p.dev.Tail())
	}
	if p.t.Failed() {
		p.t.Log(p.dev.Tail())
	}
}

// MCP is the URL of an endpoint: "" for all servers, a name for one.
func (p *Product) MCP(server string) string { return Endpoint(p.info.MCP, server) }

// Endpoint appends a server's name to the URL of an edge.
func Endpoint(base, server string) string {
	base = strings.TrimRight(base, "/")
	if !strings.HasSuffix(base, "/mcp") {
		base += "/mcp"
	}
	if server == "" {
		return base
	}
	return base + "/" + server
}

// T is the test that the product runs for.
func (p *Product) T() testing.TB { return p.t }

// LogsContain reports whether any process printed the text.
func (p *Product) LogsContain(text string) bool {
	found := false
	err := filepath.WalkDir(p.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), "log") {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
	return found
}

// Data is the folder in which dev keeps everything.
func (p *Product) Data() string { return filepath.Join(p.dir, "data") }

// Info is what the ready file says.
func (p *Product) Info() stack.Info { return p.info }

// Token is a person's access token.
func (p *Product) Token(person string) string {
	p.t.Helper()
	token := p.info.Tokens[person]
	if token == "" {
		p.t.Fatalf("the ready file has no token for %s", person)
	}
	return token
}

// Client talks MCP raw as a person.
func (p *Product) Client(person, server string, modern bool) *Client {
	return NewClient(p.t, p.MCP(server), p.Token(person), modern)
}

// CLI runs a command as a person and returns exit code, output and words.
func (p *Product) CLI(person string, args ...string) (code int, out, words string) {
	p.t.Helper()
	cmd := exec.Command(p.binary, args...)
	cmd.Env = append(os.Environ(), "HEADGATE_API="+p.info.API, "HEADGATE_TOKEN="+p.Token(person))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// MustCLI is CLI for a command that has to succeed.
func (p *Product) MustCLI(person string, args ...string) string {
	p.t.Helper()
	code, out, words := p.CLI(person, args...)
	if code != 0 {
		p.t.Fatalf("headgate %s: exit %d: %s%s", strings.Join(args, " "), code, out, words)
	}
	return out
}

// Apply applies resources as the administrator.
func (p *Product) Apply(yaml string) {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "apply.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.MustCLI("admin", "apply", "-f", file)
}

// Records searches the audit record as the administrator, newest first.
func (p *Product) Records(args ...string) []Record {
	p.t.Helper()
	out := p.MustCLI("admin", append([]string{"audit", "search", "-o", "json", "--since", "1h", "--limit", "100000"}, args...)...)
	var found []map[string]any
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		p.t.Fatalf("audit search printed no JSON: %v: %.300s", err, out)
	}
	records := make([]Record, len(found))
	for i, one := range found {
		records[i] = one
	}
	return records
}

// Record is one ECS document.
type Record map[string]any

// Get reads a field by its dotted path, as text; "" when it is not there.
func (r Record) Get(path string) string {
	var value any = map[string]any(r)
	for key := range strings.SplitSeq(path, ".") {
		object, ok := value.(map[string]any)
		if !ok {
			return ""
		}
		value = object[key]
	}
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// Eventually polls until the condition holds and fails the test when it does not within the limit. It returns how long it took.
func Eventually(t testing.TB, limit time.Duration, what string, condition func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if condition() {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		<-tick.C
	}
}

// Pause stops a process without ending it, and Resume lets it go on.
func Pause(t testing.TB, process *proc.Process) {
	t.Helper()
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// Resume takes Pause back.
func Resume(t testing.TB, process *proc.Process) {
	t.Helper()
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
