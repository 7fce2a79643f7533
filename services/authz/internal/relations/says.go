package relations

import (
	"slices"
	"strings"
	"time"

	"headgate.dev/services/authz/internal/directory"
)

// Says reports whether a person's relation to an object can be, by what the directory and the applications say. OpenFGA confirms it: a tuple that somebody
// planted there gives nothing by itself. known is false for what only a model of the installation's own defines; there OpenFGA alone has the word.
func Says(t *directory.Tenant, person, object, relation string, now time.Time) (holds, known bool) {
	who, ok := t.Person(person)
	if !ok {
		return false, true
	}
	kind, name, _ := strings.Cut(object, ":")
	switch {
	case kind == TypeResource:
		return t.Resources().Holds(object, relation, now, func(kind, name string) bool { return among(who, kind, name) }), true
	case kind == TypeRole && relation == relAssignee:
		return slices.Contains(who.Roles, name), true
	case kind == TypeGroup && relation == Member:
		return slices.Contains(who.Groups, name), true
	case (kind == TypeDepartment || kind == TypeTeam) && relation == Member:
		return slices.ContainsFunc(unitsOf(who), func(u directory.Unit) bool { return unit(u) == object }), true
	case (kind == TypeOrganization || kind == TypeServer || kind == TypeTool) && (relation == Blocked || relation == Hidden):
		return keptFrom(t, person, kind, name, relation == Hidden, now), true
	case kind == TypeOrganization && relation == Member:
		return name == t.Name(), true
	case kind == TypeAgent && (relation == Delegator || relation == CanActFor):
		return Delegated(t, name, person), true
	case kind == TypeAgent && relation == relOwner:
		spec, there := t.Agent(name)
		return there && spec.GetOwner() == person, true
	case kind == TypeServer || kind == TypeTool:
		return reaches(t, person, kind, name, relation, now)
	}
	return false, false
}

// unitsOf are the department and the teams of a person.
func unitsOf(who directory.Person) []directory.Unit {
	var units []directory.Unit
	if who.Department != "" {
		units = append(units, directory.Unit{Kind: directory.Department, Name: who.Department})
	}
	for _, team := range who.Teams {
		units = append(units, directory.Unit{Kind: directory.Team, Name: team})
	}
	return units
}

// among reports whether a person is meant by a subject that an application names.
func among(who directory.Person, kind, name string) bool {
	switch kind {
	case "person":
		return who.Name == name
	case "group":
		return slices.Contains(who.Groups, name)
	case "role":
		return slices.Contains(who.Roles, name)
	}
	return false
}

// keptFrom reports whether a block list keeps a person from calling an object, or from seeing it.
func keptFrom(t *directory.Tenant, person, kind, name string, seeing bool, now time.Time) bool {
	server, tool := AllServers, AllTools
	switch kind {
	case TypeServer:
		server = name
	case TypeTool:
		server, tool, _ = strings.Cut(name, "/")
	}
	return slices.ContainsFunc(PersonBlocks(t, person), func(b Block) bool { return b.meets(server, tool) && (b.Hides || !seeing) && !b.Over(now) })
}

// reaches reports whether a path of a person leads to a server or a tool.
func reaches(t *directory.Tenant, person, kind, name, relation string, now time.Time) (holds, known bool) {
	call, conditional, own := false, false, false // a path for calls is needed, or one with a condition; one to the object itself is, not by way of its server
	switch relation {
	case Conditional, ConditionalGranted, ConditionalAll:
		conditional, own = true, true
	case Caller, CallGranted, CanCallAll:
		call, own = true, true
	case canCall:
		call = true
	case relListed, Viewer, SeeGranted, CanSeeAll:
		own = true
	case canSee:
	case relTenantMember:
		return true, true
	default:
		return false, false
	}
	server, tool, _ := strings.Cut(name, "/")
	if (relation == canCall || relation == canSee) && keptFrom(t, person, kind, name, relation == canSee, now) {
		return false, true
	}
	return slices.ContainsFunc(PersonPaths(t, person), func(p Path) bool {
		leads := p.Server == server && (p.Tool == tool || p.Tool == AllTools && (kind == TypeServer || !own))
		return leads && (p.Call || !call) && (p.If != nil || !conditional) && (p.Until.IsZero() || now.Before(p.Until))
	}), true
}
