package identity_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

func TestAPersonSignsInWithCodeAndPKCEAndTheTokenIsGoodForItsAudience(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t, oidc.ScopeOpenID, "profile", "email")
	back := h.browser().signIn(app.address(resourceOf(mcp+"/echo")...), "acme/ana")
	if back.left == nil || !strings.HasPrefix(back.left.String(), callback) {
		t.Fatalf("the browser was not sent back: %d %v %s", back.status, back.left, back.body)
	}
	query := back.left.Query()
	if query.Get("state") != "state-1" || query.Get("iss") != h.url || query.Get("code") == "" {
		t.Fatalf("came back with %v", query)
	}
	got, err := app.config.Exchange(t.Context(), query.Get("code"), oauth2.VerifierOption(app.verifier))
	if err != nil {
		t.Fatal(err)
	}
	caller, err := h.authenticate(got.AccessToken, mcp+"/echo")
	if err != nil || caller.GetName() != "ana" || caller.GetTenant() != "acme" || caller.GetClientId() != "cli" {
		t.Errorf("caller %v, %v", caller, err)
	}
	for _, audience := range []string{mcp, mcp + "/other", api, ""} {
		if _, err := h.authenticate(got.AccessToken, audience); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
			t.Errorf("good for %q: %v", audience, err)
		}
	}
	raw, _ := got.Extra("id_token").(string)
	id, err := app.provider.Verifier(&oidc.Config{ClientID: "cli", SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), raw)
	if err != nil || id.Subject != "acme/ana" || id.Nonce != "nonce-1" || id.VerifyAccessToken(got.AccessToken) != nil {
		t.Errorf("ID token %v, %v", id, err)
	}
	if _, err := h.authenticate(raw, ""); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED || !strings.Contains(err.Error(), "another type") {
		t.Errorf("an ID token opened the API: %v", err)
	}
	info, err := app.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(got))
	if err != nil || info.Subject != "acme/ana" || info.Email != "ana@acme.example" {
		t.Errorf("userinfo %v, %v", info, err)
	}
	if ev := h.journal.last("sign-in"); ev.GetSource().GetIp() != "127.0.0.1" || ev.GetSource().GetUserAgent() == "" || ev.GetPrincipal().GetPerson() != "ana" || ev.GetPrincipal().GetClientId() != "cli" || ev.GetTenant() != "acme" ||
		ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
		t.Errorf("recorded: %v", ev)
	}
	if ev := h.journal.last("token-issued"); ev.GetPrincipal().GetPerson() != "ana" || !strings.Contains(ev.GetChange().GetReason(), "at client cli") {
		t.Errorf("recorded: %v", ev)
	}
}

func TestWithoutAResourceATokenIsGoodForTheMCPEndpointsAndTheAPI(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t) // and without a scope
	back := h.browser().signIn(app.address(), "acme/boss")
	got, err := app.config.Exchange(t.Context(), back.left.Query().Get("code"), oauth2.VerifierOption(app.verifier))
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{mcp, mcp + "/echo", api, ""} {
		if _, err := h.authenticate(got.AccessToken, audience); err != nil {
			t.Errorf("not good for %q: %v", audience, err)
		}
	}
	who, err := h.as(got.AccessToken).WhoAmI(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil || who.Msg.GetCaller().GetName() != "boss" {
		t.Errorf("who am I: %v, %v", who, err)
	}
}

func TestAClientOfAnAgentGetsTokensThatNameIt(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t)
	app.config.ClientID, app.config.RedirectURL = "assistant", "https://assistant.example/callback?x=y"
	back := h.browser().signIn(app.address(), "acme/ana")
	if q := back.left.Query(); q.Get("x") != "y" || q.Get("code") == "" {
		t.Fatalf("came back with %v", back.left)
	}
	got, err := app.config.Exchange(t.Context(), back.left.Query().Get("code"), oauth2.VerifierOption(app.verifier))
	if err != nil {
		t.Fatal(err)
	}
	if caller, err := h.authenticate(got.AccessToken, mcp); err != nil || caller.GetAgent() != "helper" {
		t.Errorf("caller %v, %v", caller, err)
	}
}

func TestTheIssuerDescribesWhatItServes(t *testing.T) {
	h := start(t, nil)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		var m struct {
			Issuer     string   `json:"issuer"`
			Authorize  string   `json:"authorization_endpoint"`
			Token      string   `json:"token_endpoint"`
			Revocation string   `json:"revocation_endpoint"`
			Keys       string   `json:"jwks_uri"`
			Challenges []string `json:"code_challenge_methods_supported"`
			Iss        bool     `json:"authorization_response_iss_parameter_supported"`
			Algorithms []string `json:"id_token_signing_alg_values_supported"`
		}
		res := h.get(path, &m)
		if m.Issuer != h.url || m.Authorize != h.url+"/oauth2/authorize" || m.Token != h.url+"/oauth2/token" || m.Revocation != h.url+"/oauth2/revoke" ||
			m.Keys != h.url+"/oauth2/keys" || !slices.Equal(m.Challenges, []string{"S256"}) || !m.Iss || !slices.Equal(m.Algorithms, []string{"ES256"}) {
			t.Errorf("%s: %+v", path, m)
		}
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %d %s", path, res.StatusCode, res.Header.Get("Content-Type"))
		}
	}
}

// with changes one parameter of an authorization address.
func with(address, name string, values ...string) string {
	u, _ := url.Parse(address)
	q := u.Query()
	q.Del(name)
	for _, v := range values {
		q.Add(name, v)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestABadAuthorizationRequestIsRefused(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t, "openid")
	good := app.address()
	shown := map[string]string{ // nothing is sent to an address that is not surely the client's
		"unknown client":             with(good, "client_id", "stranger"),
		"no client":                  with(good, "client_id"),
		"no redirect":                with(good, "redirect_uri"),
		"foreign redirect":           with(good, "redirect_uri", "https://evil.example/callback"),
		"redirect with another path": with(good, "redirect_uri", "http://127.0.0.1/other"),
		"redirect with user":         with(good, "redirect_uri", "http://evil.example@127.0.0.1/callback"),
		"redirect with escapes":      with(good, "redirect_uri", "http://evil.example%40127.0.0.1/callback"),
		"redirect with fragment":     with(good, "redirect_uri", callback+"#x"),
		"redirect twice":             with(good, "redirect_uri", callback, callback),
		"state twice":                with(good, "state", "a", "b"),
		"response type token":        with(good, "response_type", "token"),
		"response type id_token":     with(good, "response_type", "id_token"),
		"no response type":           with(good, "response_type"),
		"request object":             with(good, "request", "e30.e30."),
		"request by address":         with(good, "request_uri", "https://evil.example/request"),
	}
	for name, address := range shown {
		if a := h.browser().open(address); a.status != http.StatusBadRequest || a.left != nil {
			t.Errorf("%s: %d %v %s", name, a.status, a.left, a.body)
		}
	}
	told := map[string][2]string{
		"no challenge":            {with(good, "code_challenge"), "invalid_request"},
		"plain challenge":         {with(good, "code_challenge_method", "plain"), "invalid_request"},
		"no method":               {with(good, "code_challenge_method"), "invalid_request"},
		"short challenge":         {with(good, "code_challenge", "abc"), "invalid_request"},
		"fragment":                {with(good, "response_mode", "fragment"), "invalid_request"},
		"form post":               {with(good, "response_mode", "form_post"), "invalid_request"},
		"prompt none":             {with(good, "prompt", "none"), "login_required"},
		"foreign resource":        {with(good, "resource", "https://evil.example/mcp"), "invalid_target"},
		"one foreign resource":    {with(good, "resource", mcp, "https://evil.example/mcp"), "invalid_target"},
		"resource above what is":  {with(good, "resource", "http://127.0.0.1:9"), "invalid_target"},
		"resource with a query":   {with(good, "resource", mcp+"?a=b"), "invalid_target"},
		"resource that is no URL": {with(good, "resource", "mcp"), "invalid_target"},
	}
	for name, test := range told {
		a := h.browser().open(test[0])
		if a.left == nil || !strings.HasPrefix(a.left.String(), callback) {
			t.Errorf("%s: %d %v %s", name, a.status, a.left, a.body)
			continue
		}
		if q := a.left.Query(); q.Get("error") != test[1] || q.Get("iss") != h.url || q.Get("state") != "state-1" ||
			q.Get("code") != "" || q.Get("error_description") == "" {
			t.Errorf("%s: %v", name, q)
		}
	}
}

func TestACodeIsGoodOnceForItsClientAndVerifier(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t, "openid")
	code := func() string {
		return h.browser().signIn(app.address(resourceOf(mcp+"/echo")...), "acme/ana").left.Query().Get("code")
	}
	form := func(code string) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "client_id": {"cli"}, "code_verifier": {app.verifier}}
	}
	tests := map[string]struct {
		change func(url.Values)
		want   string
	}{
		"another verifier":   {func(f url.Values) { f.Set("code_verifier", oauth2.GenerateVerifier()) }, "invalid_grant"},
		"no verifier":        {func(f url.Values) { f.Del("code_verifier") }, "invalid_grant"},
		"another client":     {func(f url.Values) { f.Set("client_id", "assistant") }, "invalid_grant"},
		"unknown client":     {func(f url.Values) { f.Set("client_id", "stranger") }, "invalid_client"},
		"a secret":           {func(f url.Values) { f.Set("client_secret", "x") }, "invalid_client"},
		"another redirect":   {func(f url.Values) { f.Set("redirect_uri", "http://127.0.0.1/callback") }, "invalid_grant"},
		"another code":       {func(f url.Values) { f.Set("code", "x") }, "invalid_grant"},
		"another grant":      {func(f url.Values) { f.Set("grant_type", "password") }, "unsupported_grant_type"},
		"client credentials": {func(f url.Values) { f.Set("grant_type", "client_credentials") }, ""},
		"refresh token":      {func(f url.Values) { f.Set("grant_type", "refresh_token") }, ""},
		"a foreign resource": {func(f url.Values) { f.Set("resource", "https://evil.example") }, "invalid_target"},
		"a wider resource":   {func(f url.Values) { f.Set("resource", mcp) }, "invalid_target"},
		"another resource":   {func(f url.Values) { f.Set("resource", api) }, "invalid_target"},
		"the code twice":     {func(f url.Values) { f.Add("code", "x") }, "invalid_request"},
	}
	for name, test := range tests {
		f := form(code())
		test.change(f)
		a := h.browser().post("/oauth2/token", f)
		if a.status < 400 || a.status >= 500 || strings.Contains(a.body, "access_token") || !strings.Contains(a.body, test.want) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	late := code()
	h.advance(61 * time.Second)
	if a := h.browser().post("/oauth2/token", form(late)); a.status != http.StatusBadRequest {
		t.Errorf("a late code: %d %s", a.status, a.body)
	}
	once := form(code())
	if a := h.browser().post("/oauth2/token?"+once.Encode(), nil); a.status != http.StatusBadRequest {
		t.Errorf("a code in the URL: %d %s", a.status, a.body)
	}
	if a := h.browser().open(h.url + "/oauth2/token?" + once.Encode()); a.status != http.StatusMethodNotAllowed {
		t.Errorf("a code by GET: %d %s", a.status, a.body)
	}
	a := h.browser().post("/oauth2/token", once)
	var got struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.TokenType != "Bearer" || got.ExpiresIn != 3600 ||
		a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	if _, err := h.authenticate(got.AccessToken, mcp+"/echo"); err != nil {
		t.Fatal(err)
	}
	if a := h.browser().post("/oauth2/token", once); a.status != http.StatusBadRequest || !strings.Contains(a.body, "invalid_grant") {
		t.Errorf("a second time: %d %s", a.status, a.body)
	}
	if _, err := h.authenticate(got.AccessToken, mcp+"/echo"); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("the token of a stolen code holds: %v", err)
	}
}

func TestASignInIsFinishedByTheBrowserThatBeganIt(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t, "openid")
	attacker, victim := h.browser(), h.browser()
	page := attacker.open(app.address())
	id := requestField.FindStringSubmatch(page.body)[1]
	if page.header.Get("X-Frame-Options") != "DENY" || !strings.Contains(page.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
		page.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", page.header)
	}
	if strings.Contains(page.body, "system") || !strings.Contains(page.body, "Command line") || !strings.Contains(page.body, "http://127.0.0.1:7777") {
		t.Errorf("page\n%s", page.body)
	}
	if a := victim.open(h.url + "/oauth2/login?request=" + id); a.status != http.StatusForbidden {
		t.Errorf("another browser saw the page: %d", a.status)
	}
	if a := victim.post("/oauth2/login", url.Values{"request": {id}, "person": {"acme/ana"}}); a.status != http.StatusForbidden {
		t.Errorf("another browser finished it: %d %v", a.status, a.left)
	}
	for _, person := range []string{"system/admin", "acme/nobody", "ana", ""} {
		if a := attacker.post("/oauth2/login", url.Values{"request": {id}, "person": {person}}); a.status != http.StatusForbidden {
			t.Errorf("signed in as %q: %d %v", person, a.status, a.left)
		}
		if ev := h.journal.last("sign-in"); ev.GetTenant() != "system" || ev.GetSource().GetIp() != "127.0.0.1" || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetEffect() != "block" {
			t.Errorf("%q was refused and recorded as %v", person, ev)
		}
	}
	h.mustApply("apiVersion: headgate/v1\nkind: Person\nmetadata: {name: gone, tenant: acme}\nspec: {disabled: true}\n")
	attacker.post("/oauth2/login", url.Values{"request": {id}, "person": {"acme/gone"}})
	if ev := h.journal.last("sign-in"); ev.GetTenant() != "acme" || ev.GetPrincipal().GetPerson() != "gone" || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
		t.Errorf("a disabled person was refused and recorded as %v", ev)
	}
	if a := attacker.post("/oauth2/login", url.Values{"request": {id}, "person": {"acme/ana"}}); a.left == nil {
		t.Errorf("not finished: %d %s", a.status, a.body)
	}
	if a := attacker.post("/oauth2/login", url.Values{"request": {id}, "person": {"acme/boss"}}); a.status != http.StatusBadRequest {
		t.Errorf("finished twice: %d %v", a.status, a.left)
	}
	stale := requestField.FindStringSubmatch(attacker.open(app.address()).body)[1]
	h.advance(11 * time.Minute)
	if a := attacker.post("/oauth2/login", url.Values{"request": {stale}, "person": {"acme/ana"}}); a.status != http.StatusBadRequest {
		t.Errorf("finished late: %d %v", a.status, a.left)
	}
}

func TestWithoutDemoLoginNobodySignsInHere(t *testing.T) {
	h := start(t, func(cfg *configuration) { cfg.DemoLogin = false })
	app := h.application(t, "openid")
	if a := h.browser().open(app.address()); a.left == nil || a.left.Query().Get("error") != "access_denied" {
		t.Errorf("%d %v", a.status, a.left)
	}
	if a := h.browser().open(h.url + "/oauth2/login?request=x"); a.status != http.StatusNotFound {
		t.Errorf("%d", a.status)
	}
}

func TestAClientRevokesItsOwnTokenAlone(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	app := h.application(t, "openid")
	got, err := app.config.Exchange(t.Context(), h.browser().signIn(app.address(), "acme/ana").left.Query().Get("code"), oauth2.VerifierOption(app.verifier))
	if err != nil {
		t.Fatal(err)
	}
	revoke := func(client, token string) answer {
		return h.browser().post("/oauth2/revoke", url.Values{"token": {token}, "client_id": {client}})
	}
	if a := revoke("assistant", got.AccessToken); a.status != http.StatusBadRequest {
		t.Errorf("another client: %d %s", a.status, a.body)
	}
	if _, err := h.authenticate(got.AccessToken, ""); err != nil {
		t.Errorf("another client ended it: %v", err)
	}
	for _, raw := range []string{got.AccessToken, got.AccessToken, "nonsense"} {
		if a := revoke("cli", raw); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if _, err := h.authenticate(got.AccessToken, ""); reason(err) != faultv1.Reason_REASON_UNAUTHENTICATED {
		t.Errorf("it holds: %v", err)
	}
	if ev := h.journal.last("token-revoked"); ev.GetPrincipal().GetPerson() != "ana" || ev.GetChange().GetReason() != "by the client" {
		t.Errorf("recorded: %v", ev)
	}
}

func TestForeignPagesMayAskButNotWithCookies(t *testing.T) {
	h := start(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, h.url+"/oauth2/token", nil)
	if err == nil {
		req.Header.Set("Origin", "https://inspector.example")
		req.Header.Set("Access-Control-Request-Method", "POST")
	}
	a := h.browser().do(req, err)
	if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := h.browser().post("/oauth2/token", url.Values{"x": {strings.Repeat("x", 1<<20)}}); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", a.status)
	}
	for path, want := range map[string]int{"/oauth2/nothing": http.StatusNotFound, "/oauth2/introspect": http.StatusNotFound, "/oauth2/": http.StatusNotFound} {
		if a := h.browser().open(h.url + path); a.status != want {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
