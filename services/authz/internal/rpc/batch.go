package rpc

import (
	"cmp"
	"context"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/directory"
)

const (
	// mostArguments is what the arguments of one batch may have, in bytes.
	mostArguments = 8 << 20
	// atOnce is how many principals of a batch are resolved at the same time.
	atOnce = 8
	// batchWithin is how long a batch may take together, with all relations that its rules ask for.
	batchWithin = 10 * time.Second
)

// BatchDecide implements AuthzServiceHandler. It decides by the entitlements that an edge would hold, resolved once for each principal,
// and by the relations that rules ask for, asked once for each person and object.
func (h *Handler) BatchDecide(
	ctx context.Context, req *connect.Request[authzv1.BatchDecideRequest],
) (*connect.Response[authzv1.BatchDecideResponse], error) {
	size := 0
	for _, call := range req.Msg.GetCalls() {
		size += len(call.GetArguments())
	}
	if size > mostArguments {
		return nil, fault.New(faultv1.Reason_REASON_TOO_LARGE,
			"The arguments of the batch have %d bytes together; at most %d are taken. Send the calls in several batches.", size, mostArguments)
	}
	ctx, cancel := context.WithTimeout(ctx, batchWithin)
	defer cancel()
	b, err := h.batch(ctx, req.Msg)
	if err != nil {
		return nil, err
	}
	calls := make([]*pending, len(req.Msg.GetCalls()))
	for i, call := range req.Msg.GetCalls() {
		calls[i] = b.begin(b.calls[i], call)
	}
	b.settle(ctx, calls)
	answer := &authzv1.BatchDecideResponse{Decisions: make([]*authzv1.Decision, len(calls))}
	for i, c := range calls {
		c.decision.ID = ids.Prefixed("dec")
		answer.Decisions[i] = c.decision.Proto()
	}
	return connect.NewResponse(answer), nil
}

// batch is what the calls of one request are decided by: one state for each tenant, one reach for each principal.
type batch struct {
	h       *Handler
	calls   []who
	tenants map[string]*domain
	reaches map[who]*policy.Reach
}

type who struct{ tenant, person, agent string }

// domain is one tenant, taken once.
type domain struct {
	directory *directory.Tenant
	bundle    *policy.Bundle
}

// batch resolves the principals of all calls.
func (h *Handler) batch(ctx context.Context, m *authzv1.BatchDecideRequest) (*batch, error) {
	tenant, err := rpc.Tenant(ctx, cmp.Or(m.GetTenant(), m.GetCalls()[0].GetTenant()))
	if err != nil {
		return nil, err
	}
	if err := h.Clock.Check(); err != nil {
		return nil, h.Alarm.Raise(tenant, err)
	}
	if err := h.servers(ctx); err != nil {
		return nil, h.Alarm.Raise(tenant, err)
	}
	b := &batch{h: h, tenants: map[string]*domain{}, reaches: map[who]*policy.Reach{}}
	for _, call := range m.GetCalls() {
		named := call.GetTenant()
		if named == "" {
			named = m.GetTenant()
		}
		tenant, err := rpc.Tenant(ctx, named)
		if err != nil {
			return nil, err
		}
		if b.tenants[tenant] == nil {
			state, err := h.Tenants.Get(tenant)
			if err != nil {
				return nil, h.Alarm.Raise(tenant, err)
			}
			b.tenants[tenant] = &domain{state.Directory, h.Policies.Bundle(tenant)}
		}
		w := who{tenant, call.GetPerson(), call.GetAgent()}
		b.calls, b.reaches[w] = append(b.calls, w), nil
	}
	return b, h.Alarm.Raise(tenant, b.resolve(ctx))
}

func (b *batch) resolve(ctx context.Context) error {
	type found struct {
		who   who
		reach *policy.Reach
	}
	all := make(chan found, len(b.reaches))
	asking, ctx := errgroup.WithContext(ctx)
	asking.SetLimit(atOnce)
	for w := range b.reaches {
		asking.Go(func() error {
			reach, err := b.h.Resolver.Reach(ctx, w.tenant, w.person, w.agent)
			all <- found{w, reach}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	close(all)
	for f := range all {
		b.reaches[f.who] = f.reach
	}
	return nil
}

// begin decides one call as far as that goes without asking for relations between the person and other things.
func (b *batch) begin(w who, call *authzv1.DecideRequest) *pending {
	args, err := arguments(call.GetArguments())
	if err != nil {
		return &pending{decision: policy.Decision{Effect: policy.Block, Reason: faultv1.Reason_REASON_INVALID, Sentence: err.Error()}}
	}
	d, at := b.tenants[w.tenant], b.h.Now()
	request := b.h.request(w.tenant, d.directory, call, args, at)
	request.Relation = b.reaches[w].Lookup(call.GetServer(), call.GetTool(), at).For(request)
	b.h.count(d.bundle, request)
	if refused := b.h.unserved(request); refused != nil {
		return &pending{decision: *refused}
	}
	return &pending{d.bundle, request, d.bundle.Evaluate(request)}
}
