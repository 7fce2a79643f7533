package rpc

import (
	"context"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// Apply creates or changes resources, all or none.
func (h *Handler) Apply(ctx context.Context, req *connect.Request[identityv1.ApplyRequest]) (*connect.Response[identityv1.ApplyResponse], error) {
	var objects []resource.Object
	for _, each := range req.Msg.GetResources() {
		o, err := declared(ctx, each)
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	changes, revision, err := h.Directory.Apply(ctx, objects, req.Msg.GetDryRun(), h.Desk.Recorder(rpc.By(ctx)))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.ApplyResponse{Changes: changes, Revision: revision}), nil
}

// declared takes a resource out of a request and puts it into the caller's tenant.
func declared(ctx context.Context, given *identityv1.Resource) (resource.Object, error) {
	object, err := resource.Unwrap(given)
	if err != nil {
		return nil, err
	}
	object = resource.Clone(object)
	m := object.GetMetadata()
	if m == nil {
		return nil, fault.Invalid("A %s has no metadata. Give it at least a name.", object.ProtoReflect().Descriptor().Name())
	}
	kind := string(object.ProtoReflect().Descriptor().Name())
	if kind == "Tenant" && m.GetTenant() != "" && m.GetTenant() != m.GetName() {
		return nil, fault.Invalid("metadata.tenant: a tenant is in no tenant; leave it out (Tenant %s)", m.GetName())
	}
	about, kept, err := tenantOf(ctx, kind, m.GetTenant(), m.GetName())
	if err != nil {
		return nil, err
	}
	m.Tenant = kept
	return object, mayChange(ctx, about)
}

// Get reads one resource.
func (h *Handler) Get(ctx context.Context, req *connect.Request[identityv1.GetRequest]) (*connect.Response[identityv1.GetResponse], error) {
	_, kept, err := tenantOf(ctx, req.Msg.GetKind(), req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	object, err := h.Directory.Get(ctx, req.Msg.GetKind(), kept, req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	res := &identityv1.Resource{}
	if err := resource.Wrap(object, res); err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.GetResponse{Resource: res}), nil
}

// List reads resources of one kind. Of tenants, a person sees their own.
func (h *Handler) List(ctx context.Context, req *connect.Request[identityv1.ListRequest]) (*connect.Response[identityv1.ListResponse], error) {
	tenant, err := rpc.TenantFilter(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	var objects []resource.Object
	var next string
	if req.Msg.GetKind() == "Tenant" && tenant != "" {
		object, err := h.Directory.Get(ctx, "Tenant", "", tenant)
		if err != nil {
			return nil, err
		}
		objects = []resource.Object{object}
	} else if objects, next, err = h.Directory.List(ctx, req.Msg.GetKind(), tenant, req.Msg.GetPageSize(), req.Msg.GetPageToken()); err != nil {
		return nil, err
	}
	answer := &identityv1.ListResponse{NextPageToken: next}
	for _, o := range objects {
		res := &identityv1.Resource{}
		if err := resource.Wrap(o, res); err != nil {
			return nil, err
		}
		answer.Resources = append(answer.Resources, res)
	}
	return connect.NewResponse(answer), nil
}

// Delete removes one resource.
func (h *Handler) Delete(ctx context.Context, req *connect.Request[identityv1.DeleteRequest]) (*connect.Response[identityv1.DeleteResponse], error) {
	about, kept, err := tenantOf(ctx, req.Msg.GetKind(), req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	if err := mayChange(ctx, about); err != nil {
		return nil, err
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	revision, err := h.Directory.Delete(ctx, req.Msg.GetKind(), kept, req.Msg.GetName(), h.Desk.Recorder(rpc.By(ctx)))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.DeleteResponse{Revision: revision}), nil
}
