package ownership

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema of the relations that applications put.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Most is how many relations a tenant may have: every process of authz holds them in memory.
const Most = 100_000

// Ledger keeps the relations in the database, and tells what is there whenever that changed. Safe for concurrent use.
type Ledger struct {
	DB  *sqlstore.DB
	Now clock.Now
	// Most bounds a tenant's relations; 0 means the package's Most.
	Most int
	// Changed hears a tenant's relations, one change at a time.
	Changed func(tenant string, r *Resources)

	mu    sync.Mutex
	known map[string]int64 // revision that Changed has heard
}

// Record writes what was done, within the transaction of the change; its error undoes all.
type Record = func(changed []Relation) error

var errNothing = errors.New("nothing changed")

// Put adds relations, or gives those that are there their new end. It returns how many that concerned.
func (l *Ledger) Put(ctx context.Context, tenant, author string, relations []Relation, record Record) (int, error) {
	return l.change(ctx, tenant, record, func(tx *sqlstore.Tx) ([]Relation, error) {
		var changed []Relation
		now := l.Now()
		for _, one := range relations {
			done, err := tx.Exec(ctx, `INSERT INTO resource_relations (tenant, object, relation, subject, ends_at, author, written_at) VALUES (?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT (tenant, object, relation, subject) DO UPDATE SET ends_at = excluded.ends_at, author = excluded.author, written_at = excluded.written_at
				WHERE resource_relations.ends_at <> excluded.ends_at`,
				tenant, one.Object, one.Relation, one.Subject, moment(one.Until), author, sqlstore.Time(now))
			if err != nil {
				return nil, fmt.Errorf("put %s: %w", one.Object, err)
			}
			rows, err := done.RowsAffected()
			if err != nil {
				return nil, fmt.Errorf("put %s: %w", one.Object, err)
			}
			if rows > 0 {
				changed = append(changed, one)
			}
		}
		return changed, l.bounded(ctx, tx, tenant)
	})
}

// bounded refuses what would be too much for a tenant.
func (l *Ledger) bounded(ctx context.Context, tx *sqlstore.Tx, tenant string) error {
	most := l.Most
	if most == 0 {
		most = Most
	}
	var count int
	if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM resource_relations WHERE tenant = ?", tenant).Scan(&count); err != nil {
		return fmt.Errorf("count the relations of tenant %s: %w", tenant, err)
	}
	if count > most {
		return fault.Invalid("Tenant %s would have %d relations to resources; %d is the most. Nothing was put; remove those of resources that are gone, or name groups and roles instead of people.",
			tenant, count, most)
	}
	return nil
}

// Remove takes out relations and everything of some objects. It returns how many that were.
func (l *Ledger) Remove(ctx context.Context, tenant string, keys []Key, objects []string, record Record) (int, error) {
	return l.change(ctx, tenant, record, func(tx *sqlstore.Tx) ([]Relation, error) {
		var gone []Relation
		for _, k := range keys {
			rows, err := taken(ctx, tx, "tenant = ? AND object = ? AND relation = ? AND subject = ?", tenant, k.Object, k.Relation, k.Subject)
			if err != nil {
				return nil, err
			}
			gone = append(gone, rows...)
		}
		for _, object := range objects {
			rows, err := taken(ctx, tx, "tenant = ? AND object = ?", tenant, object)
			if err != nil {
				return nil, err
			}
			gone = append(gone, rows...)
		}
		return gone, nil
	})
}

// End takes out what a subject had that was written until a moment: its person or group is gone. One of the same name that comes later begins with nothing.
func (l *Ledger) End(ctx context.Context, tenant, subject string, until time.Time, record Record) error {
	_, err := l.change(ctx, tenant, record, func(tx *sqlstore.Tx) ([]Relation, error) {
		return taken(ctx, tx, "tenant = ? AND subject = ? AND written_at <= ?", tenant, subject, sqlstore.Time(until))
	})
	return err
}

// Clear takes out what a tenant had that was written until a moment.
func (l *Ledger) Clear(ctx context.Context, tenant string, until time.Time, record Record) error {
	_, err := l.change(ctx, tenant, record, func(tx *sqlstore.Tx) ([]Relation, error) {
		return taken(ctx, tx, "tenant = ? AND written_at <= ?", tenant, sqlstore.Time(until))
	})
	return err
}

// Expire takes out what has ended by itself until a moment.
func (l *Ledger) Expire(ctx context.Context, tenant string, until time.Time, record Record) error {
	_, err := l.change(ctx, tenant, record, func(tx *sqlstore.Tx) ([]Relation, error) {
		return taken(ctx, tx, "tenant = ? AND ends_at <> '' AND ends_at <= ?", tenant, sqlstore.Time(until))
	})
	return err
}

// change makes one change of a tenant, which no other of the same tenant overtakes.
func (l *Ledger) change(ctx context.Context, tenant string, record Record, do func(tx *sqlstore.Tx) ([]Relation, error)) (int, error) {
	var changed []Relation
	err := l.DB.Tx(ctx, func(tx *sqlstore.Tx) (err error) {
		_, err = tx.Exec(ctx, `INSERT INTO resource_revisions (tenant, revision) VALUES (?, 1)
			ON CONFLICT (tenant) DO UPDATE SET revision = resource_revisions.revision + 1`, tenant)
		if err != nil {
			return fmt.Errorf("count the change of tenant %s: %w", tenant, err)
		}
		if changed, err = do(tx); err != nil {
			return err
		}
		if len(changed) == 0 {
			return errNothing
		}
		return record(changed)
	})
	if errors.Is(err, errNothing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return len(changed), l.Refresh(ctx)
}

// Refresh takes over what was written to the database, by this process or another.
func (l *Ledger) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	revisions, err := l.revisions(ctx)
	if err != nil {
		return err
	}
	for tenant, revision := range revisions {
		if l.known[tenant] == revision {
			continue
		}
		r, err := l.load(ctx, tenant)
		if err != nil {
			return err
		}
		l.Changed(tenant, r)
		if l.known == nil {
			l.known = map[string]int64{}
		}
		l.known[tenant] = r.Revision()
	}
	return nil
}
