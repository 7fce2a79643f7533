//go:build !external

package sqltest

import (
	"io/fs"
	"testing"

	"headgate.dev/libs/sqlstore"
)

// external needs a server, which only the build tag external promises.
func external(*testing.T, []fs.FS, func(*testing.T, *sqlstore.DB)) {}
