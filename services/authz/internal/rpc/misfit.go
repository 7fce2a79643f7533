package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Misfits finds policies in force that fitted their tools when they were applied and do not fit what was approved since. Where such a rule cannot be judged
// it blocks; an alert says it before somebody runs into it. Changed is safe for concurrent use, Run is for one goroutine.
type Misfits struct {
	handler *Handler
	changed chan struct{}
	said    map[policyName]string // → what does not fit, and was said
}

type policyName struct{ tenant, name string }

// NewMisfits makes one that has said nothing yet.
func NewMisfits(h *Handler) *Misfits {
	return &Misfits{handler: h, changed: make(chan struct{}, 1), said: map[policyName]string{}}
}

// Changed says that tools changed. It does not wait.
func (m *Misfits) Changed() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run looks after each change until ctx ends.
func (m *Misfits) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
			m.look()
		}
	}
}

func (m *Misfits) look() {
	now := map[policyName]string{}
	for _, c := range m.handler.Policies.Compiled() {
		err := m.handler.fit(c)
		if err == nil {
			continue
		}
		name, why := policyName{c.Tenant(), c.Source().GetMetadata().GetName()}, fault.From(err).Sentence
		if m.said[name] == why || m.tell(c, why) {
			now[name] = why
		}
	}
	m.said = now
}

// tell writes the alert. What could not be written is tried again after the next change.
func (m *Misfits) tell(c *policy.Compiled, why string) bool {
	meta := c.Source().GetMetadata()
	return m.handler.Journal.Append(&eventsv1.Event{
		Action: record.PolicyMisfit, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Time: timestamppb.New(m.handler.Now()),
		Tenant: c.Tenant(), Principal: record.Service("authz"), Alert: true,
		Change:   &eventsv1.Change{Kind: "Policy", Name: meta.GetName(), Action: "misfit", Version: meta.GetVersion(), NewHash: meta.GetHash()},
		Findings: &eventsv1.Findings{Notes: []string{why}},
	}, journal.Spool) == nil
}
