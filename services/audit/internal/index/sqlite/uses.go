package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"headgate.dev/libs/record"
	"headgate.dev/services/audit/internal/index"
)

// Uses implements index.Index. What it yields is read before: a reader that takes its time holds none of the few connections to the database.
func (x *Index) Uses(ctx context.Context, tenant string, since time.Time, yield func(index.Use) error) error {
	uses, err := x.uses(ctx, tenant, since)
	if err != nil {
		return fmt.Errorf("sum up the uses: %w", err)
	}
	for _, use := range uses {
		if err := yield(use); err != nil {
			return err
		}
	}
	return nil
}

func (x *Index) uses(ctx context.Context, tenant string, since time.Time) ([]index.Use, error) {
	actions := record.Uses()
	args := []any{tenant, index.Nanos(since), record.Allow, record.Modify}
	for _, action := range actions {
		args = append(args, action)
	}
	rows, err := x.db.Query(ctx, "SELECT person, agent, server, tool, count(*), max(time) FROM events "+
		"WHERE tenant = ? AND time >= ? AND NOT started AND effect IN (?, ?) AND server <> '' AND action IN ("+strings.Repeat(", ?", len(actions))[2:]+") "+
		"GROUP BY person, agent, server, tool", args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var uses []index.Use
	for rows.Next() {
		var (
			use  index.Use
			last int64
		)
		if err := rows.Scan(&use.Person, &use.Agent, &use.Server, &use.Tool, &use.Calls, &last); err != nil {
			return nil, err
		}
		use.Last = time.Unix(0, last).UTC()
		uses = append(uses, use)
	}
	return uses, rows.Err()
}

// Oldest implements index.Index.
func (x *Index) Oldest(ctx context.Context, tenant string) (time.Time, error) {
	var oldest sql.NullInt64
	if err := x.db.QueryRow(ctx, "SELECT min(time) FROM events WHERE tenant = ?", tenant).Scan(&oldest); err != nil {
		return time.Time{}, fmt.Errorf("find the oldest record: %w", err)
	}
	if !oldest.Valid {
		return time.Time{}, nil
	}
	return time.Unix(0, oldest.Int64).UTC(), nil
}
