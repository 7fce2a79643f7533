package directory

import (
	"maps"
	"slices"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/authz/internal/ownership"
)

// View is every tenant at one revision. It never changes; the zero View is an empty directory.
type View struct {
	Revision int64
	tenants  map[string]*Tenant
	// resources are what applications say, also in tenants that identity has not told of yet.
	resources map[string]*ownership.Resources
}

// Relate returns the view with what applications say in one tenant.
func (v View) Relate(tenant string, r *ownership.Resources) View {
	next := View{Revision: v.Revision, tenants: v.tenants, resources: maps.Clone(v.resources)}
	if next.resources == nil {
		next.resources = map[string]*ownership.Resources{}
	}
	next.resources[tenant] = r
	if t, ok := v.tenants[tenant]; ok {
		related := *t
		related.resources = r
		next.tenants = maps.Clone(v.tenants)
		next.tenants[tenant] = &related
	}
	return next
}

// Related names the tenants of which applications say anything, sorted, also those that are not there.
func (v View) Related() []string {
	var names []string
	for name, r := range v.resources {
		if len(r.All()) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Resources are what applications say in a tenant, also in one that is not there.
func (v View) Resources(tenant string) *ownership.Resources { return v.resources[tenant] }

// Tenant returns a tenant; false when there is none of this name.
func (v View) Tenant(name string) (*Tenant, bool) {
	t, ok := v.tenants[name]
	return t, ok
}

// Tenants names the tenants, sorted.
func (v View) Tenants() []string { return slices.Sorted(maps.Keys(v.tenants)) }

// Apply returns the view after one message of identity's Watch: a snapshot replaces all, a change changes what it names. Tenants that the
// message does not touch are the same values as before.
func (v View) Apply(m *identityv1.WatchResponse) View {
	c := change{old: maps.Clone(v.tenants), next: maps.Clone(v.tenants), touched: map[string]*Tenant{}}
	if m.GetSnapshot() || c.next == nil {
		c.old, c.next = nil, map[string]*Tenant{}
	}
	for _, r := range m.GetUpserts() {
		c.upsert(r)
	}
	for _, d := range m.GetDeletions() {
		c.remove(d)
	}
	for name, t := range c.touched {
		t.index()
		t.resources = v.resources[name]
		c.next[name] = t
	}
	return View{Revision: m.GetRevision(), tenants: c.next, resources: v.resources}
}

type change struct {
	old, next map[string]*Tenant
	touched   map[string]*Tenant
}

func (c *change) tenant(name string) *Tenant {
	if t, ok := c.touched[name]; ok {
		return t
	}
	t := newTenant(name)
	if old, ok := c.old[name]; ok {
		t = old.clone()
	}
	c.touched[name] = t
	return t
}

func (c *change) upsert(r *identityv1.Resource) {
	switch kind := r.GetKind().(type) {
	case *identityv1.Resource_Tenant:
		c.tenant(kind.Tenant.GetMetadata().GetName())
	case *identityv1.Resource_Person:
		meta := kind.Person.GetMetadata()
		c.tenant(meta.GetTenant()).people[meta.GetName()] = kind.Person.GetSpec()
	case *identityv1.Resource_Group:
		meta := kind.Group.GetMetadata()
		c.tenant(meta.GetTenant()).groups[meta.GetName()] = kind.Group.GetSpec()
	case *identityv1.Resource_Role:
		meta := kind.Role.GetMetadata()
		c.tenant(meta.GetTenant()).roles[meta.GetName()] = kind.Role.GetSpec()
	case *identityv1.Resource_Agent:
		meta := kind.Agent.GetMetadata()
		c.tenant(meta.GetTenant()).agents[meta.GetName()] = kind.Agent.GetSpec()
	case *identityv1.Resource_BlockList:
		meta := kind.BlockList.GetMetadata()
		c.tenant(meta.GetTenant()).blocks[meta.GetName()] = kind.BlockList.GetSpec()
	}
}

// remove forgets one resource; with a tenant goes all that is its own.
func (c *change) remove(d *identityv1.Deletion) {
	if d.GetKind() == "Tenant" {
		delete(c.touched, d.GetName())
		delete(c.next, d.GetName())
		delete(c.old, d.GetName())
		return
	}
	if _, known := c.old[d.GetTenant()]; !known && c.touched[d.GetTenant()] == nil {
		return
	}
	t := c.tenant(d.GetTenant())
	switch d.GetKind() {
	case "Person":
		delete(t.people, d.GetName())
	case "Group":
		delete(t.groups, d.GetName())
	case "Role":
		delete(t.roles, d.GetName())
	case "Agent":
		delete(t.agents, d.GetName())
	case "BlockList":
		delete(t.blocks, d.GetName())
	}
}
