package token_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const issuer = "http://127.0.0.1:8081"

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func claims() token.Claims {
	return token.Claims{
		Issuer: issuer, Subject: "ana", Tenant: "acme", Agent: "helper", ClientID: "cli", ID: "id-1",
		Audience: []string{"http://127.0.0.1:8080/mcp"}, IssuedAt: now.Add(-time.Minute), Expires: now.Add(time.Hour),
	}
}

func newKey(t testing.TB) jose.JSONWebKey {
	t.Helper()
	key, err := token.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func verifier(keys ...jose.JSONWebKey) *token.Verifier {
	set := &jose.JSONWebKeySet{}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	return token.NewVerifier(issuer, func() *jose.JSONWebKeySet { return set }, clock.Fixed(now))
}

func TestATokenSaysWhatWasSigned(t *testing.T) {
	old, key := newKey(t), newKey(t)
	raw, err := token.Sign(key, claims())
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier(old, key).Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := claims()
	if got.Subject != want.Subject || got.Tenant != want.Tenant || got.Agent != want.Agent || got.ClientID != want.ClientID || got.ID != want.ID ||
		len(got.Audience) != 1 || !got.IssuedAt.Equal(want.IssuedAt) || !got.Expires.Equal(want.Expires) {
		t.Errorf("got %+v", got)
	}
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
	if err != nil || !strings.Contains(string(header), `"typ":"at+jwt"`) ||
		!strings.Contains(string(header), `"alg":"ES256"`) || strings.Contains(string(header), "jwk") {
		t.Errorf("header %s", header)
	}
}

// sign makes a token that Sign would not.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, change map[string]any) string {
	t.Helper()
	payload := map[string]any{
		"iss": issuer, "sub": "acme/ana", "tenant": "acme", "jti": "id-1", "aud": []string{"http://127.0.0.1:8080/mcp"},
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(payload, change)
	maps.DeleteFunc(payload, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestWhatIsNotAGoodTokenIsRefusedWithItsCause(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	good, err := token.Sign(key, claims())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	public, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID}
	at := map[jose.HeaderKey]any{jose.HeaderType: "at+jwt"}
	unknown := jose.JSONWebKey{Key: stranger.Key, KeyID: stranger.KeyID}
	brings := map[jose.HeaderKey]any{jose.HeaderType: "at+jwt", "jwk": stranger.Public()}
	asJSON := `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`
	stolen := jose.JSONWebKey{Key: stranger.Key, KeyID: key.KeyID}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ raw, want string }{
		"nothing":                    {"", "it is not a signed access token"},
		"no JWT":                     {"not.a.token", "it is not a signed access token"},
		"too long":                   {strings.Repeat("x", 1<<20), "it is too long"},
		"alg none":                   {encode(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", "it is not signed with ES256"},
		"HS256 with the public key":  {sign(t, jose.HS256, jose.JSONWebKey{Key: public, KeyID: key.KeyID}, at, nil), "it is not signed with ES256"},
		"RS256":                      {sign(t, jose.RS256, jose.JSONWebKey{Key: rsaKey, KeyID: key.KeyID}, at, nil), "it is not signed with ES256"},
		"ES384":                      {sign(t, jose.ES384, jose.JSONWebKey{Key: p384, KeyID: key.KeyID}, at, nil), "it is not signed with ES256"},
		"a stranger's key":           {sign(t, jose.ES256, stolen, at, nil), "its signature does not hold"},
		"a key that is not known":    {sign(t, jose.ES256, unknown, at, nil), "the key that signed it is not known"},
		"no key id":                  {sign(t, jose.ES256, key.Key, at, nil), "the key that signed it is not known"},
		"brings its own key":         {sign(t, jose.ES256, stranger.Key, brings, nil), "the key that signed it is not known"},
		"an ID token":                {sign(t, jose.ES256, own, map[jose.HeaderKey]any{jose.HeaderType: "JWT"}, nil), "it is of another type than at+jwt"},
		"no type":                    {sign(t, jose.ES256, own, nil, nil), "it is of another type than at+jwt"},
		"another payload":            {parts[0] + "." + encode(strings.Replace(string(payload), "ana", "ben", 1)) + "." + parts[2], "its signature does not hold"},
		"no signature":               {parts[0] + "." + parts[1] + ".", "its signature does not hold"},
		"JSON form":                  {asJSON, "it is not a signed access token"},
		"another issuer":             {sign(t, jose.ES256, own, at, map[string]any{"iss": "http://evil.example"}), "another issuer made it"},
		"issuer with a slash":        {sign(t, jose.ES256, own, at, map[string]any{"iss": issuer + "/"}), "another issuer made it"},
		"expired":                    {sign(t, jose.ES256, own, at, map[string]any{"exp": now.Unix()}), "it has expired"},
		"from the future":            {sign(t, jose.ES256, own, at, map[string]any{"iat": now.Add(time.Minute).Unix()}), "it is from the future"},
		"no expiry":                  {sign(t, jose.ES256, own, at, map[string]any{"exp": nil}), "it lacks a claim"},
		"no id":                      {sign(t, jose.ES256, own, at, map[string]any{"jti": nil}), "it lacks a claim"},
		"no tenant":                  {sign(t, jose.ES256, own, at, map[string]any{"tenant": nil}), "it lacks a claim"},
		"tenant and subject differ":  {sign(t, jose.ES256, own, at, map[string]any{"tenant": "other"}), "it lacks a claim"},
		"an agent without a name":    {sign(t, jose.ES256, own, at, map[string]any{"act": map[string]any{}}), "an agent without a name"},
		"claims of another type":     {sign(t, jose.ES256, own, at, map[string]any{"exp": "tomorrow"}), "its claims are not those of an access token"},
		"expiry as an absurd number": {sign(t, jose.ES256, own, at, map[string]any{"exp": 1e300}), "its claims are not those of an access token"},
	}
	v := verifier(key)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(test.raw)
			if err == nil || got != nil {
				t.Fatal("the token was taken")
			}
			if !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if len(test.raw) > 20 && strings.Contains(err.Error(), test.raw[:20]) {
				t.Error("the refusal shows the token")
			}
		})
	}
	if _, err := token.NewVerifier(issuer, func() *jose.JSONWebKeySet { return nil }, clock.Fixed(now)).Verify(good); err == nil {
		t.Error("a verifier without keys took a token")
	}
}

func TestIncompleteClaimsAreNotSigned(t *testing.T) {
	key := newKey(t)
	for name, change := range map[string]func(*token.Claims){
		"issuer":   func(c *token.Claims) { c.Issuer = "" },
		"subject":  func(c *token.Claims) { c.Subject = "" },
		"tenant":   func(c *token.Claims) { c.Tenant = "" },
		"id":       func(c *token.Claims) { c.ID = "" },
		"audience": func(c *token.Claims) { c.Audience = nil },
		"expires":  func(c *token.Claims) { c.Expires = c.IssuedAt },
	} {
		c := claims()
		change(&c)
		if _, err := token.Sign(key, c); err == nil {
			t.Errorf("signed without %s", name)
		}
	}
	if _, err := token.Sign(key.Public(), claims()); err == nil {
		t.Error("signed with a public key")
	}
}

func TestAnAudienceCoversItselfAndWhatLiesBelow(t *testing.T) {
	tests := []struct {
		audience, resource string
		want               bool
	}{
		{"http://h:8080/mcp", "http://h:8080/mcp", true},
		{"http://h:8080/mcp", "http://h:8080/mcp/", true},
		{"http://h:8080/mcp/", "http://h:8080/mcp", true},
		{"http://h:8080/mcp", "http://h:8080/mcp/echo", true},
		{"http://h:8080/mcp/echo", "http://h:8080/mcp", false},
		{"http://h:8080/mcp/echo", "http://h:8080/mcp/echo2", false},
		{"http://h:8080/mcp", "http://h:8080/mcpx", false},
		{"http://h:8080/mcp", "http://h:8081/mcp", false},
		{"http://h/mcp", "http://H:80/mcp", true},
		{"https://h/mcp", "https://h:443/mcp/x", true},
		{"https://h/mcp", "http://h/mcp", false},
		{"http://h", "http://h/anything", true},
		{"http://h/mcp", "http://h/mcp/../api", false},
		{"http://h/mcp", "http://h/mcp/%2e%2e/api", false},
		{"http://h/mcp", "http://h//mcp", false},
		{"http://h/mcp", "http://h/MCP", false},
		{"http://h/mcp", "http://evil@h/mcp", false},
		{"http://h/mcp", "http://h/mcp?x", false},
		{"http://h/mcp", "http://h/mcp?", false},
		{"http://h/mcp", "http://h/mcp#x", false},
		{"http://h/mcp", "http://h/mcp#", false},
		{"http://h/mcp", "http://h.evil.example/mcp", false},
		{"http://h/mcp", `http://h/mcp\..\api`, false},
		{"urn:x", "urn:x", false},
		{"", "", false},
		{"/mcp", "/mcp", false},
	}
	for _, test := range tests {
		c := &token.Claims{Audience: []string{"http://other/", test.audience}}
		if got := c.GoodFor(test.resource); got != test.want {
			t.Errorf("%q for %q: %v", test.audience, test.resource, got)
		}
	}
}

func TestRevocationsEndTokensOfTheirTenantAlone(t *testing.T) {
	var r token.Revocations
	c := claims()
	if r.Revoked(&c) {
		t.Error("revoked by nothing")
	}
	r.Add(token.Revocation{Tenant: "other", TokenID: "id-1", Until: c.Expires}, token.Revocation{Tenant: "other", Person: "ana", Before: now, Until: c.Expires})
	if r.Revoked(&c) {
		t.Error("revoked by another tenant")
	}
	r.Add(token.Revocation{Tenant: "acme", TokenID: "id-1", Until: c.Expires})
	if !r.Revoked(&c) {
		t.Error("not revoked by its id")
	}
	r.Prune(now)
	if !r.Revoked(&c) {
		t.Error("forgotten too early")
	}
	r.Prune(c.Expires)
	if r.Revoked(&c) {
		t.Error("not forgotten")
	}
	r.Replace([]token.Revocation{{Tenant: "acme", Person: "ana", Before: now.Add(time.Millisecond), Until: c.Expires}})
	r.Add(token.Revocation{Tenant: "acme", Person: "ana", Before: now.Add(-time.Hour), Until: c.Expires})
	if !r.Revoked(&c) {
		t.Error("an earlier revocation undid a later one")
	}
	c.IssuedAt = now
	if !r.Revoked(&c) {
		t.Error("a token of the same second holds")
	}
	if c.IssuedAt = r.Floor("acme", "ana"); !c.IssuedAt.Equal(now.Add(time.Second)) || r.Revoked(&c) {
		t.Errorf("a new token dated %v does not hold", c.IssuedAt)
	}
	if !r.Floor("acme", "ben").IsZero() {
		t.Error("a floor without a revocation")
	}
}

// FuzzVerify wants that no bytes but those that were signed are taken.
func FuzzVerify(f *testing.F) {
	key := newKey(f)
	good, err := token.Sign(key, claims())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	v := verifier(key)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := v.Verify(raw)
		if err == nil && (got.ID != claims().ID || !strings.HasPrefix(raw, good[:strings.LastIndexByte(good, '.')+1])) {
			t.Fatalf("%q was taken as %v", raw, got)
		}
		if err != nil && !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
			t.Fatalf("not a refusal: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	key := newKey(b)
	raw, err := token.Sign(key, claims())
	if err != nil {
		b.Fatal(err)
	}
	v := verifier(key)
	for b.Loop() {
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}
