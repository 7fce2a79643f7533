package retention_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/retention"
)

// hands are a clock and the time that passes, which a test moves.
type hands struct {
	wall   time.Time
	steady time.Duration
}

func (h *hands) pass(d time.Duration)  { h.wall, h.steady = h.wall.Add(d), h.steady+d }
func (h *hands) now() time.Time        { return h.wall }
func (h *hands) passed() time.Duration { return h.steady }

// believed is evidence of a clock that stands at today and is right.
func believed() *retention.Evidence {
	h := &hands{wall: today}
	return retention.NewEvidence(h.now, h.passed, today.Add(-time.Hour))
}

func TestAClockThatWasSetForwardDropsNothing(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		last time.Time
		move func(h *hands)
		says string
	}{
		"all is well":              {today.Add(-time.Minute), func(h *hands) { h.pass(3 * day) }, ""},
		"a weekend away":           {today.Add(-47 * time.Hour), func(h *hands) { h.pass(time.Hour) }, ""},
		"set forward":              {today.Add(-time.Minute), func(h *hands) { h.pass(time.Hour); h.wall = h.wall.AddDate(6, 0, 0) }, "set forward by"},
		"set forward by two hours": {today.Add(-time.Minute), func(h *hands) { h.wall = h.wall.Add(2 * time.Hour) }, "set forward by 2h0m0s"},
		"and set right again": {today.Add(-time.Minute), func(h *hands) {
			h.wall = h.wall.AddDate(6, 0, 0)
			h.pass(time.Hour)
			h.wall = h.wall.AddDate(-6, 0, 0)
		}, ""},
		"forward for long":              {today.Add(-time.Minute), func(h *hands) { h.wall = h.wall.AddDate(6, 0, 0); h.pass(30 * day) }, "set forward by"},
		"set back keeps more":           {today.Add(-time.Minute), func(h *hands) { h.wall = h.wall.AddDate(-1, 0, 0) }, ""},
		"set forward before the start":  {today.AddDate(-6, 0, 0), func(h *hands) { h.pass(time.Hour) }, "before audit started"},
		"away for long, run for a week": {today.AddDate(0, 0, -30), func(h *hands) { h.pass(7 * day) }, ""},
		"a new ledger":                  {time.Time{}, func(h *hands) { h.pass(time.Hour) }, "never signed"},
		"a new ledger after a week":     {time.Time{}, func(h *hands) { h.pass(8 * day) }, ""},
	} {
		h := &hands{wall: today}
		e := retention.NewEvidence(h.now, h.passed, c.last)
		c.move(h)
		if err := e.Check(); c.says == "" && err != nil || c.says != "" && (!fault.Is(err, faultv1.Reason_REASON_CLOCK) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNotDroppedForTheClockIsAnAlert(t *testing.T) {
	each(t, retention.Config{}, func(t *testing.T, s *retention.Store) {
		if _, err := set(t, s, "acme", retention.Change{Days: 400}); err != nil {
			t.Fatal(err)
		}
		h := &hands{wall: today}
		index, records := &shelf{}, &sink{}
		night := retention.Sweeper{Store: s, Index: index, Sink: records, Log: slog.New(slog.DiscardHandler), Evidence: retention.NewEvidence(h.now, h.passed, today)}
		h.wall = h.wall.AddDate(6, 0, 0)
		if err := night.Sweep(t.Context()); !fault.Is(err, faultv1.Reason_REASON_CLOCK) || len(index.dropped) > 0 {
			t.Fatalf("%v, %v", index.dropped, err)
		}
		if len(records.events) != 1 || record.Alert(records.events[0]) != record.AlertClock || records.events[0].GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE ||
			!strings.Contains(records.events[0].GetDecision().GetSentence(), "Set the clock right") {
			t.Errorf("%v", records.events)
		}
		h.wall = h.wall.AddDate(-6, 0, 0)
		if err := night.Sweep(t.Context()); err != nil || len(index.dropped) != 1 {
			t.Errorf("%v, %v", index.dropped, err)
		}
	})
}
