package identity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/resource"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

func groupOf(name, spec string) string {
	return fmt.Sprintf("{apiVersion: headgate/v1, kind: Group, metadata: {name: %s, tenant: acme}, spec: {%s}}\n---\n", name, spec)
}

func applied(docs ...string) string { return strings.TrimSuffix(strings.Join(docs, ""), "---\n") }

func TestRolesComeThroughGroupsWithinGroupsDepartmentsAndTeams(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	h.mustApply(applied(
		groupOf("world", "groups: [europe], roles: [guest]"), groupOf("europe", "groups: [care]"),
		"{apiVersion: headgate/v1, kind: Person, metadata: {name: nora, tenant: acme}, spec: {department: Customer care, teams: [night]}}\n---\n",
		"{apiVersion: headgate/v1, kind: Role, metadata: {name: security, tenant: acme}, spec: {departments: [Customer care]}}\n---\n",
		"{apiVersion: headgate/v1, kind: Role, metadata: {name: late, tenant: acme}, spec: {teams: [night]}}\n---\n"))
	ana, err := h.authenticate(h.token("acme", "ana"), mcp)
	if err != nil || !slices.Equal(ana.GetRoles(), []string{"auditor", "guest", "support"}) || !slices.Equal(ana.GetGroups(), []string{"care", "europe", "world"}) {
		t.Errorf("ana: %v, %v", ana, err)
	}
	nora, err := h.authenticate(h.token("acme", "nora"), mcp)
	if err != nil || !slices.Equal(nora.GetRoles(), []string{"late", "security"}) || !slices.Contains(nora.GetRights(), optionsv1.Role_ROLE_SECURITY) {
		t.Errorf("nora: %v, %v", nora, err)
	}
	h.mustApply("{apiVersion: headgate/v1, kind: Person, metadata: {name: nils, tenant: acme}, spec: {department: Ops, teams: [night]}}")
	if got, want := granted(h.journal.last("resource-applied")), "given person:nils member of department:Ops, given person:nils member of team:night, given person:nils sign in"; got != want {
		t.Errorf("the record of a person in a team and a department: %q, want %q", got, want)
	}
	h.mustApply("{apiVersion: headgate/v1, kind: Role, metadata: {name: late, tenant: acme}, spec: {teams: [dawn, night], departments: [Ops]}}")
	if got, want := granted(h.journal.last("resource-applied")), "given department:Ops role:late, given team:dawn role:late"; got != want {
		t.Errorf("the record of a role that gets a team and a department: %q, want %q", got, want)
	}
	h.mustApply(applied(groupOf("europe", "groups: [care, sales]")))
	if got := granted(h.journal.last("resource-applied")); got != "given group:sales member of group:europe" {
		t.Errorf("the record of a group that gets another: %q", got)
	}
	for _, gone := range []*identityv1.DeleteRequest{{Kind: "Group", Name: "europe", Tenant: "acme"}, {Kind: "Role", Name: "security", Tenant: "acme"}} {
		if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(gone)); err != nil {
			t.Fatal(err)
		}
	}
	if ana, err = h.authenticate(h.token("acme", "ana"), mcp); err != nil || !slices.Equal(ana.GetRoles(), []string{"auditor", "support"}) {
		t.Errorf("ana without the group between: %v, %v", ana, err)
	}
	if nora, err = h.authenticate(h.token("acme", "nora"), mcp); err != nil || !slices.Equal(nora.GetRoles(), []string{"late"}) {
		t.Errorf("nora without her department's role: %v, %v", nora, err)
	}
}

func TestGroupsInACircleAreRefusedAndNothingIsHalfDone(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	h.mustApply(applied(groupOf("a", "groups: [b]"), groupOf("b", "groups: [c]")))
	var chain []string
	for i := range 11 {
		chain = append(chain, groupOf(fmt.Sprint("g", i), fmt.Sprintf("groups: [g%d]", i+1)))
	}
	for name, test := range map[string]struct{ yaml, want string }{
		"with what is there":      {groupOf("c", "groups: [a], roles: [admin]"), "c → a → b → c"},
		"within one file":         {groupOf("x", "groups: [y]") + groupOf("y", "groups: [x]"), "x → y → x"},
		"beside one that is fine": {groupOf("f", "groups: [x]") + groupOf("x", "groups: [y]") + groupOf("y", "groups: [x]"), "x → y → x"},
		"itself":                  {groupOf("s", "groups: [s]"), "s → s"},
		"too deep":                {strings.Join(chain, ""), "12 groups would lie within one another, at most 10 may"},
	} {
		_, err := h.apply(h.admin(), applied(test.yaml, groupOf("beside", "members: [ana]")))
		if reason(err) != faultv1.Reason_REASON_INVALID || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	list, err := h.as(h.admin()).List(t.Context(), connect.NewRequest(&identityv1.ListRequest{Kind: "Group", Tenant: "acme"}))
	if err != nil || len(list.Msg.GetResources()) != 3 {
		t.Errorf("groups after all that was refused: %v, %v", list, err)
	}
}

func listOf(name, spec string) string {
	return fmt.Sprintf("{apiVersion: headgate/v1, kind: BlockList, metadata: {name: %s, tenant: acme}, spec: {%s}}\n", name, spec)
}

func TestABlockListIsKeptAndRecordedAndABadOneIsRefused(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	h.mustApply(listOf("leavers", `people: [ana], groups: [care], targets: [{server: "*", tools: ["*"], cannot: see}, {server: crm, tools: [erase], cannot: call}]`))
	want := "given group:care no call crm.erase, given group:care no see *.*, given person:ana no call crm.erase, given person:ana no see *.*"
	if got := granted(h.journal.last("resource-applied")); got != want {
		t.Errorf("the record: %q, want %q", got, want)
	}
	for name, test := range map[string]struct{ spec, want string }{
		"names of tools everywhere": {`people: [ana], targets: [{server: "*", tools: [erase], cannot: see}]`, "tools of all servers have no names"},
		"nothing to be kept from":   {"people: [ana]", "targets"},
		"another word":              {`people: [ana], targets: [{server: crm, tools: ["*"], cannot: do}]`, "cannot"},
		"no tools":                  {`people: [ana], targets: [{server: crm, cannot: call}]`, "tools"},
	} {
		located, err := resource.Parse("it.yaml", []byte(listOf("bad", test.spec)))
		if err == nil {
			t.Errorf("%s: parsed as %v", name, located)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	gone := &identityv1.DeleteRequest{Kind: "BlockList", Name: "leavers", Tenant: "acme"}
	if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(gone)); err != nil {
		t.Fatal(err)
	}
	if got := granted(h.journal.last("resource-deleted")); !strings.HasPrefix(got, "taken group:care no call crm.erase") {
		t.Errorf("the record of its end: %q", got)
	}
}
