// Package membership says which groups the people of one tenant are in and which roles they hold, and by which way: by themselves, through groups and
// the groups that these are in, through their department and their teams. Identity, the edges and authz ask it alike, so that no two differ.
package membership

import (
	"maps"
	"slices"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// Deepest is how many groups may lie within one another. OpenFGA gives up on what lies much deeper.
const Deepest = 10

// Tenant is the groups and the roles of one tenant. The zero value has none. What is asked changes nothing, so that many may ask at once.
type Tenant struct {
	groups map[string]*identityv1.GroupSpec
	roles  map[string]*identityv1.RoleSpec
	of     index // the groups that name a person
	within index // the groups that name a group
	// The roles that name a department or a team.
	departments, teams index
}

// index finds by what they name who names it.
type index map[string]map[string]bool

func (x *index) add(named []string, by string) {
	if *x == nil {
		*x = index{}
	}
	for _, name := range named {
		if (*x)[name] == nil {
			(*x)[name] = map[string]bool{}
		}
		(*x)[name][by] = true
	}
}

func (x index) remove(named []string, by string) {
	for _, name := range named {
		delete(x[name], by)
		if len(x[name]) == 0 {
			delete(x, name)
		}
	}
}

func (x index) by(name string) []string { return slices.Sorted(maps.Keys(x[name])) }

// PutGroup adds or replaces a group.
func (t *Tenant) PutGroup(name string, spec *identityv1.GroupSpec) {
	t.RemoveGroup(name)
	if t.groups == nil {
		t.groups = map[string]*identityv1.GroupSpec{}
	}
	t.groups[name] = spec
	t.of.add(spec.GetMembers(), name)
	t.within.add(spec.GetGroups(), name)
}

// RemoveGroup forgets a group.
func (t *Tenant) RemoveGroup(name string) {
	spec := t.groups[name]
	t.of.remove(spec.GetMembers(), name)
	t.within.remove(spec.GetGroups(), name)
	delete(t.groups, name)
}

// PutRole adds or replaces a role.
func (t *Tenant) PutRole(name string, spec *identityv1.RoleSpec) {
	t.RemoveRole(name)
	if t.roles == nil {
		t.roles = map[string]*identityv1.RoleSpec{}
	}
	t.roles[name] = spec
	t.departments.add(spec.GetDepartments(), name)
	t.teams.add(spec.GetTeams(), name)
}

// RemoveRole forgets a role.
func (t *Tenant) RemoveRole(name string) {
	spec := t.roles[name]
	t.departments.remove(spec.GetDepartments(), name)
	t.teams.remove(spec.GetTeams(), name)
	delete(t.roles, name)
}

// Way is one way in which a person comes to a role.
type Way struct {
	Role string
	// Through are the groups, the department or the team in between, as "group emea", from the person on; none for a role of their own.
	Through []string
}

// Groups are the groups that a person is in, by name or because they are in a group that is in them, sorted.
func (t *Tenant) Groups(person string) []string {
	var names []string
	for _, chain := range t.Chains(person) {
		names = append(names, chain[len(chain)-1])
	}
	slices.Sort(names)
	return names
}

// Chains lead from a person to each group that they are in: the groups in between and it, the shortest chain of each.
func (t *Tenant) Chains(person string) [][]string {
	var found [][]string
	seen := map[string]bool{}
	for _, name := range t.of.by(person) {
		seen[name] = true
		found = append(found, []string{name})
	}
	for i := 0; i < len(found); i++ { // those that are found have further ones behind them
		chain := found[i]
		for _, name := range t.within.by(chain[len(chain)-1]) {
			if !seen[name] {
				seen[name] = true
				found = append(found, append(slices.Clone(chain), name))
			}
		}
	}
	return found
}

// Ways are all ways in which a person comes to roles: their own first, then those by groups, the nearest first, then by department and teams.
func (t *Tenant) Ways(person string, spec *identityv1.PersonSpec) []Way {
	var ways []Way
	add := func(roles, through []string) {
		for _, role := range roles {
			ways = append(ways, Way{Role: role, Through: through})
		}
	}
	add(spec.GetRoles(), nil)
	for _, chain := range t.Chains(person) {
		through := make([]string, len(chain))
		for i, name := range chain {
			through[i] = "group " + name
		}
		add(t.groups[chain[len(chain)-1]].GetRoles(), through)
	}
	if department := spec.GetDepartment(); department != "" {
		add(t.departments.by(department), []string{"department " + department})
	}
	for _, team := range spec.GetTeams() {
		add(t.teams.by(team), []string{"team " + team})
	}
	return ways
}

// Roles are the roles that a person holds in any way, sorted.
func (t *Tenant) Roles(person string, spec *identityv1.PersonSpec) []string {
	var names []string
	for _, way := range t.Ways(person, spec) {
		names = append(names, way.Role)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Cycle names a chain of groups that leads from a group through those within it back to it, as a, b, a; nil when there is none.
func (t *Tenant) Cycle(group string) []string {
	return t.descend(group, group, map[string]bool{})
}

func (t *Tenant) descend(from, to string, seen map[string]bool) []string {
	for _, inner := range t.groups[from].GetGroups() {
		if inner == to {
			return []string{from, to}
		}
		if seen[inner] {
			continue
		}
		seen[inner] = true
		if rest := t.descend(inner, to, seen); rest != nil {
			return append([]string{from}, rest...)
		}
	}
	return nil
}

// Depth is how many groups lie within one another, at most, on a chain that a group is on.
func (t *Tenant) Depth(group string) int {
	below := longest(group, map[string]int{}, func(name string) []string { return t.groups[name].GetGroups() })
	return longest(group, map[string]int{}, t.within.by) + below - 1
}

func longest(from string, known map[string]int, next func(string) []string) int {
	if n, ok := known[from]; ok {
		return n
	}
	known[from] = 1 // ends a circle, which is refused where it is found
	most := 0
	for _, name := range next(from) {
		most = max(most, longest(name, known, next))
	}
	known[from] = most + 1
	return most + 1
}
