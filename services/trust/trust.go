// Package trust knows the upstream servers: what they showed, what of it was approved, and what is stopped. Edges follow it and serve nothing else.
package trust

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/trust/internal/lease"
	"headgate.dev/services/trust/internal/probe"
	"headgate.dev/services/trust/internal/registry"
	handlers "headgate.dev/services/trust/internal/rpc"
	"headgate.dev/services/trust/internal/store"
	"headgate.dev/services/trust/internal/watch"
)

const defaultPoll = 30 * time.Second

// Config is what an operator sets.
type Config struct {
	Database sqlstore.Config `yaml:"database"`
	// PollEvery is how often each server is looked at: 30s when zero. Until a server answers for the first time, it is looked at more often.
	PollEvery time.Duration `yaml:"pollEvery"`
	// LookTimeout bounds each request of a look: 10s when zero.
	LookTimeout time.Duration `yaml:"lookTimeout"`
	// ClientCertificates are those that Server resources can name, the same names as in the edges' configuration.
	ClientCertificates egress.Certificates `yaml:"clientCertificates"`
}

// Check says what is wrong with the configuration.
func (c Config) Check() error {
	longest := probe.DefaultLimits().Look
	switch {
	case c.PollEvery < 0:
		return fault.Invalid("pollEvery: must not be negative, is %s", c.PollEvery)
	case c.LookTimeout < 0 || c.LookTimeout > longest:
		return fault.Invalid("lookTimeout: must be at most %s, is %s", longest, c.LookTimeout)
	}
	if err := c.ClientCertificates.Check(); err != nil {
		return fault.Invalid("%s", err)
	}
	return c.Database.Check()
}

// Deps is what the service is given.
type Deps struct {
	Credentials credentialsv1connect.CredentialsServiceClient // lends what a server wants to be looked at with
	Journal     record.Sink                                   // where its audit records go
	Log         *slog.Logger
	Now         clock.Now
}

// Trust is the service.
type Trust struct {
	db       *sqlstore.DB
	registry *registry.Registry
	watcher  *watch.Watcher
	handler  *handlers.Handler
}

// New checks the configuration, opens the database and loads what is known. It starts nothing.
func New(cfg Config, deps Deps) (*Trust, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if deps.Credentials == nil || deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, fmt.Errorf("trust: Credentials, Journal, Log and Now are needed")
	}
	if cfg.PollEvery == 0 {
		cfg.PollEvery = defaultPoll
	}
	limits := probe.DefaultLimits()
	if cfg.LookTimeout > 0 {
		limits.Request = cfg.LookTimeout
	}
	as, err := cfg.ClientCertificates.Open(deps.Log)
	if err != nil {
		return nil, fault.Invalid("%s", err)
	}
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, cfg.Database, resourcestore.Migrations(), store.Migrations())
	if err != nil {
		return nil, err
	}
	resources := resourcestore.New(db).WithClock(deps.Now)
	known, err := registry.Open(ctx, registry.Deps{DB: db, Resources: resources, Journal: deps.Journal, Log: deps.Log, Now: deps.Now})
	if err != nil {
		if closeErr := db.Close(); closeErr != nil {
			deps.Log.Error("database did not close", "cause", closeErr)
		}
		return nil, err
	}
	looker := watch.NewLooker(known, lease.New(deps.Credentials, deps.Now), as, limits, deps.Now)
	t := &Trust{db: db, registry: known, watcher: watch.New(looker, cfg.PollEvery, deps.Log)}
	t.handler = &handlers.Handler{Registry: known, Resources: resources, Watcher: t.watcher, Looker: looker}
	for _, key := range known.Keys() {
		t.watcher.Watch(key)
	}
	return t, nil
}

// Register serves the methods of the service.
func (t *Trust) Register(mux *rpc.Mux) {
	rpc.Handle[trustv1connect.TrustServiceHandler](mux, trustv1connect.NewTrustServiceHandler, t.handler)
}

// Run watches the servers until ctx ends, and then closes the database.
func (t *Trust) Run(ctx context.Context) error {
	t.watcher.Run(ctx)
	return t.db.Close()
}

// Ready reports whether the database answers. Servers that do not answer are no reason not to be ready.
func (t *Trust) Ready(ctx context.Context) error { return t.db.Ping(ctx) }
