package identity_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/durationpb"

	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

func revokePerson(h *house, person string) error {
	req := &identityv1.RevokeRequest{Tenant: "acme", What: &identityv1.RevokeRequest_Person{Person: person}}
	_, err := h.as(h.admin()).Revoke(h.t.Context(), connect.NewRequest(req))
	return err
}

func TestATokenSaysWhoseItIs(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	raw := h.token("acme", "boss", func(r *identityv1.IssueTokenRequest) { r.Agent = "helper" })
	caller, err := h.authenticate(raw, mcp+"/echo")
	if err != nil || caller.GetTenant() != "acme" || caller.GetName() != "boss" || caller.GetAgent() != "helper" ||
		caller.GetTokenId() == "" || caller.GetClientId() == "" || caller.GetExpiresAt() == nil {
		t.Errorf("caller %v, %v", caller, err)
	}
	if rights := caller.GetRights(); len(rights) != 1 || rights[0] != optionsv1.Role_ROLE_MEMBER {
		t.Errorf("an agent has its person's rights: %v", rights)
	}
	who, err := h.as(h.token("acme", "boss")).WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil || who.Msg.GetCaller().GetName() != "boss" || len(who.Msg.GetCaller().GetRights()) != 2 {
		t.Errorf("who am I: %v, %v", who, err)
	}
	ev := h.journal.last("token-issued")
	if ev.GetTenant() != "acme" || ev.GetPrincipal().GetPerson() != "admin" || ev.GetChange().GetName() == "" ||
		!strings.Contains(ev.GetChange().GetReason(), "for boss") {
		t.Errorf("issued: %v", ev)
	}
	if strings.Contains(ev.String(), raw) {
		t.Error("the token is in its record")
	}
}

// TestT11TokensForAnotherAudienceAreRefused is threat T11: a token that was made for something else does not open this.
func TestT11TokensForAnotherAudienceAreRefused(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	narrow := h.token("acme", "ana", func(r *identityv1.IssueTokenRequest) { r.Audience = []string{mcp + "/echo"} })
	for audience, good := range map[string]bool{
		mcp + "/echo": true, mcp + "/echo/": true, mcp: false, mcp + "/other": false, mcp + "/echo2": false, api: false, "": false,
		"http://evil.example/mcp/echo": false, "https://127.0.0.1:9/mcp/echo": false, "http://127.0.0.1:8/mcp/echo": false, "nonsense": false,
	} {
		if _, err := h.authenticate(narrow, audience); (err == nil) != good || err != nil && reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
			t.Errorf("audience %q: %v", audience, err)
		}
	}
	if _, err := h.as(narrow).WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{})); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("a token for an MCP endpoint opened the API: %v", err)
	}
	for _, foreign := range []string{"http://evil.example/mcp", "http://127.0.0.1:9/", "http://127.0.0.1:9/mcpx", mcp + "/../api", "urn:x"} {
		req := &identityv1.IssueTokenRequest{Tenant: "acme", Person: "ana", Audience: []string{foreign}}
		if _, err := h.as(h.admin()).IssueToken(t.Context(), connect.NewRequest(req)); reason(err) != faultv1.Reason_REASON_INVALID {
			t.Errorf("a token was made for %s: %v", foreign, err)
		}
	}
}

// forge makes a token with the claims of a good one, changed, and a key and header of the test's choice.
func forge(t *testing.T, good string, algorithm jose.SignatureAlgorithm, key any, change map[string]any) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	maps.Copy(claims, change)
	if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType(token.Type))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestT12TokensOfAnotherIssuerAreRefused is threat T12: who mixes issuers or keys up gets nothing.
func TestT12TokensOfAnotherIssuerAreRefused(t *testing.T) {
	h, other := start(t, nil), start(t, nil)
	h.mustApply(acme)
	other.mustApply(acme)
	good := h.token("acme", "ana")
	if _, err := h.authenticate(other.token("acme", "ana"), mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("another house's token: %v", err)
	}
	keys := h.keySet()
	public, err := keys.Keys[0].MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := token.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger.KeyID = keys.Keys[0].KeyID
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt","kid":"` + keys.Keys[0].KeyID + `"}`))
	for name, raw := range map[string]string{
		"alg none":                  none + "." + parts[1] + ".",
		"alg none, old signature":   none + "." + parts[1] + "." + parts[2],
		"HS256 with the public key": forge(t, good, jose.HS256, jose.JSONWebKey{Key: public, KeyID: keys.Keys[0].KeyID}, nil),
		"a stranger's key":          forge(t, good, jose.ES256, stranger, nil),
		"a stranger's issuer":       forge(t, good, jose.ES256, stranger, map[string]any{"iss": other.url}),
		"no token":                  "nonsense",
	} {
		if _, err := h.authenticate(raw, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED || strings.Contains(err.Error(), parts[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.authenticate(good, mcp); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestAnExpiredTokenIsRefused(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	raw := h.token("acme", "ana", func(r *identityv1.IssueTokenRequest) { r.Ttl = durationpb.New(time.Minute) })
	h.advance(30 * time.Second)
	if _, err := h.authenticate(raw, mcp); err != nil {
		t.Errorf("before: %v", err)
	}
	h.advance(31 * time.Second)
	if _, err := h.authenticate(raw, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after: %v", err)
	}
}

func TestARevokedTokenIsRefusedAndOnlyThat(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	first, second, boss := h.token("acme", "ana"), h.token("acme", "ana"), h.token("acme", "boss")
	caller, err := h.authenticate(first, mcp)
	if err != nil {
		t.Fatal(err)
	}
	byID := func(token, tenant string) error {
		req := &identityv1.RevokeRequest{Tenant: tenant, What: &identityv1.RevokeRequest_TokenId{TokenId: caller.GetTokenId()}}
		_, err := h.as(token).Revoke(t.Context(), connect.NewRequest(req))
		return err
	}
	if err := byID(h.token("other", "ana"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.authenticate(first, mcp); err != nil {
		t.Errorf("another tenant's administrator ended it: %v", err)
	}
	if err := byID(boss, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := h.authenticate(first, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("revoked: %v", err)
	}
	if _, err := h.authenticate(second, mcp); err != nil {
		t.Errorf("another one of the same person: %v", err)
	}
	if err := revokePerson(h, "ana"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.authenticate(second, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("the person's: %v", err)
	}
	if _, err := h.authenticate(h.token("acme", "ana"), mcp); err != nil {
		t.Errorf("a new one at once: %v", err)
	}
	if _, err := h.authenticate(boss, mcp); err != nil {
		t.Errorf("another person's: %v", err)
	}
	if ev := h.journal.last("token-revoked"); ev.GetChange().GetKind() != "Person" || ev.GetChange().GetName() != "ana" {
		t.Errorf("recorded: %v", ev)
	}
	if err := revokePerson(h, "nobody"); reason(err) != faultv1.Reason_REASON_NOT_FOUND {
		t.Errorf("nobody: %v", err)
	}
}

func TestAPersonWhoIsGoneOrDisabledIsRefusedForGood(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	ana := "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: ana, tenant: acme}\nspec: {disabled: %}\n"
	raw := h.token("acme", "ana")
	h.mustApply(strings.Replace(ana, "%", "true", 1))
	if _, err := h.authenticate(raw, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("disabled: %v", err)
	}
	req := &identityv1.IssueTokenRequest{Tenant: "acme", Person: "ana"}
	if _, err := h.as(h.admin()).IssueToken(t.Context(), connect.NewRequest(req)); reason(err) != faultv1.Reason_REASON_NOT_FOUND {
		t.Errorf("a token for a disabled person: %v", err)
	}
	h.mustApply(strings.Replace(ana, "%", "false", 1))
	if _, err := h.authenticate(raw, mcp); err == nil {
		t.Error("an old token came back with its person")
	}
	raw = h.token("acme", "ana")
	if _, err := h.authenticate(raw, mcp); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(&identityv1.DeleteRequest{Kind: "Person", Name: "ana", Tenant: "acme"})); err != nil {
		t.Fatal(err)
	}
	h.mustApply(strings.Replace(ana, "%", "false", 1))
	if _, err := h.authenticate(raw, mcp); err == nil {
		t.Error("a token opened the account of a namesake")
	}
}

func TestATokensAgentMustBeDeclaredAndEnabled(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	withAgent := func(r *identityv1.IssueTokenRequest) { r.Agent = "helper" }
	raw := h.token("acme", "ana", withAgent)
	req := &identityv1.IssueTokenRequest{Tenant: "acme", Person: "ana", Agent: "stranger"}
	if _, err := h.as(h.admin()).IssueToken(t.Context(), connect.NewRequest(req)); reason(err) != faultv1.Reason_REASON_NOT_FOUND {
		t.Errorf("an agent that is not declared: %v", err)
	}
	h.mustApply("apiVersion: headgate/v1\nkind: Agent\nmetadata: {name: helper, tenant: acme}\nspec: {disabled: true}\n")
	if _, err := h.authenticate(raw, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("disabled: %v", err)
	}
	if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(&identityv1.DeleteRequest{Kind: "Agent", Name: "helper", Tenant: "acme"})); err != nil {
		t.Fatal(err)
	}
	if _, err := h.authenticate(raw, mcp); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("gone: %v", err)
	}
}

func TestTokensAreIssuedForOthersOnlyWhereThatIsOn(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	boss := h.token("acme", "boss")
	h.stop()
	h.cfg.AllowIssue = false
	h.open()
	_, err := h.as(boss).IssueToken(t.Context(), connect.NewRequest(&identityv1.IssueTokenRequest{Person: "ana"}))
	if reason(err) != faultv1.Reason_REASON_METHOD || !strings.Contains(err.Error(), "allowIssue") {
		t.Errorf("got %v", err)
	}
}

func TestTokensOfAnOldKeyHoldUntilTheyExpire(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	old := h.token("acme", "ana")
	before := h.keySet().Keys[0].KeyID
	res, err := h.as(h.admin()).Rotate(t.Context(), connect.NewRequest(&identityv1.RotateRequest{}))
	if err != nil || res.Msg.GetKeyId() == before {
		t.Fatalf("%v, %v", res, err)
	}
	if set := h.keySet(); len(set.Keys) != 2 || len(set.Key(before)) != 1 || len(set.Key(res.Msg.GetKeyId())) != 1 {
		t.Errorf("published: %v", set)
	}
	fresh := h.token("acme", "ana")
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(fresh, ".")[0])
	if err != nil || !strings.Contains(string(header), res.Msg.GetKeyId()) {
		t.Errorf("signed with the old key: %s", header)
	}
	for name, raw := range map[string]string{"old": old, "new": fresh} {
		if _, err := h.authenticate(raw, mcp); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ev := h.journal.last("key-rotated"); ev.GetChange().GetName() != res.Msg.GetKeyId() {
		t.Errorf("recorded: %v", ev)
	}
	h.stop()
	h.clock.advance(25 * time.Hour)
	h.open()
	if set := h.keySet(); len(set.Keys) != 1 || set.Keys[0].KeyID != res.Msg.GetKeyId() {
		t.Errorf("a day later: %v", set)
	}
	boss := h.as(h.token("acme", "boss"))
	if _, err := boss.Rotate(t.Context(), connect.NewRequest(&identityv1.RotateRequest{})); reason(err) != faultv1.Reason_REASON_ROLE_REQUIRED {
		t.Errorf("a tenant's administrator rotated: %v", err)
	}
}
