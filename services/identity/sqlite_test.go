//go:build !external

package identity_test

import (
	"path/filepath"
	"testing"

	"headgate.dev/libs/sqlstore"
)

// database is where the tests of this package run: SQLite, or PostgreSQL with the build tag external.
func database(t *testing.T) sqlstore.Config {
	return sqlstore.Config{Path: filepath.Join(t.TempDir(), "identity.db")}
}
