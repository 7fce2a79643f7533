// Package audit keeps what every service recorded and finds it again.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/custody"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/index/sqlite"
	"headgate.dev/services/audit/internal/ingest"
	"headgate.dev/services/audit/internal/ledger"
	"headgate.dev/services/audit/internal/retention"
	handlers "headgate.dev/services/audit/internal/rpc"
)

// Elasticsearch says where Elasticsearch is and who we are there.
type Elasticsearch = elastic.Config

// Config is what an operator sets.
type Config struct {
	// Database is the search index where there is no Elasticsearch; SQLite only.
	Database sqlstore.Config `yaml:"database"`
	// Elasticsearch is the search index when it has addresses; there must be no database then.
	Elasticsearch Elasticsearch `yaml:"elasticsearch"`
	// Ledger is the log that can be proved; without a directory it lies beside the index.
	Ledger ledger.Config `yaml:"ledger"`
	// Custody is where the keys of sealed records are; without it they lie beside the ledger's directory, in one of their own.
	Custody custody.Config `yaml:"custody"`
	// Retention is how long records are kept at least, whatever a tenant's administrators say.
	Retention retention.Config `yaml:"retention"`
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
	return errors.Join(c.Kafka.Check(), c.checkIndex(), c.withDefaults().Ledger.Check(), c.withDefaults().checkCustody(), c.Retention.Check())
}

func (c Config) withDefaults() Config {
	if c.Group == "" {
		c.Group = kafka.IndexGroup
	}
	if c.Share == 0 {
		c.Share = 1
	}
	if c.Ledger.Dir == "" && c.Database.Path != "" {
		c.Ledger.Dir = filepath.Join(filepath.Dir(c.Database.Path), "ledger")
	}
	if c.Ledger.Dir != "" {
		c.Custody = c.Custody.Within(filepath.Join(filepath.Dir(filepath.Clean(c.Ledger.Dir)), "custody"))
	}
	return c
}

// checkCustody says what cannot work; without a ledger's directory, that is what is missing.
func (c Config) checkCustody() error {
	if c.Ledger.Dir == "" {
		return nil
	}
	return c.Custody.Check()
}

// checkIndex checks the one index there is.
func (c Config) checkIndex() error {
	switch {
	case !c.Elasticsearch.Used():
		return c.Database.Check()
	case c.Database != (sqlstore.Config{}):
		return fault.Invalid("database and elasticsearch are both set. Records are searched in one of them: leave the other out.")
	default:
		return c.Elasticsearch.Check()
	}
}

// store is an index that is opened and closed.
type store interface {
	index.Index
	Close() error
}

func (c Config) open(now clock.Now) (store, error) {
	if c.Elasticsearch.Used() {
		return elastic.Open(c.Elasticsearch, now)
	}
	return sqlite.Open(context.Background(), c.Database)
}

// rereader is an index that may have to read older records again after an upgrade.
type rereader interface {
	// Reread returns when that is done or the context ends; records are added and searched meanwhile.
	Reread(ctx context.Context) error
}

// Deps is what the service is given.
type Deps struct {
	Journal record.Sink // where its own audit records go
	Log     *slog.Logger
	Now     clock.Now
	Metrics prometheus.Registerer // nil counts nothing
}

// Audit is the service.
type Audit struct {
	index   store
	ledger  *ledger.Ledger
	custody *custody.Custody
	reader  *kafka.Reader
	loop    *ingest.Loop
	alerts  *alerts
	journal record.Sink
	log     *slog.Logger
	sweeper retention.Sweeper
	handler *handlers.Handler
}

// New checks the configuration and opens the ledger and the index. It starts nothing.
func New(cfg Config, deps Deps) (*Audit, error) {
	if deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, fmt.Errorf("audit: Journal, Log and Now are needed")
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	var metrics *ingest.Metrics
	if deps.Metrics != nil {
		var err error
		if metrics, err = ingest.NewMetrics(deps.Metrics); err != nil {
			return nil, err
		}
	}
	opened, err := cfg.open(deps.Now)
	if err != nil {
		return nil, err
	}
	kept, err := ledger.Open(cfg.Ledger, deps.Log, deps.Now)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if deps.Metrics != nil {
		if err := kept.Register(deps.Metrics); err != nil {
			return nil, errors.Join(err, opened.Close(), kept.Close())
		}
	}
	tables, err := retention.Migrations()
	if err != nil {
		return nil, errors.Join(err, opened.Close(), kept.Close())
	}
	keys, err := custody.Open(context.Background(), cfg.Custody, deps.Now, tables)
	if err != nil {
		return nil, errors.Join(err, opened.Close(), kept.Close())
	}
	reader, err := kafka.NewReader(cfg.Kafka, cfg.Group, deps.Log)
	if err != nil {
		return nil, errors.Join(err, opened.Close(), kept.Close(), keys.Close())
	}
	road, err := openAlerts(cfg, deps, metrics)
	if err != nil {
		return nil, errors.Join(err, opened.Close(), kept.Close(), keys.Close(), reader.Close())
	}
	loop := ingest.New(ingest.Config{Source: reader, Ledger: kept, Index: opened, Group: cfg.Group, Share: cfg.Share, Sink: deps.Journal, Metrics: metrics, Log: deps.Log, Now: deps.Now})
	rules := retention.New(keys.Database(), cfg.Retention, deps.Now)
	signed, _ := kept.Signed()
	evidence := retention.NewEvidence(deps.Now, clock.NewSteady(), signed.At)
	handler := &handlers.Handler{Index: opened, Ledger: kept, Keys: keys, Retention: rules, Journal: deps.Journal, Now: deps.Now}
	return &Audit{index: opened, ledger: kept, custody: keys, reader: reader, loop: loop, alerts: road, journal: deps.Journal, log: deps.Log, handler: handler,
		sweeper: retention.Sweeper{Store: rules, Index: opened, Sink: deps.Journal, Log: deps.Log, Evidence: evidence}}, nil
}

// Register serves the methods of the service.
func (a *Audit) Register(mux *rpc.Mux) {
	rpc.Handle[auditv1connect.AuditServiceHandler](mux, auditv1connect.NewAuditServiceHandler, a.handler)
}

// Run moves records from Kafka into the ledger and the index, passes alerts on, and signs and checks the ledger until ctx ends, and then closes all.
func (a *Audit) Run(ctx context.Context) error {
	signing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var signed, checked, passed, swept error
	var running sync.WaitGroup
	running.Go(func() { signed = a.ledger.Run(signing) })
	running.Go(func() { checked = a.ledger.Watch(ctx, a.journal) })
	running.Go(func() { passed = a.alerts.run(ctx) })
	running.Go(func() { a.ledger.Show(ctx, a.journal) })
	running.Go(func() { swept = a.sweeper.Run(ctx) })
	running.Go(func() { a.reread(ctx) })
	err := a.loop.Run(ctx)
	stop() // only now, so that what was moved last is signed too
	running.Wait()
	a.ledger.ShowLast(context.WithoutCancel(ctx))
	return errors.Join(err, signed, checked, passed, swept, a.reader.Close(), a.index.Close(), a.ledger.Close(), a.custody.Close())
}

// rereadPause is how long a reading of older records that failed waits before it goes on.
const rereadPause = 10 * time.Second

// reread brings the index up to this version. Where that fails, it is tried again until it succeeds; searches that it is for are refused meanwhile, and the rest of
// the service goes on.
func (a *Audit) reread(ctx context.Context) {
	older, ok := a.index.(rereader)
	if !ok {
		return
	}
	for ctx.Err() == nil {
		err := older.Reread(ctx)
		if err == nil {
			return
		}
		a.log.Error("older records cannot be searched by words; they are read again soon", "cause", err)
		clock.Sleep(ctx, rereadPause)
	}
}

// Ready reports whether the index answers, ledger and index take records, and records can reach both.
func (a *Audit) Ready(ctx context.Context) error {
	if err := a.ledger.Ready(); err != nil {
		return err
	}
	if err := a.index.Ping(ctx); err != nil {
		return err
	}
	if err := a.loop.Ready(); err != nil {
		return err
	}
	if err := a.custody.Ping(ctx); err != nil {
		return err
	}
	if err := a.reader.Ping(ctx); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Kafka does not answer for the audit topic. Check that the brokers answer and that the topic exists.").Because(err)
	}
	return nil
}
