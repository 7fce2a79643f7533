// Package sqlite is an index in a SQLite file, with FTS5 for words. It is for one process.
package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

//go:embed migrations/*.sql
var files embed.FS

// Index keeps records in one database.
type Index struct {
	db *sqlstore.DB

	mu   sync.Mutex // one writer at a time
	last int64      // the highest seq; -1 before it is read
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
	return &Index{db: db, last: -1}, nil
}

// Close gives the file back.
func (x *Index) Close() error { return x.db.Close() }

// Ping implements index.Index.
func (x *Index) Ping(ctx context.Context) error { return x.db.Ping(ctx) }

// Rows go in many at a time, below SQLite's limit of 32,766 parameters: for the words above all, which FTS5 brings to its tree at each statement.
const (
	rowsAStatement  = 200
	wordsAStatement = 5000
)

// Add implements index.Index.
func (x *Index) Add(ctx context.Context, records []index.Record) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	last := x.last
	err := x.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		// For this connection: room for the pages that a batch touches, and fewer, larger moves from the log into the file.
		if _, err := tx.Exec(ctx, "PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8192"); err != nil {
			return err
		}
		if last < 0 {
			if err := tx.QueryRow(ctx, "SELECT coalesce(max(seq), 0) FROM events").Scan(&last); err != nil {
				return err
			}
		}
		fresh, err := unknown(ctx, tx, records)
		if err != nil {
			return err
		}
		return insert(ctx, tx, &last, fresh)
	})
	if err != nil {
		return fmt.Errorf("store %d records: %w", len(records), err)
	}
	x.last = last
	return nil
}

// unknown returns the records whose ids are not there yet, each id once.
func unknown(ctx context.Context, tx *sqlstore.Tx, records []index.Record) ([]index.Record, error) {
	known := map[string]bool{}
	for part := range slices.Chunk(records, rowsAStatement) {
		ids := make([]any, len(part))
		for i, r := range part {
			ids[i] = r.Event.GetId()
		}
		if err := present(ctx, tx, ids, known); err != nil {
			return nil, err
		}
	}
	fresh := make([]index.Record, 0, len(records))
	for _, r := range records {
		if !known[r.Event.GetId()] {
			known[r.Event.GetId()] = true
			fresh = append(fresh, r)
		}
	}
	return fresh, nil
}

func present(ctx context.Context, tx *sqlstore.Tx, ids []any, known map[string]bool) error {
	rows, err := tx.Query(ctx, "SELECT id FROM events WHERE id IN ("+repeat("?", len(ids))+")", ids...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		known[id] = true
	}
	return rows.Err()
}

func insert(ctx context.Context, tx *sqlstore.Tx, last *int64, records []index.Record) error {
	next := *last
	for part := range slices.Chunk(records, rowsAStatement) {
		if err := insertEvents(ctx, tx, next, part); err != nil {
			return err
		}
		next += int64(len(part))
	}
	for part := range slices.Chunk(records, wordsAStatement) {
		words := make([]any, 0, 2*len(part))
		for _, r := range part {
			*last++
			words = append(words, *last, index.Text(r.Event))
		}
		if _, err := tx.Exec(ctx, "INSERT INTO words (rowid, text) VALUES "+repeat("(?, ?)", len(part)), words...); err != nil {
			return err
		}
	}
	return nil
}

func insertEvents(ctx context.Context, tx *sqlstore.Tx, last int64, records []index.Record) error {
	const columns = 12
	rows := make([]any, 0, columns*len(records))
	for i, r := range records {
		ev, started := r.Event, r.Event.GetPhase() == eventsv1.Phase_PHASE_STARTED
		rows = append(rows, last+int64(i)+1, ev.GetId(), nanos(ev.GetTime().AsTime()), ev.GetTenant(), ev.GetPrincipal().GetPerson(),
			ev.GetPrincipal().GetAgent(), ev.GetTarget().GetServer(), ev.GetTarget().GetTool(), ev.GetDecision().GetEffect(), ev.GetAction(), started, r.Bytes)
	}
	_, err := tx.Exec(ctx, "INSERT INTO events (seq, id, time, tenant, person, agent, server, tool, effect, action, started, body) VALUES "+
		repeat("("+repeat("?", columns)+")", len(records)), rows...)
	return err
}

func repeat(part string, n int) string { return strings.TrimSuffix(strings.Repeat(part+", ", n), ", ") }

// nanos is the instant as a number; what lies outside of the numbers is the nearest that is not.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	default:
		return t.UnixNano()
	}
}
