// Package sqlstore opens a service's SQL database, SQLite or PostgreSQL, and brings it to the schema of its migrations. Statements are written once, with ?
// for parameters, in the SQL that both know: TEXT, BIGINT, BOOLEAN; times as text of Time; bytes as base64 or hex; INSERT ... ON CONFLICT.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// The drivers.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config says where the database is.
type Config struct {
	// Driver is "sqlite" (also when empty) or "postgres".
	Driver string `yaml:"driver"`
	// Path is the file of a SQLite database; its directory is made, for the owner alone.
	Path string `yaml:"path"`
	// URL is the address of a PostgreSQL database, as postgres://user:password@host:5432/name.
	URL secret.String `yaml:"url"`
}

// Check says what is missing in the configuration.
func (c Config) Check() error {
	switch {
	case c.Driver != "" && c.Driver != SQLite && c.Driver != Postgres:
		return fault.Invalid("database.driver: must be sqlite or postgres, is %q", c.Driver)
	case c.Driver == Postgres && c.URL.Empty():
		return fault.Invalid("database.url: is missing; the driver postgres needs it")
	case c.Driver != Postgres && c.Path == "":
		return fault.Invalid("database.path: is missing; the driver sqlite needs a file")
	}
	return nil
}

// DB is an open database. Safe for concurrent use.
type DB struct {
	sql    *sql.DB
	driver string
	path   string // of SQLite's file
}

// Tx is a transaction. It is good only within the function that it was given to.
type Tx struct {
	sql    *sql.Tx
	driver string
}

// Open connects and applies the migrations (goose, *.sql at the root of each file system; the numbers must differ among them).
func Open(ctx context.Context, cfg Config, migrations ...fs.FS) (*DB, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	db, dialect, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, dialect, merged(migrations)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func connect(cfg Config) (*DB, goose.Dialect, error) {
	if cfg.Driver == Postgres {
		db, err := sql.Open("pgx", cfg.URL.Reveal())
		if err != nil {
			return nil, "", fault.Invalid("database.url: is not an address of a PostgreSQL database") // the cause may hold the password
		}
		const connections = 16
		db.SetMaxOpenConns(connections)
		db.SetConnMaxIdleTime(5 * time.Minute)
		return &DB{sql: db, driver: Postgres}, goose.DialectPostgres, nil
	}
	const ownerOnly = 0o700
	if err := os.MkdirAll(filepath.Dir(cfg.Path), ownerOnly); err != nil {
		return nil, "", fault.Invalid("database.path: the directory of %s cannot be made: %v", cfg.Path, err).Because(err)
	}
	file, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it for all to read
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return nil, "", fault.Invalid("database.path: %s cannot be opened: %v", cfg.Path, err).Because(err)
	}
	// A transaction takes the write lock when it begins, so that it never fails halfway because another one wrote.
	options := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: cfg.Path}).EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, "", fault.Invalid("database.path: %s cannot be opened", cfg.Path).Because(err)
	}
	const connections = 4
	db.SetMaxOpenConns(connections)
	return &DB{sql: db, driver: SQLite, path: cfg.Path}, goose.DialectSQLite3, nil
}

func migrate(ctx context.Context, db *DB, dialect goose.Dialect, migrations fs.FS) error {
	if err := db.sql.PingContext(ctx); err != nil {
		return db.unopened(err)
	}
	provider, err := goose.NewProvider(dialect, db.sql, migrations)
	if errors.Is(err, goose.ErrNoMigrations) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("applying the migrations: %w", explain(db.path, err))
	}
	return nil
}

// unopened says what to look at when a database does not open. What PostgreSQL's driver says may hold the password.
func (db *DB) unopened(err error) error {
	if db.driver == Postgres {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The database does not answer. Check its address and that it runs.").Because(err)
	}
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The database %s cannot be opened: %v. Check that the file is one of SQLite, is writable, and that its disk has room.", db.path, err).Because(err)
}

// Driver is "sqlite" or "postgres".
func (db *DB) Driver() string { return db.driver }

// Close ends all connections.
func (db *DB) Close() error { return db.sql.Close() }

// EmptyLog moves what SQLite's log has into the database's file and empties it. busy says that others still read an older state after that wait; the driver does not
// end its waiting with a context.
func (db *DB) EmptyLog(ctx context.Context, wait time.Duration) (busy bool, err error) {
	conn, err := db.sql.Conn(ctx)
	if err != nil {
		return false, err
	}
	var before int
	if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&before); err != nil {
		return false, errors.Join(err, conn.Close())
	}
	var set, frames, moved int
	if err = conn.QueryRowContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", wait.Milliseconds())).Scan(&set); err == nil {
		err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	}
	restored := conn.QueryRowContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", before)).Scan(&set)
	return busy, errors.Join(err, restored, conn.Close())
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.sql.PingContext(ctx); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The database does not answer.").Because(err)
	}
	return nil
}

// Exec runs a statement.
func (db *DB) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.sql.ExecContext(ctx, rebind(db.driver, query), args...)
}

// Query runs a query. The caller closes the rows.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return db.sql.QueryContext(ctx, rebind(db.driver, query), args...)
}

// QueryRow runs a query for one row. Scan gives sql.ErrNoRows when there is none.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return db.sql.QueryRowContext(ctx, rebind(db.driver, query), args...)
}

// Tx runs do in a transaction and commits it when do returns nil. With SQLite, transactions that write wait for each other. One that its full disk does not take is
// rolled back, and may be tried again.
func (db *DB) Tx(ctx context.Context, do func(*Tx) error) error {
	return explain(db.path, db.transact(ctx, nil, do))
}

// explain says what to do about SQLite's full disk. Other errors stay as they are.
func explain(path string, err error) error {
	if failed, ok := errors.AsType[*sqlite.Error](err); ok && (failed.Code() == sqlite3.SQLITE_FULL || failed.Code() == sqlite3.SQLITE_IOERR_SHMSIZE) {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The database %s takes nothing more: its disk has no room. Make room; it goes on by itself then.", path).Because(err)
	}
	return err
}

// ReadTx runs do in a transaction that sees one state of the database throughout and is never committed.
func (db *DB) ReadTx(ctx context.Context, do func(*Tx) error) error {
	options := &sql.TxOptions{ReadOnly: true}
	if db.driver == Postgres {
		options.Isolation = sql.LevelRepeatableRead
	}
	return db.transact(ctx, options, do)
}

func (db *DB) transact(ctx context.Context, options *sql.TxOptions, do func(*Tx) error) (err error) {
	tx, err := db.sql.BeginTx(ctx, options)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	done := false
	defer func() {
		if !done { // do failed or panicked
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	if err := do(&Tx{sql: tx, driver: db.driver}); err != nil {
		return err
	}
	if options != nil && options.ReadOnly {
		return nil
	}
	done = true
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing a transaction: %w", err)
	}
	return nil
}

// ignoreDone drops the error of a rollback after the context ended the transaction already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Overwrite makes SQLite write zeros over what the transaction takes out. PostgreSQL leaves that to its next vacuum.
func (tx *Tx) Overwrite(ctx context.Context) error {
	if tx.driver != SQLite {
		return nil
	}
	var set int
	return tx.QueryRow(ctx, "PRAGMA secure_delete = ON").Scan(&set)
}

// Exec runs a statement.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return tx.sql.ExecContext(ctx, rebind(tx.driver, query), args...)
}

// Query runs a query. The caller closes the rows.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.sql.QueryContext(ctx, rebind(tx.driver, query), args...)
}

// QueryRow runs a query for one row. Scan gives sql.ErrNoRows when there is none.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return tx.sql.QueryRowContext(ctx, rebind(tx.driver, query), args...)
}
