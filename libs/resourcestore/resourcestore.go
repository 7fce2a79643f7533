// Package resourcestore keeps declared resources in a service's SQL database: versioned, hashed, all or none, with one counter of revisions that replicas
// follow.
package resourcestore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/sqlstore"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema of the store, numbered below 100; a service gives it to sqlstore.Open with its own, numbered from 100.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Store keeps resources. Safe for concurrent use.
type Store struct {
	db  *sqlstore.DB
	now clock.Now
}

// New returns the store in a database that has the Migrations.
func New(db *sqlstore.DB) *Store { return &Store{db: db, now: clock.System} }

// WithClock is the same store with another clock.
func (s *Store) WithClock(now clock.Now) *Store { return &Store{db: s.db, now: now} }

// Also does what belongs to a change within its transaction: checks of references, rows of other tables, the record. It sees the new state; its error undoes
// all. changed holds what was created or updated, with its new metadata. It runs in a dry run, too, which is undone afterwards: it must then leave out
// what a rollback cannot undo.
type Also = func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error

// Apply creates or updates resources, all of them or none, and returns what happened to each in their order and the revision after it. Version, hash and
// time are set here. A resource whose labels and spec are as they were is unchanged, whatever its version says. The objects themselves are not written to.
func (s *Store) Apply(ctx context.Context, objects []resource.Object, dryRun bool, also Also) ([]*resourcev1.Change, int64, error) {
	if err := check(objects); err != nil {
		return nil, 0, err
	}
	var changes []*resourcev1.Change
	var revision int64
	err := s.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		before, err := lock(ctx, tx)
		if err != nil {
			return err
		}
		was := earlier{}
		ctx := context.WithValue(ctx, earlierKey{}, was)
		changed, list, err := s.put(ctx, tx, objects, before+1, was)
		if err != nil {
			return err
		}
		changes, revision = list, before
		if len(changed) > 0 {
			if revision, err = Bump(ctx, tx); err != nil {
				return err
			}
		}
		if also != nil {
			if err := also(ctx, tx, changed); err != nil {
				return err
			}
		}
		if dryRun {
			revision = before
			return errDryRun
		}
		return nil
	})
	if err != nil && (!dryRun || !errors.Is(err, errDryRun)) {
		return nil, 0, err
	}
	return changes, revision, nil
}

type (
	earlierKey struct{}
	earlier    map[string]resource.Object
)

// Before is what a resource was before the change that an Also is called for, with the context of that call; nil for one that is new.
func Before(ctx context.Context, object resource.Object) resource.Object {
	was, _ := ctx.Value(earlierKey{}).(earlier)
	return was[resource.Key(object)]
}

var errDryRun = errors.New("dry run")

func check(objects []resource.Object) error {
	seen := map[string]bool{}
	for _, object := range objects {
		if err := resource.Check(object); err != nil {
			return err
		}
		key := resource.Key(object)
		if seen[key] {
			return fault.Invalid("%s is there twice; nothing was applied. Give each resource once.", key)
		}
		seen[key] = true
	}
	return nil
}

func (s *Store) put(ctx context.Context, tx *sqlstore.Tx, objects []resource.Object, revision int64, before earlier) ([]resource.Object, []*resourcev1.Change, error) {
	var changed []resource.Object
	changes := make([]*resourcev1.Change, 0, len(objects))
	for _, given := range objects {
		object := resource.Clone(given)
		m := object.GetMetadata()
		change := &resourcev1.Change{Kind: object.GetKind(), Tenant: m.GetTenant(), Name: m.GetName(), Action: resourcev1.Action_ACTION_CREATED, Version: 1}
		changes = append(changes, change)
		oldVersion, oldHash, was, err := current(ctx, tx, change)
		if err != nil {
			return nil, nil, err
		}
		if err := claimOf(ctx).take(was, object); err != nil {
			return nil, nil, err
		}
		m.Hash = resource.Hash(object)
		if oldVersion > 0 {
			change.Action, change.Version = resourcev1.Action_ACTION_UPDATED, oldVersion+1
		}
		if oldHash == m.GetHash() {
			change.Action, change.Version = resourcev1.Action_ACTION_UNCHANGED, oldVersion
			continue
		}
		m.Version, m.UpdatedAt = change.GetVersion(), timestamppb.New(s.now())
		if err := write(ctx, tx, object, oldHash, revision); err != nil {
			return nil, nil, err
		}
		if was != nil {
			before[resource.Key(object)] = was
		}
		changed = append(changed, object)
	}
	return changed, changes, nil
}

func current(ctx context.Context, tx *sqlstore.Tx, c *resourcev1.Change) (version int64, hash string, was resource.Object, err error) {
	var document string
	row := tx.QueryRow(ctx, "SELECT version, hash, document FROM resources WHERE kind = ? AND tenant = ? AND name = ?", c.GetKind(), c.GetTenant(), c.GetName())
	switch err := row.Scan(&version, &hash, &document); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, "", nil, nil
	case err != nil:
		return 0, "", nil, fmt.Errorf("reading %s %s: %w", c.GetKind(), c.GetName(), err)
	}
	was, err = decode(c.GetKind(), document)
	return version, hash, was, err
}

func write(ctx context.Context, tx *sqlstore.Tx, object resource.Object, oldHash string, revision int64) error {
	document, err := protojson.Marshal(object)
	if err != nil {
		return fmt.Errorf("writing %s: %w", resource.Key(object), err)
	}
	m := object.GetMetadata()
	_, err = tx.Exec(ctx, `INSERT INTO resources (kind, tenant, name, version, hash, previous_hash, revision, updated_at, document)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (kind, tenant, name) DO UPDATE SET version = excluded.version, hash = excluded.hash, previous_hash = excluded.previous_hash,
		revision = excluded.revision, updated_at = excluded.updated_at, document = excluded.document`,
		object.GetKind(), m.GetTenant(), m.GetName(), m.GetVersion(), m.GetHash(), oldHash, revision, sqlstore.Time(m.GetUpdatedAt().AsTime()), string(document))
	if err != nil {
		return fmt.Errorf("writing %s: %w", resource.Key(object), err)
	}
	_, err = tx.Exec(ctx, "DELETE FROM resource_deletions WHERE kind = ? AND tenant = ? AND name = ?", object.GetKind(), m.GetTenant(), m.GetName())
	if err != nil {
		return fmt.Errorf("writing %s: %w", resource.Key(object), err)
	}
	return nil
}

// Delete removes a resource and returns the revision after it; not found is an error. also is called with the resource that is gone.
func (s *Store) Delete(ctx context.Context, kind, tenant, name string, also Also) (int64, error) {
	var revision int64
	err := s.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		if _, err := lock(ctx, tx); err != nil {
			return err
		}
		object, err := Read(ctx, tx, kind, tenant, name)
		if err != nil {
			return err
		}
		if err := claimOf(ctx).take(object, nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM resources WHERE kind = ? AND tenant = ? AND name = ?", kind, tenant, name); err != nil {
			return fmt.Errorf("deleting %s: %w", resource.Key(object), err)
		}
		if revision, err = Bump(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO resource_deletions (kind, tenant, name, revision) VALUES (?, ?, ?, ?)
			ON CONFLICT (kind, tenant, name) DO UPDATE SET revision = excluded.revision`, kind, tenant, name, revision); err != nil {
			return fmt.Errorf("deleting %s: %w", resource.Key(object), err)
		}
		if also != nil {
			return also(ctx, tx, []resource.Object{object})
		}
		return nil
	})
	return revision, err
}

// lock makes writers wait for each other, so that revisions are committed in their order, and returns the revision.
func lock(ctx context.Context, tx *sqlstore.Tx) (int64, error) {
	if _, err := tx.Exec(ctx, "UPDATE resource_revision SET revision = revision WHERE id = 1"); err != nil {
		return 0, fmt.Errorf("locking the revision: %w", err)
	}
	return Revision(ctx, tx)
}

// Bump counts the revision up within a transaction, for changes of other tables that replicas must see in order with those of resources.
func Bump(ctx context.Context, tx *sqlstore.Tx) (int64, error) {
	if _, err := tx.Exec(ctx, "UPDATE resource_revision SET revision = revision + 1 WHERE id = 1"); err != nil {
		return 0, fmt.Errorf("counting the revision: %w", err)
	}
	return Revision(ctx, tx)
}
