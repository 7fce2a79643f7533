package anomaly_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/anomaly"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
)

// place takes messages and records, and fails when it is told to.
type place struct {
	fail     bool
	messages []journal.Message
	stored   []index.Record
}

var errDown = errors.New("down")

func (p *place) Publish(_ context.Context, batch []journal.Message) error {
	if p.fail {
		return errDown
	}
	p.messages = append(p.messages, batch...)
	return nil
}

func (p *place) Add(_ context.Context, records []index.Record) error {
	if p.fail {
		return errDown
	}
	p.stored = append(p.stored, records...)
	return nil
}

func alert(ev *eventsv1.Event) { ev.Alert = true }

// records are one of each kind of alert, between records that are none.
func records() []index.Record {
	blocked := func(reason faultv1.Reason) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) { ev.Decision = &eventsv1.Decision{Effect: record.Block, Reason: reason} }
	}
	check := func(note string) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Action, ev.Alert, ev.Findings = record.LedgerCheck, true, &eventsv1.Findings{Notes: []string{note}}
		}
	}
	return []index.Record{
		indextest.Event("plain", "acme", "ana", 1),
		indextest.Event("mass", "acme", "ana", 2, blocked(faultv1.Reason_REASON_RULE), alert, func(ev *eventsv1.Event) { ev.Target.Labels = []string{"destructive"} }),
		indextest.Event("stale", "acme", "ana", 3, blocked(faultv1.Reason_REASON_STALE)),
		indextest.Event("denied", "acme", "ana", 4, blocked(faultv1.Reason_REASON_RULE)),
		indextest.Event("drift", "acme", "", 5, alert, func(ev *eventsv1.Event) { ev.Action = "definition-changed" }),
		indextest.Event("gap", "system", "", 6, check("record 7 of writer edge-1 is missing: it should stand before record 8")),
		indextest.Event("mismatch", "system", "", 7, check("the first 10 records are not those that the checkpoint of 2026-11-22T00:00:00Z signs")),
		indextest.Event("rule", "globex", "gus", 8, alert),
		indextest.Event("clock", "system", "", 9, alert, func(ev *eventsv1.Event) { ev.Action = record.ClockStepped }),
		indextest.Event("shorter", "acme", "root", 11, alert, func(ev *eventsv1.Event) { ev.Action = "audit-retention" }),
		indextest.Event("kill", "acme", "sec", 10, alert, func(ev *eventsv1.Event) { ev.Action = "kill" }),
	}
}

func TestAlertsArePassedOnAndNothingElse(t *testing.T) {
	topic, store := &place{}, &place{}
	road := &anomaly.Road{Detectors: []anomaly.Detector{anomaly.Recorded{}}, Topic: topic, Store: store}
	if err := road.Add(t.Context(), records()); err != nil {
		t.Fatal(err)
	}
	var got, ids []string
	for i, m := range topic.messages {
		headers := map[string]string{}
		for _, h := range m.Headers {
			headers[h.Key] = string(h.Value)
		}
		got = append(got, headers["ce_id"]+" "+headers["ce_type"])
		ids = append(ids, store.stored[i].Event.GetId())
		if string(m.Value) != string(store.stored[i].Bytes) || string(m.Key) != headers["ce_subject"] {
			t.Errorf("%s is not passed on as it was", headers["ce_id"])
		}
	}
	want := []string{
		"mass dev.headgate.anomaly.mass-change.v1", "stale dev.headgate.anomaly.fail-closed.v1", "drift dev.headgate.anomaly.definition-changed.v1",
		"gap dev.headgate.anomaly.journal-gap.v1", "mismatch dev.headgate.anomaly.ledger.v1", "rule dev.headgate.anomaly.rule.v1",
		"clock dev.headgate.anomaly.clock-stepped.v1", "shorter dev.headgate.anomaly.retention.v1", "kill dev.headgate.anomaly.stopped.v1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("passed on %q, want %q", got, want)
	}
	if !slices.Equal(ids, []string{"mass", "stale", "drift", "gap", "mismatch", "rule", "clock", "shorter", "kill"}) {
		t.Errorf("stored %v", ids)
	}
}

// second is a detector that comes later.
type second struct{}

func (second) Detect(ev *eventsv1.Event) string {
	if ev.GetId() == "plain" || ev.GetId() == "rule" {
		return "first-use"
	}
	return ""
}

func TestADetectorBesideAddsWhatItFinds(t *testing.T) {
	topic := &place{}
	road := &anomaly.Road{Detectors: []anomaly.Detector{anomaly.Recorded{}, second{}}, Topic: topic}
	if err := road.Add(t.Context(), records()); err != nil || len(topic.messages) != 10 || string(topic.messages[0].Headers[2].Value) != "dev.headgate.anomaly.first-use.v1" {
		t.Errorf("%d messages, %v", len(topic.messages), err)
	}
}

func TestAnAlertThatCannotBePassedOnIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ topic, store *place }{
		"no topic": {&place{fail: true}, &place{}},
		"no store": {&place{}, &place{fail: true}},
	} {
		road := &anomaly.Road{Detectors: []anomaly.Detector{anomaly.Recorded{}}, Topic: c.topic, Store: c.store}
		if err := road.Add(t.Context(), records()); !errors.Is(err, errDown) {
			t.Errorf("%s: %v", name, err)
		}
		if err := road.Add(t.Context(), records()[:1]); err != nil {
			t.Errorf("%s: what is no alert waits too: %v", name, err)
		}
	}
}

// A store that is away for a while must not make the topic repeat itself.
func TestWhatTheTopicHasIsNotSentAgainForTheStore(t *testing.T) {
	topic, store := &place{}, &place{fail: true}
	road := &anomaly.Road{Detectors: []anomaly.Detector{anomaly.Recorded{}}, Topic: topic, Store: store}
	for range 3 {
		if err := road.Add(t.Context(), records()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
	}
	store.fail = false
	if err := road.Add(t.Context(), records()); err != nil || len(topic.messages) != 9 || len(store.stored) != 9 {
		t.Errorf("%d messages, %d stored, %v", len(topic.messages), len(store.stored), err)
	}
	if err := road.Add(t.Context(), records()); err != nil || len(topic.messages) != 18 {
		t.Errorf("a later batch: %d messages, %v", len(topic.messages), err)
	}
}
