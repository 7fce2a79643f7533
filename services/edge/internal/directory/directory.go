// Package directory is the edge's replica of identity: people, groups, agents, signing keys and revocations, as identity pushes them.
package directory

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/token"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// Person is one person as rules and records see them.
type Person struct {
	Email, DisplayName string
	Disabled           bool
	Principal          policy.Principal
}

// Directory is what identity said last. Safe for concurrent use.
type Directory struct {
	generation atomic.Int64
	keys       atomic.Pointer[jose.JSONWebKeySet]
	revoked    token.Revocations

	mu      sync.RWMutex
	tenants map[string]bool
	people  map[key]*identityv1.Person
	groups  map[key]*identityv1.Group
	agents  map[key]*identityv1.Agent
	member  map[key]map[string]bool // person → groups
}

type key struct{ tenant, name string }

// New makes an empty directory, in which nobody is known.
func New() *Directory {
	d := &Directory{}
	d.clear()
	return d
}

func (d *Directory) clear() {
	d.tenants = map[string]bool{}
	d.people = map[key]*identityv1.Person{}
	d.groups = map[key]*identityv1.Group{}
	d.agents = map[key]*identityv1.Agent{}
	d.member = map[key]map[string]bool{}
}

// Apply takes one message of identity's stream.
func (d *Directory) Apply(m *identityv1.WatchResponse) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.GetSnapshot() {
		d.clear()
	}
	if m.GetKeys() != "" {
		var keys jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(m.GetKeys()), &keys); err != nil {
			return err
		}
		d.keys.Store(&keys)
	}
	revocations := make([]token.Revocation, 0, len(m.GetRevocations()))
	for _, r := range m.GetRevocations() {
		one := token.Revocation{Tenant: r.GetTenant(), TokenID: r.GetTokenId(), Person: r.GetPerson(), Until: r.GetUntil().AsTime()}
		if r.GetBefore() != nil {
			one.Before = r.GetBefore().AsTime()
		}
		revocations = append(revocations, one)
	}
	if m.GetSnapshot() {
		d.revoked.Replace(revocations)
	} else {
		d.revoked.Add(revocations...)
	}
	for _, r := range m.GetUpserts() {
		d.put(r)
	}
	for _, gone := range m.GetDeletions() {
		d.remove(gone)
	}
	if m.GetSnapshot() || len(m.GetUpserts())+len(m.GetDeletions())+len(revocations) > 0 || m.GetKeys() != "" {
		d.generation.Add(1)
	}
	return nil
}

func (d *Directory) put(r *identityv1.Resource) {
	switch {
	case r.GetTenant() != nil:
		d.tenants[r.GetTenant().GetMetadata().GetName()] = true
	case r.GetPerson() != nil:
		m := r.GetPerson().GetMetadata()
		d.people[key{m.GetTenant(), m.GetName()}] = r.GetPerson()
	case r.GetGroup() != nil:
		m := r.GetGroup().GetMetadata()
		at := key{m.GetTenant(), m.GetName()}
		d.leave(at)
		d.groups[at] = r.GetGroup()
		for _, person := range r.GetGroup().GetSpec().GetMembers() {
			who := key{at.tenant, person}
			if d.member[who] == nil {
				d.member[who] = map[string]bool{}
			}
			d.member[who][at.name] = true
		}
	case r.GetAgent() != nil:
		m := r.GetAgent().GetMetadata()
		d.agents[key{m.GetTenant(), m.GetName()}] = r.GetAgent()
	}
}

func (d *Directory) remove(gone *identityv1.Deletion) {
	at := key{gone.GetTenant(), gone.GetName()}
	switch gone.GetKind() {
	case "Tenant":
		delete(d.tenants, gone.GetName())
	case "Person":
		delete(d.people, at)
	case "Group":
		d.leave(at)
		delete(d.groups, at)
	case "Agent":
		delete(d.agents, at)
	}
}

// leave takes everybody out of a group.
func (d *Directory) leave(group key) {
	for _, person := range d.groups[group].GetSpec().GetMembers() {
		delete(d.member[key{group.tenant, person}], group.name)
	}
}

// Generation changes whenever something of the directory does.
func (d *Directory) Generation() int64 { return d.generation.Load() }

// Keys are the public keys that tokens may be signed with; nil before identity was heard.
func (d *Directory) Keys() *jose.JSONWebKeySet { return d.keys.Load() }

// Revoked reports whether a token was ended before its time.
func (d *Directory) Revoked(c *token.Claims) bool { return d.revoked.Revoked(c) }

// Person finds a person with the roles of their own and of their groups; false when there is none.
func (d *Directory) Person(tenant, name string) (Person, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.people[key{tenant, name}]
	if p == nil {
		return Person{}, false
	}
	spec := p.GetSpec()
	roles := slices.Clone(spec.GetRoles())
	var groups []string
	for group := range d.member[key{tenant, name}] {
		groups = append(groups, group)
		roles = append(roles, d.groups[key{tenant, group}].GetSpec().GetRoles()...)
	}
	slices.Sort(groups)
	slices.Sort(roles)
	return Person{
		Email: spec.GetEmail(), DisplayName: spec.GetDisplayName(), Disabled: spec.GetDisabled(),
		Principal: policy.Principal{
			Name: name, Email: spec.GetEmail(), Department: spec.GetDepartment(), Roles: slices.Compact(roles), Groups: groups,
			Teams: spec.GetTeams(), Attributes: spec.GetAttributes(),
		},
	}, true
}

// Agent reports whether an agent is there and not disabled.
func (d *Directory) Agent(tenant, name string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a := d.agents[key{tenant, name}]
	return a != nil && !a.GetSpec().GetDisabled()
}
