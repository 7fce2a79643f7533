package entitlement

import (
	"context"
	"slices"
	"time"

	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/relations"
)

// Reach is what a person has relations to, alone or through an agent, as an edge holds it. It never changes.
type Reach struct {
	person, agent  *policy.Entitlements
	acting, barred bool
}

// Reach resolves what a person has relations to, alone or, with an agent, through it.
func (r *Resolver) Reach(ctx context.Context, tenant, person, agent string) (*Reach, error) {
	mine, err := r.held(ctx, principal{tenant, relations.TypeUser, person})
	if err != nil {
		return nil, err
	}
	reach := &Reach{person: mine.entitlements}
	if agent == "" {
		return reach, nil
	}
	theirs, err := r.held(ctx, principal{tenant, relations.TypeAgent, agent})
	if err != nil {
		return nil, err
	}
	reach.acting, reach.agent = true, theirs.entitlements
	_, may := slices.BinarySearch(theirs.delegators, person)
	reach.barred = !may
	return reach, nil
}

// Servers names, in order, the servers that there is any relation to at a moment.
func (r *Reach) Servers(now time.Time) []string { return r.person.Servers(now) }

// Lookup is the relation to one tool at a moment.
func (r *Reach) Lookup(server, tool string, now time.Time) policy.Relation {
	mine := r.person.Lookup(server, tool, now)
	switch {
	case !r.acting:
		return mine
	case r.barred:
		return policy.Smaller(mine, policy.Relation{Reason: faultv1.Reason_REASON_AGENT})
	}
	return policy.Smaller(mine, r.agent.Lookup(server, tool, now))
}

// Until is when the relation that Lookup finds ends by itself; zero means never.
func (r *Reach) Until(server, tool string, now time.Time) time.Time {
	until := r.person.Until(server, tool, now)
	if !r.acting || r.barred {
		return until
	}
	theirs := r.agent.Until(server, tool, now)
	if until.IsZero() || !theirs.IsZero() && theirs.Before(until) {
		return theirs
	}
	return until
}
