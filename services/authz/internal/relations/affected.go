package relations

import (
	"maps"
	"slices"
	"strings"

	"headgate.dev/services/authz/internal/directory"
)

// Affected are the people and agents whose rights may have changed.
type Affected struct{ People, Agents []string }

// Count is how many they are.
func (a Affected) Count() int { return len(a.People) + len(a.Agents) }

// FindAffected says whose rights the changed tuples may have changed, given the tenant before (nil: unknown) and after.
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
	return Affected{People: slices.Sorted(maps.Keys(f.people)), Agents: slices.Sorted(maps.Keys(f.agents))}
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
