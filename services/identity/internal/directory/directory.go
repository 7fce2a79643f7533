// Package directory keeps tenants, people, groups, roles and agents in the database and in memory, with the keys that sign tokens and the tokens that do
// not hold any more. What is asked of it on every call is answered from memory; memory follows the database, which other processes may write to, within a
// fraction of a second, and refuses to answer when it cannot.
package directory

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/identity/internal/keys"
)

const (
	// LongestToken is the longest that a token may hold; revocations and retired keys are kept as long.
	LongestToken = 24 * time.Hour
	// staleAfter is how long memory may not have heard of the database before it refuses to answer.
	staleAfter = 3 * time.Second
	followEach = 200 * time.Millisecond
	tidyEach   = time.Minute
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema beside that of resourcestore.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Directory is the state of the service. Safe for concurrent use.
type Directory struct {
	db        *sqlstore.DB
	resources *resourcestore.Store
	seal      *keys.Seal
	log       *slog.Logger
	now       clock.Now
	hub       *replica.Hub[*identityv1.WatchResponse]
	revoked   token.Revocations

	following sync.Mutex // held while memory is brought to the database's state

	mu       sync.RWMutex // guards what follows
	view     *view
	keys     keys.Set
	keysJSON string
	revision int64
	heard    time.Time
}

// Open reads the directory from a database that has the migrations of resourcestore and this package. It makes the first signing key.
func Open(ctx context.Context, db *sqlstore.DB, seal *keys.Seal, log *slog.Logger, now clock.Now) (*Directory, error) {
	d := &Directory{db: db, resources: resourcestore.New(db).WithClock(now), seal: seal, log: log, now: now, view: newView(), revision: -1}
	d.hub = replica.NewHub(replica.HubConfig[*identityv1.WatchResponse]{
		Snapshot: d.snapshot, Heartbeat: d.heartbeat, Revision: (*identityv1.WatchResponse).GetRevision,
	})
	if err := d.firstKey(ctx); err != nil {
		return nil, err
	}
	if err := d.Follow(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Directory) firstKey(ctx context.Context) error {
	return d.write(ctx, func(tx *sqlstore.Tx, _ int64) error {
		set, err := d.seal.Load(ctx, tx, d.now())
		if err != nil || set.Signing.Key != nil {
			return err
		}
		_, err = d.seal.Rotate(ctx, tx, d.now(), d.now().Add(LongestToken))
		return err
	})
}

// Run follows the database until ctx ends.
func (d *Directory) Run(ctx context.Context) error {
	follow, tidy := time.NewTicker(followEach), time.NewTicker(tidyEach)
	defer follow.Stop()
	defer tidy.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-follow.C:
			err = d.Follow(ctx)
		case <-tidy.C:
			err = d.Tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("the database could not be followed", "cause", err)
		}
	}
}

// Fresh refuses when memory has not heard of the database for seconds.
func (d *Directory) Fresh() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.fresh()
}

func (d *Directory) fresh() error {
	if d.now().Sub(d.heard) > staleAfter {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Who you are cannot be checked now, so the call is refused: the directory's database does not answer. Try again.")
	}
	return nil
}

// Caller is a person with their groups, roles and rights; UNAUTHENTICATED when there is no such person or they are disabled.
func (d *Directory) Caller(tenant, name string) (*identityv1.Caller, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if err := d.fresh(); err != nil {
		return nil, err
	}
	c := d.view.caller(tenant, name)
	if c == nil || d.view.person(tenant, name).GetSpec().GetDisabled() {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED,
			"%s is not a person of tenant %s who may sign in: not declared, or disabled. Ask an administrator.", name, tenant)
	}
	return c, nil
}

// Agent refuses an agent that is not declared in the tenant, or disabled.
func (d *Directory) Agent(tenant, name string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a := d.view.agent(tenant, name)
	if a == nil || a.GetSpec().GetDisabled() {
		return fault.New(faultv1.Reason_REASON_UNAUTHENTICATED,
			"%s is not an agent of tenant %s that may act: not declared, or disabled. Ask an administrator.", name, tenant)
	}
	return nil
}

// People lists who can sign in, of all tenants.
func (d *Directory) People() []*identityv1.Person {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.view.people()
}

// Signing is the private key that signs now.
func (d *Directory) Signing() jose.JSONWebKey {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.keys.Signing
}

// Public is what tokens may be signed with. The caller does not change it.
func (d *Directory) Public() *jose.JSONWebKeySet {
	d.mu.RLock()
	defer d.mu.RUnlock()
	public := d.keys.Public
	return &public
}

// Revoked knows the tokens that do not hold any more.
func (d *Directory) Revoked() *token.Revocations { return &d.revoked }

// Watch sends the directory to one replica until ctx ends.
func (d *Directory) Watch(ctx context.Context, send func(*identityv1.WatchResponse) error) error {
	return d.hub.Serve(ctx, send)
}

// Get reads one resource.
func (d *Directory) Get(ctx context.Context, kind, tenant, name string) (resource.Object, error) {
	return d.resources.Get(ctx, kind, tenant, name)
}

// List reads a page of resources.
func (d *Directory) List(ctx context.Context, kind, tenant string, size int32, page string) ([]resource.Object, string, error) {
	return d.resources.List(ctx, kind, tenant, size, page)
}

// Ping reports whether the database answers.
func (d *Directory) Ping(ctx context.Context) error { return d.db.Ping(ctx) }

// DB is the database, for what else is kept in it.
func (d *Directory) DB() *sqlstore.DB { return d.db }

// write changes tables beside the resources, in order with them, and then brings memory to that state. do gets the revision that the change will have.
func (d *Directory) write(ctx context.Context, do func(tx *sqlstore.Tx, revision int64) error) error {
	err := d.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		revision, err := resourcestore.Bump(ctx, tx)
		if err != nil {
			return err
		}
		return do(tx, revision)
	})
	if err != nil {
		return err
	}
	d.catchUp(ctx)
	return nil
}

// catchUp follows a change that is committed. When that fails, the change holds all the same and Run tries again until memory refuses to answer.
func (d *Directory) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), staleAfter)
	defer cancel()
	if err := d.Follow(ctx); err != nil {
		d.log.Error("a change could not be followed at once", "cause", err)
	}
}
