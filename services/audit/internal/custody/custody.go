// Package custody keeps the private keys of sealed records: one for each person, patient, account or whatever else records are about, wrapped by a key in a
// file. It is apart from the ledger, so that a key can be erased for good while the record that it opened stays as it is.
package custody

import (
	"context"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/sealed"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

//go:embed migrations/*.sql
var files embed.FS

// Config says where keys are kept.
type Config struct {
	// Database holds the wrapped keys; without one they are in a file of Dir.
	Database sqlstore.Config `yaml:"database"`
	// KeyFile holds the key that wraps them, for its owner alone; empty means a file beside the database. Keep a copy, and not where copies of the database are.
	KeyFile string `yaml:"keyFile"`
}

// Check says what cannot work.
func (c Config) Check() error {
	if c.KeyFile == "" {
		return fault.Invalid("custody.keyFile: name a file for the key that wraps the keys of sealed records")
	}
	return c.Database.Check()
}

// Within fills what is not set with files of a directory.
func (c Config) Within(dir string) Config {
	if c.Database == (sqlstore.Config{}) {
		c.Database.Path = filepath.Join(dir, "custody.db")
	}
	if c.KeyFile == "" {
		c.KeyFile = filepath.Join(dir, "custody.key")
	}
	return c
}

// Custody keeps keys. Safe for concurrent use.
type Custody struct {
	db      *sqlstore.DB
	keyFile string
	now     clock.Now

	rotating sync.Mutex   // held while keys are wrapped anew; who seals and opens does not wait for it
	mu       sync.RWMutex // of ring, which is replaced as a whole: who wraps holds it until the wrapped key is stored
	ring     *ring
}

// Open opens or makes the database and the key. Others are migrations of what else is kept in the same database.
func Open(ctx context.Context, cfg Config, now clock.Now, others ...fs.FS) (*Custody, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sqlstore.Open(ctx, cfg.Database, append(others, migrations)...)
	if err != nil {
		return nil, err
	}
	c := &Custody{db: db, keyFile: cfg.KeyFile, now: now}
	var count int
	err = db.QueryRow(ctx, "SELECT count(*) FROM subject_keys").Scan(&count)
	if err == nil {
		c.ring, err = openRing(cfg.KeyFile, count == 0)
	}
	if err == nil {
		err = c.settle(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return c, nil
}

// Database is where the keys are, for what is kept beside them. It closes with the custody.
func (c *Custody) Database() *sqlstore.DB { return c.db }

// Close gives the database back.
func (c *Custody) Close() error { return c.db.Close() }

// Ping reports whether the database answers.
func (c *Custody) Ping(ctx context.Context) error { return c.db.Ping(ctx) }

// Key is a subject's public key.
type Key struct {
	ID     string
	Public []byte
}

// Key answers the subject's key, and makes it where there is none.
func (c *Custody) Key(ctx context.Context, tenant, kind, name string) (Key, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	subject := c.ring.subject(tenant, kind, sealed.Subject(name))
	if key, err := c.living(ctx, tenant, subject); !errors.Is(err, sql.ErrNoRows) {
		return key, err
	}
	private, public, err := sealed.NewKey()
	if err != nil {
		return Key{}, err
	}
	id := ids.New()
	wrapped, by := c.ring.wrap(id, tenant, private)
	_, err = c.db.Exec(ctx, "INSERT INTO subject_keys (id, tenant, subject, public, wrapped, wrapped_by, created_at, erased_at) VALUES (?, ?, ?, ?, ?, ?, ?, '') ON CONFLICT DO NOTHING",
		id, tenant, subject, base64.StdEncoding.EncodeToString(public), wrapped, by, sqlstore.Time(c.now()))
	if err != nil {
		return Key{}, fmt.Errorf("keep a subject's key: %w", err)
	}
	return c.living(ctx, tenant, subject) // another edge may have been faster
}

// IDs are the ids of all keys that the subject ever had, also of those that were erased.
func (c *Custody) IDs(ctx context.Context, tenant, kind, name string) ([]string, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	rows, err := c.db.Query(ctx, "SELECT id FROM subject_keys WHERE tenant = ? AND (subject = ? OR subject = ?) ORDER BY created_at",
		tenant, c.ring.subject(tenant, kind, sealed.Subject(name)), c.ring.subject(tenant, kind, name))
	if err != nil {
		return nil, fmt.Errorf("look for a subject's keys: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("look for a subject's keys: %w", err)
		}
		out = append(out, id)
	}
	return out, rows.Err()
}

func (c *Custody) living(ctx context.Context, tenant, subject string) (Key, error) {
	var key Key
	var public string
	err := c.db.QueryRow(ctx, "SELECT id, public FROM subject_keys WHERE tenant = ? AND subject = ? AND erased_at = ''", tenant, subject).Scan(&key.ID, &public)
	if err != nil {
		return Key{}, err
	}
	key.Public, err = base64.StdEncoding.DecodeString(public)
	return key, err
}

// Open opens what is sealed in a record.
func (c *Custody) Open(ctx context.Context, b sealed.Binding, box []byte) ([]byte, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var wrapped, by, erased string
	err := c.db.QueryRow(ctx, "SELECT wrapped, wrapped_by, erased_at FROM subject_keys WHERE id = ? AND tenant = ?", b.Key, b.Tenant).Scan(&wrapped, &by, &erased)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fault.NotFound("The key %s of the sealed record is not in custody. Restore the database of the keys from a copy.", b.Key)
	case err != nil:
		return nil, fmt.Errorf("read a subject's key: %w", err)
	case erased != "":
		return nil, fault.New(faultv1.Reason_REASON_NOT_FOUND, "What the record holds can no longer be read: its key was erased at %s. That it was recorded can still be proved.", erased)
	}
	private, err := c.ring.unwrap(b.Key, b.Tenant, wrapped, by)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	return sealed.Open(private, b, box)
}

// Erase deletes the subject's keys for good and answers their ids; none when there are none. The rows stay without them, so that a reader is told why a record
// does not open. With ids and an error, they are deleted but may still be found in the database's files. What first does belongs to the same transaction; nothing is
// deleted when it fails, and its error comes back.
func (c *Custody) Erase(ctx context.Context, tenant, kind, name string, first func(*sqlstore.Tx) error) ([]string, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var gone []string
	// Before spellings were one subject, each had a key of its own: the one that was given goes too.
	canonical, spelled := c.ring.subject(tenant, kind, sealed.Subject(name)), c.ring.subject(tenant, kind, name)
	err := c.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		gone = nil
		if err := tx.Overwrite(ctx); err != nil { // in PostgreSQL, a new wrapping key makes worthless at once what its next vacuum takes out
			return err
		}
		if err := first(tx); err != nil {
			return err
		}
		for _, subject := range slices.Compact([]string{canonical, spelled}) {
			id, err := c.eraseOne(ctx, tx, tenant, subject)
			if err != nil {
				return err
			}
			if id != "" {
				gone = append(gone, id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("erase a subject's key: %w", err)
	}
	return gone, c.emptied(ctx)
}

// eraseOne answers the id of the key that it deleted, or none.
func (c *Custody) eraseOne(ctx context.Context, tx *sqlstore.Tx, tenant, subject string) (string, error) {
	var id string
	err := tx.QueryRow(ctx, "SELECT id FROM subject_keys WHERE tenant = ? AND subject = ? AND erased_at = ''", tenant, subject).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, "UPDATE subject_keys SET wrapped = '', wrapped_by = '', public = '', erased_at = ? WHERE id = ?", sqlstore.Time(c.now()), id)
	return id, err
}

// emptyWait is how long who erases waits for others to end reading.
const emptyWait = 3 * time.Second

// emptied takes what was overwritten out of SQLite's log as well. While somebody reads an older state, that cannot be done: SQLite tries again for ten seconds
// (busy_timeout), which is longer than a request may take, so that only emptyWait of it are waited for; then the error says so.
func (c *Custody) emptied(ctx context.Context) error {
	if c.db.Driver() != sqlstore.SQLite {
		return nil
	}
	busy, err := c.db.EmptyLog(context.WithoutCancel(ctx), emptyWait) // erased for good, whoever still waits for the answer
	if err != nil {
		return fmt.Errorf("empty the log of the keys' database: %w", err)
	}
	if !busy {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The keys are out of use: nothing opens with them any more. What they were is still in the log of the database's file, "+
		"because something else reads the database and did not end in time. Close what reads it (a copy, a shell), and do the same again until it succeeds.")
}

// Rotate makes a new wrapping key, wraps every key with it and drops the ones before: copies of the database from before are worthless without a copy of the old
// key file. It goes on when who asked no longer waits, for rotateWithin at most. What was cut short is finished at the next start, or before the next new key.
func (c *Custody) Rotate(ctx context.Context) (int, error) {
	c.rotating.Lock()
	defer c.rotating.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotateWithin)
	defer cancel()
	if err := c.settle(ctx); err != nil {
		return 0, err
	}
	longer := c.keys().clone()
	if err := longer.add(ids.New()); err != nil {
		return 0, err
	}
	if err := longer.write(c.keyFile); err != nil {
		return 0, fmt.Errorf("keep the new key: %w", err)
	}
	c.use(longer)
	return c.rewrap(ctx)
}

// keys is the ring that is in use.
func (c *Custody) keys() *ring {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ring
}

// use replaces the ring. After it, nothing is stored any more that the ring before wrapped.
func (c *Custody) use(r *ring) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ring = r
}

// settle finishes what a crash cut short.
func (c *Custody) settle(ctx context.Context) error {
	if len(c.keys().names) == 1 {
		return nil
	}
	_, err := c.rewrap(ctx)
	return err
}

// rewrap wraps every key with the newest wrapping key and drops the others. What is sealed meanwhile is wrapped with the newest already.
func (c *Custody) rewrap(ctx context.Context) (int, error) {
	count, r := 0, c.keys()
	for {
		n, err := c.rewrapSome(ctx, r)
		count += n
		if err != nil {
			return count, err
		}
		if n == 0 {
			break
		}
		select { // who seals has its turn: SQLite has one writer, and does not queue those that wait
		case <-ctx.Done():
			return count, ctx.Err()
		case <-time.After(rewrapPause):
		}
	}
	newest := r.newest()
	if err := newest.write(c.keyFile); err != nil {
		return count, fmt.Errorf("drop the old key: %w", err)
	}
	c.use(newest)
	return count, c.emptied(ctx)
}

// rewrapBatch is how many keys are wrapped anew in one transaction: so few that who needs a new key meanwhile does not wait for long.
const rewrapBatch = 100

const (
	rewrapPause  = 20 * time.Millisecond
	rotateWithin = time.Hour
)

func (c *Custody) rewrapSome(ctx context.Context, r *ring) (int, error) {
	type one struct{ id, tenant, wrapped, by string }
	var some []one
	err := c.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		some = some[:0]
		if err := tx.Overwrite(ctx); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT id, tenant, wrapped, wrapped_by FROM subject_keys WHERE wrapped_by <> ? AND wrapped_by <> '' LIMIT ?", r.current(), rewrapBatch)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var o one
			if err := rows.Scan(&o.id, &o.tenant, &o.wrapped, &o.by); err != nil {
				return err
			}
			some = append(some, o)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, o := range some {
			private, err := r.unwrap(o.id, o.tenant, o.wrapped, o.by)
			if err != nil {
				return err
			}
			wrapped, by := r.wrap(o.id, o.tenant, private)
			clear(private)
			if _, err := tx.Exec(ctx, "UPDATE subject_keys SET wrapped = ?, wrapped_by = ? WHERE id = ? AND wrapped_by = ?", wrapped, by, o.id, o.by); err != nil {
				return err
			}
		}
		return nil
	})
	return len(some), err
}
