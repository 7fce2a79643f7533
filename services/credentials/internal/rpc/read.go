package rpc

import (
	"context"

	"connectrpc.com/connect"

	"headgate.dev/libs/rpc"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
)

// Get implements CredentialsServiceHandler.
func (h *Handler) Get(ctx context.Context, req *connect.Request[credentialsv1.GetRequest]) (*connect.Response[credentialsv1.GetResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	object, err := h.Resources.Get(ctx, kindConnection, tenant, req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	found, err := shown(object)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&credentialsv1.GetResponse{Resource: found}), nil
}

// List implements CredentialsServiceHandler.
func (h *Handler) List(ctx context.Context, req *connect.Request[credentialsv1.ListRequest]) (*connect.Response[credentialsv1.ListResponse], error) {
	tenant, err := rpc.TenantFilter(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	objects, next, err := h.Resources.List(ctx, kindConnection, tenant, req.Msg.GetPageSize(), req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	page := &credentialsv1.ListResponse{NextPageToken: next}
	for _, object := range objects {
		found, err := shown(object)
		if err != nil {
			return nil, err
		}
		page.Resources = append(page.Resources, found)
	}
	return connect.NewResponse(page), nil
}
