package ownership

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"headgate.dev/libs/sqlstore"
)

const columns = "object, relation, subject, ends_at, author, written_at"

// moment is how a time that may be never is kept.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sqlstore.Time(t)
}

// Filter says what to list: everything, of one object, of one subject or of both.
type Filter struct {
	Object, Subject string
	// After begins behind this one.
	After Key
	// Most is how many there are at most.
	Most int
}

// List reads a tenant's relations by object, relation and subject.
func (l *Ledger) List(ctx context.Context, tenant string, f Filter) ([]Relation, error) {
	query, args := "SELECT "+columns+" FROM resource_relations WHERE tenant = ?", []any{tenant}
	if f.Object != "" {
		query, args = query+" AND object = ?", append(args, f.Object)
	}
	if f.Subject != "" {
		query, args = query+" AND subject = ?", append(args, f.Subject)
	}
	if f.After != (Key{}) {
		query, args = query+" AND (object, relation, subject) > (?, ?, ?)", append(args, f.After.Object, f.After.Relation, f.After.Subject)
	}
	rows, err := l.DB.Query(ctx, query+" ORDER BY object, relation, subject LIMIT ?", append(args, f.Most)...)
	if err != nil {
		return nil, fmt.Errorf("list relations to resources: %w", err)
	}
	return scan(rows)
}

func (l *Ledger) revisions(ctx context.Context) (map[string]int64, error) {
	rows, err := l.DB.Query(ctx, "SELECT tenant, revision FROM resource_revisions")
	if err != nil {
		return nil, fmt.Errorf("read the revisions of relations to resources: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]int64{}
	for rows.Next() {
		var tenant string
		var revision int64
		if err := rows.Scan(&tenant, &revision); err != nil {
			return nil, fmt.Errorf("read the revisions of relations to resources: %w", err)
		}
		all[tenant] = revision
	}
	return all, rows.Err()
}

// load reads one tenant's relations with the revision that they have.
func (l *Ledger) load(ctx context.Context, tenant string) (*Resources, error) {
	var loaded *Resources
	err := l.DB.ReadTx(ctx, func(tx *sqlstore.Tx) error {
		var revision int64
		if err := tx.QueryRow(ctx, "SELECT revision FROM resource_revisions WHERE tenant = ?", tenant).Scan(&revision); err != nil {
			return fmt.Errorf("read the revision of tenant %s: %w", tenant, err)
		}
		rows, err := tx.Query(ctx, "SELECT "+columns+" FROM resource_relations WHERE tenant = ? ORDER BY object, relation, subject", tenant)
		if err != nil {
			return fmt.Errorf("read the relations of tenant %s: %w", tenant, err)
		}
		all, err := scan(rows)
		loaded = newResources(revision, all)
		return err
	})
	return loaded, err
}

// taken removes rows and says which they were.
func taken(ctx context.Context, tx *sqlstore.Tx, which string, args ...any) ([]Relation, error) {
	rows, err := tx.Query(ctx, "SELECT "+columns+" FROM resource_relations WHERE "+which+" ORDER BY object, relation, subject", args...)
	if err != nil {
		return nil, fmt.Errorf("find relations to resources: %w", err)
	}
	found, err := scan(rows)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if _, err := tx.Exec(ctx, "DELETE FROM resource_relations WHERE "+which, args...); err != nil {
		return nil, fmt.Errorf("remove relations to resources: %w", err)
	}
	return found, nil
}

func scan(rows *sql.Rows) ([]Relation, error) {
	defer func() { _ = rows.Close() }()
	var all []Relation
	for rows.Next() {
		var one Relation
		var ends, written string
		if err := rows.Scan(&one.Object, &one.Relation, &one.Subject, &ends, &one.Author, &written); err != nil {
			return nil, fmt.Errorf("read a relation to a resource: %w", err)
		}
		var err error
		if one.Written, err = sqlstore.ParseTime(written); err != nil {
			return nil, fmt.Errorf("read when %s was written: %w", one.Object, err)
		}
		if ends != "" {
			if one.Until, err = sqlstore.ParseTime(ends); err != nil {
				return nil, fmt.Errorf("read when %s ends: %w", one.Object, err)
			}
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
