package rpc

import (
	"context"
	"errors"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/credentials/internal/connection"
)

// Lease implements CredentialsServiceHandler. What leaves is recorded first: without a record nothing is lent.
func (h *Handler) Lease(ctx context.Context, req *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	ask := req.Msg
	tenant, err := rpc.Tenant(ctx, ask.GetTenant())
	if err != nil {
		return nil, err
	}
	c, lent, err := h.open(ctx, tenant, ask.GetServer())
	if err == nil && c == nil {
		return connect.NewResponse(&credentialsv1.LeaseResponse{}), nil
	}
	if err == nil {
		err = hostAllowed(c, ask)
	}
	if err != nil {
		return nil, h.refuse(ctx, tenant, ask, c, err)
	}
	spec := c.GetSpec()
	lease := &credentialsv1.LeaseResponse{
		LeaseId: ids.Prefixed("lease"), Connection: c.GetMetadata().GetName(),
		Headers:   []*credentialsv1.Header{{Name: spec.GetInject().GetName(), Value: connection.Value(spec.GetInject(), lent.Reveal())}},
		ExpiresAt: timestamppb.New(h.Now().Add(h.LeaseFor)), AllowHosts: slices.Clone(spec.GetAllowHosts()), Secrets: []string{lent.Reveal()},
	}
	ev := leaseEvent(ctx, tenant, ask)
	ev.Outcome = eventsv1.Outcome_OUTCOME_SUCCESS
	ev.Credential = &eventsv1.Credential{Connection: lease.GetConnection(), LeaseId: lease.GetLeaseId()}
	if err := h.append(ev); err != nil {
		return nil, err
	}
	return connect.NewResponse(lease), nil
}

// open finds the server's connection and opens its secret, both of one moment. No connection is no error: the server needs no credential.
func (h *Handler) open(ctx context.Context, tenant, server string) (c *credentialsv1.Connection, lent secret.String, err error) {
	err = h.DB.ReadTx(ctx, func(tx *sqlstore.Tx) error {
		name, found, err := h.Vault.ConnectionOf(ctx, tx, tenant, server)
		if err != nil || !found {
			return err
		}
		object, err := resourcestore.Read(ctx, tx, kindConnection, tenant, name)
		if err != nil {
			return err
		}
		if c, err = asConnection(object); err != nil {
			return err
		}
		if lent, found, err = h.Vault.Get(ctx, tx, tenant, name); err == nil && !found {
			err = errors.New("the connection has no sealed secret")
		}
		return err
	})
	if err != nil {
		return c, secret.String{}, fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"The credential of server %s could not be opened. An administrator can set its connection's secret anew.", server).Because(err)
	}
	return c, lent, nil
}

func hostAllowed(c *credentialsv1.Connection, ask *credentialsv1.LeaseRequest) error {
	if err := connection.Allows(c.GetSpec(), ask.GetHost()); err != nil {
		return fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"Connection %s does not lend its credential for server %s: %s. If the server is really there, add the host to the connection.",
			c.GetMetadata().GetName(), ask.GetServer(), err).With("connection", c.GetMetadata().GetName())
	}
	return nil
}

// refuse records a lease that was refused and returns the refusal.
func (h *Handler) refuse(ctx context.Context, tenant string, ask *credentialsv1.LeaseRequest, c *credentialsv1.Connection, refusal error) error {
	ev := leaseEvent(ctx, tenant, ask)
	ev.Outcome, ev.Decision = eventsv1.Outcome_OUTCOME_FAILURE, record.Refused(refusal)
	ev.Credential = &eventsv1.Credential{Connection: c.GetMetadata().GetName()}
	if err := h.append(ev); err != nil {
		return err
	}
	return refusal
}

// leaseEvent is the record of one lease. Within a call it is neither the started nor the final record, of which a call has one each.
func leaseEvent(ctx context.Context, tenant string, ask *credentialsv1.LeaseRequest) *eventsv1.Event {
	by := record.By{Principal: rpc.By(ctx).Principal} // the request is a service's, and the call has its own records
	ev := by.Sign(&eventsv1.Event{
		Action: "credential-leased", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: tenant, CallId: ask.GetCallId(),
		Target: &eventsv1.Target{Server: ask.GetServer(), Tool: ask.GetTool(), Address: ask.GetHost()},
	})
	ev.Principal.Person, ev.Principal.Agent = ask.GetPerson(), ask.GetAgent()
	if ask.GetCallId() != "" {
		ev.Phase = eventsv1.Phase_PHASE_UNSPECIFIED
	}
	return ev
}
