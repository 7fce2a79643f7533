package edge_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/token"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/edge"
)

func TestT11OnlyTokensForThisEndpointPass(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.person("off", func(s *identityv1.PersonSpec) { s.Disabled = true })
	w.grant("person/off", "echo", "*", "call")
	h := start(t, w, nil)
	other := newWorld(t)
	unsigned := func() string {
		parts := strings.Split(h.tokenFor("ana", h.base+"/mcp", nil), ".")
		return "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + "."
	}
	hmacked := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(strings.Repeat("k", 32))}, (&jose.SignerOptions{}).WithType("at+jwt"))
		must(t, err)
		signed, err := signer.Sign([]byte(`{"iss":"` + issuer + `","sub":"acme/ana","tenant":"acme","jti":"x","aud":["` + h.base + `/mcp"],"iat":1,"exp":9999999999}`))
		must(t, err)
		text, err := signed.CompactSerialize()
		must(t, err)
		return text
	}
	cases := map[string]string{
		"none":             "",
		"garbage":          "abc",
		"another audience": h.tokenFor("ana", "https://elsewhere.example/mcp", nil),
		"the host alone":   h.tokenFor("ana", "https://"+strings.TrimPrefix(h.base, "http://")+"/mcp", nil),
		"another server":   h.tokenFor("ana", h.base+"/mcp/other", nil),
		"a longer name":    h.tokenFor("ana", h.base+"/mcp/ech", nil),
		"another issuer":   h.tokenFor("ana", h.base+"/mcp", func(c *token.Claims) { c.Issuer = "http://evil.test" }),
		"expired":          h.tokenFor("ana", h.base+"/mcp", func(c *token.Claims) { c.Expires = time.Now().Add(-time.Second) }),
		"another key":      other.tokenFor("ana", h.base+"/mcp", nil),
		"no algorithm":     unsigned(),
		"a shared key":     hmacked(),
		"unknown person":   h.tokenFor("ghost", h.base+"/mcp", nil),
		"disabled person":  h.tokenFor("off", h.base+"/mcp", nil),
		"another tenant":   h.tokenFor("ana", h.base+"/mcp", func(c *token.Claims) { c.Tenant = "globex" }),
	}
	for name, bad := range cases {
		t.Run(name, func(t *testing.T) {
			c := &client{h: h, token: bad, path: "/mcp/echo", modern: true}
			r := c.call("echo", `{}`)
			challenge := r.header.Get("WWW-Authenticate")
			if r.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer resource_metadata="`+h.base+`/.well-known/oauth-protected-resource/mcp/echo"`) {
				t.Fatalf("%d %q %s", r.status, challenge, r.body)
			}
			if (bad != "") != strings.Contains(challenge, `error="invalid_token"`) {
				t.Errorf("%q", challenge)
			}
			if bad != "" && strings.Contains(string(r.body)+challenge, bad) {
				t.Error("the token came back")
			}
		})
	}
	if len(u.everything()) != 0 {
		t.Error("the upstream heard of it")
	}
	h.find("refused request", func(ev *eventsv1.Event) bool {
		return ev.GetAction() == "request" && ev.GetRequest().GetHttpStatus() == 401 && ev.GetDecision().GetReason() == faultv1.Reason_REASON_UNAUTHENTICATED
	})
}

func TestARevokedTokenStopsWithinASecond(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	id := ""
	c := &client{h: h, path: "/mcp/echo", modern: true, token: h.tokenFor("ana", h.base+"/mcp", func(c *token.Claims) { id = c.ID })}
	if r := c.call("echo", `{}`); r.status != 200 {
		t.Fatalf("%s", r.body)
	}
	h.revoke(&identityv1.Revocation{Tenant: acme, TokenId: id})
	eventually(t, time.Second, "the token ends", func() bool { return c.call("echo", `{}`).status == 401 })
	d := h.client("ana", "/mcp/echo", true)
	d.call("echo", `{}`)
	h.revoke(&identityv1.Revocation{Tenant: acme, Person: "ana", Before: timestamppb.Now()})
	eventually(t, time.Second, "all of the person's end", func() bool { return d.call("echo", `{}`).status == 401 })
	e := h.client("bob", "/mcp/echo", true)
	h.person("bob", func(s *identityv1.PersonSpec) { s.Disabled = true })
	eventually(t, time.Second, "a disabled person is out", func() bool { return e.send("tools/list", "").status == 401 })
}

func TestT15ForeignHostAndOriginAreRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), func(c *edge.Config) { c.AllowedOrigins = []string{"https://console.example"} })
	ana := h.client("ana", "/mcp/echo", true)
	port := h.base[strings.LastIndex(h.base, ":"):]
	for _, c := range []struct {
		host    string
		origins []string
		status  int
	}{
		{"", nil, 200}, {"localhost" + port, nil, 200}, {"", []string{h.base}, 200}, {"", []string{"https://console.example"}, 200},
		{"evil.example", nil, 403}, {"127.0.0.1", nil, 403}, {"evil.example" + port, nil, 403},
		{"", []string{"https://evil.example"}, 403}, {"", []string{"null"}, 403}, {"", []string{h.base, h.base}, 403}, {"", []string{h.base + ".evil.example"}, 403},
	} {
		body, _ := ana.body("tools/list", "")
		q, err := http.NewRequest(http.MethodPost, h.base+"/mcp/echo", strings.NewReader(body))
		must(t, err)
		q.Header = ana.header("tools/list", "")
		q.Header["Origin"] = c.origins
		if c.host != "" {
			q.Host = c.host
		}
		res, err := h.http.Do(q)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, err)
		must(t, res.Body.Close())
		if res.StatusCode != c.status {
			t.Errorf("%+v: %d", c, res.StatusCode)
		}
	}
}

func TestHTTPRefusals(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), func(c *edge.Config) { c.MaxBody = 4096 })
	ana := h.client("ana", "/mcp/echo", true)
	body, _ := ana.body("tools/list", "")
	with := func(name, value string) http.Header {
		header := ana.header("tools/list", "")
		header.Set(name, value)
		return header
	}
	for name, c := range map[string]struct {
		body   string
		header http.Header
		status int
		reason string
	}{
		"another type":   {body, with("Content-Type", "text/plain"), 415, "invalid"},
		"another set":    {body, with("Content-Type", "application/json; charset=latin1"), 415, "invalid"},
		"utf-8 is fine":  {body, with("Content-Type", "application/json; charset=utf-8"), 200, ""},
		"accepts html":   {body, with("Accept", "text/html"), 406, "invalid"},
		"refuses json":   {body, with("Accept", "application/json;q=0, text/event-stream"), 406, "invalid"},
		"a zipped body":  {body, with("Content-Encoding", "gzip"), 415, "invalid"},
		"not encoded":    {body, with("Content-Encoding", "identity"), 200, ""},
		"only a stream":  {body, with("Accept", "text/event-stream"), 406, "invalid"},
		"accepts all":    {body, with("Accept", "*/*"), 200, ""},
		"a large body":   {strings.Repeat(" ", 5000) + body, ana.header("tools/list", ""), 413, "too-large"},
		"a foreign sess": {body, with("Mcp-Session-Id", "x"), 200, ""}, // ignored on 2026-07-28
	} {
		r := ana.post(c.body, c.header)
		if r.status != c.status {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if got, _ := mcp.Text(r.body, "error", "data", "reason"); got != c.reason {
			t.Errorf("%s: reason %q in %s", name, got, r.body)
		}
	}
	for _, verb := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		q, err := http.NewRequest(verb, h.base+"/mcp/echo", nil)
		must(t, err)
		q.Header = ana.header("", "")
		res, err := h.http.Do(q)
		must(t, err)
		must(t, res.Body.Close())
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %d", verb, res.StatusCode)
		}
	}
}

func TestRateLimit(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), func(c *edge.Config) { c.RatePerSecond, c.Burst = 0.1, 2 })
	ana, bob := h.client("ana", "/mcp/echo", true), h.client("bob", "/mcp/echo", true)
	for i, want := range []int{200, 200, 429} {
		if r := ana.send("tools/list", ""); r.status != want || (want == 429) != (r.header.Get("Retry-After") != "") {
			t.Errorf("%d: %d %s", i, r.status, r.body)
		}
	}
	if r := bob.send("tools/list", ""); r.status != 200 {
		t.Error("ana's calls count for bob")
	}
}

func TestT14SessionsAreBoundToTheirCaller(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.grant("person/bob", "echo", "*", "call")
	h := start(t, w, nil)
	ana, bob := h.client("ana", "/mcp/echo", false), h.client("bob", "/mcp/echo", false)
	mine := bob.session
	for _, foreign := range []string{ana.session, mine[:len(mine)-2] + "AA", "x", "x.y"} {
		bob.session = foreign
		if r := bob.call("echo", `{}`); r.status != http.StatusNotFound {
			t.Errorf("%q: %d %s", foreign, r.status, r.body)
		}
	}
	bob.session = ""
	if r := bob.call("echo", `{}`); r.status != 200 || r.refused() {
		t.Errorf("no session: %d %s", r.status, r.body)
	}
	bob.session = mine
	q, err := http.NewRequest(http.MethodDelete, h.base+"/mcp/echo", nil)
	must(t, err)
	q.Header = bob.header("", "")
	res, err := h.http.Do(q)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %d", res.StatusCode)
	}
	if r := bob.call("echo", `{}`); r.status != http.StatusNotFound {
		t.Errorf("an ended session: %d", r.status)
	}
}

func TestT19BrokenMessagesAreRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", false)
	ana.call("echo", `{}`)
	before := len(u.called())
	for name, body := range map[string]string{
		"empty":            ``,
		"not json":         `{`,
		"two values":       `{"jsonrpc":"2.0","id":1,"method":"ping"}{}`,
		"a batch":          `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
		"duplicate method": `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"echo"}}`,
		"duplicate deep":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"a","text":"b"}}}`,
		"another case":     `{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"echo"}}`,
		"folded":           `{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{"name":"echo"}}`,
		"bad utf-8":        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"\xff\"}}}",
		"lone surrogate":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"\ud800"}}}`,
		"null id":          `{"jsonrpc":"2.0","id":null,"method":"ping"}`,
		"fraction id":      `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
		"version 1":        `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		"params array":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["echo"]}`,
		"arguments array":  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[]}}`,
		"a response":       `{"jsonrpc":"2.0","id":1,"result":{}}`,
		"too deep":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":` + strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100) + `}}`,
	} {
		r := ana.post(body, ana.header("", ""))
		if r.status != 400 || mcp.Get(r.body, "error", "code") == nil {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if len(u.called()) != before {
		t.Error("the upstream was called")
	}
}

func TestT20HeadersMustSayWhatTheBodySays(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	for name, change := range map[string]func(http.Header){
		"another method": func(hd http.Header) { hd.Set("Mcp-Method", "tools/list") },
		"no method":      func(hd http.Header) { hd.Del("Mcp-Method") },
		"two methods":    func(hd http.Header) { hd.Add("Mcp-Method", "tools/call") },
		"another name":   func(hd http.Header) { hd.Set("Mcp-Name", "other") },
		"another case":   func(hd http.Header) { hd.Set("Mcp-Name", "Echo") },
		"no name":        func(hd http.Header) { hd.Del("Mcp-Name") },
		"no version":     func(hd http.Header) { hd.Del("Mcp-Protocol-Version") },
	} {
		body, id := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
		header := ana.header("tools/call", "echo")
		change(header)
		r := ana.post(body, header)
		if r.status != 400 || string(mcp.Get(r.body, "error", "code")) != "-32020" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if ev := h.final(id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_HEADER_MISMATCH {
			t.Errorf("%s: %v", name, ev.GetDecision())
		}
	}
	if len(u.called()) != 0 {
		t.Error("the upstream was called")
	}
}

func TestProtectedResourceMetadataNamesTheIssuer(t *testing.T) {
	h := start(t, support(t, newUpstream(t, echoTool)), nil)
	for path, resource := range map[string]string{"": "/mcp", "/mcp": "/mcp", "/mcp/echo": "/mcp/echo", "/mcp/nowhere": "/mcp/nowhere"} {
		res, err := h.http.Get(h.base + "/.well-known/oauth-protected-resource" + path)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		must(t, res.Body.Close())
		got, _ := mcp.Text(body, "resource")
		if res.StatusCode != 200 || got != h.base+resource || string(mcp.Get(body, "authorization_servers")) != `["`+issuer+`"]` {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/": 404, "/mcp/": 404, "/mcp/a/b": 404, "/mcp/UP": 404} {
		res, err := h.http.Get(h.base + path)
		must(t, err)
		must(t, res.Body.Close())
		if res.StatusCode != want {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

func TestProbesSayWhatIsMissing(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ask := func(path string) (int, string) {
		res, err := h.http.Get(h.base + path)
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(body)
	}
	for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n"} {
		if status, body := ask(path); status != 200 || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if status, body := ask("/readyz?verbose"); status != 200 || body != "ok\n" {
		t.Errorf("whoever reaches the endpoint is told: %d %q", status, body)
	}
	inside := func() string { return strings.Join(h.edge.Describe(), "\n") }
	for _, name := range []string{"identity: fresh", "authz: fresh", "trust: fresh"} {
		if !strings.Contains(inside(), name) {
			t.Errorf("%q lacks %s", inside(), name)
		}
	}
	h.silence("trust")
	eventually(t, 15*time.Second, "the silence is seen", func() bool {
		status, body := ask("/readyz?verbose")
		for _, name := range []string{"identity", "authz", "trust", "credentials", "audit"} {
			if strings.Contains(body, name) {
				t.Fatalf("whoever reaches the endpoint is told: %q", body)
			}
		}
		return status == 503 && strings.Contains(body, "not ready") && strings.Contains(inside(), "trust: stale")
	})
}
