package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/services/audit/internal/index"
)

// usesAMessage is how many sums one message of the stream has.
const usesAMessage = 500

// ListUses sums up what was called, for those who may read everybody's records.
func (h *Handler) ListUses(ctx context.Context, in *connect.Request[auditv1.ListUsesRequest], stream *connect.ServerStream[auditv1.ListUsesResponse]) error {
	rpc.Note(ctx, described(base.Filter{Tenant: in.Msg.GetTenant(), Since: in.Msg.GetSince().AsTime()}))
	tenant, err := rpc.Tenant(ctx, in.Msg.GetTenant())
	if err != nil {
		return err
	}
	if p := rpc.CallerFrom(ctx).Person; p != nil && p.GetTenant() != tenant {
		if err := h.note(ctx, record.AuditRead, base.Filter{Tenant: tenant, Since: in.Msg.GetSince().AsTime()}, "sums of calls"); err != nil {
			return err
		}
	}
	oldest, err := h.Index.Oldest(ctx, tenant)
	if err != nil {
		return err
	}
	first := &auditv1.ListUsesResponse{}
	if !oldest.IsZero() {
		first.Oldest = timestamppb.New(oldest)
	}
	if err := stream.Send(first); err != nil {
		return err
	}
	part := &auditv1.ListUsesResponse{}
	err = h.Index.Uses(ctx, tenant, in.Msg.GetSince().AsTime(), func(u index.Use) error {
		part.Uses = append(part.Uses, &auditv1.Use{
			Person: u.Person, Agent: u.Agent, Server: u.Server, Tool: u.Tool, Calls: u.Calls, Last: timestamppb.New(u.Last),
		})
		if len(part.GetUses()) < usesAMessage {
			return nil
		}
		full := part
		part = &auditv1.ListUsesResponse{}
		return stream.Send(full)
	})
	if err != nil || len(part.GetUses()) == 0 {
		return err
	}
	return stream.Send(part)
}
