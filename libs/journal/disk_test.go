package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// refusedFor reports whether an error refuses a record and says why in these words.
func refusedFor(err error, words string) bool {
	return fault.Is(err, faultv1.Reason_REASON_JOURNAL) && strings.Contains(err.Error(), words)
}

// numbered checks that the records of a directory are the ones with these ids, in this order, without a gap in sequence or chain.
func numbered(t *testing.T, dir string, ids ...string) {
	t.Helper()
	events := stored(t, dir)
	if len(events) != len(ids) {
		t.Fatalf("%d records, want %d", len(events), len(ids))
	}
	for i, ev := range events {
		if ev.GetId() != ids[i] || ev.GetSequence() != uint64(i+1) {
			t.Fatalf("record %d is %s with sequence %d, want %s", i, ev.GetId(), ev.GetSequence(), ids[i])
		}
	}
}

func TestADiskThatSyncsSlowlyHoldsUpOnlyWhoWaitsForIt(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir})
	begun, let := make(chan struct{}, 1), make(chan struct{})
	w.disk.sync = func(f *os.File) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-let
		return datasync(f)
	}
	strict := make(chan error, 1)
	go func() { strict <- w.Append(call("strict", "1", final), Strict) }()
	<-begun
	ids := []string{"strict"}
	for i := range 100 { // while the disk is busy
		id := fmt.Sprint("spool-", i)
		ids = append(ids, id)
		mustAppend(t, w, call(id, id, final))
	}
	select {
	case err := <-strict:
		t.Fatalf("a strict record returned before the disk had it: %v", err)
	default:
	}
	if got := w.Status(); got.Synced != 0 || got.Written != 101 {
		t.Errorf("status: %+v", got)
	}
	close(let)
	if err := <-strict; err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	numbered(t, dir, ids...)
}

func TestADiskThatFailsToSyncStopsTheJournal(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir})
	mustAppend(t, w, call("a", "1", final))
	w.disk.sync = func(*os.File) error { return syscall.EIO }
	if err := w.Append(call("b", "2", final), Strict); !refusedFor(err, "does not confirm") {
		t.Errorf("a strict record: %v", err)
	}
	if err := w.Append(call("c", "3", final), Spool); !refusedFor(err, "restart the service") {
		t.Errorf("the next record: %v", err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("the loop that syncs: %v", err)
	}
	if err := w.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	again, err := Open(Config{Dir: dir}, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, again, call("d", "4", final))
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	numbered(t, dir, "a", "b", "d") // b was not confirmed, but it is there, and nothing took its number
}

func TestADiskWithoutRoomRefusesUntilThereIsSome(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir, SegmentBytes: 8 << 10, MaxBytes: 1 << 20})
	var full atomic.Bool
	w.disk.reserve = func(f *os.File, from, length int64) (bool, error) {
		if full.Load() {
			return false, syscall.ENOSPC
		}
		return reserve(f, from, length)
	}
	full.Store(true)
	var ids []string
	var err error
	for i := 0; err == nil && i < 1000; i++ { // until what was reserved is used up
		id := fmt.Sprint("before-", i)
		if err = w.Append(call(id, id, final), Spool); err == nil {
			ids = append(ids, id)
		}
	}
	if !refusedFor(err, "no room") && !refusedFor(err, "new file") {
		t.Fatalf("after %d records: %v", len(ids), err)
	}
	if got := w.Status().Refused; !refusedFor(got, err.Error()) {
		t.Errorf("the status says %v, refused was: %v", got, err)
	}
	full.Store(false)
	for i := range 100 {
		id := fmt.Sprint("after-", i)
		mustAppend(t, w, call(id, id, final))
		ids = append(ids, id)
	}
	if got := w.Status().Refused; got != nil {
		t.Errorf("records are taken again, and the status says %v", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	numbered(t, dir, ids...)
}
