// Package directory keeps what identity says of each tenant's people, groups, roles and agents, as values that never change once they are made.
package directory

import (
	"maps"
	"regexp"
	"slices"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// Tenant is one tenant at one revision of the directory. It never changes; who holds it may read it without a lock.
type Tenant struct {
	name     string
	people   map[string]*identityv1.PersonSpec
	groups   map[string]*identityv1.GroupSpec
	roles    map[string]*identityv1.RoleSpec
	agents   map[string]*identityv1.AgentSpec
	memberOf map[string][]string // groups of a person, sorted
}

// Person is someone who may act: disabled people are not in the directory as far as authz is concerned.
type Person struct {
	Name, Email, Department string
	// Roles are the person's own and those of their groups, sorted.
	Roles, Groups, Teams []string
	Attributes           map[string]string
}

// A name that no resource can have gives nothing and never becomes part of a relation.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// Name is the tenant's name.
func (t *Tenant) Name() string { return t.name }

// Person returns who may act under this name.
func (t *Tenant) Person(name string) (Person, bool) {
	spec, ok := t.enabled(name)
	if !ok {
		return Person{}, false
	}
	roles := t.OwnRoles(name)
	for _, group := range t.memberOf[name] {
		roles = append(roles, t.GroupRoles(group)...)
	}
	slices.Sort(roles)
	return Person{
		Name: name, Email: spec.GetEmail(), Department: spec.GetDepartment(),
		Roles: slices.Compact(roles), Groups: t.memberOf[name], Teams: spec.GetTeams(), Attributes: spec.GetAttributes(),
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

// GroupsOf are the groups that the person is in, sorted.
func (t *Tenant) GroupsOf(person string) []string { return t.memberOf[person] }

// Groups names the groups, sorted.
func (t *Tenant) Groups() []string { return slices.Sorted(maps.Keys(t.groups)) }

// Members are the people of a group who may act, sorted.
func (t *Tenant) Members(group string) []string {
	return slices.DeleteFunc(names(t.groups[group].GetMembers()), func(name string) bool {
		_, ok := t.enabled(name)
		return !ok
	})
}

// GroupRoles are the roles that every member of the group holds, sorted.
func (t *Tenant) GroupRoles(group string) []string { return names(t.groups[group].GetRoles()) }

// Roles names the roles that give something, sorted.
func (t *Tenant) Roles() []string { return slices.Sorted(maps.Keys(t.roles)) }

// RoleGrants is what a role gives.
func (t *Tenant) RoleGrants(role string) []*identityv1.Grant { return t.roles[role].GetGrants() }

// Holders are the people who hold a role, by themselves or through a group.
func (t *Tenant) Holders(role string) []string {
	holds := map[string]bool{}
	for person := range t.people {
		if _, ok := t.enabled(person); ok && slices.Contains(t.OwnRoles(person), role) {
			holds[person] = true
		}
	}
	for group := range t.groups {
		if slices.Contains(t.GroupRoles(group), role) {
			for _, person := range t.Members(group) {
				holds[person] = true
			}
		}
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

// index makes memberOf.
func (t *Tenant) index() {
	t.memberOf = map[string][]string{}
	for _, group := range t.Groups() {
		for _, person := range names(t.groups[group].GetMembers()) {
			t.memberOf[person] = append(t.memberOf[person], group)
		}
	}
}

func (t *Tenant) clone() *Tenant {
	return &Tenant{
		name: t.name, people: maps.Clone(t.people), groups: maps.Clone(t.groups), roles: maps.Clone(t.roles), agents: maps.Clone(t.agents),
	}
}

func newTenant(name string) *Tenant {
	return &Tenant{
		name:   name,
		people: map[string]*identityv1.PersonSpec{}, groups: map[string]*identityv1.GroupSpec{},
		roles: map[string]*identityv1.RoleSpec{}, agents: map[string]*identityv1.AgentSpec{},
	}
}
