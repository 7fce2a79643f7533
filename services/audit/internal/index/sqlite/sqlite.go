// Package sqlite is an index in a SQLite file, with FTS5 for words. It is for one process.
package sqlite

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

//go:embed migrations/*.sql
var files embed.FS

// Index keeps records in one database.
type Index struct {
	db *sqlstore.DB

	mu          sync.Mutex // one writer at a time
	event, text *sqlstore.Statement

	// oldMu guards old, which is changed with mu too: the records that Reread has yet to read.
	oldMu sync.RWMutex
	old   span
}

var _ index.Index = (*Index)(nil)

// Open opens or makes the database.
func Open(ctx context.Context, cfg sqlstore.Config) (*Index, error) {
	if cfg.Driver != "" && cfg.Driver != sqlstore.SQLite {
		return nil, fault.Invalid("database.driver: must be sqlite, is %q; the search index needs SQLite's full-text search", cfg.Driver)
	}
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sqlstore.Open(ctx, cfg, migrations)
	if err != nil {
		return nil, err
	}
	x := &Index{db: db}
	if err := x.openReread(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	x.event, err = db.Prepare(ctx, "INSERT INTO events (id, time, tenant, person, agent, server, tool, effect, action, alert, started, body) "+
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING")
	if err == nil {
		x.text, err = db.Prepare(ctx, "INSERT INTO words (rowid, text) VALUES (?, ?)")
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Close gives the file back.
func (x *Index) Close() error { return errors.Join(x.event.Close(), x.text.Close(), x.db.Close()) }

// Ping implements index.Index.
func (x *Index) Ping(ctx context.Context) error { return x.db.Ping(ctx) }

// Add implements index.Index.
func (x *Index) Add(ctx context.Context, records []index.Record) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var taken []index.Rejection
	err := x.db.Tx(ctx, func(tx *sqlstore.Tx) (err error) {
		// For this connection: room for the pages that a batch touches, and fewer, larger moves from the log into the file.
		if _, err := tx.Exec(ctx, "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8192"); err != nil {
			return err
		}
		taken, err = x.insert(context.WithoutCancel(ctx), tx, records)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("store %d records: %w", len(records), err)
	case len(taken) > 0:
		return &index.Rejected{Records: taken}
	default:
		return nil
	}
}

// insert adds the records whose ids are not there yet, and answers those whose ids others have. It goes record by record with statements that the connection keeps parsed: to parse statements of many rows costs
// more than that saves, and FTS5 brings its words to the tree at the end of each statement of many rows, but once in a transaction with statements of one. The context
// never ends, because to watch one costs as much as a statement; the transaction's does.
func (x *Index) insert(ctx context.Context, tx *sqlstore.Tx, records []index.Record) (taken []index.Rejection, err error) {
	event, words := tx.Prepared(ctx, x.event), tx.Prepared(ctx, x.text)
	for _, r := range records {
		ev, started := r.Event, r.Event.GetPhase() == eventsv1.Phase_PHASE_STARTED
		done, err := event.Exec(ctx, ev.GetId(), index.Nanos(ev.GetTime().AsTime()), ev.GetTenant(), record.PersonOf(ev),
			ev.GetPrincipal().GetAgent(), ev.GetTarget().GetServer(), ev.GetTarget().GetTool(), ev.GetDecision().GetEffect(), ev.GetAction(), record.Alert(ev), started, r.Bytes)
		if err != nil {
			return nil, err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			same, err := isStored(ctx, tx, r)
			if err != nil {
				return nil, err
			}
			if !same {
				taken = append(taken, index.Taken(r))
			}
			continue
		}
		seq, err := done.LastInsertId()
		if err != nil {
			return nil, err
		}
		if _, err := words.Exec(ctx, seq, text(ev)); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// isStored reports whether the record that has the id is this one.
func isStored(ctx context.Context, tx *sqlstore.Tx, r index.Record) (bool, error) {
	var body []byte
	err := tx.QueryRow(ctx, "SELECT body FROM events WHERE id = ?", r.Event.GetId()).Scan(&body)
	return bytes.Equal(body, r.Bytes), err
}
