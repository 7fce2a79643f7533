package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/policies"
)

// Stored reads policies as they were declared.
type Stored interface {
	// Get is fault NOT_FOUND when the resource is not there.
	Get(ctx context.Context, kind, tenant, name string) (resource.Object, error)
	// List reads a page; an empty tenant means all, next is empty on the last page.
	List(ctx context.Context, kind, tenant string, size int32, token string) ([]resource.Object, string, error)
}

// Apply implements AuthzServiceHandler.
func (h *Handler) Apply(ctx context.Context, req *connect.Request[authzv1.ApplyRequest]) (*connect.Response[authzv1.ApplyResponse], error) {
	objects := make([]resource.Object, 0, len(req.Msg.GetResources()))
	for _, given := range req.Msg.GetResources() {
		object, err := resource.Unwrap(given)
		if err != nil {
			return nil, err
		}
		object = resource.Clone(object)
		if meta := object.GetMetadata(); meta != nil {
			if meta.Tenant, err = rpc.Tenant(ctx, meta.GetTenant()); err != nil {
				return nil, err
			}
		}
		objects = append(objects, object)
	}
	changes, err := h.Policies.Apply(ctx, objects, req.Msg.GetDryRun(), h.recordApplied)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.ApplyResponse{Changes: changes, Revision: h.Feed.Revision()}), nil
}

// Get implements AuthzServiceHandler.
func (h *Handler) Get(ctx context.Context, req *connect.Request[authzv1.GetRequest]) (*connect.Response[authzv1.GetResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	object, err := h.Stored.Get(ctx, req.Msg.GetKind(), tenant, req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	wrapped := &authzv1.Resource{}
	if err := resource.Wrap(object, wrapped); err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.GetResponse{Resource: wrapped}), nil
}

// List implements AuthzServiceHandler.
func (h *Handler) List(ctx context.Context, req *connect.Request[authzv1.ListRequest]) (*connect.Response[authzv1.ListResponse], error) {
	tenant, err := rpc.TenantFilter(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	page, next, err := h.Stored.List(ctx, req.Msg.GetKind(), tenant, req.Msg.GetPageSize(), req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	answer := &authzv1.ListResponse{NextPageToken: next}
	for _, object := range page {
		wrapped := &authzv1.Resource{}
		if err := resource.Wrap(object, wrapped); err != nil {
			return nil, err
		}
		answer.Resources = append(answer.Resources, wrapped)
	}
	return connect.NewResponse(answer), nil
}

// Delete implements AuthzServiceHandler.
func (h *Handler) Delete(ctx context.Context, req *connect.Request[authzv1.DeleteRequest]) (*connect.Response[authzv1.DeleteResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := h.Policies.Delete(ctx, tenant, req.Msg.GetName(), h.recordDeleted); err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.DeleteResponse{Revision: h.Feed.Revision()}), nil
}

func (h *Handler) recordApplied(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
	for _, object := range changed {
		meta := object.GetMetadata()
		old, err := resourcestore.PreviousHash(ctx, tx, policies.Kind, meta.GetTenant(), meta.GetName())
		if err != nil {
			return err
		}
		change := &eventsv1.Change{
			Kind: policies.Kind, Name: meta.GetName(), Action: "updated", Version: meta.GetVersion(), OldHash: old, NewHash: meta.GetHash(),
		}
		if meta.GetVersion() == 1 {
			change.Action = "created"
		}
		if err := h.append(h.event(ctx, "resource-applied", object, change)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) recordDeleted(ctx context.Context, _ *sqlstore.Tx, gone []resource.Object) error {
	for _, object := range gone {
		meta := object.GetMetadata()
		change := &eventsv1.Change{Kind: policies.Kind, Name: meta.GetName(), Action: "deleted", Version: meta.GetVersion(), OldHash: meta.GetHash()}
		if err := h.append(h.event(ctx, "resource-deleted", object, change)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) event(ctx context.Context, action string, object resource.Object, change *eventsv1.Change) *eventsv1.Event {
	ev := &eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(h.Now()),
		Tenant: object.GetMetadata().GetTenant(), Principal: principal(rpc.CallerFrom(ctx)), Change: change,
	}
	if p, ok := object.(*authzv1.Policy); ok {
		ev.Target = &eventsv1.Target{Server: p.GetSpec().GetMatch().GetServer()}
	}
	return ev
}
