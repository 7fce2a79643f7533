package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// grantees is a tenant in which one role reaches ana through a group within a group, nora through her department and tom through his team.
func grantees(upstream string) string {
	return fmt.Sprintf(`
{apiVersion: headgate/v1, kind: Server, metadata: {name: echo, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: nora, tenant: acme}, spec: {email: nora@acme.example, department: Customer care}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: tom, tenant: acme}, spec: {email: tom@acme.example, teams: [desk]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: emea, tenant: acme}, spec: {members: [ana]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: support, tenant: acme}, spec: {groups: [emea], roles: [support]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {departments: [Customer care], teams: [desk], grants: [{server: echo, tools: [echo], can: call}]}}
`, upstream)
}

func TestGrantsReachPeopleThroughGroupsDepartmentsAndTeams(t *testing.T) {
	up := product.StartUpstream(t, product.Echo())
	for _, shape := range product.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			var flags []string
			if shape == product.Dev {
				flags = []string{"--no-demo"}
			}
			p := product.Start(t, shape, grantees(up.URL), flags...)
			clients := map[string]*product.Client{}
			for who, via := range map[string]string{
				"ana":  "ana → group emea → group support → role support → tool echo.echo",
				"nora": "nora → department Customer care → role support → tool echo.echo",
				"tom":  "tom → team desk → role support → tool echo.echo",
			} {
				clients[who] = p.Client(who, "echo", true)
				if answer := clients[who].Call("echo", map[string]any{"text": who}); !answer.OK() {
					t.Errorf("%s: %s", who, answer.Text())
				}
				if names := clients[who].List().Names(); len(names) != 1 {
					t.Errorf("%s is shown %v", who, names)
				}
				if out := p.MustCLI("admin", "policy", "explain", "--tenant", "acme", "--as", who, "--tool", "echo.echo"); !strings.Contains(out, via) {
					t.Errorf("%s is explained without %q: %s", who, via, out)
				}
			}
			circle := "{apiVersion: headgate/v1, kind: Group, metadata: {name: emea, tenant: acme}, spec: {members: [ana], groups: [support]}}"
			if code, _, words := p.CLI("admin", "apply", "-f", write(t, circle)); code == 0 || !strings.Contains(words, "emea → support → emea") {
				t.Errorf("a circle: %d %s", code, words)
			}
			taken := map[string]string{
				"ana":  "{apiVersion: headgate/v1, kind: Group, metadata: {name: support, tenant: acme}, spec: {roles: [support]}}",
				"nora": "{apiVersion: headgate/v1, kind: Person, metadata: {name: nora, tenant: acme}, spec: {email: nora@acme.example, department: Sales}}",
				"tom":  "{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {departments: [Customer care], grants: [{server: echo, tools: [echo], can: call}]}}",
			}
			for who, document := range taken {
				declare(t, p, "identity", document)
				took := product.Eventually(t, 20*time.Second, who+" is refused", func() bool { return !clients[who].Call("echo", map[string]any{"text": who}).OK() })
				t.Logf("%s: refused %s after the answer", who, took.Round(time.Millisecond))
			}
		})
	}
}

// TestWhoIsBlockListedIsRefusedAtEveryEdge: a list wins over the grants, at edges that hold them already, and what it takes away comes back with its end.
func TestWhoIsBlockListedIsRefusedAtEveryEdge(t *testing.T) {
	up := product.StartUpstream(t, product.Echo())
	p := product.Start(t, product.Stack, grantees(up.URL))
	var clients []*product.Client
	for _, edge := range p.Stack().Edges() {
		clients = append(clients, product.NewClient(t, product.Endpoint(edge, "echo"), p.Token("ana"), true))
	}
	all := func(want bool) func() bool {
		return func() bool {
			for _, c := range clients {
				if c.Call("echo", map[string]any{"text": "x"}).OK() != want {
					return false
				}
			}
			return true
		}
	}
	product.Eventually(t, 20*time.Second, "ana calls at every edge", all(true))
	list := "{apiVersion: headgate/v1, kind: BlockList, metadata: {name: leavers, tenant: acme}, spec: {groups: [support], targets: [{server: echo, tools: [echo], cannot: %s}]}}"
	declare(t, p, "identity", fmt.Sprintf(list, "call"))
	took := product.Eventually(t, 20*time.Second, "ana is refused at every edge", all(false))
	t.Logf("refused at %d edges %s after the answer", len(clients), took.Round(time.Millisecond))
	for _, c := range clients {
		answer := c.Call("echo", map[string]any{"text": "x"})
		if d := answer.Decision(); d.Reason != "block-listed" || !strings.Contains(answer.Text(), "ana → group emea → group support → block list leavers") {
			t.Errorf("the refusal: %+v %s", d, answer.Text())
		}
		if names := c.List().Names(); len(names) != 1 {
			t.Errorf("what may still be seen: %v", names)
		}
	}
	declare(t, p, "identity", fmt.Sprintf(list, "see"))
	product.Eventually(t, 20*time.Second, "the tool is shown nowhere", func() bool {
		for _, c := range clients {
			if len(c.List().Names()) != 0 {
				return false
			}
		}
		return true
	})
	if code, out, _ := p.CLI("admin", "policy", "explain", "--tenant", "acme", "--as", "ana", "--tool", "echo.echo"); code == 0 || !strings.Contains(out, "block list leavers") {
		t.Errorf("explained: %d %s", code, out)
	}
	product.Eventually(t, 20*time.Second, "the record says why", func() bool {
		for _, r := range p.Records("--person", "ana") {
			if r.Get("event.code") == "block-listed" {
				return true
			}
		}
		return false
	})
	p.MustCLI("admin", "delete", "BlockList", "leavers", "--tenant", "acme")
	product.Eventually(t, 20*time.Second, "ana calls again", all(true))
}
