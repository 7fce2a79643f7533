package ledger_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/ledger"
)

func TestACheckNamesWhatWasChanged(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir, segment string) error
		want   []string
	}{
		"nothing": {func(string, string) error { return nil }, nil},
		"a record": {func(_, segment string) error { return flip(segment, 30) }, []string{
			"record 0 cannot be read: the record is not whole: its checksum is another"}},
		"a head": {func(dir, _ string) error { return flip(filepath.Join(dir, "leaves"), 25) }, []string{
			"the hashes that the log keeps do not follow from its heads from record 0 (event edge-1-1) on: proofs and exports with them do not hold",
			"record 0 (event edge-1-1) was changed: its bytes do not have the hash that the log has",
			"record 0 (event edge-1-1) was changed, or record 1 (event edge-1-2): writer edge-1's record 2 carries another hash of its record 1",
			"the first 5 records are not those that the checkpoint of 2026-11-22T12:00:00Z signs", "the first 9 records are not those that the checkpoint of 2026-11-22T12:00:00Z signs"}},
		"a hash of the tree": {func(dir, _ string) error { return flip(filepath.Join(dir, "hashes"), 32*2+5) }, []string{
			"the hashes that the log keeps do not follow from its heads from record 1 (event edge-1-2) on: proofs and exports with them do not hold"}},
		"the times of a block": {func(dir, _ string) error { return flip(filepath.Join(dir, "times"), 3) }, []string{
			"the times that the log keeps of the block of record 0 (event edge-1-1) were changed: exports and reports of its period leave it out"}},
		"a writer's slot": {func(dir, _ string) error { return flip(filepath.Join(dir, "writers", "656467652d31"), 2*8+7) }, []string{
			"record 1 (event edge-1-2) is not found by its number 2 of writer edge-1: a file in the ledger's folder writers was changed; remove state.json with audit stopped, so that it is made again"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ledger.Config{Dir: t.TempDir()}
			l := open(t, cfg)
			w := &writer{name: "edge-1"}
			add(t, l, w.many(5)...)
			if err := l.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			add(t, l, w.many(4)...)
			if err := l.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			segments, _ := filepath.Glob(filepath.Join(cfg.Dir, "records", "*.seg"))
			if err := c.damage(cfg.Dir, segments[0]); err != nil {
				t.Fatal(err)
			}
			read, problems, err := l.Check(t.Context())
			if err != nil || read != 9 || !slices.Equal(problems, c.want) {
				t.Errorf("%d read, %v, problems\n%s", read, err, strings.Join(problems, "\n"))
			}
		})
	}
}

// A ledger from which somebody took a record and derived all else anew with the key still lacks the writer's number.
func TestACheckFindsWhatNeverArrived(t *testing.T) {
	at := noon
	l, err := ledger.Open(ledger.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler), func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	records := (&writer{name: "edge-1"}).many(4)
	add(t, l, records[0], records[1], records[3])
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("on its way: %v, %v", problems, err)
	}
	at = at.Add(time.Hour)
	if _, problems, err := l.Check(t.Context()); err != nil || !slices.Equal(problems, []string{"record 3 of writer edge-1 is missing: it should stand before record 2 (event edge-1-4)"}) {
		t.Errorf("an hour later: %v, %v", problems, err)
	}
}

// Who can write all files of a ledger but has not its key makes another ledger of other records and puts it in its place: the checkpoints are not the key's, and the
// ledger does not begin to sign what follows.
func TestALedgerThatItsKeyNeverSignedIsRefused(t *testing.T) {
	for name, rotate := range map[string]bool{"with its first key": false, "after a handover": true} {
		t.Run(name, func(t *testing.T) {
			cfg, forged := ledger.Config{Dir: t.TempDir(), Origin: "bank.example/audit"}, ledger.Config{Dir: t.TempDir(), Origin: "bank.example/audit"}
			for i, c := range []ledger.Config{cfg, forged} {
				l := open(t, c)
				if rotate {
					if err := l.Rotate(); err != nil {
						t.Fatal(err)
					}
				}
				w := &writer{name: "edge-1"}
				add(t, l, w.next("acme", []string{"ana", "eve"}[i]))
				add(t, l, w.many(4)...)
				if err := errors.Join(l.Checkpoint(), l.Close()); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range []string{"key", "key.pub", "handover-0001"} {
				data, err := os.ReadFile(filepath.Join(cfg.Dir, key))
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				if err == nil {
					err = os.WriteFile(filepath.Join(forged.Dir, key), data, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			l, err := tryOpen(forged)
			if err == nil {
				_ = l.Close()
			}
			if !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !strings.Contains(err.Error(), "the ledger's key has not signed the checkpoint of 5 records") {
				t.Errorf("opened: %v", err)
			}
			open(t, cfg)
		})
	}
}

// notes keeps events.
type notes struct{ events chan *eventsv1.Event }

func (n notes) Append(ev *eventsv1.Event, _ journal.Mode) error {
	n.events <- ev
	return nil
}

func TestEachNightTheLedgerIsCheckedAndThatIsRecorded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // the clock of the bubble begins at midnight
		l, err := ledger.Open(ledger.Config{Dir: dir, CheckAt: "03:30"}, slog.New(slog.DiscardHandler), clock.System)
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, (&writer{name: "edge-1"}).many(5)...)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		written := notes{events: make(chan *eventsv1.Event)}
		done := make(chan error, 1)
		go func() { done <- l.Watch(ctx, written) }()
		good := <-written.events
		if now := time.Now().UTC().Format(time.TimeOnly); now != "03:30:00" {
			t.Errorf("checked at %s", now)
		}
		if good.GetAction() != "ledger-check" || good.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || good.GetAlert() || !strings.Contains(good.GetDecision().GetSentence(), "5 records") {
			t.Errorf("recorded %v", good)
		}
		if err := flip(filepath.Join(dir, "records", "00000000000000000000.seg"), 30); err != nil {
			t.Fatal(err)
		}
		bad := <-written.events
		if bad.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || !bad.GetAlert() || !strings.Contains(bad.GetDecision().GetSentence(), "record 0 cannot be read") || len(bad.GetFindings().GetNotes()) != 1 {
			t.Errorf("recorded %v", bad)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
