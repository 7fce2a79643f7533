// Package policies keeps the policies of all tenants, and the calendars that they name: in the database as they were declared, in memory as they decide.
package policies

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
)

// The kinds of resources here.
const (
	Kind         = "Policy"
	CalendarKind = "Calendar"
)

// Change is what followers must hear of.
type Change struct {
	Upserts   []*authzv1.Policy
	Deletions []*authzv1.Deletion
	// Calendars changed; policies that name them may not be among the upserts.
	Calendars         []*authzv1.Calendar
	CalendarDeletions []*authzv1.Deletion
	// Revision is that of the policies after the change.
	Revision int64
}

// Record writes what an administrator did, within the transaction of the change; its error undoes all.
type Record = func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error

// Also is what belongs to applying.
type Also struct {
	// Fit refuses a policy that does not fit the tools that it is about. It is asked about all that are given, also those that do not change.
	Fit    func(c *policy.Compiled) error
	Record Record
}

// Policies is safe for concurrent use.
type Policies struct {
	db      *sqlstore.DB
	store   *resourcestore.Store
	publish func(Change)

	// writing makes changes reach memory and followers in the order in which the database has them.
	writing sync.Mutex

	mu       sync.RWMutex
	revision int64
	state
	bundles map[string]*policy.Bundle
}

// state is what the database has, ready to decide.
type state struct {
	compiled  map[key]*policy.Compiled
	calendars map[string]policy.Calendars // by tenant
}

type key struct{ tenant, name string }

// Open loads and compiles what the database has. A stored policy that does not compile stops the start: to leave it out would allow what it forbids.
func Open(ctx context.Context, db *sqlstore.DB, store *resourcestore.Store, publish func(Change)) (*Policies, error) {
	p := &Policies{db: db, store: store, publish: publish}
	loaded, revision, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	p.swap(loaded, revision)
	return p, nil
}

// Bundle is what decides for a tenant. It never changes.
func (p *Policies) Bundle(tenant string) *policy.Bundle {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if b, ok := p.bundles[tenant]; ok {
		return b
	}
	return policy.NewBundle(nil)
}

// All is every policy and every calendar, by tenant and name. They must not be changed.
func (p *Policies) All() ([]*authzv1.Policy, []*authzv1.Calendar) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	all := make([]*authzv1.Policy, 0, len(p.compiled))
	for _, c := range p.compiled {
		all = append(all, c.Source())
	}
	slices.SortFunc(all, func(a, b *authzv1.Policy) int {
		return cmp.Or(cmp.Compare(a.GetMetadata().GetTenant(), b.GetMetadata().GetTenant()),
			cmp.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName()))
	})
	var calendars []*authzv1.Calendar
	for _, tenant := range slices.Sorted(maps.Keys(p.calendars)) {
		for _, name := range slices.Sorted(maps.Keys(p.calendars[tenant])) {
			calendars = append(calendars, p.calendars[tenant][name].Source())
		}
	}
	return all, calendars
}

// Compiled is every policy of every tenant, ready to decide, in no order.
func (p *Policies) Compiled() []*policy.Compiled {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.compiled))
}

// Revision counts the changes of policies.
func (p *Policies) Revision() int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.revision
}

// Apply creates or changes policies and calendars. All must be understood, and the policies that change, or whose calendars do, must pass their own
// tests, or none is applied.
func (p *Policies) Apply(ctx context.Context, objects []resource.Object, dryRun bool, also Also) ([]*resourcev1.Change, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	var fresh []*policy.Compiled
	dated := false
	changes, revision, err := p.store.Apply(ctx, objects, dryRun, func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		t := p.trial(tx)
		if err := t.fit(ctx, objects, also.Fit); err != nil {
			return err
		}
		compiled, err := t.all(ctx, changed)
		if err != nil || dryRun {
			return err
		}
		fresh, dated = compiled, slices.ContainsFunc(changed, func(o resource.Object) bool { return o.GetKind() == CalendarKind })
		return also.Record(ctx, tx, changed)
	})
	switch {
	case err != nil:
		return nil, err
	case dated || !dryRun && revision > p.Revision()+1:
		// Policies that were not given changed as well, or another process wrote in between.
		return changes, p.reload(ctx)
	case len(fresh) > 0:
		p.put(fresh, revision)
	}
	return changes, nil
}

// Delete removes a policy or a calendar; fault NOT_FOUND when it is not there. A calendar that a policy names stays.
func (p *Policies) Delete(ctx context.Context, kind, tenant, name string, record Record) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	revision, err := p.store.Delete(ctx, kind, tenant, name, func(ctx context.Context, tx *sqlstore.Tx, gone []resource.Object) error {
		if err := p.trial(tx).unnamed(ctx, gone); err != nil {
			return err
		}
		return record(ctx, tx, gone)
	})
	if err != nil {
		return err
	}
	if kind != Kind || revision > p.Revision()+1 {
		return p.reload(ctx)
	}
	next := p.current()
	delete(next.compiled, key{tenant, name})
	p.swap(next, revision)
	p.publish(Change{Deletions: []*authzv1.Deletion{{Tenant: tenant, Name: name}}, Revision: revision})
	return nil
}

// Refresh takes over what another process has written to the same database.
func (p *Policies) Refresh(ctx context.Context) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	revision, err := resourcestore.Revision(ctx, p.db)
	if err != nil || revision == p.Revision() {
		return err
	}
	return p.reload(ctx)
}

// reload takes over what the database has, and tells followers what differs.
func (p *Policies) reload(ctx context.Context) error {
	next, revision, err := p.load(ctx)
	if err != nil {
		return err
	}
	change := difference(p.current(), next)
	change.Revision = revision
	p.swap(next, revision)
	p.publish(change)
	return nil
}

func (p *Policies) load(ctx context.Context) (state, int64, error) {
	objects, revision, err := p.store.All(ctx)
	if err != nil {
		return state{}, 0, err
	}
	was := p.current()
	next := state{compiled: make(map[key]*policy.Compiled, len(objects)), calendars: map[string]policy.Calendars{}}
	for _, o := range objects { // calendars come before the policies that name them
		tenant := o.GetMetadata().GetTenant()
		if declared, ok := o.(*authzv1.Calendar); ok {
			read, err := was.read(declared)
			if err != nil {
				return state{}, 0, err
			}
			next.calendars[tenant] = next.calendars[tenant].With(read)
			continue
		}
		c, err := was.compile(o, next.calendars[tenant])
		if err != nil {
			return state{}, 0, err
		}
		next.compiled[key{tenant, c.Name()}] = c
	}
	return next, revision, nil
}

func (p *Policies) put(fresh []*policy.Compiled, revision int64) {
	next := p.current()
	change := Change{Revision: revision}
	for _, c := range fresh {
		next.compiled[key{c.Tenant(), c.Name()}] = c
		change.Upserts = append(change.Upserts, c.Source())
	}
	p.swap(next, revision)
	p.publish(change)
}

// current is a copy of what is in force, to be changed.
func (p *Policies) current() state {
	p.mu.RLock()
	defer p.mu.RUnlock()
	next := state{compiled: maps.Clone(p.compiled), calendars: maps.Clone(p.calendars)}
	if next.compiled == nil {
		next.compiled = map[key]*policy.Compiled{}
	}
	return next
}

// swap puts the next state in the place of the last, with the bundles of the tenants that differ.
func (p *Policies) swap(to state, revision int64) {
	next := to.compiled
	byTenant := map[string][]*policy.Compiled{}
	for k, c := range next {
		byTenant[k.tenant] = append(byTenant[k.tenant], c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	touched := map[string]bool{}
	for k, c := range next {
		touched[k.tenant] = touched[k.tenant] || p.compiled[k] != c
	}
	for k := range p.compiled {
		touched[k.tenant] = touched[k.tenant] || next[k] == nil
	}
	bundles := map[string]*policy.Bundle{}
	for tenant, of := range byTenant {
		bundles[tenant] = p.bundles[tenant]
		if touched[tenant] {
			bundles[tenant] = policy.NewBundle(of)
		}
	}
	p.state, p.bundles, p.revision = to, bundles, revision
}

func difference(old, next state) Change {
	var change Change
	for k, c := range next.compiled {
		if was, ok := old.compiled[k]; !ok || !same(was.Source(), c.Source()) {
			change.Upserts = append(change.Upserts, c.Source())
		}
	}
	for k := range old.compiled {
		if _, ok := next.compiled[k]; !ok {
			change.Deletions = append(change.Deletions, &authzv1.Deletion{Tenant: k.tenant, Name: k.name})
		}
	}
	for tenant, of := range next.calendars {
		for name, c := range of {
			if was := old.calendars[tenant][name]; was == nil || !same(was.Source(), c.Source()) {
				change.Calendars = append(change.Calendars, c.Source())
			}
		}
	}
	for tenant, of := range old.calendars {
		for name := range of {
			if next.calendars[tenant][name] == nil {
				change.CalendarDeletions = append(change.CalendarDeletions, &authzv1.Deletion{Tenant: tenant, Name: name})
			}
		}
	}
	return change
}

// same says whether two versions of a resource are one.
func same(a, b resource.Object) bool {
	return a.GetMetadata().GetHash() == b.GetMetadata().GetHash() && a.GetMetadata().GetVersion() == b.GetMetadata().GetVersion()
}
