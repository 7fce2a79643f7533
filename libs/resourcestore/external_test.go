//go:build external

package resourcestore_test

import (
	"testing"

	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/resourcestore/resourcestoretest"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
)

func TestStoreKeepsItsContractOnPostgreSQL(t *testing.T) {
	resourcestoretest.Contract(t, func(t *testing.T) *sqlstore.DB { return sqltest.Postgres(t, resourcestore.Migrations()) })
}
