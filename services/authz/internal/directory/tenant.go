// Package directory keeps what identity says of each tenant's people, groups, roles and agents, as values that never change once they are made.
package directory

import (
	"maps"
	"regexp"
	"slices"

	"headgate.dev/libs/membership"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/authz/internal/ownership"
)

// Tenant is one tenant at one revision of the directory. It never changes; who holds it may read it without a lock.
type Tenant struct {
	name   string
	people map[string]*identityv1.PersonSpec
	groups map[string]*identityv1.GroupSpec
	roles  map[string]*identityv1.RoleSpec
	agents map[string]*identityv1.AgentSpec
	blocks map[string]*identityv1.BlockListSpec
	// What is derived: who belongs where, the groups of each person and the people of each group who may act, and who is in a department or a team.
	belonging membership.Tenant
	groupsOf  map[string][]string
	peopleOf  map[string][]string
	units     map[Unit][]string
	// resources are what applications say of their own; told is the same for all tenants that differ in nothing else.
	resources *ownership.Resources
	told      *struct{ _ byte }
}

// Person is someone who may act: disabled people are not in the directory as far as authz is concerned.
type Person struct {
	Name, Email, Department string
	// Roles are the person's own and those of their groups, sorted.
	Roles, Groups, Teams []string
	Attributes           map[string]string
	Clearances           []string
}

// A name that no resource can have gives nothing and never becomes part of a relation.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// Name is the tenant's name.
func (t *Tenant) Name() string { return t.name }

// Resources are what applications say of their own resources.
func (t *Tenant) Resources() *ownership.Resources { return t.resources }

// SamePeople reports whether another state of the tenant differs in what applications say of their resources alone.
func (t *Tenant) SamePeople(other *Tenant) bool { return other != nil && t.told == other.told }

// Declared reports whether a person or group of that name is declared, whether they may act or not. Kind is person or group.
func (t *Tenant) Declared(kind, name string) bool {
	if kind == "group" {
		_, ok := t.groups[name]
		return ok
	}
	_, ok := t.people[name]
	return ok
}

// Person returns who may act under this name.
func (t *Tenant) Person(name string) (Person, bool) {
	spec, ok := t.enabled(name)
	if !ok {
		return Person{}, false
	}
	var roles []string
	for _, way := range t.Ways(name) {
		roles = append(roles, way.Role)
	}
	slices.Sort(roles)
	return Person{
		Name: name, Email: spec.GetEmail(), Department: spec.GetDepartment(),
		Roles: slices.Compact(roles), Groups: t.groupsOf[name], Teams: spec.GetTeams(), Attributes: spec.GetAttributes(),
		Clearances: spec.GetClearances(),
	}, true
}

// People names who may act, sorted.
func (t *Tenant) People() []string {
	var names []string
	for name := range t.people {
		if _, ok := t.enabled(name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// OwnRoles are the roles that the person holds by themselves, sorted.
func (t *Tenant) OwnRoles(person string) []string { return names(t.people[person].GetRoles()) }

// Ways are the ways in which a person comes to roles, the nearest first.
func (t *Tenant) Ways(person string) []membership.Way {
	return slices.DeleteFunc(t.belonging.Ways(person, t.people[person]), func(w membership.Way) bool { return !validName.MatchString(w.Role) })
}

// Groups names the groups, sorted.
func (t *Tenant) Groups() []string { return slices.Sorted(maps.Keys(t.groups)) }

// Chains lead from a person to each group that they are in: the groups in between and it.
func (t *Tenant) Chains(person string) [][]string { return t.belonging.Chains(person) }

// BlockLists names the block lists, sorted.
func (t *Tenant) BlockLists() []string { return slices.Sorted(maps.Keys(t.blocks)) }

// BlockList is what a block list says.
func (t *Tenant) BlockList(name string) *identityv1.BlockListSpec { return t.blocks[name] }

// Members are the people in a group who may act, by name or through a group within it, sorted.
func (t *Tenant) Members(group string) []string { return t.peopleOf[group] }

// Named are the people whom a group itself names and who may act, sorted.
func (t *Tenant) Named(group string) []string {
	return slices.DeleteFunc(names(t.groups[group].GetMembers()), func(name string) bool {
		_, ok := t.enabled(name)
		return !ok
	})
}

// Within are the groups that lie within a group directly and are there, sorted.
func (t *Tenant) Within(group string) []string {
	return slices.DeleteFunc(names(t.groups[group].GetGroups()), func(name string) bool { return !t.Declared("group", name) })
}

// Unit is a department or a team. Nobody declares them: they are there with the people who say that they are in them.
type Unit struct{ Kind, Name string }

// The kinds of units.
const (
	Department = "department"
	Team       = "team"
)

// Units are the departments and teams that somebody is in who may act, with those people, sorted.
func (t *Tenant) Units() map[Unit][]string { return t.units }

// RoleUnits are the departments and teams whose people hold a role.
func (t *Tenant) RoleUnits(role string) []Unit {
	var units []Unit
	for _, name := range t.roles[role].GetDepartments() {
		units = append(units, Unit{Department, name})
	}
	for _, name := range t.roles[role].GetTeams() {
		units = append(units, Unit{Team, name})
	}
	return units
}

// GroupRoles are the roles that every member of the group holds, sorted.
func (t *Tenant) GroupRoles(group string) []string { return names(t.groups[group].GetRoles()) }

// Roles names the roles that give something, sorted.
func (t *Tenant) Roles() []string { return slices.Sorted(maps.Keys(t.roles)) }

// RoleGrants is what a role gives.
func (t *Tenant) RoleGrants(role string) []*identityv1.Grant { return t.roles[role].GetGrants() }

// Holders are the people who hold a role in any way and may act, sorted.
func (t *Tenant) Holders(role string) []string {
	holds := map[string]bool{}
	add := func(people []string) {
		for _, person := range people {
			holds[person] = true
		}
	}
	for person := range t.people {
		if _, ok := t.enabled(person); ok && slices.Contains(t.OwnRoles(person), role) {
			holds[person] = true
		}
	}
	for group := range t.groups {
		if slices.Contains(t.GroupRoles(group), role) {
			add(t.Members(group))
		}
	}
	for _, unit := range t.RoleUnits(role) {
		add(t.units[unit])
	}
	return slices.Sorted(maps.Keys(holds))
}

// Agents names the agents that may act, sorted.
func (t *Tenant) Agents() []string {
	var names []string
	for name, spec := range t.agents {
		if !spec.GetDisabled() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// HasAgent reports whether an agent is declared, disabled or not.
func (t *Tenant) HasAgent(name string) bool { return t.agents[name] != nil }

// Agent returns the agent of this name, if it may act.
func (t *Tenant) Agent(name string) (*identityv1.AgentSpec, bool) {
	spec, ok := t.agents[name]
	return spec, ok && !spec.GetDisabled()
}

// DelegatorRoles are the roles whose holders the agent may act for, sorted.
func (t *Tenant) DelegatorRoles(agent string) []string {
	return names(t.agents[agent].GetDelegators().GetRoles())
}

// DelegatorPeople are the people whom the agent names and who may act, sorted.
func (t *Tenant) DelegatorPeople(agent string) []string {
	return slices.DeleteFunc(names(t.agents[agent].GetDelegators().GetPeople()), func(name string) bool {
		_, ok := t.enabled(name)
		return !ok
	})
}

func (t *Tenant) enabled(person string) (*identityv1.PersonSpec, bool) {
	spec, ok := t.people[person]
	return spec, ok && !spec.GetDisabled()
}

// names sorts a declared list and leaves out what cannot be a name and what is there twice.
func names(declared []string) []string {
	valid := make([]string, 0, len(declared))
	for _, name := range declared {
		if validName.MatchString(name) {
			valid = append(valid, name)
		}
	}
	slices.Sort(valid)
	return slices.Compact(valid)
}

// index makes what is derived.
func (t *Tenant) index() {
	t.belonging, t.told = membership.Tenant{}, new(struct{ _ byte })
	t.groupsOf, t.peopleOf, t.units = map[string][]string{}, map[string][]string{}, map[Unit][]string{}
	for name, spec := range t.groups {
		t.belonging.PutGroup(name, spec)
	}
	for name, spec := range t.roles {
		t.belonging.PutRole(name, spec)
	}
	for _, name := range t.People() {
		spec := t.people[name]
		t.groupsOf[name] = t.belonging.Groups(name)
		for _, group := range t.groupsOf[name] {
			t.peopleOf[group] = append(t.peopleOf[group], name)
		}
		if department := spec.GetDepartment(); department != "" {
			t.units[Unit{Department, department}] = append(t.units[Unit{Department, department}], name)
		}
		for _, team := range slices.Compact(slices.Sorted(slices.Values(spec.GetTeams()))) {
			t.units[Unit{Team, team}] = append(t.units[Unit{Team, team}], name)
		}
	}
}

func (t *Tenant) clone() *Tenant {
	return &Tenant{
		name: t.name, people: maps.Clone(t.people), groups: maps.Clone(t.groups), roles: maps.Clone(t.roles), agents: maps.Clone(t.agents),
		blocks: maps.Clone(t.blocks),
	}
}

func newTenant(name string) *Tenant {
	return &Tenant{
		name:   name,
		people: map[string]*identityv1.PersonSpec{}, groups: map[string]*identityv1.GroupSpec{},
		roles: map[string]*identityv1.RoleSpec{}, agents: map[string]*identityv1.AgentSpec{},
		blocks: map[string]*identityv1.BlockListSpec{},
	}
}
