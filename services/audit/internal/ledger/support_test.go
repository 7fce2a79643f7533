package ledger_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		os.Exit(victim(dir))
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// writer makes records as a journal does: numbered, each with the hash of the one before.
type writer struct {
	name     string
	sequence uint64
	previous []byte
	late     time.Duration // how long after noon it begins
}

func (w *writer) next(tenant, person string) index.Record {
	w.sequence++
	ev := &eventsv1.Event{
		Id: fmt.Sprintf("%s-%d", w.name, w.sequence), Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: tenant, Service: "edge",
		Time: timestamppb.New(noon.Add(w.late + time.Duration(w.sequence)*time.Second)), Principal: &eventsv1.Principal{Person: person},
		Writer: w.name, Sequence: w.sequence, PreviousHash: w.previous,
	}
	data, err := proto.Marshal(ev)
	if err != nil {
		panic(err)
	}
	w.previous = record.Hash(data)
	return index.Record{Event: ev, Bytes: data}
}

func (w *writer) many(n int) []index.Record {
	var out []index.Record
	for range n {
		out = append(out, w.next("acme", "ana"))
	}
	return out
}

func open(t *testing.T, cfg ledger.Config) *ledger.Ledger {
	t.Helper()
	l, err := tryOpen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func tryOpen(cfg ledger.Config) (*ledger.Ledger, error) {
	return ledger.Open(cfg, slog.New(slog.DiscardHandler), func() time.Time { return noon })
}

func add(t *testing.T, l *ledger.Ledger, records ...index.Record) {
	t.Helper()
	if refused, err := l.Append(t.Context(), records); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
}

func reopen(t *testing.T, l *ledger.Ledger, cfg ledger.Config) *ledger.Ledger {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, cfg)
}

// check reads the whole log and wants these records in it, once each, below the root that the tree has.
func check(t *testing.T, l *ledger.Ledger, want map[string]bool) {
	t.Helper()
	v, err := l.View(l.Size())
	if err != nil {
		t.Fatal(err)
	}
	var tree base.Frontier
	found := map[string]int{}
	err = v.Records(t.Context(), 0, v.Size, func(i int64, data []byte) error {
		head, ev, err := base.HeadOf(data)
		if err != nil {
			return err
		}
		kept, err := v.Head(i)
		if err != nil || kept.LeafHash() != head.LeafHash() {
			t.Errorf("record %d: the head is %v, %v", i, kept, err)
		}
		if at, err := v.Find(ev.GetWriter(), ev.GetSequence()); err != nil || at != i {
			t.Errorf("record %d is found at %d, %v", i, at, err)
		}
		found[ev.GetId()]++
		tree.Append(head.LeafHash())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range want {
		if found[id] != 1 {
			t.Errorf("event %s is there %d times", id, found[id])
		}
	}
	for id, n := range found {
		if n != 1 {
			t.Errorf("event %s is there %d times", id, n)
		}
	}
	if root, err := v.Root(); err != nil || root != tree.Root() {
		t.Errorf("the root is %v, %v, the records make %v", root, err, tree.Root())
	}
}
