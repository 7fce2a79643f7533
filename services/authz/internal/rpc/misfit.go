package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/upkeep"
)

// Misfits finds policies in force that fitted their tools when they were applied and do not fit what was approved since. Where such a rule cannot be judged
// it blocks; an alert says it before somebody runs into it, once for each policy and what does not fit, whichever processes run and however often they start.
// Changed is safe for concurrent use, Run is for one goroutine.
type Misfits struct {
	handler *Handler
	told    *upkeep.Misfits
	log     *slog.Logger
	changed chan struct{}
}

// NewMisfits makes one that remembers in the database what was said.
func NewMisfits(h *Handler, told *upkeep.Misfits, log *slog.Logger) *Misfits {
	return &Misfits{handler: h, told: told, log: log, changed: make(chan struct{}, 1)}
}

// Changed says that tools changed. It does not wait.
func (m *Misfits) Changed() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run looks after each change until ctx ends, and again after a while where something could not be said or another process is saying it.
func (m *Misfits) Run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		case <-again:
		}
		done, err := m.look(ctx)
		if err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "policies that no longer fit their tools could not be told of, so they are later", "cause", err)
		}
		if again = nil; !done {
			again = time.After(upkeep.TellFor)
		}
	}
}

// look tells of what no longer fits, and says whether nothing is left to do.
func (m *Misfits) look(ctx context.Context) (done bool, err error) {
	all, err := m.told.All(ctx)
	if err != nil {
		return false, err
	}
	before := map[policyName]upkeep.ToldMisfit{}
	for _, one := range all {
		before[policyName{one.Tenant, one.Policy}] = one
	}
	done = true
	for _, c := range m.handler.Policies.Compiled() {
		ended, failed := m.one(ctx, c, before[policyName{c.Tenant(), c.Name()}])
		done, err = done && ended, errors.Join(err, failed)
	}
	return done, err
}

type policyName struct{ tenant, name string }

// one looks at one policy, of which something may have been told before.
func (m *Misfits) one(ctx context.Context, c *policy.Compiled, before upkeep.ToldMisfit) (done bool, err error) {
	misfit := m.handler.fit(c)
	if misfit == nil {
		switch {
		case before.Hash == "":
			return true, nil
		case m.handler.Now().Sub(before.At) < upkeep.TellFor:
			return false, nil // another process has heard of a tool that this one has not
		}
		err = m.told.Forget(ctx, before.Misfit)
		return err == nil, err
	}
	why := fault.From(misfit).Sentence
	meta := c.Source().GetMetadata()
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s\n%s", meta.GetVersion(), meta.GetHash(), why))
	of := upkeep.Misfit{Tenant: c.Tenant(), Policy: c.Name(), Hash: hex.EncodeToString(sum[:])}
	if before.Misfit == of && !before.At.IsZero() {
		return true, nil
	}
	mine, err := m.told.Claim(ctx, of)
	if err != nil || !mine {
		return false, err
	}
	told := m.tell(c, why)
	return told == nil, errors.Join(told, m.told.End(ctx, of, told == nil))
}

// tell writes the alert.
func (m *Misfits) tell(c *policy.Compiled, why string) error {
	meta := c.Source().GetMetadata()
	return m.handler.Journal.Append(&eventsv1.Event{
		Action: record.PolicyMisfit, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Time: timestamppb.New(m.handler.Now()),
		Tenant: c.Tenant(), Principal: record.Service("authz"), Alert: true,
		Change:   &eventsv1.Change{Kind: "Policy", Name: meta.GetName(), Action: "misfit", Version: meta.GetVersion(), NewHash: meta.GetHash()},
		Findings: &eventsv1.Findings{Notes: []string{why}},
	}, journal.Spool)
}
