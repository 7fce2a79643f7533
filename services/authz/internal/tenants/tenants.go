// Package tenants keeps each tenant's relations in OpenFGA equal to the directory, and says at any moment what may be decided by.
//
// A right needs both: the newest directory must show its path, and OpenFGA must hold it. So a right that was taken away is gone with the word
// of identity, before OpenFGA has heard of it, and one that was given counts when OpenFGA has acknowledged it.
package tenants

import (
	"context"
	"log/slog"
	"sync"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/ownership"
	"headgate.dev/services/authz/internal/relations"
)

// Changed says whose rights changed, after OpenFGA has acknowledged it. Who asks again gets the new ones.
type Changed struct {
	// Tenant is empty when only the revision moved.
	Tenant string
	// Everyone of the tenant is affected; then Affected is empty.
	Everyone bool
	Affected relations.Affected
	// Directory is the revision of the directory that the relations of every tenant hold at least.
	Directory int64
}

// Config is what Tenants needs.
type Config struct {
	// Open opens a tenant's store, and makes it when it is not there.
	Open func(ctx context.Context, tenant string) (*openfga.Store, error)
	// Removed is called before the store of a tenant that is gone is deleted, to forget what was kept about it; nil for nobody. An error is tried again.
	Removed func(ctx context.Context, tenant string) error
	// Fresh reports whether identity was heard lately.
	Fresh func() bool
	// Publish is called for each change, one at a time, in their order.
	Publish func(Changed)
	// Drifted is called with what was mended where a store held less than it should; nil for nobody.
	Drifted func(tenant string, diff relations.Difference)
	Log     *slog.Logger
}

// Tenants is safe for concurrent use.
type Tenants struct {
	cfg  Config
	kick chan struct{}
	sync chan struct{} // closed when every tenant has been brought up to date once

	mu       sync.Mutex
	view     directory.View
	heard    bool
	held     map[string]*tenant
	revision int64
	ready    bool
}

// tenant is one tenant's state. Its fields belong to Tenants.mu; the reconciler to the one goroutine that brings this tenant up to date.
type tenant struct {
	name       string
	store      *openfga.Store
	next       *openfga.Store // the same store, to be asked by another model
	reconciler *relations.Reconciler
	applied    *directory.Tenant // what OpenFGA has acknowledged last
	failed     error             // why the last try to bring it up to date failed
	doubted    *directory.Tenant // the directory at which the store held less than it should; once for each
	recheck    bool
	waiting    []chan mended // who wants to know what the next recheck had to change
	busy       bool
	wait       time.Duration // until the next try after a failure
	retry      time.Time
	nextWait   time.Duration // until a model that another process pinned is tried again
	nextRetry  time.Time
	generation int64
	rights     int64
}

// Snapshot is one tenant at one moment. It never changes.
type Snapshot struct {
	Directory *directory.Tenant
	Store     *openfga.Store
	// Generation changes whenever the directory or the relations do.
	Generation int64
	// Rights changes whenever anybody's right to a tool may do.
	Rights int64
	// Settled is false while OpenFGA is being brought up to date.
	Settled bool
}

// New returns Tenants that know nothing yet. It starts nothing.
func New(cfg Config) *Tenants {
	return &Tenants{cfg: cfg, kick: make(chan struct{}, 1), sync: make(chan struct{}), held: map[string]*tenant{}}
}

// Hear takes one message of identity's Watch. A heartbeat names nothing and changes nothing. It does not wait.
func (t *Tenants) Hear(m *identityv1.WatchResponse) {
	t.change(func(v directory.View) directory.View {
		if t.heard && !m.GetSnapshot() && m.GetRevision() == v.Revision && len(m.GetUpserts())+len(m.GetDeletions()) == 0 {
			return v
		}
		t.heard = true
		return v.Apply(m)
	})
}

// Relate takes what applications say of their resources in one tenant. It does not wait.
func (t *Tenants) Relate(tenant string, r *ownership.Resources) {
	t.change(func(v directory.View) directory.View { return v.Relate(tenant, r) })
}

// change puts a view in the place of the newest; next is called under the lock.
func (t *Tenants) change(next func(directory.View) directory.View) {
	t.mu.Lock()
	view := next(t.view)
	for _, name := range view.Tenants() {
		held := t.held[name]
		if held == nil {
			held = &tenant{name: name}
			t.held[name] = held
		}
		old, _ := t.view.Tenant(name)
		if now, _ := view.Tenant(name); now != old {
			held.moved(!now.SamePeople(old))
		}
	}
	t.view = view
	t.mu.Unlock()
	t.wake()
}

// moved counts a change, under the lock.
func (t *tenant) moved(rights bool) {
	t.generation++
	if rights {
		t.rights++
	}
}

func (t *Tenants) wake() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// View is the newest directory.
func (t *Tenants) View() directory.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// Get returns what may be decided by, for a tenant that the directory has. It is an error with REASON_UNAVAILABLE while that is not to be trusted.
func (t *Tenants) Get(name string) (Snapshot, error) {
	if !t.cfg.Fresh() {
		return Snapshot{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"The service identity has not been heard for some seconds, so nobody's rights are certain and nothing is allowed. Check that identity runs.")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, ok := t.view.Tenant(name)
	if !ok {
		return Snapshot{}, fault.NotFound("There is no tenant %s.", name)
	}
	held := t.held[name]
	if held.failed != nil {
		return Snapshot{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"The relations of tenant %s could not be brought up to date, so nothing is allowed there. Check OpenFGA; the log of authz has the cause.", name).
			Because(held.failed)
	}
	if held.applied == nil {
		return Snapshot{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"The relations of tenant %s are being built, so nothing is allowed there yet. Try again in a moment.", name)
	}
	return Snapshot{Directory: dir, Store: held.store, Generation: held.generation, Rights: held.rights, Settled: held.applied == dir}, nil
}

// Mending returns what there is of a tenant, also while nothing may be decided by it: for whoever looks at its models and chooses another, because the one in
// use may be what is wrong.
func (t *Tenants) Mending(name string) (Snapshot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, ok := t.view.Tenant(name)
	if !ok {
		return Snapshot{}, fault.NotFound("There is no tenant %s.", name)
	}
	held := t.held[name]
	if held.store == nil {
		return Snapshot{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"The store of tenant %s could not be opened yet. Check OpenFGA; the log of authz has the cause.", name).Because(held.failed)
	}
	return Snapshot{Directory: dir, Store: held.store, Generation: held.generation, Rights: held.rights, Settled: held.applied == dir}, nil
}

// Doubt says that a store held less than the directory at this snapshot: it is read again, once for each state of the directory.
func (t *Tenants) Doubt(s Snapshot) {
	t.mu.Lock()
	held := t.held[s.Directory.Name()]
	again := held != nil && held.doubted != s.Directory && held.applied == s.Directory
	if again {
		held.doubted, held.recheck = s.Directory, true
	}
	t.mu.Unlock()
	if again {
		t.cfg.Log.Warn("openfga holds less than the directory, reading it again", "tenant", s.Directory.Name())
		t.wake()
	}
}

// Revision is the revision of the directory that the relations of every tenant hold at least.
func (t *Tenants) Revision() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.revision
}

// Ready waits until every tenant's relations have been brought up to date once.
func (t *Tenants) Ready(ctx context.Context) error {
	select {
	case <-t.sync:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The relations of every tenant are not built yet. Check identity and OpenFGA.")
	for _, held := range t.held {
		if held.failed != nil {
			return e.Because(held.failed)
		}
	}
	return e.Because(ctx.Err())
}
