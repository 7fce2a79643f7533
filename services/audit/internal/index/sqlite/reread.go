package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

const (
	// derivation is the version of what is derived from an event: its words and which alert it is. Who changes text, record.Text, record.Words or record.Alert for events that may
	// be in an index already adds one, and every index derives both again.
	derivation = 3
	// rereadBatch is how many records are read again in one transaction, so that others write in between.
	rereadBatch = 1000
)

// span is the records from next to before below, whose words and alerts are still those of another version.
type span struct{ next, below int64 }

func (s span) left() int64 { return s.below - s.next }

func (s span) has(seq int64) bool { return s.next <= seq && seq < s.below }

// openReread finds out which records are still to be read again.
func (x *Index) openReread(ctx context.Context) error {
	return x.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		var version int64
		err := tx.QueryRow(ctx, "SELECT version, next, below FROM reread").Scan(&version, &x.old.next, &x.old.below)
		if err == nil && version == derivation {
			return nil
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err := tx.QueryRow(ctx, "SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) + 1 FROM events").Scan(&x.old.next, &x.old.below); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO words (words) VALUES ('delete-all')"); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO reread (one, version, next, below) VALUES (1, ?, ?, ?) "+
			"ON CONFLICT (one) DO UPDATE SET version = excluded.version, next = excluded.next, below = excluded.below", derivation, x.old.next, x.old.below)
		return err
	})
}

// Reread derives again what another version derived from the records that were there when the index was opened. It goes on where it was stopped, and returns when
// nothing is left or the context ends; records are added and searched meanwhile.
func (x *Index) Reread(ctx context.Context) error {
	for x.remaining() > 0 && ctx.Err() == nil {
		if err := x.rereadSome(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("read older records again for the search index: %w", err)
		}
	}
	return nil
}

func (x *Index) remaining() int64 {
	x.oldMu.RLock()
	defer x.oldMu.RUnlock()
	return x.old.left()
}

func (x *Index) rereadSome(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	rest := x.old
	err := x.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		some, err := stored(ctx, tx, rest)
		if err != nil {
			return err
		}
		for _, r := range some {
			if _, err := tx.Exec(ctx, "INSERT INTO words (rowid, text) VALUES (?, ?)", r.seq, r.text); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "UPDATE events SET alert = ? WHERE seq = ? AND alert <> ?", r.alert, r.seq, r.alert); err != nil {
				return err
			}
			rest.next = r.seq + 1
		}
		if len(some) < rereadBatch {
			rest.next = rest.below
		}
		_, err = tx.Exec(ctx, "UPDATE reread SET next = ?", rest.next)
		return err
	})
	if err != nil {
		return err
	}
	x.oldMu.Lock()
	defer x.oldMu.Unlock()
	x.old = rest
	return nil
}

// derived is what the index keeps of a record beside its fields.
type derived struct {
	seq         int64
	text, alert string
}

func stored(ctx context.Context, tx *sqlstore.Tx, s span) ([]derived, error) {
	rows, err := tx.Query(ctx, "SELECT seq, body FROM events WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?", s.next, s.below, rereadBatch)
	if err != nil {
		return nil, err
	}
	return derive(rows)
}

// derive reads rows of seq and body, and closes them.
func derive(rows *sql.Rows) (out []derived, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one derived
		var body []byte
		if err := rows.Scan(&one.seq, &body); err != nil {
			return nil, err
		}
		ev, err := decode(one.seq, body)
		if err != nil {
			return nil, err
		}
		one.text, one.alert = text(ev), record.Alert(ev)
		out = append(out, one)
	}
	return out, rows.Err()
}

// whole refuses a search by what is derived as long as records would be missed.
func (x *Index) whole(q index.Query) error {
	left := x.remaining()
	if left == 0 || q.Text == "" && !q.Alerts {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
		"After an upgrade the search index reads its older records again, and %d are left. Words and alerts can be searched when it is done; search by other fields until then.", left)
}
