package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/history"
	"headgate.dev/services/authz/internal/policies"
	"headgate.dev/services/authz/internal/upkeep"
)

// ListVersions implements AuthzServiceHandler.
func (h *Handler) ListVersions(
	ctx context.Context, req *connect.Request[authzv1.ListVersionsRequest],
) (*connect.Response[authzv1.ListVersionsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	page, next, err := h.History.List(ctx, tenant, req.Msg.GetName(), req.Msg.GetPageSize(), req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.ListVersionsResponse{Versions: page, NextPageToken: next}), nil
}

// GetVersion implements AuthzServiceHandler.
func (h *Handler) GetVersion(ctx context.Context, req *connect.Request[authzv1.GetVersionRequest]) (*connect.Response[authzv1.GetVersionResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	p, err := h.History.Get(ctx, tenant, req.Msg.GetName(), req.Msg.GetVersion())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.GetVersionResponse{Policy: p}), nil
}

// Rollback implements AuthzServiceHandler. What comes back is held against the tools of today like anything that is applied, and keeps its labels of today.
func (h *Handler) Rollback(ctx context.Context, req *connect.Request[authzv1.RollbackRequest]) (*connect.Response[authzv1.RollbackResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	name, back := req.Msg.GetName(), req.Msg.GetVersion()
	old, err := h.History.Get(ctx, tenant, name, back)
	if err != nil {
		return nil, err
	}
	switch now, err := h.Stored.Get(ctx, policies.Kind, tenant, name); {
	case err == nil:
		old.GetMetadata().Labels = now.GetMetadata().GetLabels()
	case !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND):
		return nil, err
	}
	claim := resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()}
	objects := []resource.Object{old}
	if err := h.servers(ctx); err != nil {
		return nil, err
	}
	changes, err := h.Policies.Apply(resourcestore.Acting(ctx, claim), objects, req.Msg.GetDryRun(),
		policies.Also{Fit: h.fit, Record: h.recordApplied(back)})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.RollbackResponse{Change: changes[0], Revision: h.Feed.Revision()}), nil
}

// keep adds a change of a policy to the history, in its transaction, and forgets that it did not fit its tools before. Of calendars the audit records alone tell.
func (h *Handler) keep(ctx context.Context, tx *sqlstore.Tx, object resource.Object, change *eventsv1.Change, back int64) error {
	p, ok := object.(*authzv1.Policy)
	if !ok {
		return nil
	}
	if err := upkeep.ForgetMisfit(ctx, tx, p.GetMetadata().GetTenant(), p.GetMetadata().GetName()); err != nil {
		return err
	}
	return history.Add(ctx, tx, p, &authzv1.PolicyVersion{
		Version: change.GetVersion(), Action: change.GetAction(), Hash: change.GetNewHash(), PreviousHash: change.GetOldHash(),
		Author: rpc.CallerFrom(ctx).Author(p.GetMetadata().GetTenant()), At: timestamppb.New(h.Now()), RolledBackTo: back,
	})
}
