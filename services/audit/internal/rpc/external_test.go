//go:build external

package rpc

import (
	"testing"

	"headgate.dev/libs/sqlstore/sqltest"
)

func TestAHoldThatStandsBeforeAnErasureEndsStopsItInPostgreSQL(t *testing.T) {
	holdMeanwhile(t, sqltest.PostgresConfig(t))
}
