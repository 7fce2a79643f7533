package ledger_test

import (
	"log/slog"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/services/audit/internal/ledger"
)

// BenchmarkAppend brings records in batches of 2,000, each synced, as ingest does under load; the figure is for one record.
func BenchmarkAppend(b *testing.B) {
	l, err := ledger.Open(ledger.Config{Dir: b.TempDir()}, slog.New(slog.DiscardHandler), clock.System)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	all := (&writer{name: "edge-1"}).many(b.N)
	b.ResetTimer()
	for len(all) > 0 {
		n := min(2000, len(all))
		if refused, err := l.Append(b.Context(), all[:n]); err != nil || len(refused) > 0 {
			b.Fatal(refused, err)
		}
		all = all[n:]
	}
}
