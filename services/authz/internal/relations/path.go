package relations

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/authz/internal/directory"
)

// Path is one way from a principal to tools of a server, as the directory shows it. OpenFGA says whether it holds.
type Path struct {
	Server string
	// Tool is a tool's name or AllTools.
	Tool string
	// Call is false for a path that only shows the tools, or lets them be called under a condition.
	Call bool
	// If is that condition; nil for none.
	If *authzv1.CallCondition
	// Via is the path in words, as "ana → role support → server tickets".
	Via string
	// Until is when it ends; zero means never.
	Until time.Time
}

const arrow = " → "

// PersonPaths are all paths of a person; none for somebody who may not act.
func PersonPaths(t *directory.Tenant, name string) []Path {
	if _, ok := t.Person(name); !ok {
		return nil
	}
	var paths []Path
	for _, way := range t.Ways(name) {
		steps := append([]string{name}, way.Through...)
		paths = append(paths, GrantPaths(strings.Join(steps, arrow)+arrow+"role "+way.Role, t.RoleGrants(way.Role))...)
	}
	return strongest(paths)
}

// AgentPaths are all paths of an agent; none for one that may not act.
func AgentPaths(t *directory.Tenant, name string) []Path {
	spec, ok := t.Agent(name)
	if !ok {
		return nil
	}
	return strongest(GrantPaths("agent "+name, spec.GetGrants()))
}

// Delegators are the people that an agent may act for, sorted.
func Delegators(t *directory.Tenant, agent string) []string {
	if _, ok := t.Agent(agent); !ok {
		return nil
	}
	people := t.DelegatorPeople(agent)
	for _, r := range t.DelegatorRoles(agent) {
		people = append(people, t.Holders(r)...)
	}
	slices.Sort(people)
	return slices.Compact(people)
}

// Delegated reports whether an agent may act for a person.
func Delegated(t *directory.Tenant, agent, name string) bool {
	person, ok := t.Person(name)
	if _, acts := t.Agent(agent); !ok || !acts {
		return false
	}
	return slices.Contains(t.DelegatorPeople(agent), name) ||
		slices.ContainsFunc(t.DelegatorRoles(agent), func(r string) bool { return slices.Contains(person.Roles, r) })
}

// GrantPaths are the paths that grants open, in their order, from where they are held.
func GrantPaths(from string, grants []*identityv1.Grant) []Path {
	var paths []Path
	for _, g := range grants {
		p := Path{Server: g.GetServer(), Call: callable(g), If: terms.Of(g), Until: until(g)}
		condition := terms.Behind(p.If)
		if all(g) {
			p.Tool, p.Via = AllTools, from+arrow+"server "+p.Server+condition
			paths = append(paths, p)
			continue
		}
		for _, tool := range g.GetTools() {
			p.Tool, p.Via = tool, from+arrow+"tool "+p.Server+"."+tool+condition
			paths = append(paths, p)
		}
	}
	return paths
}

// strongest orders paths by server and tool, the strongest of a tool first, and leaves out those that another outdoes in every way.
func strongest(paths []Path) []Path {
	slices.SortStableFunc(paths, func(a, b Path) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Tool, b.Tool), cmp.Compare(b.strength(), a.strength()), preferLater(a.Until, b.Until),
			cmp.Compare(len(a.Via), len(b.Via)), cmp.Compare(a.Via, b.Via))
	})
	var kept []Path
	for _, p := range paths {
		if !slices.ContainsFunc(kept, func(k Path) bool { return outdoes(k, p) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

func outdoes(a, b Path) bool {
	return a.Server == b.Server && a.Tool == b.Tool && (a.strength() > b.strength() || a.strength() == b.strength() && terms.Key(a.If) == terms.Key(b.If)) &&
		preferLater(a.Until, b.Until) <= 0
}

// strength orders what paths give: calls, calls under a condition, sight.
func (p Path) strength() int {
	switch {
	case p.Call:
		return 2
	case p.If != nil:
		return 1
	}
	return 0
}

// preferLater puts the later end first, and no end before any.
func preferLater(a, b time.Time) int {
	switch {
	case a.Equal(b):
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	return b.Compare(a)
}
