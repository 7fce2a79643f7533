// Package directory is the edge's replica of identity: people, groups, roles, agents, signing keys and revocations, as identity pushes them.
package directory

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/membership"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/token"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
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

	mu        sync.RWMutex
	tenants   map[string]*identityv1.Tenant
	people    map[key]*identityv1.Person
	agents    map[key]*identityv1.Agent
	belonging map[string]*membership.Tenant // each tenant's groups and roles
}

type key struct{ tenant, name string }

// New makes an empty directory, in which nobody is known.
func New() *Directory {
	d := &Directory{}
	d.clear()
	return d
}

func (d *Directory) clear() {
	d.tenants = map[string]*identityv1.Tenant{}
	d.people = map[key]*identityv1.Person{}
	d.agents = map[key]*identityv1.Agent{}
	d.belonging = map[string]*membership.Tenant{}
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
		d.tenants[r.GetTenant().GetMetadata().GetName()] = r.GetTenant()
	case r.GetPerson() != nil:
		m := r.GetPerson().GetMetadata()
		d.people[key{m.GetTenant(), m.GetName()}] = r.GetPerson()
	case r.GetGroup() != nil:
		m := r.GetGroup().GetMetadata()
		d.in(m.GetTenant()).PutGroup(m.GetName(), r.GetGroup().GetSpec())
	case r.GetRole() != nil:
		m := r.GetRole().GetMetadata()
		d.in(m.GetTenant()).PutRole(m.GetName(), r.GetRole().GetSpec())
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
		delete(d.belonging, gone.GetName())
	case "Person":
		delete(d.people, at)
	case "Group":
		d.in(at.tenant).RemoveGroup(at.name)
	case "Role":
		d.in(at.tenant).RemoveRole(at.name)
	case "Agent":
		delete(d.agents, at)
	}
}

// in is what a tenant's groups and roles are kept in.
func (d *Directory) in(tenant string) *membership.Tenant {
	if d.belonging[tenant] == nil {
		d.belonging[tenant] = &membership.Tenant{}
	}
	return d.belonging[tenant]
}

// Generation changes whenever something of the directory does.
func (d *Directory) Generation() int64 { return d.generation.Load() }

// Keys are the public keys that tokens may be signed with; nil before identity was heard.
func (d *Directory) Keys() *jose.JSONWebKeySet { return d.keys.Load() }

// Revoked reports whether a token was ended before its time.
func (d *Directory) Revoked(c *token.Claims) bool { return d.revoked.Revoked(c) }

// Person finds a person with all groups that they are in and all roles that they hold; false when there is none.
func (d *Directory) Person(tenant, name string) (Person, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	p := d.people[key{tenant, name}]
	if p == nil {
		return Person{}, false
	}
	spec, belonging := p.GetSpec(), d.belonging[tenant]
	if belonging == nil {
		belonging = &membership.Tenant{} // without any group or role
	}
	return Person{
		Email: spec.GetEmail(), DisplayName: spec.GetDisplayName(), Disabled: spec.GetDisabled(),
		Principal: policy.Principal{
			Name: name, Email: spec.GetEmail(), Department: spec.GetDepartment(), Roles: belonging.Roles(name, spec), Groups: belonging.Groups(name),
			Teams: spec.GetTeams(), Attributes: spec.GetAttributes(), Clearances: spec.GetClearances(),
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

// Recording is what the record holds of a tenant's calls where the server does not say; nil when the tenant does not either.
func (d *Directory) Recording(tenant string) *resourcev1.Recording {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.tenants[tenant].GetSpec().GetRecord()
}
