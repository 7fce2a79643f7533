package rpc

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// between is how long an alert about one tenant and reason stands for those that follow: an outage refuses thousands of questions.
const between = time.Minute

// Alarm writes an alert when a question could not be judged. Safe for concurrent use.
type Alarm struct {
	journal record.Sink
	now     clock.Now

	mu   sync.Mutex
	last map[cause]time.Time
}

type cause struct {
	tenant string
	reason faultv1.Reason
}

// NewAlarm makes one that has said nothing yet.
func NewAlarm(sink record.Sink, now clock.Now) *Alarm {
	return &Alarm{journal: sink, now: now, last: map[cause]time.Time{}}
}

// Raise returns err. Where it says that nothing can be judged now, somebody must look at that: the record gets an alert.
func (a *Alarm) Raise(tenant string, err error) error {
	why := fault.From(err)
	if err == nil || !record.Alarming(why.Reason) {
		return err
	}
	now := a.now()
	a.mu.Lock()
	of := cause{tenant, why.Reason}
	said, before := a.last[of]
	due := !before || now.Sub(said) >= between || now.Before(said)
	if due {
		a.last[of] = now
	}
	a.mu.Unlock()
	if !due {
		return err
	}
	if failed := a.journal.Append(&eventsv1.Event{
		Action: "decision-unavailable", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Time: timestamppb.New(now), Tenant: tenant,
		Principal: record.Service("authz"), Alert: true, Decision: &eventsv1.Decision{Effect: record.Block, Reason: why.Reason, Sentence: why.Sentence},
	}, journal.Spool); failed != nil {
		a.mu.Lock()
		delete(a.last, of) // the next one tries again
		a.mu.Unlock()
	}
	return err
}
