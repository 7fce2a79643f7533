package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// maxBytes bounds a token before anything of it is read.
	maxBytes = 16 << 10
	// leeway is how far the clock of the issuer may be ahead.
	leeway = 30 * time.Second
)

// Verifier checks tokens of one issuer. Safe for concurrent use.
type Verifier struct {
	issuer string
	keys   func() *jose.JSONWebKeySet
	now    clock.Now
}

// NewVerifier returns a verifier. keys gives the public keys as they are now; nil or none refuses everything.
func NewVerifier(issuer string, keys func() *jose.JSONWebKeySet, now clock.Now) *Verifier {
	return &Verifier{issuer: issuer, keys: keys, now: now}
}

// Verify returns what a token says when it was signed by one of the keys, by this issuer and has not expired. It does not look at audience
// (Claims.GoodFor) and revocation (Revocations). A refusal is a fault UNAUTHENTICATED whose sentence never holds the token.
func (v *Verifier) Verify(raw string) (*Claims, error) {
	payload, err := v.open(raw)
	if err != nil {
		return nil, err
	}
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, refuse("its claims are not those of an access token")
	}
	c, err := fromWire(w)
	if err != nil {
		return nil, err
	}
	if c.Issuer != v.issuer {
		return nil, refuse("another issuer made it")
	}
	now := v.now()
	if !now.Before(c.Expires) {
		return nil, refuse("it has expired")
	}
	if c.IssuedAt.After(now.Add(leeway)) {
		return nil, refuse("it is from the future; check the clocks")
	}
	return c, nil
}

// open checks form and signature and returns the payload.
func (v *Verifier) open(raw string) ([]byte, error) {
	if len(raw) > maxBytes {
		return nil, refuse("it is too long")
	}
	// The compact form only: the JSON form of JWS allows more than one signature.
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
			return nil, refuse("it is not signed with ES256")
		}
		return nil, refuse("it is not a signed access token")
	}
	header := signed.Signatures[0].Protected
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(typ, Type) && !strings.EqualFold(typ, "application/"+Type) {
		return nil, refuse("it is of another type than %s", Type)
	}
	key := v.key(header.KeyID)
	if key == nil {
		return nil, refuse("the key that signed it is not known or not used any more")
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, refuse("its signature does not hold")
	}
	return payload, nil
}

// key finds the public key of an id. A token that names none is refused: trying all would make the id meaningless.
func (v *Verifier) key(id string) *ecdsa.PublicKey {
	set := v.keys()
	if set == nil || id == "" {
		return nil
	}
	for _, k := range set.Key(id) {
		if public, ok := k.Key.(*ecdsa.PublicKey); ok && public.Curve == elliptic.P256() {
			return public
		}
	}
	return nil
}

func fromWire(w wire) (*Claims, error) {
	person, ok := strings.CutPrefix(w.Subject, w.Tenant+"/")
	if !ok || person == "" || w.Tenant == "" || w.Issuer == "" || w.ID == "" || w.IssuedAt <= 0 || w.Expires <= 0 {
		return nil, refuse("it lacks a claim that an access token must have")
	}
	c := &Claims{
		Issuer: w.Issuer, Subject: person, Tenant: w.Tenant, ClientID: w.ClientID, ID: w.ID, Audience: w.Audience,
		IssuedAt: time.Unix(w.IssuedAt, 0).UTC(), Expires: time.Unix(w.Expires, 0).UTC(), ACR: w.ACR, AMR: w.AMR, Device: w.Device, Purpose: w.Purpose,
	}
	if w.AuthTime < 0 {
		return nil, refuse("it names a time of sign-in that is none")
	}
	if w.AuthTime > 0 {
		c.AuthTime = time.Unix(w.AuthTime, 0).UTC()
	}
	if w.Act != nil {
		if w.Act.Subject == "" {
			return nil, refuse("it names an agent without a name")
		}
		c.Agent = w.Act.Subject
	}
	return c, nil
}

func refuse(format string, args ...any) error {
	return fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was refused: "+format+". Sign in again.", args...)
}
