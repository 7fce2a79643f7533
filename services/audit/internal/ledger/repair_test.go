package ledger_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"headgate.dev/services/audit/internal/ledger"
)

// While the disk refuses what follows from a record, each append tries the repair again; when it has room, the ledger goes on without a restart.
func TestALedgerWhoseRepairFailedGoesOnWhenTheDiskDoes(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	first := (&writer{name: "edge-1"}).many(2)
	add(t, l, first...)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(cfg.Dir, "writers", hex.EncodeToString([]byte("edge-2")))
	if err := os.Symlink("no/x", blocked); err != nil { // it can be looked for, and not be made
		t.Fatal(err)
	}
	second := (&writer{name: "edge-2"}).many(2)
	for range 3 {
		if _, err := l.Append(t.Context(), second); err == nil {
			t.Fatal("records were taken that cannot be found again")
		}
		if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("what was signed: %v, %v", problems, err)
		}
	}
	if l.Ready() == nil {
		t.Error("it is ready and takes nothing")
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	add(t, l, second...)
	if err := errors.Join(l.Ready(), l.Checkpoint()); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, r := range append(first, second...) {
		want[r.Event.GetId()] = true
	}
	check(t, l, want)
	check(t, reopen(t, l, cfg), want)
}

// closing is a context that closes a ledger when it is asked whether it ended.
type closing struct {
	context.Context

	ledger *ledger.Ledger
}

func (c closing) Err() error { return errors.Join(c.Context.Err(), c.ledger.Close()) }

func TestACheckWhoseFilesAreClosedFindsNoProblems(t *testing.T) {
	l := open(t, ledger.Config{Dir: t.TempDir()})
	add(t, l, (&writer{name: "edge-1"}).many(3)...)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := l.Check(closing{t.Context(), l}); !errors.Is(err, os.ErrClosed) || len(problems) > 0 {
		t.Errorf("problems %v, %v", problems, err)
	}
}
