package audit

import (
	"context"

	base "headgate.dev/libs/ledger"
	"headgate.dev/services/audit/internal/ledger"
)

// IsLedger reports whether a directory looks like that of a ledger.
func IsLedger(dir string) bool { return ledger.IsDir(dir) }

// VerifyLedger reads the directory of a ledger, whose service need not run, by keys that are trusted, and changes nothing in it. Checkpoints are of the same log from
// elsewhere. The error is that of reading alone.
func VerifyLedger(ctx context.Context, dir string, keys *base.Keyring, checkpoints ...string) (*base.Report, error) {
	return ledger.VerifyDir(ctx, dir, keys, checkpoints...)
}
