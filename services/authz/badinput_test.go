package authz_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

const goodPolicy = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: good, tenant: acme}
spec: {match: {server: tickets}, rules: [{name: r, when: "true", effect: allow}]}
`

func badPolicy(rule string) string {
	return "---\napiVersion: headgate/v1\nkind: Policy\nmetadata: {name: bad, tenant: acme}\nspec:\n  match: {server: tickets}\n  rules:\n    - " + rule + "\n"
}

// What is wrong is said with its place, and of what came with it nothing is in force.
func TestBadPoliciesAreRefusedReadablyAndNothingOfTheirFileIsApplied(t *testing.T) {
	h := start(t, newAcme(t))
	admin := h.as("acme", "root", "admin")
	listed := func() *authzv1.ListResponse {
		got, err := admin.List(t.Context(), connect.NewRequest(&authzv1.ListRequest{Kind: "Policy", Tenant: "acme"}))
		if err != nil {
			t.Fatal(err)
		}
		return got.Msg
	}
	before := listed()
	for name, c := range map[string]struct{ rule, says string }{
		"an unknown field":        {`{name: r, when: "true", effect: allow, shadwo: true}`, "it.yaml:"},
		"a wrong type":            {`{name: r, when: "true", effect: allow, shadow: perhaps}`, "it.yaml:"},
		"an unknown effect":       {`{name: r, when: "true", effect: permit}`, "effect"},
		"an unknown function":     {`{name: r, when: "sqll(args.q).readOnly", effect: allow}`, `line 1, column 5: the name "sqll" is not known; the nearest is "sql"`},
		"an unknown variable":     {`{name: r, when: "true &&\n devise.managed == true", effect: allow}`, `line 2, column 2: the name "devise" is not known; the nearest is "device"`},
		"an unknown field of one": {`{name: r, when: "session.startd < request.time", effect: allow}`, `the field "startd" is not known; the nearest is "started"`},
		"types that do not fit":   {`{name: r, when: "session.age > 5", effect: allow}`, "found no matching overload"},
		"no bool":                 {`{name: r, when: "args.force", effect: allow}`, "compare it"},
		"a broken pattern":        {`{name: r, when: 'args.id.matches("(")', effect: allow}`, "invalid matches argument"},
		"a rule of a megabyte":    {`{name: r, when: 'args.id == "` + strings.Repeat("a", 1<<20) + `"', effect: allow}`, "when"},
		"deep nesting":            {`{name: r, when: "` + strings.Repeat("(", 4000) + "true" + strings.Repeat(")", 4000) + `", effect: allow}`, "recursion limit"},
		"an empty step-up":        {`{name: r, when: "true", effect: step-up}`, "stepUp.acrValues"},
		"a relation that is none": {`{name: r, when: 'related("ticket:1", "Owner!")', effect: allow}`, `"Owner!" is not a relation`},
	} {
		t.Run(name, func(t *testing.T) {
			text := goodPolicy + badPolicy(c.rule)
			located, err := resource.Parse("it.yaml", []byte(text))
			if err == nil {
				req := &authzv1.ApplyRequest{}
				for _, l := range located {
					r := &authzv1.Resource{}
					if err := resource.Wrap(l.Object, r); err != nil {
						t.Fatal(err)
					}
					req.Resources = append(req.Resources, r)
				}
				_, err = admin.Apply(t.Context(), connect.NewRequest(req))
			}
			if err == nil || !strings.Contains(fault.From(err).Sentence+err.Error(), c.says) {
				t.Errorf("%.900v", err)
			}
			if err != nil && len(fault.From(err).Sentence) > 1000 {
				t.Errorf("a sentence of %d bytes", len(fault.From(err).Sentence))
			}
			if after := listed(); !proto.Equal(before, after) {
				t.Errorf("something was applied: %v", after)
			}
		})
	}
	if d := h.decide(call("ana", "", "tickets", "x")); d.GetPolicy() != "" {
		t.Errorf("a policy of a refused file decides: %v", d)
	}
}

// Groups hold people. Names of groups among the members are nobody's, so that a circle gives nothing and ends.
func TestACircleOfGroupsGivesNothing(t *testing.T) {
	id := newAcme(t)
	id.apply(t, `
{apiVersion: headgate/v1, kind: Group, metadata: {name: one, tenant: acme}, spec: {members: [two, zed], roles: [support]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: two, tenant: acme}, spec: {members: [one, three]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: three, tenant: acme}, spec: {members: [one, three, yan], roles: [ghost]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: zed, tenant: acme}, spec: {}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: yan, tenant: acme}, spec: {roles: [nothing-such]}}
`)
	began := time.Now()
	h := start(t, id)
	t.Logf("ready after %s", time.Since(began))
	if d := h.decide(call("zed", "", "tickets", "x")); d.GetEffect() != "allow" {
		t.Errorf("a person of a group: %v", d)
	}
	for _, name := range []string{"one", "two", "three", "yan"} { // yan's role and his group's role are not there
		if d := h.decide(call(name, "", "tickets", "x")); d.GetEffect() != "block" {
			t.Errorf("%s: %v", name, d)
		}
		same(t, "rights of "+name, h.rights("acme", name, ""))
	}
}
