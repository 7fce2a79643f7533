package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/identity/internal/access"
)

const (
	defaultTTL = time.Hour
	// issuedClient is the client of tokens that no OAuth client asked for: an access token must name one (RFC 9068, 2.2).
	issuedClient = "headgate"
)

// Authenticate says whose token this is.
func (h *Handler) Authenticate(
	_ context.Context, req *connect.Request[identityv1.AuthenticateRequest],
) (*connect.Response[identityv1.AuthenticateResponse], error) {
	caller, err := h.Desk.Authenticate(req.Msg.GetToken(), req.Msg.GetAudience())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.AuthenticateResponse{Caller: caller}), nil
}

// WhoAmI answers the caller about themselves.
func (h *Handler) WhoAmI(ctx context.Context, _ *connect.Request[identityv1.WhoAmIRequest]) (*connect.Response[identityv1.WhoAmIResponse], error) {
	person := rpc.CallerFrom(ctx).Person
	if person == nil {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "You are not a person. Sign in and send the access token.")
	}
	return connect.NewResponse(&identityv1.WhoAmIResponse{Caller: person}), nil
}

// IssueToken makes a token for a person without their sign-in.
func (h *Handler) IssueToken(
	ctx context.Context, req *connect.Request[identityv1.IssueTokenRequest],
) (*connect.Response[identityv1.IssueTokenResponse], error) {
	if !h.AllowIssue {
		return nil, fault.New(faultv1.Reason_REASON_METHOD,
			"Tokens are given to people who sign in, not to those who ask for others: IssueToken is off here (allowIssue).")
	}
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := mayChange(ctx, tenant); err != nil {
		return nil, err
	}
	ttl := req.Msg.GetTtl().AsDuration()
	if ttl == 0 {
		ttl = defaultTTL
	}
	if ttl < time.Second {
		return nil, fault.Invalid("ttl: must be at least 1s")
	}
	raw, claims, err := h.Desk.Issue(access.Grant{
		Tenant: tenant, Person: req.Msg.GetPerson(), Agent: req.Msg.GetAgent(), ClientID: issuedClient, Audience: req.Msg.GetAudience(), TTL: ttl,
	}, rpc.By(ctx))
	if fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) { // the caller is known; the person or agent that they name is not
		return nil, fault.NotFound("%s", fault.From(err).Sentence)
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.IssueTokenResponse{Token: raw, TokenId: claims.ID, ExpiresAt: timestamppb.New(claims.Expires)}), nil
}

// Revoke ends a token, or a person's.
func (h *Handler) Revoke(ctx context.Context, req *connect.Request[identityv1.RevokeRequest]) (*connect.Response[identityv1.RevokeResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := mayChange(ctx, tenant); err != nil {
		return nil, err
	}
	var revision int64
	if person := req.Msg.GetPerson(); person != "" {
		revision, err = h.Desk.RevokePerson(ctx, tenant, person, rpc.By(ctx))
	} else {
		revision, err = h.Desk.RevokeToken(ctx, tenant, req.Msg.GetTokenId(), rpc.By(ctx), "")
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.RevokeResponse{Revision: revision}), nil
}

// Rotate makes a new signing key.
func (h *Handler) Rotate(ctx context.Context, _ *connect.Request[identityv1.RotateRequest]) (*connect.Response[identityv1.RotateResponse], error) {
	id, err := h.Desk.Rotate(ctx, rpc.By(ctx))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.RotateResponse{KeyId: id}), nil
}

// Watch sends the directory to a replica.
func (h *Handler) Watch(ctx context.Context, _ *connect.Request[identityv1.WatchRequest], stream *connect.ServerStream[identityv1.WatchResponse]) error {
	return h.Directory.Watch(ctx, stream.Send)
}
