// Package rpc answers the methods of TrustService.
package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/registry"
	"headgate.dev/services/trust/internal/store"
)

const kindServer = "Server"

// Watcher looks at servers by itself.
type Watcher interface {
	// Watch begins to watch a server, or looks at it now.
	Watch(key store.Key)
	Forget(key store.Key)
}

// Looker looks at a server now; the error says why it could not.
type Looker interface {
	Look(ctx context.Context, key store.Key) error
}

// Handler answers the methods of the service.
type Handler struct {
	Registry  *registry.Registry
	Resources *resourcestore.Store
	Watcher   Watcher
	Looker    Looker
}

// actor is who asks.
func actor(ctx context.Context) registry.Actor {
	c := rpc.CallerFrom(ctx)
	if c.Person != nil {
		return registry.Actor{Name: c.Person.GetName(), By: rpc.By(ctx)}
	}
	return registry.Actor{Name: rpc.ServiceName(c.Service), By: rpc.By(ctx)}
}

// key is the server that a request names, of the tenant that the caller may ask about.
func key(ctx context.Context, tenant, name string) (store.Key, error) {
	own, err := rpc.Tenant(ctx, tenant)
	return store.Key{Tenant: own, Name: name}, err
}

// Apply implements TrustServiceHandler.
func (h *Handler) Apply(ctx context.Context, req *connect.Request[trustv1.ApplyRequest]) (*connect.Response[trustv1.ApplyResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	var servers []*trustv1.Server
	for _, given := range req.Msg.GetResources() {
		s, err := declared(ctx, given)
		if err != nil {
			return nil, err
		}
		servers = append(servers, s)
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	changes, revision, changed, err := h.Registry.Apply(ctx, servers, req.Msg.GetDryRun(), actor(ctx))
	if err != nil {
		return nil, err
	}
	for _, key := range changed {
		h.Watcher.Watch(key)
	}
	return connect.NewResponse(&trustv1.ApplyResponse{Changes: changes, Revision: revision}), nil
}

func declared(ctx context.Context, given *trustv1.Resource) (*trustv1.Server, error) {
	object, err := resource.Unwrap(given)
	if err != nil {
		return nil, err
	}
	s, ok := resource.Clone(object).(*trustv1.Server)
	if !ok || s.GetMetadata() == nil || s.GetSpec() == nil {
		return nil, fault.Invalid("A server has no metadata or no spec.")
	}
	s.Metadata.Tenant, err = rpc.Tenant(ctx, s.GetMetadata().GetTenant())
	return s, err
}

// Get implements TrustServiceHandler.
func (h *Handler) Get(ctx context.Context, req *connect.Request[trustv1.GetRequest]) (*connect.Response[trustv1.GetResponse], error) {
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	s, err := h.Registry.Declared(at)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.GetResponse{Resource: registry.Wrap(s)}), nil
}

// List implements TrustServiceHandler.
func (h *Handler) List(ctx context.Context, req *connect.Request[trustv1.ListRequest]) (*connect.Response[trustv1.ListResponse], error) {
	tenant, err := rpc.TenantFilter(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	objects, next, err := h.Resources.List(ctx, kindServer, tenant, req.Msg.GetPageSize(), req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	page := &trustv1.ListResponse{NextPageToken: next}
	for _, object := range objects {
		wrapped := &trustv1.Resource{}
		if err := resource.Wrap(object, wrapped); err != nil {
			return nil, err
		}
		page.Resources = append(page.Resources, wrapped)
	}
	return connect.NewResponse(page), nil
}

// Delete implements TrustServiceHandler.
func (h *Handler) Delete(ctx context.Context, req *connect.Request[trustv1.DeleteRequest]) (*connect.Response[trustv1.DeleteResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	ctx = resourcestore.Acting(ctx, resourcestore.Claim{Owner: req.Msg.GetOwner(), TakeOver: req.Msg.GetTakeOver()})
	revision, err := h.Registry.Delete(ctx, at, actor(ctx))
	if err != nil {
		return nil, err
	}
	h.Watcher.Forget(at)
	return connect.NewResponse(&trustv1.DeleteResponse{Revision: revision}), nil
}

// Watch implements TrustServiceHandler.
func (h *Handler) Watch(ctx context.Context, _ *connect.Request[trustv1.WatchRequest], stream *connect.ServerStream[trustv1.WatchResponse]) error {
	return h.Registry.Serve(ctx, stream.Send)
}

// lookFor bounds a look that someone waits for, within what the caller waits.
const lookFor = 25 * time.Second
