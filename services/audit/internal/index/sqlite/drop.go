package sqlite

import (
	"context"
	"fmt"
	"time"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/audit/internal/index"
)

// dropBatch is how many records go in one transaction, so that others write in between.
const dropBatch = 500

// Drop implements index.Index.
func (x *Index) Drop(ctx context.Context, tenant string, before time.Time, within func(batch func() error) error) (int64, error) {
	var all int64
	for {
		var n int
		err := within(func() (err error) {
			n, err = x.dropSome(ctx, tenant, before)
			return err
		})
		all += int64(n)
		if err != nil {
			return all, fmt.Errorf("drop records: %w", err)
		}
		if n < dropBatch {
			return all, nil
		}
	}
}

func (x *Index) dropSome(ctx context.Context, tenant string, before time.Time) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	count := 0
	err := x.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		some, err := oldest(ctx, tx, tenant, before)
		if err != nil {
			return err
		}
		for _, r := range some {
			// The words' table has no texts: it is told which words go, unless it does not have them yet.
			if !x.old.has(r.seq) {
				if _, err := tx.Exec(ctx, "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", r.seq, r.text); err != nil {
					return err
				}
			}
			if _, err := tx.Exec(ctx, "DELETE FROM events WHERE seq = ?", r.seq); err != nil {
				return err
			}
		}
		count = len(some)
		return nil
	})
	return count, err
}

func oldest(ctx context.Context, tx *sqlstore.Tx, tenant string, before time.Time) ([]derived, error) {
	rows, err := tx.Query(ctx, "SELECT seq, body FROM events WHERE tenant = ? AND time < ? ORDER BY time LIMIT ?", tenant, index.Nanos(before), dropBatch)
	if err != nil {
		return nil, err
	}
	return derive(rows)
}
