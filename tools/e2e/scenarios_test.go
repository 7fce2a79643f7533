package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// deskTools are those that deployments/examples/policies/everyday.yaml speaks of.
func deskTools() []product.Tool {
	of := func(name string, readOnly bool, args ...string) product.Tool {
		properties := map[string]any{}
		for _, arg := range args {
			kind := "string"
			if arg == "amount" {
				kind = "number"
			}
			properties[arg] = map[string]any{"type": kind}
		}
		return product.Tool{
			Name: name, Description: "A tool of the desk.", InputSchema: map[string]any{"type": "object", "properties": properties, "additionalProperties": false},
			Annotations: map[string]any{"readOnlyHint": readOnly},
		}
	}
	return []product.Tool{
		of("get_ticket", true, "id"), of("get_customer", true, "id"), of("close_ticket", false, "id", "priority"), of("update_ticket", false, "id"),
		of("transfer", false, "amount", "currency"), of("reset_password", false, "person"), of("export_customer", true, "id"),
	}
}

// crmTools are those that deployments/examples/policies/massdelete.yaml speaks of.
func crmTools() []product.Tool {
	of := func(name string, properties map[string]any) product.Tool {
		return product.Tool{
			Name: name, Description: "Deletes customers.", InputSchema: map[string]any{"type": "object", "properties": properties, "additionalProperties": false},
			Annotations: map[string]any{"destructiveHint": true},
		}
	}
	return []product.Tool{
		of("delete_customer", map[string]any{"id": map[string]any{"type": "string"}}), of("delete_customers", map[string]any{"ids": map[string]any{"type": "array"}}),
		of("delete_all_customers", map[string]any{}),
	}
}

// deskAnswers is what the desk knows: tickets with owner and priority, customers with a country.
func deskAnswers(call product.Executed) map[string]any {
	var args struct{ ID string }
	if json.Unmarshal(call.Args, &args) != nil {
		return product.Text("no arguments")
	}
	answer := product.Text("done")
	switch call.Tool {
	case "get_ticket":
		answer["structuredContent"] = map[string]map[string]any{
			"T-1": {"owner": "sam", "priority": "normal"}, "T-2": {"owner": "ana", "priority": "normal"}, "T-3": {"owner": "sam", "priority": "high"},
		}[args.ID]
	case "get_customer":
		answer["structuredContent"] = map[string]any{"country": "DE"}
	}
	return answer
}

const deskPeople = `
{apiVersion: headgate/v1, kind: Person, metadata: {name: sam, tenant: acme}, spec: {email: sam@acme.example, roles: [support]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: sue, tenant: acme}, spec: {email: sue@acme.example, roles: [support, supervisor]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carla, tenant: acme}, spec: {email: carla@acme.example, roles: [support]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: jo, tenant: acme}, spec: {email: jo@acme.example, roles: [junior]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carl, tenant: acme}, spec: {email: carl@acme.example, roles: []}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: tia, tenant: acme}, spec: {email: tia@acme.example, roles: [payer, visitor]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {grants: [{server: desk, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: junior, tenant: acme}, spec: {grants: [{server: desk, tools: [get_ticket], can: call}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: supervisor, tenant: acme}, spec: {grants: [{server: crm, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: keeper, tenant: acme}, spec: {grants: [{server: crm, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: kim, tenant: acme}, spec: {email: kim@acme.example, roles: [keeper]}}
---
apiVersion: headgate/v1
kind: Agent
metadata: {name: robot, tenant: acme}
spec: {delegators: {roles: [junior, support]}, grants: [{server: desk, tools: ["*"], can: call}]}
---
apiVersion: headgate/v1
kind: Agent
metadata: {name: reader, tenant: acme}
spec: {delegators: {roles: [support]}, grants: [{server: desk, tools: [get_ticket], can: call}]}
`

// TestEverydayPoliciesHoldForClients lets clients that we did not write work under the examples' policies.
func TestEverydayPoliciesHoldForClients(t *testing.T) {
	up := product.StartUpstream(t, deskTools()...)
	up.OnCall = deskAnswers
	crm := product.StartUpstream(t, crmTools()...)
	var resources strings.Builder
	for name, url := range map[string]string{"desk": up.URL, "crm": crm.URL} {
		fmt.Fprintf(&resources, "{apiVersion: headgate/v1, kind: Server, metadata: {name: %s, tenant: acme}, spec: {url: %q, approve: initial}}\n---\n", name, url)
	}
	resources.WriteString(deskPeople)
	for _, file := range []string{"everyday.yaml", "massdelete.yaml"} {
		policies, err := os.ReadFile(filepath.Join("..", "..", "deployments", "examples", "policies", file))
		if err != nil {
			t.Fatal(err)
		}
		resources.WriteString("---\n" + string(policies))
	}
	c := &company{Product: product.Start(t, product.Dev, resources.String(), "--no-demo")}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *company)
	}{
		{"a ticket's owner and priority are the ticket's, not the agent's word", ownTickets},
		{"a ticket is its owner's, as the application that keeps it says", ownByRelation},
		{"sums are bounded per call and per day", boundedSums},
		{"a contract ends in the middle of a session", endingContracts},
		{"an agent never has more than its person, nor a person more than the agent", smallerRight},
		{"nobody deletes many customers, at once or one by one", func(t *testing.T, c *company) { massDelete(t, c, crm) }},
		{"a grant holds from its networks and up to its amount", conditionsOfGrants},
		{"office hours go through summer time, and data stays in its region", hoursAndPlaces},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, c) })
	}
}

// deskKinds are one client of each library, one of each era.
func deskKinds() []string { return []string{"go-sdk 2025-11-25", "mcp-go 2026-07-28"} }

func ownTickets(t *testing.T, c *company) {
	for _, kind := range deskKinds() {
		sam, sue := c.as(t, kind, c.Token("sam"), "desk"), c.as(t, kind, c.Token("sue"), "desk")
		allowed(t, sam, "close_ticket", map[string]any{"id": "T-1"})
		refused(t, sam, "close_ticket", map[string]any{"id": "T-2"}, "block", "desk-tickets/own-tickets-only")
		refused(t, sam, "close_ticket", map[string]any{"id": "T-3", "priority": "low"}, "escalate", "desk-tickets/high-priority-needs-a-supervisor")
		allowed(t, sam, "update_ticket", map[string]any{"id": "T-3"})
		allowed(t, sue, "close_ticket", map[string]any{"id": "T-3"})
		if answer, err := sam.call("close_ticket", map[string]any{"id": "T-9"}); err != nil || answer.OK() {
			t.Errorf("a ticket that is not there: %v %s", err, answer.Body)
		}
	}
}

// ownByRelation has no fact to read: the desk tells authz whose a ticket is.
func ownByRelation(t *testing.T, c *company) {
	c.Apply(`
apiVersion: headgate/v1
kind: Policy
metadata: {name: own-by-relation, tenant: acme}
spec:
  match: {server: desk, tools: [update_ticket]}
  default: allow
  rules: [{name: not-yours, when: '!related("resource:ticket/" + args.id, "owner")', effect: block, reason: The ticket belongs to somebody else.}]
`)
	say := func(args ...string) {
		t.Helper()
		if code, out, words := c.CLI("admin", append([]string{"relations"}, append(args, "--tenant", "acme")...)...); code != 0 {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, words)
		}
	}
	sam, sue := c.as(t, deskKinds()[0], c.Token("sam"), "desk"), c.as(t, deskKinds()[1], c.Token("sue"), "desk")
	mine := map[string]any{"id": "T-3"}
	refused(t, sam, "update_ticket", mine, "block", "own-by-relation/not-yours")
	say("put", "resource:ticket/T-3#owner@person:sam")
	allowed(t, sam, "update_ticket", mine)
	refused(t, sue, "update_ticket", mine, "block", "own-by-relation/not-yours")
	say("put", "-f", c.file(t, "owners", "# whose is what\nresource:ticket/T-3#owner@person:sue\nresource:ticket/T-4#owner@role:support until 2099-01-01T00:00:00Z\n"))
	allowed(t, sue, "update_ticket", mine)
	if code, out, words := c.CLI("admin", "relations", "list", "--tenant", "acme", "--object", "resource:ticket/T-4"); code != 0 || !strings.Contains(out, "resource:ticket/T-4#owner@role:support  2099-01-01T00:00:00Z") {
		t.Errorf("list: exit %d: %s%s", code, out, words)
	}
	if code, out, words := c.CLI("sam", "relations", "put", "resource:ticket/T-9#owner@person:sam"); code != 4 {
		t.Errorf("who is no registrar: exit %d: %s%s", code, out, words)
	}
	say("remove", "resource:ticket/T-3#owner@person:sue", "resource:ticket/T-4")
	refused(t, sue, "update_ticket", mine, "block", "own-by-relation/not-yours")
	allowed(t, sam, "update_ticket", mine)
	if code, out, words := c.CLI("admin", "relations", "check", "--tenant", "acme"); code != 0 {
		t.Errorf("check: exit %d: %s%s", code, out, words)
	}
	if code, out, words := c.CLI("admin", "delete", "Policy", "own-by-relation", "--tenant", "acme"); code != 0 {
		t.Fatalf("delete: exit %d: %s%s", code, out, words)
	}
}

func boundedSums(t *testing.T, c *company) {
	sue := c.as(t, deskKinds()[0], c.Token("sue"), "desk")
	euros := func(amount float64) map[string]any { return map[string]any{"amount": amount, "currency": "EUR"} }
	refused(t, sue, "transfer", euros(500.01), "block", "desk-transfers/at-most-500-a-call")
	allowed(t, sue, "transfer", euros(500))
	allowed(t, sue, "transfer", euros(500))
	refused(t, sue, "transfer", euros(200.01), "block", "desk-transfers/at-most-1200-a-day")
	allowed(t, c.as(t, deskKinds()[1], c.Token("sue"), "desk"), "transfer", euros(200)) // the day is the person's, whatever the client
	refused(t, sue, "transfer", euros(0.01), "block", "desk-transfers/at-most-1200-a-day")
	allowed(t, c.as(t, deskKinds()[0], c.Token("sam"), "desk"), "transfer", euros(500))
}

// endingContracts ends one contract by the grant and one by the policy. Nothing is changed and nobody signs in again: their clients stay as they are.
func endingContracts(t *testing.T, c *company) {
	ends := time.Now().Add(20 * time.Second).UTC().Format(time.RFC3339)
	c.Apply(fmt.Sprintf(`
{apiVersion: headgate/v1, kind: Role, metadata: {name: contractor, tenant: acme}, spec: {grants: [{server: desk, tools: [get_ticket], can: call, until: %q}]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carl, tenant: acme}, spec: {email: carl@acme.example, roles: [contractor]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carla, tenant: acme}, spec: {email: carla@acme.example, roles: [support], attributes: {contract_ends: %q}}}
`, ends, ends))
	ticket := map[string]any{"id": "T-1"}
	for i, kind := range deskKinds() {
		carl, carla := c.as(t, kind, c.Token("carl"), "desk"), c.as(t, kind, c.Token("carla"), "desk")
		works := func(w worker) bool {
			answer, err := w.call("get_ticket", ticket)
			return err == nil && answer.OK()
		}
		if i == 0 {
			product.Eventually(t, 15*time.Second, "both work", func() bool { return works(carl) && works(carla) })
		}
		product.Eventually(t, time.Minute, "both contracts end", func() bool { return !works(carl) && !works(carla) })
		absent(t, carl, "get_ticket", ticket)
		refused(t, carla, "get_ticket", ticket, "block", "desk-contracts/contract-ended")
		lists(t, carl)
	}
}

// massDelete lets one person's two clients delete until the day's number is reached. The server sees what was allowed and nothing else.
func massDelete(t *testing.T, c *company, crm *product.Upstream) {
	ids := func(from, to int) map[string]any {
		all := []string{}
		for n := from; n <= to; n++ {
			all = append(all, fmt.Sprint("C-", n))
		}
		return map[string]any{"ids": all}
	}
	before := len(crm.Calls())
	for i, kind := range deskKinds() {
		sue, kim := c.as(t, kind, c.Token("sue"), "crm"), c.as(t, kind, c.Token("kim"), "crm")
		refused(t, sue, "delete_all_customers", map[string]any{}, "block", "mass-delete/nobody-deletes-all")
		refused(t, sue, "delete_customers", ids(1, 2), "escalate", "mass-delete/several-need-two-people")
		refused(t, sue, "delete_customers", ids(1, 21), "block", "mass-delete/at-most-20-a-day")
		refused(t, sue, "delete_customers", map[string]any{"ids": []string{"C-*"}}, "block", "mass-delete/only-what-is-named")
		refused(t, sue, "delete_customers", ids(1, 0), "block", "mass-delete/only-what-is-named")
		refused(t, kim, "delete_customer", map[string]any{"id": "C-1"}, "block", "") // granted, and no supervisor
		for n := range 10 {
			allowed(t, sue, "delete_customer", map[string]any{"id": fmt.Sprint("C-", i*10+n)})
		}
	}
	for _, kind := range deskKinds() {
		refused(t, c.as(t, kind, c.Token("sue"), "crm"), "delete_customer", map[string]any{"id": "C-99"}, "block", "mass-delete/at-most-20-a-day")
	}
	if got := len(crm.Calls()) - before; got != 20 {
		t.Errorf("%d deletions arrived", got)
	}
}

func smallerRight(t *testing.T, c *company) {
	through := func(person, agent string) string {
		return strings.TrimSpace(c.MustCLI("admin", "token", person, "--tenant", "acme", "--agent", agent))
	}
	for _, kind := range deskKinds() {
		jo := c.as(t, kind, through("jo", "robot"), "desk") // the robot may do everything, jo may not
		lists(t, jo, "get_ticket")
		allowed(t, jo, "get_ticket", map[string]any{"id": "T-1"})
		absent(t, jo, "close_ticket", map[string]any{"id": "T-1"})
		sam := c.as(t, kind, through("sam", "reader"), "desk") // sam may do everything, the reader may not
		lists(t, sam, "get_ticket")
		absent(t, sam, "close_ticket", map[string]any{"id": "T-1"})
		allowed(t, c.as(t, kind, through("sam", "robot"), "desk"), "close_ticket", map[string]any{"id": "T-1"})
		absent(t, c.as(t, kind, through("jo", "reader"), "desk"), "get_ticket", map[string]any{"id": "T-1"}) // jo is no delegator of the reader
	}
}

// hoursAndPlaces asks for other times and places than those of this machine.
func hoursAndPlaces(t *testing.T, c *company) {
	for _, want := range []struct {
		code int
		says string
		args []string
	}{
		{0, "allow", []string{"--tool", "desk.reset_password", "--at", "2026-03-27T07:00:00Z"}},
		{3, "desk-hours/office-hours", []string{"--tool", "desk.reset_password", "--at", "2026-03-27T06:59:00Z"}},
		{0, "allow", []string{"--tool", "desk.reset_password", "--at", "2026-03-30T06:00:00Z"}},
		{3, "desk-hours/office-hours", []string{"--tool", "desk.reset_password", "--at", "2026-03-30T16:00:00Z"}},
		{0, "allow", []string{"--tool", "desk.export_customer", "--args", `{"id":"C-1"}`, "--facts", `{"customer":{"country":"DE"}}`, "--country", "FR"}},
		{3, "desk-residency/data-of-the-union-stays-there", []string{"--tool", "desk.export_customer", "--args", `{"id":"C-1"}`, "--facts", `{"customer":{"country":"DE"}}`, "--country", "US"}},
	} {
		args := append([]string{"policy", "explain", "--tenant", "acme", "--as", "sue"}, want.args...)
		if code, out, words := c.CLI("admin", args...); code != want.code || !strings.Contains(out, want.says) {
			t.Errorf("%v: exit %d: %s%s", want.args, code, out, words)
		}
	}
	// That a client sees the same while the clock moves and while it travels is in TestSummerTimeAndPlacesHoldForClients.
	// Where the gateway has no database of countries, nobody knows where a caller is.
	refused(t, c.as(t, deskKinds()[0], c.Token("sue"), "desk"), "export_customer", map[string]any{"id": "C-1"}, "block", "desk-residency/data-of-the-union-stays-there")
}
