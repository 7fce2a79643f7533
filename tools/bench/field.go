package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// field is everything that is measured: direct first.
type field struct {
	dir     string
	targets []target
	roles   []*exec.Cmd
	nginx   *proc.Process
	stack   *stack.Stack
}

const (
	// many is how many tools the server has whose list is asked for, shown how many of them the caller may see.
	many  = 1000
	shown = 900
)

// tenant has what an ordinary call meets: a role, three rules that match the tool, servers whose definitions are pinned.
const tenant = `
{apiVersion: headgate/v1, kind: Server, metadata: {name: spool, tenant: acme}, spec: {url: %[1]q, approve: initial, journal: spool}}
---
{apiVersion: headgate/v1, kind: Server, metadata: {name: strict, tenant: acme}, spec: {url: %[1]q, approve: initial, journal: strict}}
---
{apiVersion: headgate/v1, kind: Server, metadata: {name: many, tenant: acme}, spec: {url: %[2]q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [caller]}}
---
apiVersion: headgate/v1
kind: Role
metadata: {name: caller, tenant: acme}
spec:
  grants:
    - {server: spool, tools: ["*"], can: call}
    - {server: strict, tools: ["*"], can: call}
    - {server: many, tools: [%[3]s], can: call}
`

// rules are the policy of a server with tools that are called.
const rules = `---
apiVersion: headgate/v1
kind: Policy
metadata: {name: %[1]s, tenant: acme}
spec:
  match: {server: %[1]s, tools: [%[2]s]}
  rules:
    - {name: large, when: 'has(args.n) && args.n > 1000', effect: block}
    - {name: night, when: '"auditor" in principal.roles && args.text.startsWith("secret")', effect: block}
    - {name: rest, when: '"caller" in principal.roles', effect: allow}
`

// resources is the whole file that is applied.
func resources(url, lists string, sizes []int) string {
	granted, tools := make([]string, shown), make([]string, len(sizes))
	for i := range granted {
		granted[i] = listed(i)
	}
	for i, size := range sizes {
		tools[i] = toolName(size)
	}
	text := []string{fmt.Sprintf(tenant, url, lists, strings.Join(granted, ", "))}
	for _, server := range []string{"spool", "strict"} {
		text = append(text, fmt.Sprintf(rules, server, strings.Join(tools, ", ")))
	}
	return strings.Join(text, "")
}

// build starts the upstream, the proxies, and Headgate as processes. The audit service has a machine of its own in production: here it is paused
// during the run, while the edge ships its journal to the broker.
func (f *field) build(ctx context.Context, c *config) error {
	sizes := append([]int{c.small}, c.large...)
	upstream, err := f.start(ctx, "upstream", c.upstream, fmt.Sprint(sizes))
	if err != nil {
		return err
	}
	upstream.name = "direct"
	f.targets = append(f.targets, upstream)
	host := strings.TrimSuffix(upstream.url, callPath)
	for _, kind := range []string{"reverseproxy", "leanproxy"} {
		t, err := f.start(ctx, kind, host)
		if err != nil {
			return err
		}
		f.targets = append(f.targets, t)
	}
	if path, err := exec.LookPath("nginx"); err == nil {
		t, err := f.startNginx(path, host)
		if err != nil {
			return err
		}
		f.targets = append(f.targets, t)
	}
	return f.startHeadgate(upstream, sizes, c)
}

// start runs a role in a process of its own and reads where it is.
func (f *field) start(ctx context.Context, kind string, args ...string) (target, error) {
	self, err := os.Executable()
	if err != nil {
		return target{}, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"role", kind}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return target{}, err
	}
	if err := cmd.Start(); err != nil {
		return target{}, err
	}
	f.roles = append(f.roles, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	address, stats, ok := strings.Cut(strings.TrimSpace(line), " ")
	if err != nil || !ok {
		return target{}, fmt.Errorf("%s did not start: %w", kind, err)
	}
	return target{name: kind, process: kind, stats: stats, url: "http://" + address + callPath, lists: "http://" + address + listPath, pid: cmd.Process.Pid}, nil
}

func (f *field) startHeadgate(upstream target, sizes []int, c *config) error {
	binaries := map[string]string{"headgate": c.services}
	doors := c.doors
	if len(doors) == 0 {
		doors = []string{filepath.Join(f.dir, "edge")}
		binaries["edge"] = ""
	}
	for name, given := range binaries {
		if given == "" {
			binaries[name] = filepath.Join(f.dir, name)
			if err := compile(map[string]string{"headgate": "./services/headgate", "edge": "./services/edge/cmd/edge"}[name], binaries[name]); err != nil {
				return err
			}
		}
	}
	file := filepath.Join(f.dir, "tenant.yaml")
	if err := os.WriteFile(file, []byte(resources(upstream.url, upstream.lists, sizes)), 0o600); err != nil {
		return err
	}
	running := stack.Config{Binary: binaries["headgate"], Dir: filepath.Join(f.dir, "stack"), Edges: len(doors), Doors: doors}
	if slices.Contains(c.parts, "streams") { // one token opens them all
		running.Streams = 2 * c.streams
	}
	var err error
	if f.stack, err = stack.Start(running); err != nil {
		return err
	}
	if err := f.stack.Apply(file); err != nil {
		return err
	}
	token := f.stack.Info().Tokens["ana"]
	for i, url := range f.stack.Edges() {
		process, number := "edge", ""
		if i > 0 {
			process, number = fmt.Sprintf("edge%d", i+1), fmt.Sprintf(" %d", i+1)
		}
		for _, mode := range c.modes {
			f.targets = append(f.targets, target{
				name: "headgate " + mode + number, process: process, stats: f.stack.Diagnostics(process), pid: f.stack.Process(process).PID(),
				url: url + "/" + mode, lists: url + "/many", token: token,
			})
		}
	}
	return f.audit().Signal(syscall.SIGSTOP)
}

func compile(pkg, into string) error {
	root, err := arch.Root()
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", into, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

func (f *field) audit() *proc.Process { return f.stack.Process("audit") }

func (f *field) stop() {
	if f.stack != nil {
		if process := f.audit(); process != nil {
			_ = process.Signal(syscall.SIGCONT)
		}
		f.stack.Stop()
	}
	if f.nginx != nil {
		f.nginx.Stop()
	}
	for _, cmd := range f.roles {
		if err := cmd.Process.Kill(); err == nil || errors.Is(err, os.ErrProcessDone) {
			_ = cmd.Wait()
		}
	}
}
