//go:build external

package sqltest

import (
	"context"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"

	"headgate.dev/libs/ids"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
)

func external(t *testing.T, migrations []fs.FS, run func(*testing.T, *sqlstore.DB)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		run(t, Postgres(t, migrations...))
	})
}

// Postgres opens a fresh schema that is gone after the test, in the server at HEADGATE_TEST_POSTGRES.
func Postgres(t *testing.T, migrations ...fs.FS) *sqlstore.DB {
	t.Helper()
	return open(t, PostgresConfig(t), migrations)
}

// PostgresConfig names a fresh schema that is gone after the test, in the server at HEADGATE_TEST_POSTGRES.
func PostgresConfig(t *testing.T) sqlstore.Config {
	t.Helper()
	address := os.Getenv("HEADGATE_TEST_POSTGRES")
	if address == "" {
		t.Fatal("HEADGATE_TEST_POSTGRES is not set; it must be the URL of a PostgreSQL database, as postgres://user@127.0.0.1:5432/name")
	}
	schema := "test_" + strings.ReplaceAll(ids.New(), "-", "")
	admin := open(t, sqlstore.Config{Driver: sqlstore.Postgres, URL: secret.New(address)}, nil)
	if _, err := admin.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("HEADGATE_TEST_POSTGRES is not a URL")
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return sqlstore.Config{Driver: sqlstore.Postgres, URL: secret.New(u.String())}
}
