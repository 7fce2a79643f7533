package ledger_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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
		_, err := l.Append(t.Context(), second)
		if err == nil {
			t.Fatal("records were taken that cannot be found again")
		}
		if text := err.Error(); !strings.Contains(text, "has room") || strings.Contains(text, "investigation") {
			t.Errorf("it says %q, and nothing is wrong with the records", text)
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

// A start writes no key that is there: it needs no room on a full disk.
func TestAStartLeavesThePublicKeyAlone(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	path := filepath.Join(cfg.Dir, "key.pub")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	l = reopen(t, l, cfg)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, l, cfg)
	public, _ := l.PublicKey()
	if text, err := os.ReadFile(path); err != nil || string(text) != public+"\n" {
		t.Errorf("it was changed and is %q, %v", text, err)
	}
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

// What an upgrade derives again goes on where it was interrupted.
func TestWhatIsDerivedAgainGoesOnWhereItWasInterrupted(t *testing.T) {
	defer ledger.RememberEvery(512)()
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	w := &writer{name: "edge"}
	want := map[string]bool{}
	for range 20 {
		for _, r := range w.many(100) {
			want[r.Event.GetId()] = true
			add(t, l, r)
		}
	}
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(cfg.Dir, "state.json")
	records, err := filepath.Glob(filepath.Join(cfg.Dir, "records", "*"))
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	older, err := os.ReadFile(state)
	if err == nil {
		err = os.WriteFile(state, regexp.MustCompile(`"version":\d+`).ReplaceAll(older, []byte(`"version":0`)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(records[0])
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(data)
	broken[bytes.Index(broken, []byte("edge-1700"))] ^= 1 // it stops there
	if err := os.WriteFile(records[0], broken, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(cfg); err == nil {
		t.Fatal("a ledger with a changed record opens")
	}
	if got, err := os.ReadFile(state); err != nil || !regexp.MustCompile(`"size":1(536|024)`).Match(got) {
		t.Errorf("remembered: %s, %v", got, err)
	}
	if err := os.WriteFile(records[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, open(t, cfg), want)
	if left, err := filepath.Glob(filepath.Join(cfg.Dir, "records", "cut-*")); err != nil || len(left) > 0 {
		t.Errorf("signed records were cut off: %v, %v", left, err)
	}
}
