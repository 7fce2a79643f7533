package ledger_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	base "headgate.dev/libs/ledger"
	"headgate.dev/services/audit/internal/ledger"
)

// A ledger is verified while its service appends, signs and publishes: nothing of that is tampering.
func TestALedgerIsVerifiedWhileItsServiceRuns(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(ledger.Config{Dir: dir, SegmentBytes: 50_000}, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		w := &writer{name: "edge-1", late: time.Since(noon)}
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := l.Append(ctx, w.many(1+n%40)); err != nil {
				t.Error(err)
			}
			if err := l.Checkpoint(); err != nil {
				t.Error(err)
			}
			if n == 0 {
				close(first)
			}
		}
	})
	<-first
	before := int64(0)
	for before < 4000 {
		report, err := ledger.VerifyDir(ctx, dir, keys)
		if err != nil || !report.Holds() || report.Records < before {
			t.Errorf("%d records: %q, %v", report.Records, report.Problems, err)
			break
		}
		before = report.Records
	}
	cancel()
	running.Wait()
}
