package directory

import (
	"slices"
	"testing"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

func meta(tenant, name string) *resourcev1.Metadata {
	return &resourcev1.Metadata{Name: name, Tenant: tenant}
}

func person(tenant, name string, spec *identityv1.PersonSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Person{Person: &identityv1.Person{Metadata: meta(tenant, name), Spec: spec}}}
}

func group(tenant, name string, spec *identityv1.GroupSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Group{Group: &identityv1.Group{Metadata: meta(tenant, name), Spec: spec}}}
}

func snapshot(resources ...*identityv1.Resource) View {
	return View{}.Apply(&identityv1.WatchResponse{Snapshot: true, Revision: 1, Upserts: resources})
}

func TestAPersonHasTheirOwnRolesAndThoseOfTheirGroups(t *testing.T) {
	v := snapshot(
		person("acme", "ana", &identityv1.PersonSpec{Email: "ana@acme.example", Roles: []string{"support", "admin"}, Teams: []string{"night"}}),
		group("acme", "care", &identityv1.GroupSpec{Members: []string{"ana"}, Roles: []string{"support", "reader"}}),
		group("acme", "board", &identityv1.GroupSpec{Members: []string{"zoe"}, Roles: []string{"boss"}}))
	acme, _ := v.Tenant("acme")
	ana, ok := acme.Person("ana")
	if !ok || !slices.Equal(ana.Roles, []string{"admin", "reader", "support"}) || !slices.Equal(ana.Groups, []string{"care"}) || ana.Email != "ana@acme.example" {
		t.Errorf("%+v", ana)
	}
	if _, ok := acme.Person("zoe"); ok {
		t.Error("a group's member who is no person may act")
	}
}

func TestChangesTouchWhatTheyNameAndNothingElse(t *testing.T) {
	v := snapshot(person("a", "ana", &identityv1.PersonSpec{}), person("b", "ana", &identityv1.PersonSpec{Roles: []string{"x"}}))
	a1, _ := v.Tenant("a")
	b1, _ := v.Tenant("b")
	next := v.Apply(&identityv1.WatchResponse{Revision: 2, Upserts: []*identityv1.Resource{person("a", "ben", &identityv1.PersonSpec{})}})
	a2, _ := next.Tenant("a")
	b2, _ := next.Tenant("b")
	if b1 != b2 || a1 == a2 || !slices.Equal(a1.People(), []string{"ana"}) || !slices.Equal(a2.People(), []string{"ana", "ben"}) {
		t.Errorf("a: %v, then %v; b the same: %v", a1.People(), a2.People(), b1 == b2)
	}
	next = next.Apply(&identityv1.WatchResponse{Revision: 3, Deletions: []*identityv1.Deletion{
		{Kind: "Person", Tenant: "a", Name: "ana"}, {Kind: "Person", Tenant: "nowhere", Name: "ana"}, {Kind: "Tenant", Name: "b"},
	}})
	if a3, _ := next.Tenant("a"); !slices.Equal(a3.People(), []string{"ben"}) || !slices.Equal(next.Tenants(), []string{"a"}) || next.Revision != 3 {
		t.Errorf("after the deletions: %v of %v at %d", a3.People(), next.Tenants(), next.Revision)
	}
	if !slices.Equal(v.Tenants(), []string{"a", "b"}) {
		t.Errorf("the first view changed: %v", v.Tenants())
	}
}

func TestASnapshotReplacesAll(t *testing.T) {
	v := snapshot(person("a", "ana", &identityv1.PersonSpec{})).Apply(&identityv1.WatchResponse{
		Snapshot: true, Revision: 9, Upserts: []*identityv1.Resource{person("b", "ben", &identityv1.PersonSpec{})},
	})
	if !slices.Equal(v.Tenants(), []string{"b"}) || v.Revision != 9 {
		t.Errorf("%v at %d", v.Tenants(), v.Revision)
	}
}

func TestDisabledPeopleAndAgentsMayNotAct(t *testing.T) {
	v := snapshot(person("acme", "off", &identityv1.PersonSpec{Disabled: true, Roles: []string{"r"}}),
		group("acme", "g", &identityv1.GroupSpec{Members: []string{"off"}, Roles: []string{"r"}}),
		&identityv1.Resource{Kind: &identityv1.Resource_Agent{Agent: &identityv1.Agent{Metadata: meta("acme", "bot"), Spec: &identityv1.AgentSpec{Disabled: true}}}})
	acme, _ := v.Tenant("acme")
	_, someone := acme.Person("off")
	_, something := acme.Agent("bot")
	if someone || something || len(acme.People())+len(acme.Agents())+len(acme.Members("g"))+len(acme.Holders("r")) > 0 {
		t.Error("somebody who is disabled may act")
	}
}
