package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256" // the hash that Thumbprint uses
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// wire is the token's payload. Times are whole seconds (RFC 7519 NumericDate).
type wire struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Tenant   string   `json:"tenant"`
	Act      *actor   `json:"act,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	ID       string   `json:"jti"`
	Audience []string `json:"aud"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Device   *Device  `json:"device,omitempty"`
	Purpose  string   `json:"purpose,omitempty"`
}

type actor struct {
	Subject string `json:"sub"`
}

// NewKey makes a signing key. Its id is the thumbprint of its public half (RFC 7638).
func NewKey() (jose.JSONWebKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("making a signing key: %w", err)
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	public := key.Public()
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("naming a signing key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return key, nil
}

// Sign makes a token. The key is a private P-256 key with an id; the claims must be whole.
func Sign(key jose.JSONWebKey, c Claims) (string, error) {
	private, ok := key.Key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() || key.KeyID == "" {
		return "", errors.New("the key is not a private P-256 key with an id")
	}
	if c.Issuer == "" || c.Subject == "" || c.Tenant == "" || c.ID == "" || len(c.Audience) == 0 || !c.Expires.After(c.IssuedAt) {
		return "", errors.New("the claims lack issuer, subject, tenant, id, audience or time to live")
	}
	payload, err := json.Marshal(toWire(c))
	if err != nil {
		return "", fmt.Errorf("writing the claims: %w", err)
	}
	options := (&jose.SignerOptions{}).WithType(Type)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: key.KeyID}}, options)
	if err != nil {
		return "", fmt.Errorf("preparing to sign: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}

func toWire(c Claims) wire {
	w := wire{
		Issuer: c.Issuer, Subject: c.Tenant + "/" + c.Subject, Tenant: c.Tenant, ClientID: c.ClientID, ID: c.ID, Audience: c.Audience,
		IssuedAt: c.IssuedAt.Unix(), Expires: c.Expires.Unix(), ACR: c.ACR, AMR: c.AMR, Device: c.Device, Purpose: c.Purpose,
	}
	if !c.AuthTime.IsZero() {
		w.AuthTime = c.AuthTime.Unix()
	}
	if c.Agent != "" {
		w.Act = &actor{Subject: c.Agent}
	}
	return w
}
