package oauth

import (
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"headgate.dev/libs/fault"
)

// Client is an application that people can sign in to. It is public: it has no secret and proves with PKCE that it asked.
type Client struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
	// RedirectURIs are where the code may go: https, a loopback address (any port is good then, RFC 8252) or an application's own scheme.
	RedirectURIs []string `yaml:"redirectURIs"`
	// Agent is the Agent resource that acts through this client; its name goes into the tokens. Empty: none.
	Agent string `yaml:"agent"`
}

// CheckClients says what is wrong with the configured clients.
func CheckClients(clients []Client) error {
	seen := map[string]bool{}
	for i, c := range clients {
		if err := c.check(i); err != nil {
			return err
		}
		if seen[c.ID] {
			return fault.Invalid("clients[%d].id: %s is there twice", i, c.ID)
		}
		seen[c.ID] = true
	}
	return nil
}

func (c *Client) check(i int) error {
	if c.ID == "" || strings.ContainsAny(c.ID, " \t\r\n") {
		return fault.Invalid("clients[%d].id: is missing or has spaces", i)
	}
	if len(c.RedirectURIs) == 0 {
		return fault.Invalid("clients[%d].redirectURIs: is missing; client %s could get no code", i, c.ID)
	}
	for n, uri := range c.RedirectURIs {
		if !goodRedirect(uri) {
			return fault.Invalid("clients[%d].redirectURIs[%d]: must be https, a loopback address or an application's own scheme, without user and fragment, is %q",
				i, n, uri)
		}
	}
	return nil
}

// goodRedirect reports whether an address can get a code. It has one reading only: nothing in it is escaped.
func goodRedirect(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || !u.IsAbs() || u.User != nil || u.Fragment != "" || strings.ContainsAny(uri, "%#\\ +") {
		return false
	}
	switch u.Scheme {
	case "https":
		return u.Hostname() != ""
	case "http":
		_, loopback := op.HTTPLoopbackOrLocalhost(uri)
		return loopback
	}
	return strings.Contains(u.Scheme, ".") // RFC 8252, 7.1: a reversed domain name; leaves out javascript, data and the like
}

// GetID and the methods below implement op.Client.
func (c *Client) GetID() string { return c.ID }

// RedirectURIs lists where the code may go.
func (c *publicClient) RedirectURIs() []string { return c.Client.RedirectURIs }

// publicClient is a Client as the library sees it.
type publicClient struct{ *Client }

func (c *publicClient) PostLogoutRedirectURIs() []string    { return nil }
func (c *publicClient) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (c *publicClient) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (c *publicClient) ResponseTypes() []oidc.ResponseType {
	return []oidc.ResponseType{oidc.ResponseTypeCode}
}
func (c *publicClient) GrantTypes() []oidc.GrantType { return []oidc.GrantType{oidc.GrantTypeCode} }
func (c *publicClient) LoginURL(id string) string {
	return pathLogin + "?request=" + url.QueryEscape(id)
}
func (c *publicClient) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeJWT }
func (c *publicClient) IDTokenLifetime() time.Duration       { return tokenTTL }
func (c *publicClient) DevMode() bool                        { return false }
func (c *publicClient) IsScopeAllowed(string) bool           { return false }
func (c *publicClient) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *publicClient) ClockSkew() time.Duration             { return 0 }
func (c *publicClient) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
func (c *publicClient) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(scopes []string) []string { return scopes }
}
