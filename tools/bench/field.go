package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// field is everything that is measured: direct first.
type field struct {
	targets []target
	roles   []*exec.Cmd
	stack   *stack.Stack
	// diagnostics is the address of the edge's.
	diagnostics string
}

// tenant has a role, three rules that match the tool, and a server whose definition is pinned: everything that an ordinary call meets.
const tenant = `
apiVersion: headgate/v1
kind: Server
metadata: {name: bench, tenant: acme}
spec: {url: %q, approve: initial, journal: %s}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [caller]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: caller, tenant: acme}, spec: {grants: [{server: bench, tools: ["*"], can: call}]}}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: bench, tenant: acme}
spec:
  match: {server: bench, tools: [echo]}
  rules:
    - {name: large, when: 'has(args.n) && args.n > 1000', effect: block}
    - {name: night, when: '"auditor" in principal.roles && args.text.startsWith("secret")', effect: block}
    - {name: rest, when: '"caller" in principal.roles', effect: allow}
`

// build starts the upstream, the proxies, and Headgate as six processes. The audit service has a machine of its own in production: here it is paused
// during the run, while the edge ships its journal to the broker.
func build(ctx context.Context, dir string, c config) (*field, error) {
	f := &field{}
	upstream, err := f.start(ctx, "upstream", c.upstream+","+strconv.Itoa(c.size))
	if err != nil {
		return f, err
	}
	f.targets = append(f.targets, upstream)
	for _, kind := range []string{"reverseproxy", "leanproxy"} {
		t, err := f.start(ctx, kind, upstream.url)
		if err != nil {
			return f, err
		}
		f.targets = append(f.targets, t)
	}
	headgate, err := f.startHeadgate(dir, upstream.url, c)
	if err != nil {
		f.stop()
		return f, err
	}
	f.targets[0].name = "direct"
	f.targets = append(f.targets, headgate)
	return f, nil
}

// start runs a role in a process of its own and reads its URL.
func (f *field) start(ctx context.Context, kind, arg string) (target, error) {
	self, err := os.Executable()
	if err != nil {
		return target{}, err
	}
	cmd := exec.CommandContext(ctx, self, "role", kind, arg)
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
	if err != nil {
		return target{}, fmt.Errorf("%s did not start: %w", kind, err)
	}
	return target{name: kind, process: kind, url: strings.TrimSpace(line), pid: cmd.Process.Pid}, nil
}

func (f *field) startHeadgate(dir, upstream string, c config) (target, error) {
	binary := c.binary
	if binary == "" {
		binary = filepath.Join(dir, "headgate")
		if err := buildHeadgate(binary); err != nil {
			return target{}, err
		}
	}
	var err error
	file := filepath.Join(dir, "tenant.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, tenant, upstream, c.mode), 0o600); err != nil {
		return target{}, err
	}
	f.stack, err = stack.Start(stack.Config{Binary: binary, Dir: filepath.Join(dir, "stack")})
	if err != nil {
		return target{}, err
	}
	if err := f.stack.Apply(file); err != nil {
		return target{}, err
	}
	if f.diagnostics, err = diagnostics(filepath.Join(dir, "stack")); err != nil {
		return target{}, err
	}
	info := f.stack.Info()
	return target{name: "headgate", process: "edge", url: info.MCP + "/bench", token: info.Tokens["ana"], pid: f.stack.Process("edge").PID()}, f.audit().Signal(syscall.SIGSTOP)
}

func buildHeadgate(binary string) error {
	root, err := arch.Root()
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", binary, "./services/headgate")
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
	for _, cmd := range f.roles {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
