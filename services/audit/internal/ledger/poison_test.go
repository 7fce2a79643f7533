package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

// numbered is a record whose writer claims that number.
func numbered(t *testing.T, name string, sequence uint64) index.Record {
	t.Helper()
	r := (&writer{name: name}).next("acme", "ana")
	r.Event.Sequence, r.Event.PreviousHash = sequence, make([]byte, sha256.Size)
	var err error
	if r.Bytes, err = proto.Marshal(r.Event); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestANumberThatNoWriterReachesIsRefusedAndTheLedgerGoesOn(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	w := &writer{name: "edge-1"}
	add(t, l, w.many(3)...)
	for _, c := range []struct {
		writer   string
		sequence uint64
		why      string
	}{
		{"edge-1", 1 << 50, "no writer can have come beyond 281474976710656"},
		{"edge-1", 1 << 60, "no writer can have come beyond 281474976710656"},
		{"edge-1", 1 << 62, "no writer can have come beyond 281474976710656"},
		{"nobody", math.MaxUint64, "no writer can have come beyond 281474976710656"},
		{"edge-1", 1 << 33, "its last one here is 7"},
	} {
		refused, err := l.Append(t.Context(), []index.Record{numbered(t, c.writer, c.sequence), w.next("acme", "ana")})
		if err != nil || len(refused) != 1 || refused[0].At != 0 {
			t.Fatalf("%d of %s: refused %v, %v", c.sequence, c.writer, refused, err)
		}
		if !strings.Contains(refused[0].Why.Error(), c.why) {
			t.Errorf("%d of %s: %v", c.sequence, c.writer, refused[0].Why)
		}
	}
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
	l = reopen(t, l, cfg)
	if l.Size() != 8 {
		t.Errorf("it has %d records", l.Size())
	}
	check(t, l, nil)
}

// A writer that is older than the ledger begins in it with a high number; its slots are in files of a bounded length.
func TestAWriterMayBeOlderThanTheLedger(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	numbers := []uint64{1<<48 - 1, 1 << 48, 1 << 40}
	for _, n := range numbers {
		add(t, l, numbered(t, "edge-1", n))
	}
	l = reopen(t, l, cfg)
	v, err := l.View(l.Size())
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range numbers {
		if at, err := v.Find("edge-1", n); err != nil || at != int64(i) {
			t.Errorf("number %d is at %d, %v", n, at, err)
		}
	}
	for _, n := range []uint64{1, 1<<40 + 1, math.MaxUint64} {
		if at, err := v.Find("edge-1", n); err != nil || at != -1 {
			t.Errorf("number %d is at %d, %v", n, at, err)
		}
	}
	if refused, err := l.Append(t.Context(), []index.Record{numbered(t, "edge-1", 1<<48+1)}); err != nil || len(refused) != 1 {
		t.Errorf("beyond the last: %v, %v", refused, err)
	}
	names, err := filepath.Glob(filepath.Join(cfg.Dir, "writers", "*"))
	if err != nil || len(names) != 3 {
		t.Errorf("files of slots: %v, %v", names, err)
	}
}

func TestALedgerThatStandsStillIsNotReadyAndAnAlert(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	written, done := notes{events: make(chan *eventsv1.Event, 1)}, make(chan error, 1)
	go func() { done <- l.Watch(ctx, written) }()
	blocked := filepath.Join(cfg.Dir, "writers", "656467652d31") // edge-1
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	records := (&writer{name: "edge-1"}).many(2)
	if _, err := l.Append(t.Context(), records); err == nil {
		t.Fatal("it was added, though the writer's numbers cannot be read")
	}
	if err := l.Ready(); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("ready: %v", err)
	}
	if ev := <-written.events; ev.GetAction() != "ledger-stands" || !ev.GetAlert() || !strings.Contains(ev.GetDecision().GetSentence(), "is a directory") {
		t.Errorf("recorded %v", ev)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	add(t, l, records...)
	if err := l.Ready(); err != nil {
		t.Errorf("after it went on: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// crammed is a journal that takes nothing for a while, as one on the ledger's full disk.
type crammed struct {
	notes

	refuses int
}

func (c *crammed) Append(ev *eventsv1.Event, mode journal.Mode) error {
	if c.refuses > 0 {
		c.refuses--
		return errors.New("no room")
	}
	return c.notes.Append(ev, mode)
}

func TestThatTheLedgerStoodStillIsRecordedOnceTheJournalHasRoom(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		l := open(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		written, done := &crammed{notes{events: make(chan *eventsv1.Event)}, 2}, make(chan error, 1)
		go func() { done <- l.Watch(ctx, written) }()
		blocked := filepath.Join(cfg.Dir, "writers", "656467652d31") // edge-1
		if err := os.Mkdir(blocked, 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(t.Context(), (&writer{name: "edge-1"}).many(2)); err == nil {
			t.Fatal("it was added, though the writer's numbers cannot be read")
		}
		if ev := <-written.events; ev.GetAction() != "ledger-stands" {
			t.Errorf("recorded %v", ev)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Two records of one writer with a large gap between them do not keep an export from its end. What stands before its beginning is still shown.
func TestALargeGapInAWritersNumbersDoesNotHoldAnExport(t *testing.T) {
	l := open(t, ledger.Config{Dir: t.TempDir()})
	add(t, l, numbered(t, "mallory", 7))
	add(t, l, (&writer{name: "edge-1"}).many(2*ledger.BlockSize-1)...)
	since := noon.Add(time.Hour)
	for _, n := range []uint64{3, 4_000_000_000} {
		r := numbered(t, "mallory", n)
		r.Event.Time = timestamppb.New(since)
		var err error
		if r.Bytes, err = proto.Marshal(r.Event); err != nil {
			t.Fatal(err)
		}
		add(t, l, r)
	}
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	at, _ := l.Signed()
	view, err := l.View(at.Size)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	proved := export.Proved{
		View: view, Checkpoint: at.Note, Signer: l.Signer(), Filter: base.Filter{Since: since},
		Statement: base.Statement{Origin: at.Origin, Size: at.Size, Settled: at.Size, Made: noon, By: "vera"},
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = proved.Write(ctx, func(lines []byte) error {
		out.Write(lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := base.Verify(&out, keys)
	want := []string{
		"records 4 to 6 of writer mallory are missing: they should stand before record 0 (left out)",
		"records 8 to 3999999999 of writer mallory are missing: they should stand before record 513 (event mallory-1)",
	}
	if err != nil || report.Records != 2 || !slices.Equal(report.Problems, want) {
		t.Errorf("%+v, %v", report, err)
	}
	lines := 0
	err = proved.Write(ctx, func([]byte) error {
		if lines++; lines == 4 { // the statement, the hashes and both records: what is left is to look for the missing ones
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || lines != 4 {
		t.Errorf("the reader left after %d lines: %v", lines, err)
	}
}

// The times of blocks are signed by nobody: who changes them does not hide a record from a report.
func TestChangedTimesHideNothingFromAReport(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	add(t, l, (&writer{name: "edge-1"}).many(2*ledger.BlockSize)...)
	if err := os.WriteFile(filepath.Join(cfg.Dir, "times"), make([]byte, 2*16), 0o600); err != nil { // all in 1970
		t.Fatal(err)
	}
	v, err := l.View(l.Size())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	err = export.Plain(t.Context(), v, base.Filter{Since: noon}, 0, v.Size, func(int64, *eventsv1.Event) error {
		found++
		return nil
	})
	if err != nil || found != 2*ledger.BlockSize {
		t.Errorf("%d records, %v", found, err)
	}
}
