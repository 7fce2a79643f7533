// Package audit keeps what every service recorded and finds it again.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index/sqlite"
	"headgate.dev/services/audit/internal/ingest"
	handlers "headgate.dev/services/audit/internal/rpc"
)

const defaultGroup = "headgate.audit.index"

// Config is what an operator sets.
type Config struct {
	// Database is the search index; SQLite only.
	Database sqlstore.Config `yaml:"database"`
	// Kafka is where the records come from.
	Kafka kafka.Config `yaml:"kafka"`
	// Group is the consumer group; empty means headgate.audit.index. Another group reads everything again.
	Group string `yaml:"group"`
	// Share is the part of the time that indexing may take, above 0 up to 1; 0 means 1. Less than 1 leaves the processor to others on the same machine:
	// under load records are then found later.
	Share float64 `yaml:"share"`
}

// Check says what cannot work.
func (c Config) Check() error {
	if c.Share < 0 || c.Share > 1 {
		return fault.Invalid("share: must be above 0 and at most 1, is %v", c.Share)
	}
	if err := c.Kafka.Check(); err != nil {
		return err
	}
	return c.Database.Check()
}

// Deps is what the service is given.
type Deps struct {
	Journal record.Sink // where its own audit records go
	Log     *slog.Logger
	Now     clock.Now
}

// Audit is the service.
type Audit struct {
	index   *sqlite.Index
	reader  *kafka.Reader
	loop    *ingest.Loop
	handler *handlers.Handler
}

// New checks the configuration and opens the index. It starts nothing.
func New(cfg Config, deps Deps) (*Audit, error) {
	if deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, fmt.Errorf("audit: Journal, Log and Now are needed")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Group == "" {
		cfg.Group = defaultGroup
	}
	if cfg.Share == 0 {
		cfg.Share = 1
	}
	opened, err := sqlite.Open(context.Background(), cfg.Database)
	if err != nil {
		return nil, err
	}
	reader, err := kafka.NewReader(cfg.Kafka, cfg.Group, deps.Log)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	loop := ingest.New(ingest.Config{Source: reader, Index: opened, Group: cfg.Group, Share: cfg.Share, Log: deps.Log, Now: deps.Now})
	return &Audit{index: opened, reader: reader, loop: loop, handler: &handlers.Handler{Index: opened, Now: deps.Now}}, nil
}

// Register serves the methods of the service.
func (a *Audit) Register(mux *rpc.Mux) {
	rpc.Handle[auditv1connect.AuditServiceHandler](mux, auditv1connect.NewAuditServiceHandler, a.handler)
}

// Run moves records from Kafka into the index until ctx ends, and then closes the index.
func (a *Audit) Run(ctx context.Context) error {
	return errors.Join(a.loop.Run(ctx), a.reader.Close(), a.index.Close())
}

// Ready reports whether the index answers and records can reach it.
func (a *Audit) Ready(ctx context.Context) error {
	if err := a.index.Ping(ctx); err != nil {
		return err
	}
	if err := a.reader.Ping(ctx); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Kafka does not answer for the audit topic. Check that the brokers answer and that the topic exists.").Because(err)
	}
	return nil
}
