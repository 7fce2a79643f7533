// Package authz decides what a principal may do, keeps the relations and policies it decides by, and tells the edges when they change.
package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/record"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/feed"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/policies"
	handlers "headgate.dev/services/authz/internal/rpc"
	"headgate.dev/services/authz/internal/tenants"
)

// Config is what an operator sets.
type Config struct {
	// OpenFGA holds the relations: linked in, or a server's address.
	OpenFGA openfga.Config `yaml:"openfga"`
	// Database holds the policies: a SQLite file or a PostgreSQL URL.
	Database sqlstore.Config `yaml:"database"`
}

// Check refuses a configuration that cannot work or would be unsafe.
func (c Config) Check() error { return errors.Join(c.OpenFGA.Check(), c.Database.Check()) }

// Deps is what the service is given.
type Deps struct {
	Identity identityv1connect.IdentityServiceClient // people, groups, roles and agents
	Journal  record.Sink                             // where its audit records go
	Log      *slog.Logger
	Now      clock.Now
}

// Authz is the service.
type Authz struct {
	cfg      Config
	deps     Deps
	db       *sqlstore.DB
	follower *replica.Follower[*identityv1.WatchResponse]
	tenants  *tenants.Tenants
	policies *policies.Policies
	feed     *feed.Feed
	polled   *heartbeat
	handler  *handlers.Handler
	fga      *relationsServer
}

// New checks the configuration, opens the database and compiles the policies in it. It starts nothing.
func New(cfg Config, deps Deps) (*Authz, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if deps.Identity == nil || deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, errors.New("authz: Identity, Journal, Log and Now are needed")
	}
	db, err := sqlstore.Open(context.Background(), cfg.Database, resourcestore.Migrations())
	if err != nil {
		return nil, err
	}
	a := &Authz{cfg: cfg, deps: deps, db: db, polled: &heartbeat{}, fga: &relationsServer{started: make(chan struct{})}}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

func (a *Authz) build() error {
	a.feed = feed.New(feed.Source{Ready: a.built, Fresh: a.fresh, Policies: a.declared})
	a.tenants = tenants.New(tenants.Config{Open: a.fga.Store, Fresh: a.heard, Publish: a.feed.Rights, Log: a.deps.Log})
	a.follower = replica.NewFollower(replica.FollowConfig[*identityv1.WatchResponse]{
		Name: "identity", Open: a.watch, Apply: a.hear, Now: a.deps.Now, Log: a.deps.Log,
		Revision: func(m *identityv1.WatchResponse) int64 { return m.GetRevision() },
	})
	stored := resourcestore.New(a.db).WithClock(a.deps.Now)
	var err error
	if a.policies, err = policies.Open(context.Background(), a.db, stored, a.feed.Policies); err != nil {
		return fmt.Errorf("a stored policy does not compile with this version, so authz does not start: %w", err)
	}
	a.feed.Start(a.policies.Revision())
	a.handler = &handlers.Handler{
		Tenants: a.tenants, Resolver: entitlement.NewResolver(a.tenants, a.deps.Now), Policies: a.policies, Stored: stored,
		Feed: a.feed, Journal: a.deps.Journal, Now: a.deps.Now,
	}
	return nil
}

func (a *Authz) declared() []*authzv1.Policy { return a.policies.All() }

// Register serves the methods of the service.
func (a *Authz) Register(mux *rpc.Mux) {
	rpc.Handle[authzv1connect.AuthzServiceHandler](mux, authzv1connect.NewAuthzServiceHandler, a.handler)
}

// Run starts OpenFGA, follows identity and keeps the relations up to date until ctx ends. It closes what it opened.
func (a *Authz) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.db.Close()) }()
	server, err := openfga.Start(ctx, a.cfg.OpenFGA, a.deps.Log)
	if err != nil {
		return err
	}
	defer server.Close()
	a.fga.set(server)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return a.follower.Run(ctx) })
	work.Go(func() error { return a.tenants.Run(ctx) })
	work.Go(func() error { return a.poll(ctx) })
	return work.Wait()
}

// Ready waits until there is something to decide by, and reports what is missing.
func (a *Authz) Ready(ctx context.Context) error {
	if err := a.built(ctx); err != nil {
		return err
	}
	server, err := a.fga.get(ctx)
	if err != nil {
		return err
	}
	if err := server.Ping(ctx); err != nil {
		return err
	}
	if !a.fresh() {
		return stale()
	}
	return a.db.Ping(ctx)
}

// built waits for the first relations.
func (a *Authz) built(ctx context.Context) error {
	if err := a.follower.Ready(ctx); err != nil {
		return err
	}
	return a.tenants.Ready(ctx)
}

// heard reports whether identity was heard lately.
func (a *Authz) heard() bool { return a.follower.Fresh() }

// fresh reports whether what is known may be vouched for.
func (a *Authz) fresh() bool { return a.heard() && a.polled.fresh(time.Now()) }

func (a *Authz) watch(ctx context.Context) (replica.Stream[*identityv1.WatchResponse], error) {
	return a.deps.Identity.Watch(ctx, connect.NewRequest(&identityv1.WatchRequest{}))
}

// hear takes one message of identity. A heartbeat names nothing and changes nothing.
func (a *Authz) hear(m *identityv1.WatchResponse) error {
	view := a.tenants.View()
	if m.GetSnapshot() || m.GetRevision() != view.Revision || len(m.GetUpserts())+len(m.GetDeletions()) > 0 {
		a.tenants.Hear(view.Apply(m))
	}
	return nil
}
