// Package sqltest runs a store's tests on every database that it must work with.
package sqltest

import (
	"io/fs"
	"path/filepath"
	"testing"

	"headgate.dev/libs/sqlstore"
)

// Each runs the test on a fresh SQLite database and, with the build tag external, on a fresh schema of the PostgreSQL server at
// HEADGATE_TEST_POSTGRES, a URL; it fails when that is not set.
func Each(t *testing.T, migrations fs.FS, run func(t *testing.T, db *sqlstore.DB)) {
	t.Helper()
	EachOf(t, []fs.FS{migrations}, run)
}

// EachOf is Each for migrations that come from several packages.
func EachOf(t *testing.T, migrations []fs.FS, run func(t *testing.T, db *sqlstore.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { run(t, SQLite(t, migrations...)) })
	external(t, migrations, run)
}

// SQLite opens a fresh database that is gone after the test.
func SQLite(t *testing.T, migrations ...fs.FS) *sqlstore.DB {
	t.Helper()
	return open(t, sqlstore.Config{Path: filepath.Join(t.TempDir(), "test.db")}, migrations)
}

func open(t *testing.T, cfg sqlstore.Config, migrations []fs.FS) *sqlstore.DB {
	t.Helper()
	db, err := sqlstore.Open(t.Context(), cfg, migrations...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
