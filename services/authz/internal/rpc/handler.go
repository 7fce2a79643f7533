// Package rpc answers the methods of AuthzService.
package rpc

import (
	"context"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/feed"
	"headgate.dev/services/authz/internal/policies"
	"headgate.dev/services/authz/internal/tenants"
)

var _ authzv1connect.AuthzServiceHandler = (*Handler)(nil)

// Handler implements AuthzServiceHandler.
type Handler struct {
	Tenants  *tenants.Tenants
	Resolver *entitlement.Resolver
	Policies *policies.Policies
	Stored   Stored
	Feed     *feed.Feed
	Journal  record.Sink
	Now      clock.Now
}

// Entitlements implements AuthzServiceHandler.
func (h *Handler) Entitlements(
	ctx context.Context, req *connect.Request[authzv1.EntitlementsRequest],
) (*connect.Response[authzv1.EntitlementsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	// Taken first: what changes while this is resolved has a higher one.
	revision := h.Feed.Revision()
	var rights entitlement.Rights
	switch who := req.Msg.GetPrincipal().(type) {
	case *authzv1.EntitlementsRequest_Person:
		rights, err = h.Resolver.Person(ctx, tenant, who.Person)
	case *authzv1.EntitlementsRequest_Agent:
		rights, err = h.Resolver.Agent(ctx, tenant, who.Agent)
	default:
		err = fault.Invalid("The request names neither a person nor an agent. Name one.")
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.EntitlementsResponse{
		Entitlements: rights.Entitlements, Delegators: rights.Delegators, Revision: revision,
	}), nil
}

// Watch implements AuthzServiceHandler.
func (h *Handler) Watch(ctx context.Context, _ *connect.Request[authzv1.WatchRequest], stream *connect.ServerStream[authzv1.WatchResponse]) error {
	return h.Feed.Serve(ctx, stream.Send)
}

// append writes to the journal. No record, no change.
func (h *Handler) append(ev *eventsv1.Event) error {
	if err := h.Journal.Append(ev, journal.Strict); err != nil {
		return fault.New(faultv1.Reason_REASON_JOURNAL,
			"The change is refused because its audit record cannot be written. Nothing was changed; tell the platform's operators.").Because(err)
	}
	return nil
}

func principal(c rpc.Caller) *eventsv1.Principal {
	if c.Person != nil {
		return record.Person(c.Person)
	}
	return record.Service(rpc.ServiceName(c.Service))
}
