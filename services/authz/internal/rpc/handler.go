// Package rpc answers the methods of AuthzService.
package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/catalogue"
	"headgate.dev/services/authz/internal/counts"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/feed"
	"headgate.dev/services/authz/internal/history"
	"headgate.dev/services/authz/internal/ownership"
	"headgate.dev/services/authz/internal/policies"
	"headgate.dev/services/authz/internal/tenants"
	"headgate.dev/services/authz/internal/upkeep"
)

var _ authzv1connect.AuthzServiceHandler = (*Handler)(nil)

// Handler implements AuthzServiceHandler.
type Handler struct {
	Tenants  *tenants.Tenants
	Resolver *entitlement.Resolver
	Policies *policies.Policies
	Stored   Stored
	History  *history.History
	Feed     *feed.Feed
	Counts   *counts.Ledger
	// Catalogue is what trust says of servers, and Trusted how well it is heard.
	Catalogue *catalogue.Catalogue
	Trusted   Heard
	// Pins are the models that were chosen for tenants' relations.
	Pins *upkeep.Pins
	// Ownership is what applications say of their resources.
	Ownership *ownership.Ledger
	// Audit knows what was called; nil where authz is not told of it.
	Audit   auditv1connect.AuditServiceClient
	Journal record.Sink
	Now     clock.Now
	// Alarm says that something cannot be judged, Clock whether the time can be relied on.
	Alarm *Alarm
	Clock *clock.Watch
}

// Heard is a service that is followed.
type Heard interface {
	// Ready waits until it was heard once.
	Ready(ctx context.Context) error
	// Fresh reports whether it was heard lately.
	Fresh() bool
}

// servers waits a little for the first word of trust and refuses when there is none of late: without it nobody knows what servers are.
func (h *Handler) servers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := h.Trusted.Ready(ctx); err != nil || !h.Trusted.Fresh() {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"What servers and tools there are is not known now, because trust does not answer. Nothing was done; try again in a moment.").Because(err)
	}
	return nil
}

// patience is how long a request waits for the first word of trust.
const patience = 5 * time.Second

// Entitlements implements AuthzServiceHandler.
func (h *Handler) Entitlements(
	ctx context.Context, req *connect.Request[authzv1.EntitlementsRequest],
) (*connect.Response[authzv1.EntitlementsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := h.Clock.Check(); err != nil {
		return nil, h.Alarm.Raise(tenant, err)
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
		return nil, h.Alarm.Raise(tenant, err)
	}
	return connect.NewResponse(&authzv1.EntitlementsResponse{
		Entitlements: rights.Entitlements, Delegators: rights.Delegators, Revision: revision,
	}), nil
}

// Watch implements AuthzServiceHandler.
func (h *Handler) Watch(ctx context.Context, _ *connect.Request[authzv1.WatchRequest], stream *connect.ServerStream[authzv1.WatchResponse]) error {
	return h.Feed.Serve(ctx, stream.Send)
}

// ShareCounts implements AuthzServiceHandler.
func (h *Handler) ShareCounts(
	_ context.Context, req *connect.Request[authzv1.ShareCountsRequest],
) (*connect.Response[authzv1.ShareCountsResponse], error) {
	out, err := h.Counts.Share(req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

// append writes to the journal. No record, no change.
func (h *Handler) append(ev *eventsv1.Event) error {
	if err := h.Journal.Append(ev, journal.Strict); err != nil {
		return fault.New(faultv1.Reason_REASON_JOURNAL,
			"The change is refused because its audit record cannot be written. Nothing was changed; tell the platform's operators.").Because(err)
	}
	return nil
}
