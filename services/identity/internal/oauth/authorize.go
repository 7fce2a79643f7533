package oauth

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"headgate.dev/libs/fault"
)

// challengeForm is that of S256 (RFC 7636, 4.2): 32 bytes in base64url.
var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

const browserCookie = "headgate-sign-in"

// VerifyAuthRequest finds the client. Until its redirect address is checked, an error is shown and not sent anywhere.
func (s *Server) VerifyAuthRequest(_ context.Context, r *op.Request[oidc.AuthRequest]) (*op.ClientRequest[oidc.AuthRequest], error) {
	if r.Data.RequestParam != "" || r.Form.Get("request_uri") != "" {
		return nil, oidc.ErrRequestNotSupported().WithDescription("request objects are not served here; send plain parameters")
	}
	client := s.clients[r.Data.ClientID]
	if client == nil {
		return nil, oidc.ErrInvalidRequestRedirectURI().WithDescription("There is no client of this client_id. Clients are registered by the operator.")
	}
	if !goodRedirect(r.Data.RedirectURI) {
		return nil, oidc.ErrInvalidRequestRedirectURI().
			WithDescription("The redirect_uri must be one that is registered for the client, without escapes, user or fragment.")
	}
	if len(r.Data.Scopes) == 0 {
		r.Data.Scopes = oidc.SpaceDelimitedArray{oidc.ScopeOpenID} // a scope is optional (RFC 6749, 3.3); the library wants one
	}
	return &op.ClientRequest[oidc.AuthRequest]{Request: r, Client: &publicClient{client}}, nil
}

// Authorize begins a sign-in. The redirect address is good by now, so that errors go there, with iss (RFC 9207).
func (s *Server) Authorize(ctx context.Context, r *op.ClientRequest[oidc.AuthRequest]) (*op.Redirect, error) {
	in := r.Data
	deny := func(kind, description string) (*op.Redirect, error) {
		return s.answer(in.RedirectURI, in.State, url.Values{"error": {kind}, "error_description": {description}}), nil
	}
	resources := r.Form["resource"]
	switch {
	case in.ResponseMode != "" && in.ResponseMode != oidc.ResponseModeQuery:
		return deny("invalid_request", "response_mode must be query")
	case in.CodeChallengeMethod != oidc.CodeChallengeMethodS256 || !challengeForm.MatchString(in.CodeChallenge):
		return deny("invalid_request", "PKCE is needed: a code_challenge of the method S256")
	case slices.Contains(in.Prompt, oidc.PromptNone):
		return deny("login_required", "each sign-in needs the person")
	case !s.cfg.DemoLogin:
		return deny("access_denied", "This issuer has no sign-in page (demoLogin is off).")
	}
	if _, err := s.desk.Resources(resources); err != nil {
		return deny("invalid_target", fault.From(err).Sentence)
	}
	browser, cookie, err := s.browser(r.Header)
	if err != nil {
		return nil, s.broken("authorize", err)
	}
	id, err := s.requests.begin(ctx, &pending{
		ClientID: in.ClientID, RedirectURI: in.RedirectURI, State: in.State, Nonce: in.Nonce, Scopes: in.Scopes, Challenge: in.CodeChallenge,
		Resources: resources, Browser: hash(browser),
	})
	if err != nil {
		return nil, s.broken("authorize", err)
	}
	redirect := op.NewRedirect(r.Client.LoginURL(id))
	redirect.Header.Set("Set-Cookie", cookie.String())
	return redirect, nil
}

// answer sends the browser back to the client.
func (s *Server) answer(redirectURI, state string, values url.Values) *op.Redirect {
	values.Set("iss", s.cfg.Issuer)
	if state != "" {
		values.Set("state", state)
	}
	separator := "?"
	if strings.Contains(redirectURI, "?") {
		separator = "&"
	}
	return op.NewRedirect(redirectURI + separator + values.Encode())
}

// browser is the secret that ties a sign-in to the browser that began it, so that nobody can be made to finish another one's.
func (s *Server) browser(header http.Header) (string, *http.Cookie, error) {
	value := browserOf(header)
	if value == "" {
		var err error
		if value, err = random(); err != nil {
			return "", nil, err
		}
	}
	return value, &http.Cookie{
		Name: browserCookie, Value: value, Path: pathLogin, MaxAge: int(signInFor.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(s.cfg.Issuer, "https://"),
	}, nil
}

func browserOf(header http.Header) string {
	cookie, err := (&http.Request{Header: header}).Cookie(browserCookie)
	if err != nil || !challengeForm.MatchString(cookie.Value) {
		return ""
	}
	return cookie.Value
}
