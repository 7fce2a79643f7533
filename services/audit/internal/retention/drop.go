package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Index is what records are dropped from.
type Index interface {
	// Drop takes a tenant's records from before an instant out, and answers how many they were. Each batch is done by within, which may refuse it. Drop again after
	// an error.
	Drop(ctx context.Context, tenant string, before time.Time, within func(batch func() error) error) (int64, error)
}

// Sweeper drops each day what may go.
type Sweeper struct {
	Store *Store
	Index Index
	Sink  record.Sink
	Log   *slog.Logger
	// Evidence says whether it is as late as the clock says.
	Evidence *Evidence
}

// Run drops until ctx ends.
func (s Sweeper) Run(ctx context.Context) error {
	for clock.Sleep(ctx, s.until(s.Store.now().UTC())) {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("records that may go could not be dropped; the next night tries again", "cause", err)
		}
	}
	return nil
}

// until is how long it is to the next night.
func (s Sweeper) until(now time.Time) time.Duration {
	at, _ := time.Parse(clockTime, s.Store.cfg.at()) // Config.Check has read it
	next := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
	if !next.After(now) {
		next = next.AddDate(0, 0, 1)
	}
	return next.Sub(now)
}

// Sweep drops what may go now, tenant by tenant. Where one fails, the others are dropped all the same. By a clock that is not believed nothing goes.
func (s Sweeper) Sweep(ctx context.Context) error {
	tenants, err := s.Store.tenants(ctx)
	if err != nil || len(tenants) == 0 {
		return err
	}
	if err := s.Evidence.Check(); err != nil {
		return errors.Join(err, s.Sink.Append(&eventsv1.Event{
			Action: record.AuditDrop, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Tenant: record.SystemTenant, Principal: record.Service("audit"), Alert: true,
			Change:   &eventsv1.Change{Kind: "retention", Name: record.SystemTenant, Action: "drop"},
			Decision: &eventsv1.Decision{Stage: "retention", Sentence: fault.From(err).Sentence},
		}, journal.Strict))
	}
	var errs []error
	for _, tenant := range tenants {
		if err := s.one(ctx, tenant); err != nil {
			errs = append(errs, fmt.Errorf("tenant %s: %w", tenant, err))
		}
	}
	return errors.Join(errs...)
}

// one records before it drops: what goes must be known even if the drop is cut short. Under a hold nothing goes, and one that begins meanwhile ends the drop.
func (s Sweeper) one(ctx context.Context, tenant string) error {
	rule, err := s.Store.Rule(ctx, tenant)
	if err != nil {
		return err
	}
	before, goes := rule.Before(s.Store.now())
	held, err := s.Store.Holds(ctx, tenant)
	if err != nil || !goes || len(held) > 0 {
		return err
	}
	note := func(outcome eventsv1.Outcome, sentence string) error {
		return s.Sink.Append(&eventsv1.Event{
			Action: record.AuditDrop, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: outcome, Tenant: tenant, Principal: record.Service("audit"),
			Change:   &eventsv1.Change{Kind: "retention", Name: tenant, Action: "drop", Reason: fmt.Sprintf("older than %d days", rule.Days)},
			Decision: &eventsv1.Decision{Effect: record.Allow, Stage: "retention", Sentence: sentence},
		}, journal.Strict)
	}
	until := before.UTC().Format(time.RFC3339)
	if err := note(eventsv1.Outcome_OUTCOME_UNKNOWN, "records from before "+until+" are dropped from the index"); err != nil {
		return err
	}
	n, err := s.Index.Drop(ctx, tenant, before, func(batch func() error) error { return s.Store.unheld(ctx, tenant, batch) })
	if errors.Is(err, errHeld) {
		return note(eventsv1.Outcome_OUTCOME_FAILURE, fmt.Sprintf("not all records from before %s were dropped from the index, %d were: %s", until, n, errHeld))
	}
	if err != nil {
		return errors.Join(err, note(eventsv1.Outcome_OUTCOME_FAILURE, "not all records from before "+until+" could be dropped from the index: "+err.Error()))
	}
	return note(eventsv1.Outcome_OUTCOME_SUCCESS, fmt.Sprintf("%d records from before %s were dropped from the index; the ledger has them", n, until))
}
