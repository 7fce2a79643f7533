package relations

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/policy/terms"
	"headgate.dev/services/authz/internal/directory"
)

// The relations that tuples stand for.
const (
	relAssignee     = "assignee"
	relOrganization = "organization"
	relOwner        = "owner"
	relServer       = "server"
	relListed       = "listed"
	relTenantMember = "tenant_member"
)

// The relations that are asked in bulk, beside Member of the tenant's organization.
const (
	Caller      = "caller"
	Conditional = "conditional"
	Viewer      = "viewer"
	Delegator   = "delegator"
	Member      = "member"
)

// The relations that are asked about one call: all tools of a server, one tool that a grant names, and whom an agent may act for.
const (
	CanCallAll  = "can_call_all"
	CanSeeAll   = "can_see_all"
	CallGranted = "call_granted"
	SeeGranted  = "see_granted"
	CanActFor   = "can_act_for"
	// ConditionalAll and ConditionalGranted are by grants with conditions.
	ConditionalAll     = "conditional_all"
	ConditionalGranted = "conditional_granted"
)

// By a grant of the tool or of its server.
const (
	canCall = "can_call"
	canSee  = "can_see"
)

// AllTools is the tool name that stands for every tool of a server, also those that come later.
const AllTools = "*"

// User is a person.
func User(person string) string { return TypeUser + ":" + person }

// Agent is an agent.
func Agent(agent string) string { return TypeAgent + ":" + agent }

// Organization is a tenant.
func Organization(tenant string) string { return TypeOrganization + ":" + tenant }

// Server is an MCP server.
func Server(name string) string { return TypeServer + ":" + name }

// Tool is a tool of a server. Its id is server/name; a server's name has no slash.
func Tool(server, tool string) string { return TypeTool + ":" + server + "/" + tool }

func role(name string) string      { return TypeRole + ":" + name }
func assignees(name string) string { return role(name) + "#" + relAssignee }
func group(name string) string     { return TypeGroup + ":" + name }
func members(name string) string   { return group(name) + "#" + Member }

// longestID is how much of an object's id OpenFGA takes, less the longest kind of a unit.
const longestID = 240

// unit is a department or a team. Their names are free text, so that their ids are the names in the form of a URL's query; a longer one has its sum.
func unit(u directory.Unit) string {
	id := url.QueryEscape(u.Name)
	if len(id) > longestID {
		sum := sha256.Sum256([]byte(u.Name))
		id = "%sum-" + hex.EncodeToString(sum[:]) // no escaped text has %s in it
	}
	return u.Kind + ":" + id
}

// Desired is every tuple that a tenant's store shall hold, and no other. Who is disabled has none.
func Desired(t *directory.Tenant) Set {
	d := desired{set: Set{}, organization: Organization(t.Name())}
	d.people(t)
	d.groups(t)
	for u, people := range t.Units() {
		for _, person := range people {
			d.add(unit(u), Member, User(person))
		}
	}
	for _, name := range t.Roles() {
		for _, u := range t.RoleUnits(name) {
			d.add(role(name), relAssignee, unit(u)+"#"+Member)
		}
		for _, g := range t.RoleGrants(name) {
			d.grant(assignees(name), g)
		}
	}
	d.agents(t)
	d.resources(t)
	d.blocklists(t)
	return d.set
}

type desired struct {
	set          Set
	organization string
}

func (d desired) add(object, relation, user string) {
	d.set.add(Tuple{Object: object, Relation: relation, User: user})
}

func (d desired) people(t *directory.Tenant) {
	for _, name := range t.People() {
		d.add(d.organization, Member, User(name))
		for _, r := range t.OwnRoles(name) {
			d.add(role(r), relAssignee, User(name))
		}
	}
}

func (d desired) groups(t *directory.Tenant) {
	for _, name := range t.Groups() {
		for _, person := range t.Named(name) {
			d.add(group(name), Member, User(person))
		}
		for _, inner := range t.Within(name) {
			d.add(group(name), Member, members(inner))
		}
		for _, r := range t.GroupRoles(name) {
			d.add(role(r), relAssignee, members(name))
		}
	}
}

func (d desired) agents(t *directory.Tenant) {
	for _, name := range t.Agents() {
		spec, _ := t.Agent(name)
		agent := Agent(name)
		d.add(d.organization, Member, agent)
		d.add(agent, relOrganization, d.organization)
		if _, ok := t.Person(spec.GetOwner()); ok {
			d.add(agent, relOwner, User(spec.GetOwner()))
		}
		for _, person := range t.DelegatorPeople(name) {
			d.add(agent, Delegator, User(person))
		}
		for _, r := range t.DelegatorRoles(name) {
			d.add(agent, Delegator, assignees(r))
		}
		for _, g := range spec.GetGrants() {
			d.grant(agent, g)
		}
	}
}

// resources are what applications say, of who is there.
func (d desired) resources(t *directory.Tenant) {
	for _, one := range t.Resources().All() {
		if user, ok := subject(t, one.Subject); ok {
			d.set.add(Tuple{Object: one.Object, Relation: one.Relation, User: user, Until: one.Until})
		}
	}
}

// subject is what a tuple names for whom an application names; nothing for people who may not act and for groups that are not there.
func subject(t *directory.Tenant, said string) (string, bool) {
	kind, name, _ := strings.Cut(said, ":")
	switch kind {
	case "person":
		_, ok := t.Person(name)
		return User(name), ok
	case "group":
		return members(name), t.Declared(kind, name)
	case "role":
		return assignees(name), true
	}
	return "", false
}

// grant gives what one grant says to a user or userset.
func (d desired) grant(to string, g *identityv1.Grant) {
	relation := relListed
	switch {
	case callable(g):
		relation = Caller
	case terms.Of(g) != nil:
		relation = Conditional
	}
	d.add(Server(g.GetServer()), relOrganization, d.organization)
	if all(g) {
		d.set.add(Tuple{Object: Server(g.GetServer()), Relation: relation, User: to, Until: until(g)})
		return
	}
	for _, tool := range g.GetTools() {
		d.add(Tool(g.GetServer(), tool), relServer, Server(g.GetServer()))
		d.set.add(Tuple{Object: Tool(g.GetServer(), tool), Relation: relation, User: to, Until: until(g)})
	}
}

// callable reports whether a grant is for every call.
func callable(g *identityv1.Grant) bool { return g.GetCan() == "call" && terms.Of(g) == nil }

func all(g *identityv1.Grant) bool { return slices.Contains(g.GetTools(), AllTools) }

func until(g *identityv1.Grant) time.Time { return ends(g.GetUntil()) }

func ends(at *timestamppb.Timestamp) time.Time {
	if at == nil {
		return time.Time{}
	}
	return at.AsTime()
}
