package oauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/record"
	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/identity/internal/access"
)

// VerifyClient finds the client of a request to the token or revocation endpoint. Clients are public; what a request proves is the code's verifier.
func (s *Server) VerifyClient(_ context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	client := s.clients[r.Data.ClientID]
	if client == nil || r.Data.ClientAssertion != "" || r.Data.ClientSecret != "" {
		refused := oidc.ErrInvalidClient().WithDescription("The client is not registered here, or sent a secret: clients are public.")
		return nil, op.NewStatusError(refused, http.StatusUnauthorized)
	}
	return &publicClient{client}, nil
}

// CodeExchange makes the token that a code stands for, once. A second try ends the token of the first: one of the two stole the code.
func (s *Server) CodeExchange(ctx context.Context, r *op.ClientRequest[oidc.AccessTokenRequest]) (*op.Response, error) {
	refused := oidc.ErrInvalidGrant().WithDescription("The code is not good: unknown, expired, used, or for another client, redirect_uri or verifier.")
	p, err := s.requests.byCode(ctx, r.Data.Code)
	if errors.Is(err, errNoRequest) {
		return nil, refused
	}
	if err != nil {
		return nil, s.broken("exchange", err)
	}
	if p.TokenID != "" {
		if err := s.reused(ctx, p); err != nil {
			return nil, s.broken("reuse", err)
		}
		return nil, refused
	}
	challenge := &oidc.CodeChallenge{Challenge: p.Challenge, Method: oidc.CodeChallengeMethodS256}
	if p.ClientID != r.Client.GetID() || p.RedirectURI != r.Data.RedirectURI || op.AuthorizeCodeChallenge(r.Data.CodeVerifier, challenge) != nil {
		return nil, refused
	}
	audience, err := s.narrow(p.Resources, r.Form["resource"])
	if err != nil {
		return nil, err
	}
	id := ids.New()
	if err := s.requests.exchange(ctx, r.Data.Code, id); errors.Is(err, errNoRequest) {
		return nil, refused // another request was faster
	} else if err != nil {
		return nil, s.broken("exchange", err)
	}
	return s.tokens(p, r.Client.GetID(), id, audience)
}

func (s *Server) reused(ctx context.Context, p *pending) error {
	by := record.Itself("identity")
	_, err := s.desk.RevokeToken(ctx, p.Tenant, p.TokenID, by, "its authorization code was used twice")
	return err
}

// narrow is the audience of a token: what the token request asks for, within what the person signed in for (RFC 8707, 2.2).
func (s *Server) narrow(authorized, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return authorized, nil
	}
	if _, err := s.desk.Resources(asked); err != nil {
		return nil, invalidTarget(fault.From(err).Sentence)
	}
	for _, resource := range asked {
		if len(authorized) > 0 && !slices.ContainsFunc(authorized, func(a string) bool { return token.Covers(a, resource) }) {
			return nil, invalidTarget("The sign-in was not for this resource.")
		}
	}
	return asked, nil
}

func invalidTarget(description string) error {
	err := oidc.ErrInvalidRequest().WithDescription("%s", description)
	err.ErrorType = oidc.InvalidTarget
	return err
}

func (s *Server) tokens(p *pending, clientID, id string, audience []string) (*op.Response, error) {
	raw, claims, err := s.desk.Issue(access.Grant{
		ID: id, Tenant: p.Tenant, Person: p.Person, Agent: s.clients[clientID].Agent, ClientID: clientID, Audience: audience, TTL: tokenTTL, AuthTime: p.SignedIn,
	}, record.By{})
	if fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
		return nil, oidc.ErrInvalidGrant().WithDescription("%s", fault.From(err).Sentence)
	}
	if err != nil {
		return nil, s.broken("issue", err)
	}
	answer := &oidc.AccessTokenResponse{
		AccessToken: raw, TokenType: oidc.BearerToken, ExpiresIn: uint64(tokenTTL.Seconds()), Scope: p.Scopes,
	}
	if slices.Contains(p.Scopes, oidc.ScopeOpenID) {
		if answer.IDToken, err = s.idToken(p, claims, raw); err != nil {
			return nil, s.broken("ID token", err)
		}
	}
	return op.NewResponse(answer), nil
}

// idToken tells the client who signed in. Its type is JWT, so that nobody takes it for an access token.
func (s *Server) idToken(p *pending, access *token.Claims, raw string) (string, error) {
	key := s.directory.Signing()
	subject := access.Tenant + "/" + access.Subject
	claims := oidc.NewIDTokenClaims(s.cfg.Issuer, subject, nil, access.Expires, p.SignedIn, p.Nonce, "", nil, access.ClientID, 0)
	claims.IssuedAt = oidc.FromTime(access.IssuedAt)
	atHash, err := oidc.ClaimHash(raw, jose.ES256)
	if err != nil {
		return "", err
	}
	claims.AccessTokenHash = atHash
	caller, err := s.directory.Caller(access.Tenant, access.Subject)
	if err != nil {
		return "", err
	}
	claims.SetUserInfo(userinfo(subject, caller, p.Scopes))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return crypto.Sign(claims, signer)
}

func userinfo(subject string, caller *identityv1.Caller, scopes []string) *oidc.UserInfo {
	info := &oidc.UserInfo{Subject: subject}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name, info.PreferredUsername = caller.GetDisplayName(), caller.GetName()
	}
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email = caller.GetEmail()
	}
	return info
}

// UserInfo tells a client who holds the token.
func (s *Server) UserInfo(_ context.Context, r *op.Request[oidc.UserInfoRequest]) (*op.Response, error) {
	claims, err := s.desk.Claims(r.Data.AccessToken)
	var caller *identityv1.Caller
	if err == nil {
		caller, err = s.directory.Caller(claims.Tenant, claims.Subject)
	}
	if err != nil {
		return nil, op.NewStatusError(oidc.ErrAccessDenied().WithDescription("%s", fault.From(err).Sentence), http.StatusUnauthorized)
	}
	return op.NewResponse(userinfo(claims.Tenant+"/"+claims.Subject, caller, []string{oidc.ScopeProfile, oidc.ScopeEmail})), nil
}

// Revocation ends an access token (RFC 7009). A token that does not hold anyway is no error.
func (s *Server) Revocation(ctx context.Context, r *op.ClientRequest[oidc.RevocationRequest]) (*op.Response, error) {
	claims, err := s.desk.Claims(strings.TrimSpace(r.Data.Token))
	if fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
		return op.NewResponse(nil), nil
	}
	if err != nil {
		return nil, s.broken("revocation", err)
	}
	if claims.ClientID != r.Client.GetID() {
		return nil, oidc.ErrUnauthorizedClient().WithDescription("The token was given to another client.")
	}
	by := record.By{Principal: record.Person(&identityv1.Caller{Name: claims.Subject, ClientId: claims.ClientID, TokenId: claims.ID})}
	if _, err := s.desk.RevokeToken(ctx, claims.Tenant, claims.ID, by, "by the client"); err != nil {
		return nil, s.broken("revocation", err)
	}
	return op.NewResponse(nil), nil
}
