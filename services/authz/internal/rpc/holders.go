package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy/terms"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/relations"
)

// ListHolders implements AuthzServiceHandler.
func (h *Handler) ListHolders(
	ctx context.Context, req *connect.Request[authzv1.ListHoldersRequest],
) (*connect.Response[authzv1.ListHoldersResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	after, err := readToken(req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	if err := h.Clock.Check(); err != nil {
		return nil, h.Alarm.Raise(tenant, err)
	}
	if err := h.servers(ctx); err != nil {
		return nil, err
	}
	state, err := h.Tenants.Get(tenant)
	if err != nil {
		return nil, err
	}
	server, tool := req.Msg.GetServer(), req.Msg.GetTool()
	if !h.Catalogue.Known(tenant, server) {
		return nil, fault.NotFound("There is no Server %s in tenant %s.", server, tenant)
	}
	size := int(req.Msg.GetPageSize())
	if size == 0 {
		size = usualPage
	}
	now := h.Now()
	page, more := entitlement.Holders(state, server, tool, entitlement.After{Kind: after[0], Name: after[1], Most: size}, now)
	held, err := entitlement.Confirm(ctx, state, page, now)
	if err != nil {
		return nil, err
	}
	answer := &authzv1.ListHoldersResponse{}
	for _, one := range held {
		answer.Holders = append(answer.Holders, holder(one))
	}
	if more {
		last := page[len(page)-1]
		answer.NextPageToken = writeToken(last.Kind, last.Name)
	}
	return connect.NewResponse(answer), nil
}

func holder(one entitlement.Holder) *authzv1.Holder {
	out := &authzv1.Holder{Tool: one.Path.Tool, CanCall: one.Path.Call, CallIf: terms.Words(one.Path.If), Via: one.Path.Via}
	if one.Kind == relations.TypeAgent {
		out.Principal = &authzv1.Holder_Agent{Agent: one.Name}
	} else {
		out.Principal = &authzv1.Holder_Person{Person: one.Name}
	}
	if !one.Path.Until.IsZero() {
		out.Until = timestamppb.New(one.Path.Until)
	}
	return out
}
