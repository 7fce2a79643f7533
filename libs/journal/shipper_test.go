package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// broker takes batches, unless it is told to fail.
type broker struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	down   bool
	tried  int
}

func (b *broker) Publish(_ context.Context, batch []Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried++
	if b.down {
		return errors.New("the broker is down")
	}
	for _, m := range batch {
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(m.Value, ev); err != nil {
			return err
		}
		b.events = append(b.events, ev)
	}
	return nil
}

func (b *broker) set(down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = down
}

func (b *broker) sequences() []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]uint64, len(b.events))
	for i, ev := range b.events {
		out[i] = ev.GetSequence()
	}
	return out
}

func (b *broker) attempts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tried
}

func upTo(n uint64) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i) + 1
	}
	return out
}

// ship runs a shipper and returns what stops it.
func ship(tb testing.TB, w *Writer, p Publisher) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewShipper(w, p, quiet).Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
}

func TestShipperMovesEverythingInOrderAndFreesTheDisk(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, MaxBytes: 64 << 10, SyncEvery: time.Millisecond})
	runUntilEnd(t, w)
	b := &broker{}
	defer ship(t, w, b)()
	mustAppend(t, w, call("", "open for ever", start))
	const calls = 1000 // many times what MaxBytes holds
	for i := range calls {
		for _, phase := range []eventsv1.Phase{start, final} {
			ev := call("", fmt.Sprint(i), phase)
			eventually(t, "room in the journal", func() bool { return w.Append(ev, Spool) == nil })
		}
	}
	eventually(t, "everything is shipped", func() bool { return w.Status().Shipped == 2*calls+1 })
	if !slices.Equal(b.sequences(), upTo(2*calls+1)) {
		t.Error("the records were not published once each and in order")
	}
	if s := w.Status(); s.Bytes > 64<<10 {
		t.Errorf("the journal takes %d bytes", s.Bytes)
	}
}

func TestOpenCallOutlivesTheFileItBeganIn(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, SyncEvery: time.Millisecond}
	w, err := Open(cfg, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	stop := ship(t, w, &broker{})
	mustAppend(t, w, call("", "long", start))
	for i := range 200 {
		mustAppend(t, w, call("", fmt.Sprint(i), start), call("", fmt.Sprint(i), final))
	}
	if err := w.sync(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first file is deleted", func() bool {
		paths, err := listSegments(cfg.Dir)
		return err == nil && len(paths) == 1
	})
	stop()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, cfg)
	events := stored(t, cfg.Dir)
	if last := events[len(events)-1]; again.Recovered().Crashed != 1 || last.GetCallId() != "long" || last.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN {
		t.Errorf("recovered %+v, last record %v", again.Recovered(), last)
	}
}

func TestShipperWaitsForTheBrokerAndLosesNothing(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SyncEvery: time.Millisecond})
	runUntilEnd(t, w)
	b := &broker{down: true}
	defer ship(t, w, b)()
	mustAppend(t, w, call("", "1", start), call("", "1", final))
	eventually(t, "it tries more than once", func() bool { return b.attempts() > 1 })
	mustAppend(t, w, call("", "2", start), call("", "2", final))
	if w.Status().Shipped != 0 {
		t.Error("it counts as shipped what nobody acknowledged")
	}
	b.set(false)
	eventually(t, "everything is shipped", func() bool { return w.Status().Shipped == 4 })
	if !slices.Equal(b.sequences(), upTo(4)) {
		t.Errorf("published %v", b.sequences())
	}
}

func TestAcknowledgedPositionOutlivesTheProcess(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, SyncEvery: time.Millisecond}
	b := &broker{}
	for round := range uint64(4) {
		w, err := Open(cfg, "edge", quiet, clock.System)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Status().Shipped; got != round*50 {
			t.Errorf("round %d begins with %d shipped", round, got)
		}
		for i := range 50 {
			mustAppend(t, w, call("", fmt.Sprint(i), final))
		}
		if err := w.sync(); err != nil {
			t.Fatal(err)
		}
		stop := ship(t, w, b)
		eventually(t, "the round is shipped", func() bool { return w.Status().Shipped == (round+1)*50 })
		stop()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(b.sequences(), upTo(200)) {
		t.Errorf("published %v", b.sequences())
	}
}

func TestOnlyWhatTheDiskHasIsShipped(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SyncEvery: time.Hour})
	b := &broker{}
	defer ship(t, w, b)()
	mustAppend(t, w, call("", "1", final))
	if err := w.Append(call("", "2", final), Strict); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, w, call("", "3", final))
	eventually(t, "what is synced is shipped", func() bool { return w.Status().Shipped == 2 })
	if s := w.Status(); s.Synced != 2 || s.Written != 3 {
		t.Errorf("status %+v", s)
	}
}

func TestMessageRepeatsWhatReadersNeedOutside(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SyncEvery: time.Hour})
	r := reader{w: w}
	defer r.close()
	ev := call("ev-1", "1", final)
	own := &eventsv1.Event{Id: "ev-2", Action: "journal-opened", Principal: &eventsv1.Principal{Service: "trust"}}
	for _, e := range []*eventsv1.Event{ev, own} {
		if err := w.Append(e, Strict); err != nil {
			t.Fatal(err)
		}
	}
	batch, err := r.batch(1)
	if err != nil || len(batch) != 2 {
		t.Fatalf("%d messages, %v", len(batch), err)
	}
	got := map[string]string{"key": string(batch[0].Key), "key of a service": string(batch[1].Key)}
	for _, h := range batch[0].Headers {
		got[h.Key] = string(h.Value)
	}
	want := map[string]string{
		"key": "acme/ana", "key of a service": "/trust", "ce_specversion": "1.0",
		"ce_id": "ev-1", "ce_type": "dev.headgate.tool-call.v1",
		"ce_source": "/headgate/edge", "ce_time": "2026-09-21T14:13:20.012345678Z", "ce_subject": "acme/ana", "content-type": "application/protobuf",
		"schema": "headgate.events.v1.Event",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	decoded := &eventsv1.Event{}
	if err := proto.Unmarshal(batch[0].Value, decoded); err != nil || !proto.Equal(decoded, ev) {
		t.Errorf("value %v, %v", decoded, err)
	}
}

func TestAFileThatIsShippedBeforeItsLastSyncDoesNotBreakIt(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SegmentBytes: 4096, SyncEvery: time.Hour})
	for first := w.segments[0]; first.offset-first.base < 4096; {
		mustAppend(t, w, call("", "1", final))
	}
	if err := w.sync(); err != nil { // the first file has all that it will have
		t.Fatal(err)
	}
	last := w.Status().Written
	mustAppend(t, w, call("", "2", final)) // the second begins
	if err := w.acknowledge(last); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(call("", "3", final), Strict); err != nil {
		t.Errorf("append: %v", errors.Unwrap(err))
	}
}

func TestRecordsOfAllSizesAreShippedWhole(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SegmentBytes: 4 << 20, SyncEvery: time.Millisecond})
	runUntilEnd(t, w)
	b := &broker{}
	var sizes []int
	for i := range 60 {
		size := []int{10, 300_000, 2000, 500_000, 70_000}[i%5]
		ev := call(fmt.Sprint("id-", i), fmt.Sprint(i), final)
		ev.Source.UserAgent = strings.Repeat(string(rune('a'+i%26)), size)
		sizes = append(sizes, size)
		mustAppend(t, w, ev)
	}
	defer ship(t, w, b)()
	eventually(t, "everything is shipped", func() bool { return w.Status().Shipped == 60 })
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, ev := range b.events {
		if agent := ev.GetSource().GetUserAgent(); ev.GetId() != fmt.Sprint("id-", i) || agent != strings.Repeat(string(rune('a'+i%26)), sizes[i]) {
			t.Errorf("record %d is %s with %d bytes of %.1s", i, ev.GetId(), len(agent), agent)
		}
	}
}
