//go:build external

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/e2e/programs"
)

// TestExternalClients lets the official SDKs of other languages work through Headgate in both shapes: what they are told is what their users read.
func TestExternalClients(t *testing.T) {
	installed, err := programs.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range product.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			s := open(t, shape)
			for _, client := range installed.SDKs() {
				t.Run(client.Name, func(t *testing.T) { works(t, s, client) })
			}
		})
	}
}

func works(t *testing.T, s *scene, client programs.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before, list := len(s.up.Calls()), programs.Step{Method: "tools/list"}
	replies, err := client.Run(ctx, programs.Endpoint{URL: s.MCP("echo"), Token: s.Token("ana")}, list,
		programs.Call("echo", map[string]any{"text": "hé <&> 𝄞", "n": 3}),
		programs.Call("echo", map[string]any{"n": 11}),
		programs.Call("echo", map[string]any{"n": 7}),
		programs.Call("nope", nil))
	if err != nil {
		t.Fatal(err)
	}
	listed, allowed, refused, changed, unknown := replies[0], replies[1], replies[2], replies[3], replies[4]
	if !slices.Equal(listed.Names(), []string{"echo"}) {
		t.Errorf("the tools are %s", listed)
	}
	var echoed struct{ Text string }
	if err := json.Unmarshal([]byte(allowed.Text()), &echoed); err != nil || allowed.Error != nil || allowed.Failed() || echoed.Text != "hé <&> 𝄞" {
		t.Errorf("the allowed call answered %s", allowed)
	}
	if !refused.Failed() || !strings.Contains(refused.Text(), "Numbers above 10 are too large (rule echo/small).") {
		t.Errorf("the refused call answered %s", refused)
	}
	if changed.Error != nil || changed.Failed() || effect(t, changed) != "modify" {
		t.Errorf("the changed call answered %s", changed)
	}
	if unknown.Error == nil || unknown.Error.Code != -32602 || !strings.HasSuffix(unknown.Error.Message, "Unknown tool: nope") {
		t.Errorf("the unknown tool answered %s", unknown)
	}
	if ran := len(s.up.Calls()) - before; ran != 2 {
		t.Errorf("the server executed %d calls, not 2", ran)
	}
	// bob has no grant: for him the same tool is not there.
	replies, err = client.Run(ctx, programs.Endpoint{URL: s.MCP("echo"), Token: s.Token("bob")}, list, programs.Call("echo", map[string]any{"text": "x"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(replies[0].Names()) != 0 || replies[0].Error != nil || replies[1].Error == nil || replies[1].Error.Code != -32602 {
		t.Errorf("without a grant: %s", replies)
	}
}

// effect is that of the decision which a result carries.
func effect(t *testing.T, r programs.Reply) string {
	t.Helper()
	var result product.Result
	if err := json.Unmarshal(r.Result, &result); err != nil {
		t.Fatal(err)
	}
	var decision product.Decision
	if err := json.Unmarshal(result.Meta["io.headgate/decision"], &decision); err != nil {
		t.Fatal(err)
	}
	return decision.Effect
}
