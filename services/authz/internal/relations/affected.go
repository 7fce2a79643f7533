package relations

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"headgate.dev/libs/policy/terms"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/authz/internal/directory"
)

// Affected are the people and agents whose rights may have changed.
type Affected struct{ People, Agents []string }

// Count is how many they are.
func (a Affected) Count() int { return len(a.People) + len(a.Agents) }

// FindAffected says whose rights the changed tuples, or the conditions of grants, may have changed, given the tenant before (nil: unknown) and after.
func FindAffected(before, after *directory.Tenant, changed []Tuple) Affected {
	f := finder{tenants: [2]*directory.Tenant{before, after}, people: map[string]bool{}, agents: map[string]bool{}, seen: map[string]bool{}}
	for _, t := range changed {
		if strings.HasPrefix(t.Object, TypeResource+":") {
			continue // gives no right to a tool: rules ask for it with each call
		}
		f.subject(t.User)
		if agent, ok := strings.CutPrefix(t.Object, TypeAgent+":"); ok {
			f.agents[agent] = true
		}
	}
	f.conditions(before, after)
	return Affected{People: slices.Sorted(maps.Keys(f.people)), Agents: slices.Sorted(maps.Keys(f.agents))}
}

// conditions follows whose grants have other conditions: their tuples, which say only that there are some, can be the same.
func (f *finder) conditions(before, after *directory.Tenant) {
	is, was := conditions(after), conditions(before)
	for holder := range is {
		if !slices.Equal(is[holder], was[holder]) {
			f.subject(holder)
		}
	}
}

// conditions are the paths with conditions that each role and agent gives.
func conditions(t *directory.Tenant) map[string][]string {
	all := map[string][]string{}
	if t == nil {
		return all
	}
	add := func(holder string, grants []*identityv1.Grant) {
		for _, p := range GrantPaths("", grants) {
			if p.If != nil {
				all[holder] = append(all[holder], fmt.Sprintf("%q", []string{p.Server, p.Tool, terms.Key(p.If), p.Until.String()}))
			}
		}
	}
	for _, role := range t.Roles() {
		add(assignees(role), t.RoleGrants(role))
	}
	for _, name := range t.Agents() {
		spec, _ := t.Agent(name)
		add(Agent(name), spec.GetGrants())
	}
	return all
}

type finder struct {
	tenants        [2]*directory.Tenant
	people, agents map[string]bool
	seen           map[string]bool // usersets that were followed
}

// subject follows a tuple's user to people and agents.
func (f *finder) subject(user string) {
	kind, name, _ := strings.Cut(user, ":")
	name, _, _ = strings.Cut(name, "#")
	switch kind {
	case TypeUser:
		f.people[name] = true
		return
	case TypeAgent:
		f.agents[name] = true
		return
	}
	if f.seen[user] {
		return
	}
	f.seen[user] = true
	for _, t := range f.tenants {
		if t == nil {
			continue
		}
		switch kind {
		case TypeRole:
			f.addPeople(t.Holders(name))
		case TypeGroup:
			f.addPeople(t.Members(name))
		case TypeDepartment, TypeTeam:
			for u, people := range t.Units() {
				if unit(u) == kind+":"+name {
					f.addPeople(people)
				}
			}
		}
	}
}

func (f *finder) addPeople(names []string) {
	for _, name := range names {
		f.people[name] = true
	}
}
