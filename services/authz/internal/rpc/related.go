package rpc

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

const (
	// relatedWithin bounds one question about relations, settling the wait for OpenFGA to have what the directory says.
	relatedWithin = 2 * time.Second
	settling      = 20 * time.Millisecond
)

// Related implements AuthzServiceHandler.
func (h *Handler) Related(ctx context.Context, req *connect.Request[authzv1.RelatedRequest]) (*connect.Response[authzv1.RelatedResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	asked := make([]policy.Relationship, len(req.Msg.GetRelationships()))
	for i, r := range req.Msg.GetRelationships() {
		asked[i] = policy.Relationship{Object: r.GetObject(), Relation: r.GetRelation()}
	}
	held, err := h.related(ctx, tenant, req.Msg.GetPerson(), asked)
	if err != nil {
		return nil, h.Alarm.Raise(tenant, err)
	}
	return connect.NewResponse(&authzv1.RelatedResponse{Held: held}), nil
}

// asking looks up the relations that rules ask for about a request.
func (h *Handler) asking(ctx context.Context, request *policy.Request) func([]policy.Relationship) ([]bool, error) {
	return func(asked []policy.Relationship) ([]bool, error) {
		held, err := h.related(ctx, request.Tenant, request.Principal.Name, asked)
		if err != nil {
			return nil, errors.New(fault.From(h.Alarm.Raise(request.Tenant, err)).Sentence)
		}
		return held, nil
	}
}

// related asks the directory, with what applications say of their resources, and OpenFGA to confirm it: a tuple that somebody planted in OpenFGA gives nothing.
// OpenFGA alone is believed about relations that only a model of the installation's own has. Who is not in the directory, or is disabled there, is related
// to nothing, whatever is left over.
func (h *Handler) related(ctx context.Context, tenant, person string, asked []policy.Relationship) ([]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, relatedWithin)
	defer cancel()
	if err := h.Clock.Check(); err != nil {
		return nil, err // grants that end are judged by the time
	}
	state, err := h.settled(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if _, known := state.Directory.Person(person); !known {
		return make([]bool, len(asked)), nil
	}
	now := h.Now()
	held := make([]bool, len(asked))
	var questions []openfga.Question
	var places []int
	for i, r := range asked {
		if err := state.Store.Knows(r.Object, r.Relation); err != nil {
			return nil, err
		}
		if says, known := relations.Says(state.Directory, person, r.Object, r.Relation, now); !says && known {
			continue // whatever OpenFGA holds: it would be planted
		}
		questions = append(questions, openfga.Question{User: relations.User(person), Relation: r.Relation, Object: r.Object})
		places = append(places, i)
	}
	if len(questions) == 0 {
		return held, nil
	}
	answers, err := state.Store.Check(ctx, questions, now)
	if err != nil {
		return nil, err
	}
	for at, i := range places {
		held[i] = answers[at]
	}
	return held, nil
}

// settled waits until OpenFGA has what the directory says: a relation that was taken away must not count because OpenFGA has not heard of it yet.
func (h *Handler) settled(ctx context.Context, tenant string) (tenants.Snapshot, error) {
	tick := time.NewTicker(settling)
	defer tick.Stop()
	for {
		state, err := h.Tenants.Get(tenant)
		if err != nil || state.Settled {
			return state, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return state, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The relations of tenant %s are being brought up to date. Try again in a moment.", tenant)
		}
	}
}
