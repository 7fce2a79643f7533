//go:build external

package programs_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/e2e/programs"
	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// server is a server that we did not write, declared to Headgate, and what there is to see in it.
type server struct {
	name string
	// spec is the Server resource's.
	spec  map[string]any
	visit []ask
}

// asksOne says that what the server asks goes to the newest call of a person, whichever of the person's clients made it: a program has one channel.
func (s server) asksOne() bool {
	program, _ := s.spec["stdio"].(map[string]any)
	return program["scope"] == "person"
}

// node is the command line of one of the npm servers.
func node(found programs.Installed, pkg string, args ...string) []string {
	modules := filepath.Join(found.NPM, "node_modules")
	return append([]string{filepath.Join(modules, ".bin", "node"), filepath.Join(modules, "@modelcontextprotocol", pkg, "dist", "index.js")}, args...)
}

// listening starts a server on a port of this machine, which the command line or the environment names as ADDRESS and PORT, and returns host and port.
func listening(t *testing.T, env []string, command ...string) string {
	t.Helper()
	address, err := stack.Free()
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	filled := func(texts []string) []string {
		var all []string
		for _, text := range texts {
			all = append(all, strings.NewReplacer("$ADDRESS", address, "$PORT", port).Replace(text))
		}
		return all
	}
	command = filled(command)
	process, err := proc.Start(filepath.Join(t.TempDir(), "log"), filled(env), command[0], command[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("%s: %s", command, process.Tail())
		}
	})
	product.Eventually(t, time.Minute, strings.Join(command, " ")+" listens", func() bool {
		select {
		case <-process.Done():
			t.Fatalf("%s ended: %s", command, process.Tail())
		default:
		}
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	return address
}

// fixture is the official Go SDK's server that has a bit of everything, with sessions or without.
func fixture(t *testing.T, stateless bool) string {
	t.Helper()
	binary, err := stack.Build("github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + listening(t, nil, binary, "-http", "$ADDRESS", fmt.Sprintf("-stateless=%t", stateless)) + "/mcp"
}

// everything is the npm package of that name over HTTP, in mode streamableHttp or sse.
func everything(t *testing.T, found programs.Installed, mode string) string {
	t.Helper()
	command := node(found, "server-everything", mode)
	command = append([]string{command[0], "--import", filepath.Join(found.Source, "servers", "node", "loopback.mjs")}, command[1:]...)
	return "http://" + listening(t, []string{"PORT=$PORT"}, command...)
}

// overHTTP are the servers that have a URL.
func overHTTP(t *testing.T, found programs.Installed) []server {
	t.Helper()
	return []server{
		{"fixture-legacy", remote(fixture(t, false)), append(fixtureVisit(), legacyQuestions()...)},
		{"fixture-modern", remote(fixture(t, true)), append(fixtureVisit(), modernQuestions()...)},
		{"modern-only", remote(modernOnly(t)), modernOnlyVisit()},
		{"everything-http", remote(everything(t, found, "streamableHttp") + "/mcp"), append(everythingVisit(), everythingQuestions()...)},
		{"everything-sse", remote(everything(t, found, "sse") + "/sse"), append(everythingVisit(), everythingQuestions()...)},
	}
}

// overStdio are the servers that are started as children of the edge.
func overStdio(t *testing.T, found programs.Installed) []server {
	t.Helper()
	files, memory, repository := t.TempDir(), filepath.Join(t.TempDir(), "memory.jsonl"), repository(t)
	if err := os.WriteFile(filepath.Join(files, "hello.txt"), []byte("hello from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []server{
		{"everything-shared", child("shared", nil, node(found, "server-everything", "stdio")...), append(everythingVisit(), environmentVisit()...)},
		{"everything-person", child("person", nil, node(found, "server-everything", "stdio")...),
			slices.Concat(everythingVisit(), everythingQuestions(), environmentVisit())},
		{"filesystem", child("shared", nil, node(found, "server-filesystem", files)...), filesystemVisit(files)},
		{"memory", child("shared", map[string]string{"MEMORY_FILE_PATH": memory}, node(found, "server-memory")...), memoryVisit()},
		{"git", child("shared", nil, found.Python, "-m", "mcp_server_git", "--repository", repository), gitVisit(repository)},
		{"time", child("shared", nil, found.Python, "-m", "mcp_server_time", "--local-timezone", "UTC"), timeVisit()},
	}
}

func remote(url string) map[string]any { return map[string]any{"url": url, "approve": "initial"} }

func child(scope string, env map[string]string, command ...string) map[string]any {
	return map[string]any{"stdio": map[string]any{"command": command, "env": env, "scope": scope}, "approve": "initial"}
}

// repository is a git repository of one commit.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gate.txt"), []byte("closed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "--quiet", "--initial-branch", "main"}, {"add", "gate.txt"}, {"commit", "--quiet", "-m", "Close the gate"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=Ana", "GIT_AUTHOR_EMAIL=ana@acme.example",
			"GIT_COMMITTER_NAME=Ana", "GIT_COMMITTER_EMAIL=ana@acme.example")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	return dir
}

// tenant declares the servers and ana, who may use all of them.
func tenant(t *testing.T, servers []server) string {
	t.Helper()
	var documents []string
	document := func(kind, name string, spec map[string]any) {
		encoded, err := json.Marshal(map[string]any{"apiVersion": "headgate/v1", "kind": kind, "metadata": map[string]any{"name": name, "tenant": "acme"}, "spec": spec})
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, string(encoded))
	}
	var grants []map[string]any
	for _, s := range servers {
		document("Server", s.name, s.spec)
		grants = append(grants, map[string]any{"server": s.name, "tools": []string{"*"}, "can": "call"})
	}
	document("Role", "all", map[string]any{"grants": grants})
	document("Person", "ana", map[string]any{"email": "ana@acme.example", "roles": []string{"all"}})
	return strings.Join(documents, "\n---\n") + "\n"
}
