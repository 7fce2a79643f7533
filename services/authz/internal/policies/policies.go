// Package policies keeps the policies of all tenants: in the database as they were declared, in memory as they decide.
package policies

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
)

// Kind is the only kind of resource here.
const Kind = "Policy"

// Change is what followers must hear of.
type Change struct {
	Upserts   []*authzv1.Policy
	Deletions []*authzv1.Deletion
	// Revision is that of the policies after the change.
	Revision int64
}

// Record writes what an administrator did, within the transaction of the change; its error undoes all.
type Record = func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error

// Policies is safe for concurrent use.
type Policies struct {
	db      *sqlstore.DB
	store   *resourcestore.Store
	publish func(Change)

	// writing makes changes reach memory and followers in the order in which the database has them.
	writing sync.Mutex

	mu       sync.RWMutex
	revision int64
	compiled map[key]*policy.Compiled
	bundles  map[string]*policy.Bundle
}

type key struct{ tenant, name string }

// Open loads and compiles what the database has. A stored policy that does not compile stops the start: to leave it out would allow what it forbids.
func Open(ctx context.Context, db *sqlstore.DB, store *resourcestore.Store, publish func(Change)) (*Policies, error) {
	p := &Policies{db: db, store: store, publish: publish}
	compiled, revision, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	p.swap(compiled, revision)
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

// All is every policy, by tenant and name. They must not be changed.
func (p *Policies) All() []*authzv1.Policy {
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
	return all
}

// Revision counts the changes of policies.
func (p *Policies) Revision() int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.revision
}

// Apply creates or changes policies. All of them must compile and pass their own tests, or none is applied.
func (p *Policies) Apply(ctx context.Context, objects []resource.Object, dryRun bool, record Record) ([]*resourcev1.Change, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	var fresh []*policy.Compiled
	changes, revision, err := p.store.Apply(ctx, objects, dryRun, func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		compiled, err := compileAll(changed)
		if err != nil || dryRun {
			return err
		}
		fresh = compiled
		return record(ctx, tx, changed)
	})
	if err != nil {
		return nil, err
	}
	if len(fresh) > 0 {
		p.put(fresh, revision)
	}
	return changes, nil
}

// Delete removes a policy; fault NOT_FOUND when it is not there.
func (p *Policies) Delete(ctx context.Context, tenant, name string, record Record) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	revision, err := p.store.Delete(ctx, Kind, tenant, name, record)
	if err != nil {
		return err
	}
	next := p.copied()
	delete(next, key{tenant, name})
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
	next, revision, err := p.load(ctx)
	if err != nil {
		return err
	}
	change := difference(p.copied(), next)
	change.Revision = revision
	p.swap(next, revision)
	p.publish(change)
	return nil
}

func (p *Policies) load(ctx context.Context) (map[key]*policy.Compiled, int64, error) {
	objects, revision, err := p.store.All(ctx)
	if err != nil {
		return nil, 0, err
	}
	compiled := make(map[key]*policy.Compiled, len(objects))
	for _, o := range objects {
		c, err := compile(o)
		if err != nil {
			return nil, 0, err
		}
		compiled[key{c.Tenant(), c.Name()}] = c
	}
	return compiled, revision, nil
}

func (p *Policies) put(fresh []*policy.Compiled, revision int64) {
	next := p.copied()
	change := Change{Revision: revision}
	for _, c := range fresh {
		next[key{c.Tenant(), c.Name()}] = c
		change.Upserts = append(change.Upserts, c.Source())
	}
	p.swap(next, revision)
	p.publish(change)
}

func (p *Policies) copied() map[key]*policy.Compiled {
	p.mu.RLock()
	defer p.mu.RUnlock()
	next := maps.Clone(p.compiled)
	if next == nil {
		next = map[key]*policy.Compiled{}
	}
	return next
}

// swap puts the next state in the place of the last, with the bundles of the tenants that differ.
func (p *Policies) swap(next map[key]*policy.Compiled, revision int64) {
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
	p.compiled, p.bundles, p.revision = next, bundles, revision
}

func difference(old, next map[key]*policy.Compiled) Change {
	var change Change
	for k, c := range next {
		if was, ok := old[k]; !ok || was.Source().GetMetadata().GetHash() != c.Source().GetMetadata().GetHash() || was.Version() != c.Version() {
			change.Upserts = append(change.Upserts, c.Source())
		}
	}
	for k := range old {
		if _, ok := next[k]; !ok {
			change.Deletions = append(change.Deletions, &authzv1.Deletion{Tenant: k.tenant, Name: k.name})
		}
	}
	return change
}

func compileAll(objects []resource.Object) ([]*policy.Compiled, error) {
	all := make([]*policy.Compiled, 0, len(objects))
	for _, o := range objects {
		c, err := compile(o)
		if err != nil {
			return nil, err
		}
		if err := test(c.Source()); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func compile(o resource.Object) (*policy.Compiled, error) {
	declared, ok := o.(*authzv1.Policy)
	if !ok {
		return nil, fault.Invalid("This service does not keep resources of kind %s; %s does.", o.GetKind(), resource.Owner(o.GetKind()))
	}
	return policy.Compile(declared)
}

// test runs the policy's own tests; each that fails is named, with what came out.
func test(declared *authzv1.Policy) error {
	results, err := policy.RunTests(declared)
	if err != nil {
		return err
	}
	var failed []string
	for _, r := range results {
		if !r.Passed {
			failed = append(failed, "test "+quote(r.Name)+": "+r.Problem)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	name := declared.GetMetadata().GetName()
	return fault.Invalid("Policy %s was not applied: %d of its %d tests failed. %s", name, len(failed), len(results), sentences(failed)).
		With("kind", Kind).With("name", name)
}
