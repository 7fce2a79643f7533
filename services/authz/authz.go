// Package authz decides what a principal may do, keeps the relations and policies it decides by, and tells the edges when they change.
package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/record"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/authz/internal/authzen"
	"headgate.dev/services/authz/internal/catalogue"
	"headgate.dev/services/authz/internal/counts"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/feed"
	"headgate.dev/services/authz/internal/history"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/ownership"
	"headgate.dev/services/authz/internal/policies"
	handlers "headgate.dev/services/authz/internal/rpc"
	"headgate.dev/services/authz/internal/tenants"
	"headgate.dev/services/authz/internal/upkeep"
)

// Config is what an operator sets.
type Config struct {
	// OpenFGA holds the relations: linked in, or a server's address.
	OpenFGA openfga.Config `yaml:"openfga"`
	// Database holds the policies: a SQLite file or a PostgreSQL URL.
	Database sqlstore.Config `yaml:"database"`
	// Relations says when each night the relations are compared with the directory.
	Relations upkeep.Config `yaml:"relations"`
	// PublicURL is where applications reach this service, for the metadata of the AuthZEN API; empty takes what a request says.
	PublicURL string `yaml:"publicURL"`
}

// Check refuses a configuration that cannot work or would be unsafe.
func (c Config) Check() error {
	err := errors.Join(c.OpenFGA.Check(), c.Database.Check(), c.Relations.Check())
	if u, bad := url.Parse(c.PublicURL); c.PublicURL != "" && (bad != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "") {
		err = errors.Join(err, fault.Invalid("publicURL must be an address as https://api.example.com, not %q.", c.PublicURL))
	}
	return err
}

// Deps is what the service is given.
type Deps struct {
	Identity identityv1connect.IdentityServiceClient // people, groups, roles and agents
	Trust    trustv1connect.TrustServiceClient       // servers' labels, and their tools as they were approved
	Audit    auditv1connect.AuditServiceClient       // what was called, for the report on grants that nobody uses; nil where it is not among the peers
	Journal  record.Sink                             // where its audit records go
	Log      *slog.Logger
	Now      clock.Now
	// Steady is the time that passes whatever the clock says; nil is the machine's.
	Steady func() time.Duration
}

// Authz is the service.
type Authz struct {
	cfg      Config
	deps     Deps
	db       *sqlstore.DB
	follower *replica.Follower[*identityv1.WatchResponse]
	trusted  *replica.Follower[*trustv1.WatchResponse]
	tenants  *tenants.Tenants
	policies *policies.Policies
	feed     *feed.Feed
	polled   *heartbeat
	pins     *upkeep.Pins
	owned    *ownership.Ledger
	endings  endings
	handler  *handlers.Handler
	misfits  *handlers.Misfits
	fga      *relationsServer
}

// New checks the configuration, opens the database and compiles the policies in it. It starts nothing.
func New(cfg Config, deps Deps) (*Authz, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if deps.Identity == nil || deps.Trust == nil || deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, errors.New("authz: Identity, Trust, Journal, Log and Now are needed")
	}
	db, err := sqlstore.Open(context.Background(), cfg.Database, resourcestore.Migrations(), history.Migrations(), upkeep.Migrations(), ownership.Migrations())
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
	carried, err := openfga.OwnModel()
	if err != nil {
		return err
	}
	a.pins = &upkeep.Pins{DB: a.db, Program: carried, Now: a.deps.Now}
	a.feed = feed.New(feed.Source{Ready: a.built, Fresh: a.fresh, Policies: a.declared})
	a.tenants = tenants.New(tenants.Config{Open: a.store, Removed: a.pins.Clear, Fresh: a.heard, Publish: a.feed.Rights, Drifted: a.drifted, Log: a.deps.Log})
	a.owned = &ownership.Ledger{DB: a.db, Now: a.deps.Now, Changed: a.tenants.Relate}
	if err := a.owned.Refresh(context.Background()); err != nil {
		return err
	}
	a.follower = replica.NewFollower(replica.FollowConfig[*identityv1.WatchResponse]{
		Name: "identity", Open: a.watch, Apply: a.hear, Now: a.deps.Now, Log: a.deps.Log,
		Revision: func(m *identityv1.WatchResponse) int64 { return m.GetRevision() },
	})
	known := catalogue.New()
	a.trusted = replica.NewFollower(replica.FollowConfig[*trustv1.WatchResponse]{
		Name: "trust", Open: a.watchTrust, Apply: func(m *trustv1.WatchResponse) error { return a.approved(known, m) }, Now: a.deps.Now, Log: a.deps.Log,
		Revision: func(m *trustv1.WatchResponse) int64 { return m.GetRevision() },
	})
	stored := resourcestore.New(a.db).WithClock(a.deps.Now)
	steady := a.deps.Steady
	if steady == nil {
		steady = clock.NewSteady()
	}
	if a.policies, err = policies.Open(context.Background(), a.db, stored, a.feed.Policies); err != nil {
		return fmt.Errorf("a stored policy does not compile with this version, so authz does not start: %w", err)
	}
	a.feed.Start(a.policies.Revision())
	a.handler = &handlers.Handler{
		Tenants: a.tenants, Resolver: entitlement.NewResolver(a.tenants, a.deps.Now), Policies: a.policies, Stored: stored, History: history.New(a.db),
		Counts: counts.New(ids.Prefixed("counts"), a.deps.Now), Feed: a.feed,
		Catalogue: known, Trusted: a.trusted, Pins: a.pins, Ownership: a.owned, Audit: a.deps.Audit, Journal: a.deps.Journal, Now: a.deps.Now,
		Alarm: handlers.NewAlarm(a.deps.Journal, a.deps.Now), Clock: clock.NewWatch(a.deps.Now, steady),
	}
	a.misfits = handlers.NewMisfits(a.handler, &upkeep.Misfits{DB: a.db, Now: a.deps.Now}, a.deps.Log)
	return nil
}

// approved takes one message of trust.
func (a *Authz) approved(known *catalogue.Catalogue, m *trustv1.WatchResponse) error {
	err := known.Apply(m)
	if m.GetSnapshot() || len(m.GetUpserts())+len(m.GetDeletions()) > 0 {
		a.misfits.Changed()
	}
	return err
}

func (a *Authz) declared() ([]*authzv1.Policy, []*authzv1.Calendar) { return a.policies.All() }

// Register serves the methods of the service, and the AuthZEN API over them.
func (a *Authz) Register(mux *rpc.Mux) {
	rpc.Handle[authzv1connect.AuthzServiceHandler](mux, authzv1connect.NewAuthzServiceHandler, a.handler)
	inside := rpc.InProcess(mux, optionsv1.Service_SERVICE_UNSPECIFIED) // nobody, until a token says who
	api := &authzen.Handler{URL: a.cfg.PublicURL, As: func(token secret.String) authzv1connect.AuthzServiceClient {
		return rpc.Client(inside.As(token), authzv1connect.NewAuthzServiceClient)
	}}
	api.Register(mux.HandlePlain)
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
	work.Go(func() error { return a.trusted.Run(ctx) })
	work.Go(func() error { return a.tenants.Run(ctx) })
	work.Go(func() error { return a.poll(ctx) })
	work.Go(func() error { return a.nightly(ctx) })
	work.Go(func() error { return a.misfits.Run(ctx) })
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

func (a *Authz) watchTrust(ctx context.Context) (replica.Stream[*trustv1.WatchResponse], error) {
	return a.deps.Trust.Watch(ctx, connect.NewRequest(&trustv1.WatchRequest{}))
}

// hear takes one message of identity.
func (a *Authz) hear(m *identityv1.WatchResponse) error {
	a.tenants.Hear(m)
	a.endings.hear(m, a.deps.Now())
	return nil
}
