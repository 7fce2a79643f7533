//go:build external

package identity_test

import (
	"testing"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
)

// database is where the tests of this package run: PostgreSQL here.
func database(t *testing.T) sqlstore.Config { return sqltest.PostgresConfig(t) }
