package demo

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// limitAttached is SQLITE_LIMIT_ATTACHED. At zero neither ATTACH nor VACUUM INTO can reach another file.
const limitAttached = 7

// open opens a server's SQLite database: a file in dir, or memory.
func open(name, dir string) (*sql.DB, error) {
	source := ":memory:"
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		source = "file:" + (&url.URL{Path: filepath.Join(dir, name+".db")}).EscapedPath() +
			"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)"
	}
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	// One connection: memory belongs to its connection, and what limit sets holds for one.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	db.SetConnMaxLifetime(0)
	return db, confine(db)
}

// confine keeps whoever writes SQL inside the one database.
func confine(db *sql.DB) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	_, err = sqlite.Limit(conn, limitAttached, 0)
	return join(err, conn.Close())
}

func join(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// seed makes the tables and, when they are new, their rows.
func seed(db *sql.DB, schema string, fill func(tx *sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > 0 {
		return nil
	}
	if _, err := tx.Exec(schema); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	if err := fill(tx); err != nil {
		return fmt.Errorf("fill the tables: %w", err)
	}
	if _, err := tx.Exec("PRAGMA user_version = 1"); err != nil {
		return err
	}
	return tx.Commit()
}

// rows reads all rows of a query with one function for each.
func rows[T any](ctx context.Context, db *sql.DB, scan func(scan func(...any) error) (T, error), query string, args ...any) ([]T, error) {
	found, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	out := []T{}
	for found.Next() {
		one, err := scan(found.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, found.Err()
}
