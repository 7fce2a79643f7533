package identity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/record"
	"headgate.dev/libs/resource"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

func TestATenantExistsBeforeWhatIsInIt(t *testing.T) {
	h := start(t, nil)
	person := "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: zoe, tenant: nowhere}\nspec: {}\n"
	if _, err := h.apply(h.admin(), person); reason(err) != faultv1.Reason_REASON_INVALID || !strings.Contains(err.Error(), "there is no tenant nowhere") {
		t.Errorf("without its tenant: %v", err)
	}
	both := person + "---\napiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: nowhere}\n"
	if _, err := h.apply(h.admin(), both); err != nil {
		t.Errorf("together, the tenant last: %v", err)
	}
	_, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(&identityv1.DeleteRequest{Kind: "Tenant", Name: "nowhere"}))
	if reason(err) != faultv1.Reason_REASON_CONFLICT {
		t.Errorf("a tenant with people was deleted: %v", err)
	}
	for _, each := range []*identityv1.DeleteRequest{{Kind: "Person", Name: "zoe", Tenant: "nowhere"}, {Kind: "Tenant", Name: "nowhere"}} {
		if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(each)); err != nil {
			t.Errorf("%v: %v", each, err)
		}
	}
}

func TestApplyIsAllOrNoneAndADryRunChangesNothing(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	change := strings.Replace(acme, "displayName: Ana", "displayName: Ana B", 1) +
		"---\napiVersion: headgate/v1\nkind: Role\nmetadata: {name: r, tenant: nowhere}\n"
	if _, err := h.apply(h.admin(), change); err == nil {
		t.Error("a file with an error was applied")
	}
	located, err := resource.Parse("it.yaml", []byte(strings.Replace(acme, "displayName: Ana", "displayName: Ana B", 1)))
	if err != nil {
		t.Fatal(err)
	}
	req := &identityv1.ApplyRequest{DryRun: true}
	for _, l := range located {
		r := &identityv1.Resource{}
		if err := resource.Wrap(l.Object, r); err != nil {
			t.Fatal(err)
		}
		req.Resources = append(req.Resources, r)
	}
	res, err := h.as(h.admin()).Apply(t.Context(), connect.NewRequest(req))
	if err != nil || res.Msg.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_UPDATED ||
		res.Msg.GetChanges()[1].GetAction() != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("dry run: %v, %v", res, err)
	}
	caller, err := h.authenticate(h.token("acme", "ana"), "")
	if err != nil || caller.GetDisplayName() != "Ana" {
		t.Errorf("something was changed: %v, %v", caller, err)
	}
}

func TestAGroupsRolesAreItsMembers(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	caller, err := h.authenticate(h.token("acme", "ana"), mcp)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(caller.GetRoles(), []string{"auditor", "support"}) || !slices.Equal(caller.GetGroups(), []string{"care"}) ||
		!slices.Equal(caller.GetRights(), []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_AUDITOR}) || caller.GetEmail() != "ana@acme.example" {
		t.Errorf("caller %v", caller)
	}
	h.mustApply("apiVersion: headgate/v1\nkind: Group\nmetadata: {name: care, tenant: acme}\nspec: {members: [boss], roles: [security]}\n")
	if caller, err = h.authenticate(h.token("acme", "ana"), mcp); err != nil || !slices.Equal(caller.GetRoles(), []string{"support"}) {
		t.Errorf("after leaving the group: %v, %v", caller, err)
	}
	if caller, err = h.authenticate(h.token("acme", "boss"), mcp); err != nil || !slices.Equal(caller.GetRoles(), []string{"admin", "security"}) {
		t.Errorf("after joining the group: %v, %v", caller, err)
	}
}

func TestAnAdministratorSeesAndChangesTheirTenantAlone(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	boss := h.token("acme", "boss")
	mine := "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: new, tenant: acme}\nspec: {}\n"
	if _, err := h.apply(boss, mine); err != nil {
		t.Errorf("their own: %v", err)
	}
	for name, yaml := range map[string]string{
		"another tenant's person": strings.Replace(mine, "acme", "other", 1),
		"another tenant":          "apiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: other}\nspec: {displayName: Mine}\n",
		"a new tenant":            "apiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: fresh}\n",
		"the platform's":          strings.Replace(mine, "acme", "system", 1),
	} {
		if _, err := h.apply(boss, yaml); reason(err) != faultv1.Reason_REASON_WRONG_TENANT {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := h.as(boss).List(t.Context(), connect.NewRequest(&identityv1.ListRequest{Kind: "Tenant"}))
	if err != nil || len(list.Msg.GetResources()) != 1 || list.Msg.GetResources()[0].GetTenant().GetMetadata().GetName() != "acme" {
		t.Errorf("tenants: %v, %v", list, err)
	}
	list, err = h.as(boss).List(t.Context(), connect.NewRequest(&identityv1.ListRequest{Kind: "Person"}))
	if err != nil || len(list.Msg.GetResources()) != 3 {
		t.Errorf("people: %v, %v", list, err)
	}
	all, err := h.as(h.admin()).List(t.Context(), connect.NewRequest(&identityv1.ListRequest{Kind: "Person"}))
	if err != nil || len(all.Msg.GetResources()) != 5 {
		t.Errorf("all people: %v, %v", all, err)
	}
	foreign := &identityv1.GetRequest{Kind: "Tenant", Name: "other"}
	if _, err := h.as(boss).Get(t.Context(), connect.NewRequest(foreign)); reason(err) != faultv1.Reason_REASON_WRONG_TENANT {
		t.Errorf("another tenant was read: %v", err)
	}
	ana, own := h.as(h.token("acme", "ana")), &identityv1.DeleteRequest{Kind: "Person", Name: "boss"}
	if _, err := ana.Delete(t.Context(), connect.NewRequest(own)); reason(err) != faultv1.Reason_REASON_ROLE_REQUIRED {
		t.Errorf("deleted without the right: %v", err)
	}
}

func TestOnlyThePlatformsAdministratorTouchesTheSystemTenant(t *testing.T) {
	h := start(t, nil)
	h.mustApply("apiVersion: headgate/v1\nkind: Person\nmetadata: {name: second, tenant: system}\nspec: {roles: [admin, security]}\n")
	second := h.as(h.token("system", "second"))
	third := "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: third, tenant: system}\nspec: {}\n"
	if _, err := h.apply(h.token("system", "second"), third); reason(err) != faultv1.Reason_REASON_ROLE_REQUIRED {
		t.Errorf("applied: %v", err)
	}
	issue := &identityv1.IssueTokenRequest{Person: "admin"}
	if _, err := second.IssueToken(t.Context(), connect.NewRequest(issue)); reason(err) != faultv1.Reason_REASON_ROLE_REQUIRED {
		t.Errorf("became the platform's administrator: %v", err)
	}
	revoke := &identityv1.RevokeRequest{What: &identityv1.RevokeRequest_Person{Person: "admin"}}
	if _, err := second.Revoke(t.Context(), connect.NewRequest(revoke)); reason(err) != faultv1.Reason_REASON_ROLE_REQUIRED {
		t.Errorf("revoked: %v", err)
	}
	for _, each := range []*identityv1.DeleteRequest{{Kind: "Person", Name: "admin", Tenant: "system"}, {Kind: "Tenant", Name: "system"}} {
		if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(each)); reason(err) != faultv1.Reason_REASON_CONFLICT {
			t.Errorf("%v: %v", each, err)
		}
	}
	disabled := "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: admin, tenant: system}\nspec: {disabled: true}\n"
	if _, err := h.apply(h.admin(), disabled); reason(err) != faultv1.Reason_REASON_CONFLICT {
		t.Errorf("disabled: %v", err)
	}
}

// A hash says that a role is another one now; an auditor asks who got what.
func TestARecordOfAChangeSaysWhoGotAndLostWhichRight(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	role := func(grants string) string {
		return "apiVersion: headgate/v1\nkind: Role\nmetadata: {name: night, tenant: acme}\nspec: {grants: [" + grants + "]}\n"
	}
	const ana = "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: ana, tenant: acme}\n"
	for _, c := range []struct{ document, want string }{
		{role("{server: tickets, tools: [read, close], can: call, until: 2026-12-24T18:00:00Z}"),
			"given role:night call tickets.close until 2026-12-24T18:00:00Z, given role:night call tickets.read until 2026-12-24T18:00:00Z"},
		{role("{server: tickets, tools: [read], can: call, until: 2027-01-01T00:00:00Z}"),
			"taken role:night call tickets.close until 2026-12-24T18:00:00Z, " +
				"changed role:night call tickets.read until 2027-01-01T00:00:00Z, before until 2026-12-24T18:00:00Z"},
		{ana + "spec: {email: ana@acme.example, displayName: Ana, roles: [night]}\n", "taken person:ana role:support, given person:ana role:night"},
		{ana + "spec: {email: ana@acme.example, displayName: Ana, roles: [night], disabled: true}\n", "taken person:ana sign in"},
		{"apiVersion: headgate/v1\nkind: Group\nmetadata: {name: care, tenant: acme}\nspec: {members: [boss], roles: [support]}\n",
			"taken group:care role:auditor, taken person:ana member of group:care, taken person:nobody member of group:care, given person:boss member of group:care"},
		{"apiVersion: headgate/v1\nkind: Agent\nmetadata: {name: helper, tenant: acme}\nspec: {owner: ana, delegators: {roles: [night]}}\n",
			"taken agent:helper act for person:ana, given agent:helper act for role:night"},
	} {
		h.mustApply(c.document)
		if got := granted(h.journal.last("resource-applied")); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.document, got, c.want)
		}
	}
	remove := connect.NewRequest(&identityv1.DeleteRequest{Kind: "Role", Name: "night", Tenant: "acme"})
	if _, err := h.as(h.admin()).Delete(t.Context(), remove); err != nil {
		t.Fatal(err)
	}
	if got := granted(h.journal.last("resource-deleted")); got != "taken role:night call tickets.read until 2027-01-01T00:00:00Z" {
		t.Errorf("deleted: %s", got)
	}
}

func TestARecordOfAGroupOfThousandsStaysSmall(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	var members []string
	for i := range 5000 {
		members = append(members, fmt.Sprintf("p%d", i))
	}
	h.mustApply("apiVersion: headgate/v1\nkind: Group\nmetadata: {name: all, tenant: acme}\nspec: {members: [" + strings.Join(members, ", ") + "]}\n")
	ev := h.journal.last("resource-applied")
	if notes := ev.GetFindings().GetNotes(); len(ev.GetGrants()) != 200 || len(notes) != 1 || !strings.HasPrefix(notes[0], "4800 more rights") {
		t.Errorf("%d rights, %q", len(ev.GetGrants()), notes)
	}
}

func granted(ev *eventsv1.Event) string {
	var all []string
	for _, g := range ev.GetGrants() {
		all = append(all, g.GetWhat()+" "+record.Granted(g))
	}
	return strings.Join(all, ", ")
}

func TestEveryChangeIsRecordedBeforeItHolds(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	h.mustApply(strings.Replace(acme, "displayName: Ana", "displayName: Ana B", 1))
	ev := h.journal.last("resource-applied")
	c := ev.GetChange()
	if ev.GetTenant() != "acme" || c.GetKind() != "Person" || c.GetName() != "ana" || c.GetAction() != "updated" || c.GetVersion() != 2 ||
		c.GetOldHash() == "" || c.GetNewHash() == "" || c.GetOldHash() == c.GetNewHash() || ev.GetPrincipal().GetPerson() != "admin" {
		t.Errorf("applied: %v", ev)
	}
	remove := connect.NewRequest(&identityv1.DeleteRequest{Kind: "Agent", Name: "helper", Tenant: "acme"})
	h.journal.fail(true)
	client := h.as(h.admin())
	if _, err := client.Delete(t.Context(), remove); reason(err) != faultv1.Reason_REASON_JOURNAL {
		t.Errorf("deleted without a record: %v", err)
	}
	apply := &identityv1.ApplyRequest{Resources: []*identityv1.Resource{tenant("unrecorded")}}
	if _, err := client.Apply(t.Context(), connect.NewRequest(apply)); reason(err) != faultv1.Reason_REASON_JOURNAL {
		t.Errorf("applied without a record: %v", err)
	}
	issue := &identityv1.IssueTokenRequest{Person: "ana", Tenant: "acme"}
	if _, err := client.IssueToken(t.Context(), connect.NewRequest(issue)); reason(err) != faultv1.Reason_REASON_JOURNAL {
		t.Errorf("issued without a record: %v", err)
	}
	h.journal.fail(false)
	get := &identityv1.GetRequest{Kind: "Tenant", Name: "unrecorded"}
	if _, err := client.Get(t.Context(), connect.NewRequest(get)); reason(err) != faultv1.Reason_REASON_NOT_FOUND {
		t.Errorf("what was not recorded holds: %v", err)
	}
	if _, err := client.Delete(t.Context(), remove); err != nil {
		t.Errorf("after the journal is back: %v", err)
	}
	if ev := h.journal.last("resource-deleted"); ev.GetChange().GetName() != "helper" || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
		t.Errorf("deleted: %v", ev)
	}
}

func tenant(name string) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Tenant{Tenant: &identityv1.Tenant{
		ApiVersion: resource.APIVersion, Kind: "Tenant", Metadata: &resourcev1.Metadata{Name: name},
	}}}
}

func TestARestartKeepsEverything(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	ana, gone := h.token("acme", "ana"), h.token("acme", "boss")
	revoke := &identityv1.RevokeRequest{Tenant: "acme", What: &identityv1.RevokeRequest_Person{Person: "boss"}}
	if _, err := h.as(h.admin()).Revoke(t.Context(), connect.NewRequest(revoke)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h.open()
	if _, err := h.authenticate(ana, mcp); err != nil {
		t.Errorf("a token of before: %v", err)
	}
	if _, err := h.authenticate(gone, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("a revocation of before is forgotten: %v", err)
	}
}
