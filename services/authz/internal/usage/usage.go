// Package usage says which grants nobody uses, by what the directory grants and the records say was called.
package usage

import (
	"slices"
	"time"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/relations"
)

// The kinds of those who hold a grant.
const (
	Role   = "role"
	Group  = "group"
	Person = "person"
	Agent  = "agent"
)

// Grant is what somebody holds and nobody used.
type Grant struct {
	Kind, Name string
	Server     string
	// Tool is a tool's name, or relations.AllTools.
	Tool, Via string
	Until     time.Time
	// People is how many hold it; of an agent, for how many it may act.
	People int
}

// target is a tool, or with an empty one anything of a server.
type target struct{ server, tool string }

// Uses is what was called, by whom and through which agent.
type Uses struct{ people, agents map[string]map[target]bool }

// NewUses returns nothing called yet.
func NewUses() *Uses {
	return &Uses{people: map[string]map[target]bool{}, agents: map[string]map[target]bool{}}
}

// Add notes that something was called. An empty tool stands for what is no tool; a grant of all tools covers it.
func (u *Uses) Add(person, agent, server, tool string) {
	note := func(by map[string]map[target]bool, name string) {
		if name == "" {
			return
		}
		if by[name] == nil {
			by[name] = map[target]bool{}
		}
		by[name][target{server: server}] = true
		if tool != "" {
			by[name][target{server, tool}] = true
		}
	}
	note(u.people, person)
	note(u.agents, agent)
}

// Unused lists, at a moment, the grants for calls that nobody who holds them used: roles', groups', people's and agents', each by name.
func (u *Uses) Unused(t *directory.Tenant, now time.Time) []Grant {
	s := survey{uses: u, now: now}
	for _, name := range t.Roles() {
		s.grants(Role, name, "role "+name, t.RoleGrants(name), t.Holders(name))
	}
	for _, name := range t.Groups() {
		for _, r := range t.GroupRoles(name) {
			s.grants(Group, name, "group "+name+" → role "+r, t.RoleGrants(r), t.Members(name))
		}
	}
	for _, name := range t.People() {
		for _, p := range relations.PersonPaths(t, name) {
			s.path(Grant{Kind: Person, Name: name, People: 1}, p, u.people, name)
		}
	}
	for _, name := range t.Agents() {
		acts := len(relations.Delegators(t, name))
		for _, p := range relations.AgentPaths(t, name) {
			s.path(Grant{Kind: Agent, Name: name, People: acts}, p, u.agents, name)
		}
	}
	return s.unused
}

type survey struct {
	uses   *Uses
	now    time.Time
	unused []Grant
}

func (s *survey) grants(kind, name, from string, grants []*identityv1.Grant, holders []string) {
	for _, p := range relations.GrantPaths(from, grants) {
		s.path(Grant{Kind: kind, Name: name, People: len(holders)}, p, s.uses.people, holders...)
	}
}

// path keeps a grant for calls that is in force and that none of these used.
func (s *survey) path(g Grant, p relations.Path, by map[string]map[target]bool, holders ...string) {
	what := target{p.Server, p.Tool}
	if p.Tool == relations.AllTools {
		what.tool = ""
	}
	over := !p.Until.IsZero() && !s.now.Before(p.Until)
	if !p.Call && p.If == nil || over || slices.ContainsFunc(holders, func(name string) bool { return by[name][what] }) {
		return
	}
	g.Server, g.Tool, g.Via, g.Until = p.Server, p.Tool, p.Via, p.Until
	s.unused = append(s.unused, g)
}
