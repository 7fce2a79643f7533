package resourcestore_test

import (
	"testing"

	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/resourcestore/resourcestoretest"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
)

func TestStoreKeepsItsContract(t *testing.T) {
	resourcestoretest.Contract(t, func(t *testing.T) *sqlstore.DB { return sqltest.SQLite(t, resourcestore.Migrations()) })
}
