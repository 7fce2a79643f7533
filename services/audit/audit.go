// Package audit keeps what every service recorded and finds it again.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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

const (
	defaultGroup = "headgate.audit.index"
	topicPause   = 250 * time.Millisecond
)

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

// Deps is what the service is given.
type Deps struct {
	Journal record.Sink // where its own audit records go
	Log     *slog.Logger
	Now     clock.Now
}

// Audit is the service.
type Audit struct {
	cfg     Config
	deps    Deps
	index   *sqlite.Index
	handler *handlers.Handler

	mu     sync.Mutex
	reader *kafka.Reader // nil until Run has joined the group
}

// New checks the configuration and opens the index. It starts nothing.
func New(cfg Config, deps Deps) (*Audit, error) {
	if deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, fmt.Errorf("audit: Journal, Log and Now are needed")
	}
	if cfg.Group == "" {
		cfg.Group = defaultGroup
	}
	if cfg.Share == 0 {
		cfg.Share = 1
	}
	if cfg.Share < 0 || cfg.Share > 1 {
		return nil, fault.Invalid("share: must be above 0 and at most 1, is %v", cfg.Share)
	}
	if err := cfg.Kafka.Check(); err != nil {
		return nil, err
	}
	opened, err := sqlite.Open(context.Background(), cfg.Database)
	if err != nil {
		return nil, err
	}
	return &Audit{cfg: cfg, deps: deps, index: opened, handler: &handlers.Handler{Index: opened, Now: deps.Now}}, nil
}

// Register serves the methods of the service.
func (a *Audit) Register(mux *rpc.Mux) {
	rpc.Handle[auditv1connect.AuditServiceHandler](mux, auditv1connect.NewAuditServiceHandler, a.handler)
}

// Run moves records from Kafka into the index until ctx ends, and then closes the index.
func (a *Audit) Run(ctx context.Context) error {
	return errors.Join(a.consume(ctx), a.index.Close())
}

func (a *Audit) consume(ctx context.Context) error {
	if !a.topics(ctx) {
		return nil
	}
	reader, err := kafka.NewReader(a.cfg.Kafka, a.cfg.Group, a.deps.Log)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.reader = reader
	a.mu.Unlock()
	loop := ingest.New(ingest.Config{
		Source: reader, Index: a.index, Group: a.cfg.Group, Share: a.cfg.Share, Log: a.deps.Log, Now: a.deps.Now,
	})
	return errors.Join(loop.Run(ctx), reader.Close())
}

// topics makes the topics where that is asked for; false when the context ended before Kafka answered.
func (a *Audit) topics(ctx context.Context) bool {
	if !a.cfg.Kafka.CreateTopics {
		return true
	}
	for failures := 0; ; failures++ {
		err := kafka.EnsureTopics(ctx, a.cfg.Kafka)
		if err == nil {
			return true
		}
		if failures == 0 {
			a.deps.Log.Warn("topics cannot be made yet", "cause", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(topicPause):
		}
	}
}

// Ready reports whether the index answers and records can reach it.
func (a *Audit) Ready(ctx context.Context) error {
	if err := a.index.Ping(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	reader := a.reader
	a.mu.Unlock()
	if reader == nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The audit service has not reached Kafka yet. Check that the brokers in kafka.brokers answer.")
	}
	if err := reader.Ping(ctx); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Kafka does not answer for the audit topic. Check that the brokers answer and that the topic exists.").Because(err)
	}
	return nil
}
