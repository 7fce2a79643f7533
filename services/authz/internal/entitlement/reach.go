package entitlement

import (
	"context"
	"slices"

	"headgate.dev/libs/policy"
	"headgate.dev/services/authz/internal/relations"
)

// Reach resolves what a person has relations to, alone or, with an agent, through it.
func (r *Resolver) Reach(ctx context.Context, tenant, person, agent string) (*policy.Reach, error) {
	mine, err := r.held(ctx, principal{tenant, relations.TypeUser, person})
	if err != nil {
		return nil, err
	}
	reach := &policy.Reach{Person: mine.entitlements}
	if agent == "" {
		return reach, nil
	}
	theirs, err := r.held(ctx, principal{tenant, relations.TypeAgent, agent})
	if err != nil {
		return nil, err
	}
	reach.Acting, reach.Agent = true, theirs.entitlements
	_, may := slices.BinarySearch(theirs.delegators, person)
	reach.Barred = !may
	return reach, nil
}
