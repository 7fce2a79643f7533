package rpc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/audit/internal/custody"
	"headgate.dev/services/audit/internal/retention"
)

// trail keeps what is recorded, unless refuse says why not.
type trail struct {
	all    []*eventsv1.Event
	refuse func(*eventsv1.Event) error
}

func (r *trail) Append(ev *eventsv1.Event, _ journal.Mode) error {
	if r.refuse != nil {
		if err := r.refuse(ev); err != nil {
			return err
		}
	}
	r.all = append(r.all, ev)
	return nil
}

// keeper is a handler that erases and holds, its trail, and the context of acme's security officer.
func keeper(t *testing.T, database sqlstore.Config) (*Handler, *trail, context.Context) {
	t.Helper()
	tables, err := retention.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	cfg := custody.Config{Database: database}.Within(t.TempDir())
	keys, err := custody.Open(t.Context(), cfg, clock.System, tables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	records := &trail{}
	ctx := rpc.WithCaller(t.Context(), rpc.Caller{Person: &identityv1.Caller{Tenant: "acme", Name: "sofia"}})
	return &Handler{Keys: keys, Retention: retention.New(keys.Database(), retention.Config{}, clock.System), Journal: records, Now: clock.System}, records, ctx
}

func patient() *auditv1.Subject { return &auditv1.Subject{Kind: "patient", Name: "P-1"} }

func erase(ctx context.Context, h *Handler) (*connect.Response[auditv1.EraseResponse], error) {
	return h.Erase(ctx, connect.NewRequest(&auditv1.EraseRequest{Subject: patient(), Reason: "asked for"}))
}

// sealedFor makes the patient's key.
func sealedFor(t *testing.T, h *Handler) string {
	t.Helper()
	key, err := h.Keys.Key(t.Context(), "acme", patient().GetKind(), patient().GetName())
	if err != nil {
		t.Fatal(err)
	}
	return key.ID
}

func TestAHoldThatStandsBeforeAnErasureEndsStopsIt(t *testing.T) { holdMeanwhile(t, sqlstore.Config{}) }

// holdMeanwhile asks for a hold while an erasure is under way: either the hold waits for it, or the erasure is refused.
func holdMeanwhile(t *testing.T, database sqlstore.Config) {
	t.Helper()
	h, records, ctx := keeper(t, database)
	sealedFor(t, h)
	held, holds := make(chan error, 1), false
	records.refuse = func(ev *eventsv1.Event) error {
		if ev.GetChange().GetAction() != "erase" {
			return nil
		}
		go func() {
			_, err := h.Retention.Add(ctx, retention.Hold{Tenant: "acme", Kind: "patient", Name: "P-1", Reason: "case 7", By: "sofia"})
			held <- err
		}()
		select {
		case err := <-held:
			holds = err == nil
			held <- err
		case <-time.After(300 * time.Millisecond):
		}
		return nil
	}
	answer, err := erase(ctx, h)
	if holds && !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !holds && (err != nil || answer.Msg.GetKeys() != 1) {
		t.Errorf("the hold stood before: %t; erased: %v, %v", holds, answer, err)
	}
	if err := <-held; err != nil {
		t.Error(err)
	}
	if _, err := erase(ctx, h); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
		t.Errorf("under the hold: %v", err)
	}
}

func TestWithoutARecordNothingIsErased(t *testing.T) {
	h, records, ctx := keeper(t, sqlstore.Config{})
	key := sealedFor(t, h)
	full := errors.New("the journal is full")
	records.refuse = func(*eventsv1.Event) error { return full }
	if _, err := erase(ctx, h); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	records.refuse = nil
	if again := sealedFor(t, h); again != key {
		t.Errorf("the key %s is gone, there is %s", key, again)
	}
	if answer, err := erase(ctx, h); err != nil || answer.Msg.GetKeys() != 1 || !slices.ContainsFunc(records.all, func(ev *eventsv1.Event) bool { return ev.GetChange().GetName() == key }) {
		t.Errorf("%v, %v", answer, err)
	}
}

func TestAnErasureLeavesNoNameOfAReleasedHold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "custody.db")
	h, _, ctx := keeper(t, sqlstore.Config{Path: path})
	const name = "patient-zebra-4711"
	of := &auditv1.Subject{Kind: "patient", Name: name}
	erased := func() {
		t.Helper()
		if _, err := h.Erase(ctx, connect.NewRequest(&auditv1.EraseRequest{Subject: of, Reason: "asked for"})); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{path, path + "-wal"} {
			if data, err := os.ReadFile(file); err != nil || bytes.Contains(data, []byte(name)) {
				t.Errorf("%s still names who was erased: %v", file, err)
			}
		}
	}
	for range 2 { // the second time after an erasure
		made, err := h.AddHold(ctx, connect.NewRequest(&auditv1.AddHoldRequest{Subject: of, Reason: "case 7"}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.ReleaseHold(ctx, connect.NewRequest(&auditv1.ReleaseHoldRequest{Id: made.Msg.GetHold().GetId(), Reason: "closed"})); err != nil {
			t.Fatal(err)
		}
		erased()
	}
	db := h.Keys.(*custody.Custody).Database()
	if _, err := db.Exec(ctx, "INSERT INTO legal_holds (id, tenant, kind, name, reason, made_by, made_at, released_by, released_at) VALUES ('old', 'acme', 'patient', ?, '', '', '', 's', 'x')", name); err != nil {
		t.Fatal(err)
	}
	erased() // of a hold that an earlier version released
}

// said is what the trail says, in a line a record.
func (r *trail) said() []string {
	var out []string
	for _, ev := range r.all {
		out = append(out, record.Outcome(ev)+" "+ev.GetChange().GetAction()+" "+ev.GetDecision().GetSentence())
	}
	return out
}

func TestAHoldThatIsNotThereIsNotRecordedAsReleased(t *testing.T) {
	h, records, ctx := keeper(t, sqlstore.Config{})
	theirs, err := h.Retention.Add(ctx, retention.Hold{Tenant: "globex", Reason: "case 7", By: "stan"})
	if err != nil {
		t.Fatal(err)
	}
	own, err := h.Retention.Add(ctx, retention.Hold{Tenant: "acme", Reason: "case 7", By: "sofia"})
	if err != nil {
		t.Fatal(err)
	}
	release := func(id string) error {
		_, err := h.ReleaseHold(ctx, connect.NewRequest(&auditv1.ReleaseHoldRequest{Id: id, Reason: "closed"}))
		return err
	}
	for _, id := range []string{"nope", theirs.ID} {
		if err := release(id); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) || len(records.all) != 0 {
			t.Errorf("%s: %v, recorded %v", id, err, records.said())
		}
	}
	records.refuse = func(ev *eventsv1.Event) error { // somebody else is faster
		if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN {
			return nil
		}
		return h.Retention.Release(ctx, "acme", own.ID, "sam")
	}
	if err := release(own.ID); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Error(err)
	}
	if all := records.said(); len(all) != 2 || !strings.HasPrefix(all[0], "unknown release") || !strings.HasPrefix(all[1], "failure release No hold ") {
		t.Errorf("recorded %q", all)
	}
}

func TestAnErasureThatFailsIsNotRecordedAsDone(t *testing.T) {
	h, records, ctx := keeper(t, sqlstore.Config{})
	sealedFor(t, h)
	ctx, cancel := context.WithCancel(ctx)
	records.refuse = func(*eventsv1.Event) error { // who asked goes away
		cancel()
		return nil
	}
	if _, err := erase(ctx, h); err == nil {
		t.Error("erased")
	}
	if all := records.said(); len(all) != 2 || !strings.HasPrefix(all[0], "unknown erase ") || !strings.HasPrefix(all[1], "failure erase ") {
		t.Errorf("recorded %q", all)
	}
}

func TestTheRecordOfAHoldSaysWhatIsHeldAndNamesNobody(t *testing.T) {
	h, records, ctx := keeper(t, sqlstore.Config{})
	key := sealedFor(t, h)
	for _, c := range []struct {
		of   *auditv1.Subject
		want string
	}{
		{nil, "a legal hold of all of the tenant acme"},
		{patient(), "a legal hold of one patient (keys " + key + ")"},
		{&auditv1.Subject{Kind: "patient", Name: "P-2"}, "a legal hold of one patient (without a key so far)"},
		{&auditv1.Subject{Kind: "person", Name: "ana"}, "a legal hold of one person:ana (without a key so far)"},
	} {
		records.all = nil
		made, err := h.AddHold(ctx, connect.NewRequest(&auditv1.AddHoldRequest{Subject: c.of, Reason: "case 7"}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.ReleaseHold(ctx, connect.NewRequest(&auditv1.ReleaseHoldRequest{Id: made.Msg.GetHold().GetId(), Reason: "closed"})); err != nil {
			t.Fatal(err)
		}
		all := records.said()
		if len(all) != 3 || !strings.HasPrefix(all[0], "success add ") || !strings.HasPrefix(all[1], "unknown release ") || !strings.HasPrefix(all[2], "success release ") {
			t.Fatalf("recorded %q", all)
		}
		for _, one := range all {
			if !strings.Contains(one, c.want) || strings.Contains(one, "P-") {
				t.Errorf("%q does not say %q", one, c.want)
			}
		}
	}
}

func TestAReasonCanBeRead(t *testing.T) {
	h, records, ctx := keeper(t, sqlstore.Config{})
	for _, reason := range []string{"\u200b\u200b\u200b", "\u3164\u3164\u3164", " ... ", "a\u200b\u200bb"} {
		_, erased := h.Erase(ctx, connect.NewRequest(&auditv1.EraseRequest{Subject: patient(), Reason: reason}))
		_, held := h.AddHold(ctx, connect.NewRequest(&auditv1.AddHoldRequest{Reason: reason}))
		_, released := h.ReleaseHold(ctx, connect.NewRequest(&auditv1.ReleaseHoldRequest{Id: "h1", Reason: reason}))
		_, revealed := h.Reveal(ctx, connect.NewRequest(&auditv1.RevealRequest{EventId: "e1", Reason: reason}))
		for _, err := range []error{erased, held, released, revealed} {
			if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), "can be read") {
				t.Errorf("%+q: %v", reason, err)
			}
		}
	}
	if len(records.all) != 0 {
		t.Errorf("recorded %q", records.said())
	}
}
