// Package token signs and checks the access tokens of Headgate: JWTs of RFC 9068 (typ at+jwt), signed with ES256 and nothing else.
package token

import (
	"slices"
	"time"
)

// Type is the typ header of an access token, which keeps other JWTs of the same issuer, as ID tokens, from being taken for one.
const Type = "at+jwt"

// Claims is what an access token says.
type Claims struct {
	// Issuer is the URL of the identity service.
	Issuer string
	// Subject is the person's name within the tenant. In the token, sub is tenant/name, which is unique for the issuer.
	Subject string
	Tenant  string
	// Agent is the agent in between, in the token act.sub (RFC 8693); empty for none.
	Agent string
	// ClientID is the OAuth client that asked for the token.
	ClientID string
	// ID is the jti.
	ID string
	// Audience lists the resources that the token is good for, URLs (RFC 8707).
	Audience []string
	IssuedAt time.Time
	Expires  time.Time
	// AuthTime is when the person signed in; zero when the token does not say. ACR says how, and AMR by what means (RFC 9068, 2.2.1).
	AuthTime time.Time
	ACR      string
	AMR      []string
	// Device is what the issuer knows of the person's device; nil when it says nothing.
	Device *Device
	// Purpose is what the token was issued for; empty when it does not say.
	Purpose string
}

// Device is a device as an issuer that manages devices knows it. What is nil it does not say.
type Device struct {
	ID        *string `json:"id,omitempty"`
	Managed   *bool   `json:"managed,omitempty"`
	Compliant *bool   `json:"compliant,omitempty"`
}

// GoodFor reports whether the token may be used at a resource, a URL: one of its audiences is that resource or lies above it.
func (c *Claims) GoodFor(resource string) bool {
	return slices.ContainsFunc(c.Audience, func(audience string) bool { return Covers(audience, resource) })
}
