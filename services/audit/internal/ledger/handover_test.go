package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/ledger"
)

func signedLedger(t *testing.T) (*ledger.Ledger, ledger.Config) {
	t.Helper()
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	add(t, l, (&writer{name: "edge-1"}).many(3)...)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	return l, cfg
}

// wantSignedByItsKey opens the last checkpoint, also as it is published, with the key that the ledger has now.
func wantSignedByItsKey(t *testing.T, l *ledger.Ledger, dir string) {
	t.Helper()
	public, _ := l.PublicKey()
	ring, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := l.Signed()
	if c, err := ring.Checkpoint(last.Note); err != nil || c.Size != 3 {
		t.Errorf("the last checkpoint: %v, %v", c, err)
	}
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil || string(data) != last.Note {
		t.Errorf("published %q, %v", data, err)
	}
	if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("checked: %v, %v", problems, err)
	}
}

func TestAHandoverSignsTheLastCheckpointAgain(t *testing.T) {
	l, cfg := signedLedger(t)
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	wantSignedByItsKey(t, l, cfg.Dir)
	wantSignedByItsKey(t, reopen(t, l, cfg), cfg.Dir)
}

// A crash just before the new key takes the old one's place leaves its word and its signature, and not yet its name.
func TestAHandoverThatACrashCutShortIsFinished(t *testing.T) {
	l, cfg := signedLedger(t)
	key := filepath.Join(cfg.Dir, "key")
	old, err := os.ReadFile(key)
	if err == nil {
		err = errors.Join(l.Rotate(), l.Close(), os.Rename(key, key+".next"), os.WriteFile(key, old, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	wantSignedByItsKey(t, again, cfg.Dir)
	if _, handovers := again.PublicKey(); len(handovers) != 1 {
		t.Errorf("handed over %d times", len(handovers))
	}
}

// A successor that the key has not given its word for is somebody else's: the ledger does not hand over to it.
func TestASuccessorFromElsewhereIsNotHandedOverTo(t *testing.T) {
	l, cfg := signedLedger(t)
	other, theirs := signedLedger(t)
	public, _ := other.PublicKey()
	data, err := os.ReadFile(filepath.Join(theirs.Dir, "key"))
	if err == nil {
		err = errors.Join(l.Close(), os.WriteFile(filepath.Join(cfg.Dir, "key.next"), data, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if mine, _ := again.PublicKey(); mine == public {
		t.Error("the ledger took a key that was put beside its own")
	}
	wantSignedByItsKey(t, again, cfg.Dir)
}

func TestALedgerWhoseCheckpointsWereTakenAwayDoesNotOpen(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		l, cfg := signedLedger(t)
		var err error
		if rotate {
			err = l.Rotate()
		}
		if err := errors.Join(err, l.Close(), os.Remove(filepath.Join(cfg.Dir, "checkpoints.jsonl"))); err != nil {
			t.Fatal(err)
		}
		if _, err := tryOpen(cfg); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
			t.Errorf("handed over: %v, opened: %v", rotate, err)
		}
	}
	l, cfg := signedLedger(t) // a first signature that a crash cut short: the checkpoint and no state
	if err := errors.Join(l.Close(), os.Remove(filepath.Join(cfg.Dir, "state.json"))); err != nil {
		t.Fatal(err)
	}
	wantSignedByItsKey(t, open(t, cfg), cfg.Dir)
}
