package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

const conditionalGrants = `
{apiVersion: headgate/v1, kind: Role, metadata: {name: payer, tenant: acme}, spec: {grants: [{server: desk, tools: [transfer], can: call, amount: {argument: /amount, max: "100.00", currency: EUR, currencyArgument: /currency}}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: visitor, tenant: acme}, spec: {grants: [{server: desk, tools: [get_ticket], can: call, networks: [192.0.2.0/24]}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: local, tenant: acme}, spec: {grants: [{server: desk, tools: [get_ticket], can: call, networks: ["127.0.0.0/8", "::1/128"]}]}}
`

// conditionsOfGrants lets a person work whose grants hold for some calls alone. The tools are listed all the same, and the server gets what is within.
func conditionsOfGrants(t *testing.T, c *company) {
	c.Apply(conditionalGrants)
	euros := func(amount any, currency string) map[string]any {
		return map[string]any{"amount": amount, "currency": currency}
	}
	ticket := map[string]any{"id": "T-1"}
	declined := func(w worker, tool string, args map[string]any, says string) {
		t.Helper()
		answer, err := w.call(tool, args)
		if err != nil || answer.OK() || answer.Decision().Reason != "condition" || !strings.Contains(answer.Text(), says) {
			t.Errorf("%s %v: %v %s", tool, args, err, answer.Body)
		}
	}
	for _, kind := range deskKinds() {
		tia := c.as(t, kind, c.Token("tia"), "desk")
		lists(t, tia, "get_ticket", "transfer")
		allowed(t, tia, "transfer", euros(100, "EUR"))
		declined(tia, "transfer", euros(100.01, "EUR"), "the amount of this call is larger")
		declined(tia, "transfer", euros(5, "USD"), "no amount in EUR")
		declined(tia, "transfer", euros(-5, "EUR"), "negative")
		declined(tia, "get_ticket", ticket, "tia → role visitor → tool desk.get_ticket from 192.0.2.0/24), and this call came from 127.0.0.1")
	}
	who := c.MustCLI("tia", "whoami", "--explain")
	for _, words := range []string{"call if from 192.0.2.0/24", "call if with /amount at most 100.00 EUR in the currency of /currency"} {
		if !strings.Contains(who, words) {
			t.Errorf("whoami does not say %q: %s", words, who)
		}
	}
	for address, code := range map[string]int{"192.0.2.7": 0, "198.51.100.7": 3} {
		if got, out, words := c.CLI("admin", "policy", "explain", "--tenant", "acme", "--as", "tia", "--tool", "desk.get_ticket", "--args", `{"id":"T-1"}`, "--ip", address); got != code {
			t.Errorf("from %s: exit %d: %s%s", address, got, out, words)
		}
	}
	product.Eventually(t, 20*time.Second, "the record says which condition it was", func() bool {
		return slices.ContainsFunc(c.Records("--person", "tia"), func(r product.Record) bool {
			return r.Get("event.code") == "condition" && strings.Contains(r.Get("headgate.decision.via"), "from 192.0.2.0/24") && r.Get("headgate.decision.effect") == "block"
		})
	})
	// One that holds is enough: with the role local, she reads tickets from this machine.
	c.Apply("{apiVersion: headgate/v1, kind: Person, metadata: {name: tia, tenant: acme}, spec: {email: tia@acme.example, roles: [payer, visitor, local]}}")
	tia := c.as(t, deskKinds()[1], c.Token("tia"), "desk")
	product.Eventually(t, 20*time.Second, "the other grant holds", func() bool {
		answer, err := tia.call("get_ticket", ticket)
		return err == nil && answer.OK()
	})
	for name, document := range map[string]string{
		"a network with a host's part": "networks: [10.0.0.1/8]",
		"no network":                   "networks: [office]",
		"no currency that there is":    `amount: {argument: /amount, max: "1", currency: QQQ}`,
		"less than the smallest part":  `amount: {argument: /amount, max: "1.001", currency: EUR}`,
		"no pointer":                   `amount: {argument: amount, max: "1", currency: EUR}`,
		"a power of ten":               `amount: {argument: /amount, max: "1e3", currency: EUR}`,
		"nothing of it is there":       "amount: {}",
	} {
		role := "{apiVersion: headgate/v1, kind: Role, metadata: {name: payer, tenant: acme}, spec: {grants: [{server: desk, tools: [transfer], can: call, " + document + "}]}}"
		if code, _, words := c.CLI("admin", "apply", "-f", write(t, role)); code == 0 || !strings.Contains(words, "grants[0]") {
			t.Errorf("%s: exit %d: %s", name, code, words)
		}
	}
	role := "{apiVersion: headgate/v1, kind: Role, metadata: {name: payer, tenant: acme}, spec: {grants: [{server: desk, tools: [transfer], can: see, networks: [10.0.0.0/8]}]}}"
	if code, _, words := c.CLI("admin", "apply", "-f", write(t, role)); code == 0 || !strings.Contains(words, "conditions of calls") {
		t.Errorf("a condition of sight: exit %d: %s", code, words)
	}
	allowed(t, tia, "transfer", euros(1, "EUR")) // what was refused changed nothing
}
