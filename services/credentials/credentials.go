// Package credentials keeps the credentials of upstream servers, sealed, and lends one for one call: to the hosts that its connection allows, for
// minutes, with a record of each lease.
package credentials

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	handlers "headgate.dev/services/credentials/internal/rpc"
	"headgate.dev/services/credentials/internal/vault"
)

const (
	defaultLease = 5 * time.Minute
	longestLease = time.Hour
)

// Config is what an operator sets.
type Config struct {
	Database sqlstore.Config `yaml:"database"`
	// KeyFile holds the key-encryption key, a Tink keyset in JSON. It is made with mode 0600 when the database is new and refused when others
	// than its owner can reach it. Whoever loses it loses every secret.
	KeyFile string `yaml:"keyFile"`
	// LeaseFor is how long a lease is good: 5m when zero, at most 1h.
	LeaseFor time.Duration `yaml:"leaseFor"`
}

// Check says what is wrong with the configuration.
func (c Config) Check() error {
	switch {
	case c.KeyFile == "":
		return fault.Invalid("keyFile: is missing; the service needs a file for the key that seals the secrets")
	case c.LeaseFor < 0 || c.LeaseFor > longestLease:
		return fault.Invalid("leaseFor: must be at most %s, is %s", longestLease, c.LeaseFor)
	}
	return c.Database.Check()
}

// Deps is what the service is given.
type Deps struct {
	Journal record.Sink // where its audit records go
	Log     *slog.Logger
	Now     clock.Now
}

// Credentials is the service.
type Credentials struct {
	db      *sqlstore.DB
	log     *slog.Logger
	handler *handlers.Handler
}

// New checks the configuration, opens the database and makes sure that the key file opens what is in it. It starts nothing.
func New(cfg Config, deps Deps) (*Credentials, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.LeaseFor == 0 {
		cfg.LeaseFor = defaultLease
	}
	if deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, fmt.Errorf("credentials: Journal, Log and Now are needed")
	}
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, cfg.Database, resourcestore.Migrations(), vault.Migrations())
	if err != nil {
		return nil, err
	}
	opened, err := vault.Open(ctx, db, cfg.KeyFile, deps.Now)
	if err != nil {
		if closeErr := db.Close(); closeErr != nil {
			deps.Log.Error("database did not close", "cause", closeErr)
		}
		return nil, err
	}
	return &Credentials{db: db, log: deps.Log, handler: &handlers.Handler{
		DB: db, Resources: resourcestore.New(db).WithClock(deps.Now), Vault: opened, Journal: deps.Journal, Now: deps.Now, LeaseFor: cfg.LeaseFor,
	}}, nil
}

// Register serves the methods of the service.
func (c *Credentials) Register(mux *rpc.Mux) {
	rpc.Handle[credentialsv1connect.CredentialsServiceHandler](mux, credentialsv1connect.NewCredentialsServiceHandler, c.handler)
}

// Run keeps the service until ctx ends and then closes the database. It has no work of its own.
func (c *Credentials) Run(ctx context.Context) error {
	<-ctx.Done()
	return c.db.Close()
}

// Ready reports whether the database answers.
func (c *Credentials) Ready(ctx context.Context) error { return c.db.Ping(ctx) }
