package rpc

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/policies"
)

// Stored reads policies and calendars as they were declared.
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
	if err := h.servers(ctx); err != nil {
		return nil, err
	}
	inForce, _ := h.Policies.All() // before: what is applied is held against it
	var given []*policy.Compiled
	fit := func(c *policy.Compiled) error {
		given = append(given, c)
		return h.fit(c)
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	changes, err := h.Policies.Apply(ctx, objects, req.Msg.GetDryRun(), policies.Also{Fit: fit, Record: h.recordApplied(0)})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.ApplyResponse{Changes: changes, Revision: h.Feed.Revision(), Warnings: h.warnings(given, inForce, req.Msg)}), nil
}

// fit holds a policy against the tools of its server as they were approved, or of all servers where it is about all.
func (h *Handler) fit(c *policy.Compiled) error {
	return c.CheckAgainst(h.Catalogue.Tools(c.Tenant(), c.Source().GetSpec().GetMatch().GetServer()))
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
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	if err := h.Policies.Delete(ctx, req.Msg.GetKind(), tenant, req.Msg.GetName(), h.recordDeleted); err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.DeleteResponse{Revision: h.Feed.Revision()}), nil
}

// recordApplied writes the audit record and the history of what was applied; a version says that they were rolled back to it.
func (h *Handler) recordApplied(back int64) policies.Record {
	return func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		for _, object := range changed {
			meta := object.GetMetadata()
			old, err := resourcestore.PreviousHash(ctx, tx, object.GetKind(), meta.GetTenant(), meta.GetName())
			if err != nil {
				return err
			}
			change := &eventsv1.Change{
				Kind: object.GetKind(), Name: meta.GetName(), Action: "updated", Version: meta.GetVersion(), OldHash: old, NewHash: meta.GetHash(),
			}
			switch {
			case back > 0:
				change.Action = "rolled-back"
			case meta.GetVersion() == 1:
				change.Action = "created"
			}
			if err := h.keep(ctx, tx, object, change, back); err != nil {
				return err
			}
			if err := h.append(h.event(ctx, "resource-applied", object, change)); err != nil {
				return err
			}
		}
		return nil
	}
}

func (h *Handler) recordDeleted(ctx context.Context, tx *sqlstore.Tx, gone []resource.Object) error {
	for _, object := range gone {
		meta := object.GetMetadata()
		change := &eventsv1.Change{Kind: object.GetKind(), Name: meta.GetName(), Action: "deleted", Version: meta.GetVersion(), OldHash: meta.GetHash()}
		if err := h.keep(ctx, tx, object, change, 0); err != nil {
			return err
		}
		if err := h.append(h.event(ctx, "resource-deleted", object, change)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) event(ctx context.Context, action string, object resource.Object, change *eventsv1.Change) *eventsv1.Event {
	ev := rpc.By(ctx).Sign(&eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(h.Now()),
		Tenant: object.GetMetadata().GetTenant(), Change: change,
	})
	if p, ok := object.(*authzv1.Policy); ok {
		ev.Target = &eventsv1.Target{Server: p.GetSpec().GetMatch().GetServer()}
	}
	return ev
}
