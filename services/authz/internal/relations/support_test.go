package relations

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/services/authz/internal/directory"
)

// now is the moment at which generated grants have partly ended.
func now() time.Time { return time.Date(2026, time.January, 7, 12, 0, 0, 0, time.UTC) }

func meta(name string) *resourcev1.Metadata { return &resourcev1.Metadata{Name: name, Tenant: "acme"} }

func person(name string, spec *identityv1.PersonSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Person{Person: &identityv1.Person{Metadata: meta(name), Spec: spec}}}
}

func groupOf(name string, spec *identityv1.GroupSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Group{Group: &identityv1.Group{Metadata: meta(name), Spec: spec}}}
}

func roleOf(name string, grants ...*identityv1.Grant) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Role{Role: &identityv1.Role{Metadata: meta(name), Spec: &identityv1.RoleSpec{Grants: grants}}}}
}

// units gives a role to departments and teams.
func units(role *identityv1.Resource, departments, teams []string) *identityv1.Resource {
	role.GetRole().Spec.Departments, role.GetRole().Spec.Teams = departments, teams
	return role
}

func blockList(name string, spec *identityv1.BlockListSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_BlockList{BlockList: &identityv1.BlockList{Metadata: meta(name), Spec: spec}}}
}

func agentOf(name string, spec *identityv1.AgentSpec) *identityv1.Resource {
	return &identityv1.Resource{Kind: &identityv1.Resource_Agent{Agent: &identityv1.Agent{Metadata: meta(name), Spec: spec}}}
}

func grant(server, can string, until time.Time, tools ...string) *identityv1.Grant {
	g := &identityv1.Grant{Server: server, Tools: tools, Can: can}
	if !until.IsZero() {
		g.Until = timestamppb.New(until)
	}
	return g
}

func tenant(resources ...*identityv1.Resource) *directory.Tenant {
	t, ok := directory.View{}.Apply(&identityv1.WatchResponse{Snapshot: true, Revision: 1, Upserts: resources}).Tenant("acme")
	if !ok {
		panic("no tenant")
	}
	return t
}

// Names that generated directories are made of; some are never declared.
const most = 4

func pick(t *rapid.T, kind string) string {
	return fmt.Sprintf("%s%d", kind, rapid.IntRange(0, most).Draw(t, kind))
}

func picks(t *rapid.T, kind string) []string {
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string { return pick(t, kind) }), 0, 3, rapid.ID).Draw(t, kind+"s")
}

func drawGrants(t *rapid.T) []*identityv1.Grant {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *identityv1.Grant {
		tools := []string{AllTools}
		if rapid.Bool().Draw(t, "named") {
			if tools = picks(t, "tool"); len(tools) == 0 {
				tools = []string{"tool0"}
			}
		}
		var until time.Time
		if n := rapid.IntRange(-2, 2).Draw(t, "until"); n != 0 {
			until = now().Add(time.Duration(n) * time.Hour)
		}
		g := grant(pick(t, "server"), rapid.SampledFrom([]string{"see", "call"}).Draw(t, "can"), until, tools...)
		if g.GetCan() == "call" {
			g.Networks = rapid.SampledFrom([][]string{nil, nil, {"10.0.0.0/8"}, {"10.1.0.0/16"}}).Draw(t, "networks")
		}
		return g
	}), 0, 3).Draw(t, "grants")
}

// drawResources makes a small directory with everything that can be in one: disabled people and agents, groups that name nobody, roles that are not there.
func drawResources(t *rapid.T) []*identityv1.Resource {
	var all []*identityv1.Resource
	for i := range most {
		if rapid.IntRange(0, 9).Draw(t, "there") > 0 {
			spec := &identityv1.PersonSpec{Roles: picks(t, "role"), Disabled: rapid.IntRange(0, 4).Draw(t, "disabled") == 0, Teams: picks(t, "team")}
			spec.Department = pick(t, "department")
			all = append(all, person(fmt.Sprintf("person%d", i), spec))
		}
		if rapid.Bool().Draw(t, "group") {
			all = append(all, groupOf(fmt.Sprintf("group%d", i), &identityv1.GroupSpec{
				Members: picks(t, "person"), Roles: picks(t, "role"), Groups: picks(t, "group"), // circles as well: they end nothing
			}))
		}
		if rapid.IntRange(0, 3).Draw(t, "role") > 0 {
			all = append(all, units(roleOf(fmt.Sprintf("role%d", i), drawGrants(t)...), picks(t, "department"), picks(t, "team")))
		}
		if rapid.Bool().Draw(t, "agent") {
			all = append(all, agentOf(fmt.Sprintf("agent%d", i), &identityv1.AgentSpec{
				Owner: pick(t, "person"), Disabled: rapid.IntRange(0, 4).Draw(t, "disabled") == 0, Grants: drawGrants(t),
				Delegators: &identityv1.Delegators{People: picks(t, "person"), Roles: picks(t, "role")},
			}))
		}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "lists") {
		all = append(all, blockList(fmt.Sprintf("list%d", i), &identityv1.BlockListSpec{
			People: picks(t, "person"), Groups: picks(t, "group"), Agents: picks(t, "agent"), Targets: []*identityv1.BlockTarget{{
				Server: rapid.SampledFrom([]string{AllServers, "server0", "server1"}).Draw(t, "target"), Tools: []string{AllTools},
				Cannot: rapid.SampledFrom([]string{"see", "call"}).Draw(t, "cannot"),
			}},
		}))
	}
	return append(all, person("always", &identityv1.PersonSpec{}))
}
