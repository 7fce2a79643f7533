//go:build external

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/e2e/product"
)

// program is a client that we did not write, in another language.
type program struct {
	name    string
	command func(t *testing.T) *exec.Cmd
}

func programs() []program {
	var all []program
	for _, sdk := range []string{"v1", "v2-legacy", "v2-modern"} {
		all = append(all, program{"TypeScript SDK " + sdk, func(t *testing.T) *exec.Cmd { return typescript(t, sdk) }})
	}
	for _, mode := range []string{"legacy", "2026-07-28"} {
		all = append(all, program{"Python SDK " + mode, func(t *testing.T) *exec.Cmd { return python(t, mode) }})
	}
	return all
}

// typescript runs client.mjs in the folder that has it and its packages.
func typescript(t *testing.T, sdk string) *exec.Cmd {
	t.Helper()
	dir := required(t, "HEADGATE_TEST_TYPESCRIPT", "a copy of tools/e2e/clients/typescript in which npm ci ran")
	script, err := os.ReadFile(filepath.Join(clients(t), "typescript", "client.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	// The packages are the folder's, the program is this tree's: a copy that was made before a change must not be what is tested.
	copied, err := os.ReadFile(filepath.Join(dir, "client.mjs"))
	if err != nil || !bytes.Equal(script, copied) {
		t.Fatalf("%s does not hold this tree's client.mjs: copy tools/e2e/clients/typescript there again (%v)", dir, err)
	}
	cmd := exec.Command("node", "client.mjs", sdk)
	cmd.Dir = dir
	return cmd
}

func python(t *testing.T, mode string) *exec.Cmd {
	t.Helper()
	interpreter := required(t, "HEADGATE_TEST_PYTHON", "a python with tools/e2e/clients/python/requirements.txt installed")
	return exec.Command(interpreter, filepath.Join(clients(t), "python", "client.py"), mode)
}

func clients(t *testing.T) string {
	t.Helper()
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "tools", "e2e", "clients")
}

func required(t *testing.T, variable, what string) string {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		t.Fatalf("%s is not set: it must name %s", variable, what)
	}
	return value
}

// order is one call that a program is told to make, reply what it got.
type order struct {
	Name      string         `json:"name"`
	Arguments map[string]any `json:"arguments"`
}

type reply struct {
	Result *product.Result
	Error  *struct {
		Code    int
		Message string
	}
}

// run lets the program list the tools and make the calls.
func (p program) run(t *testing.T, url, token string, orders ...order) (tools []string, replies []reply) {
	t.Helper()
	encoded, err := json.Marshal(orders)
	if err != nil {
		t.Fatal(err)
	}
	cmd := p.command(t)
	cmd.Args = append(cmd.Args, url, string(encoded))
	cmd.Env = append(os.Environ(), "HEADGATE_TOKEN="+token)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", p.name, err, stderr.String())
	}
	var said struct {
		Tools   []string
		Answers []reply
	}
	if err := json.Unmarshal(out, &said); err != nil || len(said.Answers) != len(orders) {
		t.Fatalf("%s printed %s: %v", p.name, out, err)
	}
	return said.Tools, said.Answers
}

// TestExternalClients lets the official SDKs of other languages work through Headgate in both shapes: what they are told is what their users read.
func TestExternalClients(t *testing.T) {
	for _, shape := range product.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			s := open(t, shape)
			for _, p := range programs() {
				t.Run(p.name, func(t *testing.T) { works(t, s, p) })
			}
		})
	}
}

func works(t *testing.T, s *scene, p program) {
	before := len(s.up.Calls())
	tools, replies := p.run(t, s.MCP("echo"), s.Token("ana"),
		order{"echo", map[string]any{"text": "hé <&> 𝄞", "n": 3}},
		order{"echo", map[string]any{"n": 11}},
		order{"echo", map[string]any{"n": 7}},
		order{"nope", map[string]any{}})
	if !slices.Equal(tools, []string{"echo"}) {
		t.Errorf("the tools are %v", tools)
	}
	allowed, refused, changed, unknown := replies[0], replies[1], replies[2], replies[3]
	if allowed.Result == nil || allowed.Result.IsError || !strings.Contains(allowed.text(), "hé <&> 𝄞") {
		t.Errorf("the allowed call answered %+v", allowed)
	}
	if refused.Result == nil || !refused.Result.IsError || !strings.Contains(refused.text(), "Numbers above 10 are too large (rule echo/small).") {
		t.Errorf("the refused call answered %+v", refused)
	}
	if changed.Result == nil || changed.Result.IsError || !strings.Contains(string(changed.Result.Meta["io.headgate/decision"]), `"modify"`) {
		t.Errorf("the changed call answered %+v", changed)
	}
	if unknown.Error == nil || unknown.Error.Code != -32602 || !strings.HasSuffix(unknown.Error.Message, "Unknown tool: nope") {
		t.Errorf("the unknown tool answered %+v", unknown)
	}
	if ran := len(s.up.Calls()) - before; ran != 2 {
		t.Errorf("the server executed %d calls, not 2", ran)
	}
	// bob has no grant: for him the same tool is not there.
	tools, replies = p.run(t, s.MCP("echo"), s.Token("bob"), order{"echo", map[string]any{"text": "x"}})
	if len(tools) != 0 || replies[0].Error == nil || replies[0].Error.Code != -32602 {
		t.Errorf("without a grant: %v %+v", tools, replies[0])
	}
}

func (r reply) text() string {
	if r.Result == nil || len(r.Result.Content) == 0 {
		return ""
	}
	return r.Result.Content[0].Text
}
