package rpc

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/usage"
)

const (
	// unusedAMessage is how many grants one message of the stream has.
	unusedAMessage = 500
	day            = 24 * time.Hour
)

// ListUnusedGrants implements AuthzServiceHandler.
func (h *Handler) ListUnusedGrants(
	ctx context.Context, req *connect.Request[authzv1.ListUnusedGrantsRequest], stream *connect.ServerStream[authzv1.ListUnusedGrantsResponse],
) error {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return err
	}
	if h.Audit == nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"What was used is known to audit, which authz is not told of. Set peers.audit in the configuration of authz.")
	}
	if err := h.Clock.Check(); err != nil {
		return h.Alarm.Raise(tenant, err)
	}
	state, err := h.Tenants.Get(tenant)
	if err != nil {
		return err
	}
	until := h.Now()
	since := until.Add(-time.Duration(req.Msg.GetDays()) * day)
	uses, oldest, err := h.uses(ctx, tenant, since)
	if err != nil {
		return err
	}
	period := &authzv1.UsePeriod{Since: timestamppb.New(since), Until: timestamppb.New(until), OldestRecord: oldest}
	period.Complete = oldest != nil && !oldest.AsTime().After(since)
	if err := stream.Send(&authzv1.ListUnusedGrantsResponse{Period: period}); err != nil {
		return err
	}
	for part := range slices.Chunk(uses.Unused(state.Directory, until), unusedAMessage) {
		message := &authzv1.ListUnusedGrantsResponse{}
		for _, g := range part {
			message.Grants = append(message.Grants, unused(g))
		}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
}

// uses asks audit what was called, and since when it has records.
func (h *Handler) uses(ctx context.Context, tenant string, since time.Time) (*usage.Uses, *timestamppb.Timestamp, error) {
	stream, err := h.Audit.ListUses(ctx, connect.NewRequest(&auditv1.ListUsesRequest{Tenant: tenant, Since: timestamppb.New(since)}))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = stream.Close() }()
	uses := usage.NewUses()
	var oldest *timestamppb.Timestamp
	for stream.Receive() {
		if stream.Msg().GetOldest() != nil {
			oldest = stream.Msg().GetOldest()
		}
		for _, u := range stream.Msg().GetUses() {
			uses.Add(u.GetPerson(), u.GetAgent(), u.GetServer(), u.GetTool())
		}
	}
	return uses, oldest, stream.Err()
}

func unused(g usage.Grant) *authzv1.UnusedGrant {
	out := &authzv1.UnusedGrant{Kind: g.Kind, Name: g.Name, Server: g.Server, Tool: g.Tool, Via: g.Via, People: int32(g.People)}
	if !g.Until.IsZero() {
		out.Until = timestamppb.New(g.Until)
	}
	return out
}
