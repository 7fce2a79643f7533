package identity_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/resource"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

const bystander = "apiVersion: headgate/v1\nkind: Role\nmetadata: {name: clerk, tenant: acme}\n---\n"

// payer is a role or an agent with one grant, whose condition stands on its tenth line.
func payer(kind, can, condition string) string {
	return "apiVersion: headgate/v1\nkind: " + kind + "\nmetadata: {name: payer, tenant: acme}\nspec:\n  owner: ana\n  grants:\n  - server: pay\n    tools: [transfer]\n    can: " +
		can + "\n    " + condition + "\n"
}

func TestTheConditionOfAGrantIsKeptAndRecorded(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	for _, c := range []struct{ condition, want string }{
		{`networks: [10.0.0.0/8, "2001:db8::/32"]`, "given agent:payer call pay.transfer from 10.0.0.0/8 or 2001:db8::/32"},
		{`networks: [10.0.0.0/16]`, "taken agent:payer call pay.transfer from 10.0.0.0/8 or 2001:db8::/32, given agent:payer call pay.transfer from 10.0.0.0/16"},
		{`amount: {argument: /sum/value, max: "1000.00", currency: EUR, currencyArgument: /sum/currency}`,
			"taken agent:payer call pay.transfer from 10.0.0.0/16, given agent:payer call pay.transfer with /sum/value at most 1000.00 EUR in the currency of /sum/currency"},
	} {
		h.mustApply(payer("Agent", "call", c.condition))
		if got := granted(h.journal.last("resource-applied")); !strings.HasSuffix(got, c.want) {
			t.Errorf("the record of %s:\n got %s\nwant %s", c.condition, got, c.want)
		}
	}
	kept, err := h.as(h.admin()).Get(t.Context(), connect.NewRequest(&identityv1.GetRequest{Kind: "Agent", Name: "payer", Tenant: "acme"}))
	if err != nil {
		t.Fatal(err)
	}
	g := kept.Msg.GetResource().GetAgent().GetSpec().GetGrants()[0]
	if a := g.GetAmount(); len(g.GetNetworks()) > 0 || a.GetArgument() != "/sum/value" || a.GetMax() != "1000.00" || a.GetCurrency() != "EUR" || a.GetCurrencyArgument() != "/sum/currency" {
		t.Errorf("kept: %v", g)
	}
}

// What no call could meet, or would be met by more calls than its author thinks, is refused where it is written, with all that is applied with it.
func TestABadConditionOfAGrantIsRefusedAndNothingIsHalfApplied(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	const line, amount = "it.yaml:10: ", "spec.grants[0].amount."
	for name, c := range map[string]struct{ can, condition, want string }{
		"no network":                    {"call", "networks: [home]", line + "spec.grants[0].networks[0]"},
		"an address":                    {"call", "networks: [10.0.0.1]", line + "spec.grants[0].networks[0]"},
		"bits beside the network":       {"call", "networks: [10.0.0.1/8]", line + "spec.grants[0].networks[0]"},
		"more bits than there are":      {"call", "networks: [10.0.0.0/33]", line + "spec.grants[0].networks[0]"},
		"a network twice":               {"call", "networks: [10.0.0.0/8, 10.0.0.0/8]", line + "spec.grants[0].networks"},
		"no pointer":                    {"call", `amount: {argument: amount, max: "1", currency: EUR}`, line + amount + "argument"},
		"a pointer that ends in a wave": {"call", `amount: {argument: /a~, max: "1", currency: EUR}`, line + amount + "argument"},
		"no argument":                   {"call", `amount: {max: "1", currency: EUR}`, line + amount + "argument"},
		"a pointer for the currency":    {"call", `amount: {argument: /a, max: "1", currency: EUR, currencyArgument: c}`, line + amount + "currencyArgument"},
		"less than nothing":             {"call", `amount: {argument: /a, max: "-1", currency: EUR}`, line + amount + "max"},
		"a power":                       {"call", `amount: {argument: /a, max: "1e3", currency: EUR}`, line + amount + "max"},
		"a comma":                       {"call", `amount: {argument: /a, max: "1,00", currency: EUR}`, line + amount + "max"},
		"no largest amount":             {"call", `amount: {argument: /a, currency: EUR}`, line + amount + "max"},
		"no currency":                   {"call", `amount: {argument: /a, max: "1"}`, line + amount + "currency"},
		"small letters":                 {"call", `amount: {argument: /a, max: "1", currency: eur}`, line + amount + "currency"},
		"for who may only see":          {"see", "networks: [10.0.0.0/8]", "can is call"},
		"another word":                  {"call", "network: [10.0.0.0/8]", line + "spec.grants[0].network"},
		"a currency that is none":       {"call", `amount: {argument: /a, max: "1", currency: QQQ}`, `spec.grants[0]: the currency "QQQ" is not a code of ISO 4217`},
		"parts of a cent":               {"call", `amount: {argument: /a, max: "1.001", currency: EUR}`, "spec.grants[0]: 1.001 EUR has parts of the smallest unit"},
		"parts of a yen":                {"call", `amount: {argument: /a, max: "1.5", currency: JPY}`, "spec.grants[0]: 1.5 JPY has parts of the smallest unit"},
	} {
		for _, kind := range []string{"Role", "Agent"} {
			document := payer(kind, c.can, c.condition)
			if kind == "Role" {
				document = strings.Replace(document, "  owner: ana\n", "  departments: []\n", 1)
			}
			_, err := resource.Parse("it.yaml", []byte(document))
			if err == nil {
				_, err = h.apply(h.admin(), bystander+document)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %s: %v, want %q", kind, name, err, c.want)
			}
		}
	}
	unread := &identityv1.Grant{Server: "pay", Tools: []string{"transfer"}, Can: "call", Networks: []string{"home"}}
	_, err := h.as(h.admin()).Apply(t.Context(), connect.NewRequest(&identityv1.ApplyRequest{Resources: []*identityv1.Resource{{Kind: &identityv1.Resource_Role{Role: &identityv1.Role{
		ApiVersion: "headgate/v1", Kind: "Role", Metadata: &resourcev1.Metadata{Name: "payer", Tenant: "acme"}, Spec: &identityv1.RoleSpec{Grants: []*identityv1.Grant{unread}},
	}}}}}))
	if reason(err) != faultv1.Reason_REASON_INVALID {
		t.Errorf("from who checks nothing before: %v", err)
	}
	list, err := h.as(h.admin()).List(t.Context(), connect.NewRequest(&identityv1.ListRequest{Kind: "Role", Tenant: "acme"}))
	if err != nil || len(list.Msg.GetResources()) > 0 {
		t.Errorf("roles after all that was refused: %v, %v", list, err)
	}
}
