package retention_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/retention"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var today = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

func each(t *testing.T, cfg retention.Config, run func(t *testing.T, s *retention.Store)) {
	t.Helper()
	eachIn(t, cfg, func(t *testing.T, s *retention.Store, _ *sqlstore.DB) {
		t.Helper()
		run(t, s)
	})
}

func eachIn(t *testing.T, cfg retention.Config, run func(t *testing.T, s *retention.Store, db *sqlstore.DB)) {
	t.Helper()
	migrations, err := retention.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	sqltest.Each(t, migrations, func(t *testing.T, db *sqlstore.DB) {
		run(t, retention.New(db, cfg, func() time.Time { return today }), db)
	})
}

// set gives a tenant a rule and wants what is told before to be what then holds.
func set(t *testing.T, s *retention.Store, tenant string, change retention.Change) (retention.Rule, error) {
	t.Helper()
	var told []retention.Rule
	held, err := s.Rule(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(t.Context(), tenant, change, func(_, _ retention.Rule) error { return errUnrecorded }); !errors.Is(err, errUnrecorded) && fault.From(err).Reason == 0 {
		t.Errorf("set without a record: %v", err)
	}
	if now, err := s.Rule(t.Context(), tenant); err != nil || now.Days != held.Days || !slices.Equal(now.Classes, held.Classes) {
		t.Errorf("changed without a record: %+v, %v", now, err)
	}
	next, err := s.Set(t.Context(), tenant, change, func(before, next retention.Rule) error {
		told = append(told, before, next)
		return nil
	})
	if err == nil && (len(told) != 2 || told[0].Days != held.Days || told[1].Days != next.Days) {
		t.Errorf("told %+v; held %+v, now %+v", told, held, next)
	}
	return next, err
}

var errUnrecorded = errors.New("the journal is full")

func TestNothingGoesUnlessATenantSaysSo(t *testing.T) {
	each(t, retention.Config{}, func(t *testing.T, s *retention.Store) {
		rule, err := s.Rule(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if at, goes := rule.Before(today); goes {
			t.Errorf("records from before %s go", at)
		}
	})
}

func TestFloorsCannotBeLowered(t *testing.T) {
	each(t, retention.Config{Classes: []string{"soc2"}}, func(t *testing.T, s *retention.Store) {
		for _, c := range []struct {
			name   string
			change retention.Change
			want   faultv1.Reason
			says   string
		}{
			{"below what the operator wants of all", retention.Change{Days: 100}, faultv1.Reason_REASON_INVALID, "soc2"},
			{"below a class of its own", retention.Change{Days: 700, Add: []string{"hipaa"}}, faultv1.Reason_REASON_INVALID, "six years"},
			{"below a class, by the operator", retention.Change{Days: 700, Add: []string{"hipaa"}, Operator: true, Reason: "cost"}, faultv1.Reason_REASON_INVALID, "hipaa"},
			{"a class that is none", retention.Change{Add: []string{"gdpr"}}, faultv1.Reason_REASON_INVALID, "there is no class"},
			{"enough", retention.Change{Days: 2555, Add: []string{"hipaa"}}, 0, ""},
			{"without naming the class, by an administrator", retention.Change{Days: 400}, faultv1.Reason_REASON_INVALID, "hipaa"},
			{"without naming the class, by the operator", retention.Change{Days: 400, Operator: true, Reason: "cost"}, faultv1.Reason_REASON_INVALID, "hipaa"},
			{"without the class, by an administrator", retention.Change{Days: 400, Drop: []string{"hipaa"}, Reason: "cost"}, faultv1.Reason_REASON_ROLE_REQUIRED, "cannot take away hipaa"},
			{"for good, without the class, by an administrator", retention.Change{Drop: []string{"hipaa"}}, faultv1.Reason_REASON_ROLE_REQUIRED, "hipaa"},
			{"without the class, by the operator, without a reason", retention.Change{Days: 400, Drop: []string{"hipaa"}, Operator: true}, faultv1.Reason_REASON_INVALID, "Say why"},
			{"for good, without the class, without a reason", retention.Change{Drop: []string{"hipaa"}, Operator: true, Reason: " "}, faultv1.Reason_REASON_INVALID, "Say why"},
			{"for good, without the class, for a reason that nobody sees", retention.Change{Drop: []string{"hipaa"}, Operator: true, Reason: "\u200b\u200b\u200b"}, faultv1.Reason_REASON_INVALID, "can be read"},
			{"a class that the tenant is not under", retention.Change{Drop: []string{"part-11"}, Operator: true, Reason: "cost"}, faultv1.Reason_REASON_INVALID, "are under: hipaa, soc2"},
			{"a class of all", retention.Change{Drop: []string{"soc2"}, Operator: true, Reason: "cost"}, faultv1.Reason_REASON_INVALID, "holds for all tenants"},
			{"a class that is added at once", retention.Change{Add: []string{"hipaa"}, Drop: []string{"hipaa"}, Operator: true, Reason: "cost"}, faultv1.Reason_REASON_INVALID, "at once"},
			{"less by the operator, without a reason", retention.Change{Days: 2400, Operator: true}, faultv1.Reason_REASON_INVALID, "Say why"},
			{"more by the operator", retention.Change{Days: 2600, Operator: true}, 0, ""},
			{"for good by the operator", retention.Change{Operator: true}, 0, ""},
			{"less than for good by the operator, without a reason", retention.Change{Days: 2600, Operator: true}, faultv1.Reason_REASON_INVALID, "Say why"},
			{"without the class, by the operator", retention.Change{Days: 400, Drop: []string{"hipaa"}, Operator: true, Reason: "cost"}, 0, ""},
		} {
			_, err := set(t, s, "acme", c.change)
			if c.want == 0 && err != nil || c.want != 0 && (!fault.Is(err, c.want) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		rule, err := s.Rule(t.Context(), "acme")
		if floor, class := rule.Floor(); err != nil || rule.Days != 400 || floor != 366 || class.Name != "soc2" {
			t.Errorf("%+v, at least %d by %s, %v", rule, floor, class.Name, err)
		}
	})
}

func TestHalfAYearIsTheFloorWhereAnOperatorSaysNothing(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   retention.Config
		days  int
		taken bool
	}{
		"unset, a day": {retention.Config{}, 1, false}, "unset, 182 days": {retention.Config{}, 182, false}, "unset, 183 days": {retention.Config{}, 183, true},
		"none, a day": {retention.Config{Classes: []string{}}, 1, true},
	} {
		each(t, c.cfg, func(t *testing.T, s *retention.Store) {
			for _, operator := range []bool{false, true} {
				if _, err := set(t, s, "acme", retention.Change{Days: c.days, Operator: operator, Reason: "cost"}); (err == nil) != c.taken || err != nil && !strings.Contains(err.Error(), "eu-ai-act") {
					t.Errorf("%s, operator %t: %v", name, operator, err)
				}
			}
		})
	}
}

func TestEveryClassIsKeptForItsTime(t *testing.T) {
	for name, want := range map[string]string{
		"eu-ai-act": "2026-05-29", "soc2": "2025-11-28", "part-11": "2024-11-28", "hipaa": "2020-11-28", "sec-17a-4": "2020-11-28",
	} {
		// As if somebody had written fewer days past every check: the class decides.
		at, goes := (retention.Rule{Classes: []string{name}, Days: 1}).Before(today)
		if !goes || at.Format(time.DateOnly) != want {
			t.Errorf("%s: records from before %s go, want %s", name, at.Format(time.DateOnly), want)
		}
	}
	if _, goes := (retention.Rule{Classes: []string{"of a later version"}, Days: 1}).Before(today); goes {
		t.Error("records go though a class is not known")
	}
}

// shelf drops 7 records in a batch; another one follows where hold is set, which is called within the first and says how to wait until what it began is done.
type shelf struct {
	dropped []string
	err     error
	hold    func() (wait func())
}

func (s *shelf) Drop(_ context.Context, tenant string, before time.Time, within func(batch func() error) error) (int64, error) {
	wait := func() {}
	err := within(func() error {
		s.dropped = append(s.dropped, tenant+" before "+before.Format(time.DateOnly))
		if s.hold != nil {
			wait = s.hold()
		}
		return s.err
	})
	if wait(); err != nil || s.hold == nil {
		return 7, err
	}
	return 7, within(func() error {
		s.dropped = append(s.dropped, "more")
		return nil
	})
}

type sink struct{ events []*eventsv1.Event }

func (s *sink) Append(ev *eventsv1.Event, _ journal.Mode) error {
	s.events = append(s.events, ev)
	return nil
}

func TestWhatMayGoIsDroppedAndThatIsRecorded(t *testing.T) {
	each(t, retention.Config{}, func(t *testing.T, s *retention.Store) {
		for tenant, days := range map[string]int{"acme": 400, "forever": 0, "held": 400} {
			if _, err := set(t, s, tenant, retention.Change{Add: []string{"soc2"}, Days: days}); err != nil {
				t.Fatal(err)
			}
		}
		hold, err := s.Add(t.Context(), retention.Hold{Tenant: "held", Kind: "patient", Name: "P-1", Reason: "case 7", By: "sofia"})
		if err != nil {
			t.Fatal(err)
		}
		index, records := &shelf{}, &sink{}
		night := retention.Sweeper{Store: s, Index: index, Sink: records, Log: slog.New(slog.DiscardHandler), Evidence: believed()}
		if err := night.Sweep(t.Context()); err != nil || strings.Join(index.dropped, "; ") != "acme before 2025-10-24" {
			t.Fatalf("%v, %v", index.dropped, err)
		}
		if len(records.events) != 2 || records.events[1].GetTenant() != "acme" || !strings.Contains(records.events[1].GetDecision().GetSentence(), "7 records from before 2025-10-24") {
			t.Errorf("%v", records.events)
		}
		if err := s.Release(t.Context(), "acme", hold.ID, "sofia"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			t.Errorf("another tenant's hold: %v", err)
		}
		if err := s.Release(t.Context(), "held", hold.ID, "sofia"); err != nil {
			t.Fatal(err)
		}
		index.err = errors.New("full")
		if err := night.Sweep(t.Context()); err == nil || len(index.dropped) != 3 {
			t.Errorf("one failure stops the others, or is not told: %v, %v", index.dropped, err)
		}
		if last := records.events[len(records.events)-1]; last.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
			t.Errorf("%v", last)
		}
	})
}

func TestAHoldThatBeginsWhileRecordsAreDroppedEndsThat(t *testing.T) {
	each(t, retention.Config{}, func(t *testing.T, s *retention.Store) {
		if _, err := set(t, s, "acme", retention.Change{Days: 400}); err != nil {
			t.Fatal(err)
		}
		index, records := &shelf{}, &sink{}
		index.hold = func() func() {
			held := make(chan error, 1)
			go func() {
				_, err := s.Add(context.Background(), retention.Hold{Tenant: "acme", Reason: "case 7", By: "sofia"})
				held <- err
			}()
			select {
			case err := <-held:
				t.Errorf("a hold began while a batch was dropped: %v", err)
				held <- err
			case <-time.After(100 * time.Millisecond):
			}
			return func() {
				if err := <-held; err != nil {
					t.Error(err)
				}
			}
		}
		night := retention.Sweeper{Store: s, Index: index, Sink: records, Log: slog.New(slog.DiscardHandler), Evidence: believed()}
		if err := night.Sweep(t.Context()); err != nil || len(index.dropped) != 1 {
			t.Fatalf("%v, %v", index.dropped, err)
		}
		last := records.events[len(records.events)-1]
		if last.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || !strings.Contains(last.GetDecision().GetSentence(), "7 were: a legal hold began") {
			t.Errorf("%v", last)
		}
	})
}

func TestAHoldKeepsKeys(t *testing.T) {
	eachIn(t, retention.Config{}, func(t *testing.T, s *retention.Store, db *sqlstore.DB) {
		may := func(kind, name string) bool {
			err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error { return s.MayErase(t.Context(), tx, "acme", kind, name) })
			if err != nil && (!fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !strings.Contains(err.Error(), "headgate audit hold release")) {
				t.Errorf("%v", err)
			}
			return err == nil
		}
		if !may("patient", "P-1") {
			t.Error("without a hold")
		}
		if _, err := s.Add(t.Context(), retention.Hold{Tenant: "acme", Kind: "patient", Name: "P-1", Reason: "x", By: "s"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Add(t.Context(), retention.Hold{Tenant: "globex", Reason: "x", By: "s"}); err != nil {
			t.Fatal(err)
		}
		if may("patient", "P-1") || may("patient", " p-1") || !may("patient", "P-2") || !may("person", "P-1") {
			t.Error("a hold of one subject holds another, or not its own")
		}
		all, err := s.Add(t.Context(), retention.Hold{Tenant: "acme", Reason: "x", By: "s"})
		if err != nil || may("patient", "P-2") {
			t.Errorf("a hold of the tenant does not hold: %v", err)
		}
		if held, err := s.Holds(t.Context(), "acme"); err != nil || len(held) != 2 {
			t.Errorf("%v, %v", held, err)
		}
		if err := s.Release(t.Context(), "acme", all.ID, "s"); err != nil || !may("patient", "P-2") {
			t.Errorf("a released hold holds: %v", err)
		}
	})
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	for name, cfg := range map[string]retention.Config{"a class": {Classes: []string{"x"}}, "a time": {DropAt: "25:00"}} {
		if err := cfg.Check(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := (retention.Config{Classes: []string{"hipaa"}}).Check(); err != nil {
		t.Error(err)
	}
}
