package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// metaOf is what the newest revision wants in each request's params.
func metaOf(modern bool) string {
	if modern {
		return "," + modernMeta
	}
	return ""
}

func brokenMessages(t *testing.T, s *scene) {
	callOf := func(arguments string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":` + arguments + `}}`
	}
	before := len(s.up.Calls())
	c := s.Client("ana", "echo", false)
	for name, body := range map[string]string{
		"nothing":                       ``,
		"not JSON":                      `{`,
		"a key twice":                   `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}`,
		"a key twice deep inside":       callOf(`{"a":{"b":[{"c":1,"c":2}]}}`),
		"a key twice by escape":         callOf(`{"n":1,"\u006e":2}`),
		"wrong case":                    `{"jsonrpc":"2.0","id":1,"Method":"tools/list"}`,
		"long s":                        `{"jsonrpc":"2.0","id":1,"method":"tools/list","param\u017f":{}}`,
		"two messages":                  `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`,
		"a batch":                       `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
		"no version":                    `{"id":1,"method":"ping"}`,
		"version 1":                     `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		"invalid UTF-8":                 callOf("{\"text\":\"\xff\xfe\"}"),
		"a lone surrogate":              callOf(`{"text":"\ud800"}`),
		"a byte order mark":             "\ufeff" + `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		"a null id":                     `{"jsonrpc":"2.0","id":null,"method":"tools/list"}`,
		"an id that is an object":       `{"jsonrpc":"2.0","id":{},"method":"tools/list"}`,
		"params that are an array":      `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[1]}`,
		"arguments that are not object": callOf(`[1]`),
		"depth 1000":                    callOf(`{"a":` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `}`),
		"10 MB":                         callOf(`{"text":"` + strings.Repeat("a", 10<<20) + `"}`),
	} {
		answer := c.Raw([]byte(body), c.Headers("tools/call", "echo"))
		wantStatus := http.StatusBadRequest
		if name == "10 MB" {
			wantStatus = http.StatusRequestEntityTooLarge
		}
		if answer.Err != nil || answer.Status != wantStatus || len(answer.Text()) < 10 {
			t.Errorf("%s: %d %v %.200s", name, answer.Status, answer.Err, answer.Body)
		}
	}
	if len(s.up.Calls()) != before {
		t.Error("the server executed a broken message")
	}
	exact := c.Raw([]byte(callOf(`{ "text" : "1", "n":  9007199254740993 }`)), c.Headers("tools/call", "echo"))
	s.sent++
	if exact.Reply.Result == nil || !exact.Reply.Result.IsError {
		t.Errorf("a number over ten passed the rule: %s", exact.Body)
	}
	big := c.Raw([]byte(callOf(`{"text":"\u00e9\/","n":-9007199254740993}`)), c.Headers("tools/call", "echo"))
	s.sent++
	executed := s.up.Calls()
	if !big.OK() || string(executed[len(executed)-1].Args) != `{"text":"\u00e9\/","n":-9007199254740993}` {
		t.Errorf("the bytes changed on the way: %s", executed[len(executed)-1].Args)
	}
}

func headersDiffer(t *testing.T, s *scene) {
	before := len(s.up.Calls())
	c := s.Client("ana", "echo", true)
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},` + modernMeta + `}}`)
	for name, change := range map[string]func(http.Header){
		"another method": func(h http.Header) { h.Set("Mcp-Method", "tools/list") },
		"another name":   func(h http.Header) { h.Set("Mcp-Name", "safe") },
		"another name, base64": func(h http.Header) {
			h.Set("Mcp-Name", "=?base64?"+base64.StdEncoding.EncodeToString([]byte("safe"))+"?=")
		},
		"no method":       func(h http.Header) { h.Del("Mcp-Method") },
		"no name":         func(h http.Header) { h.Del("Mcp-Name") },
		"two names":       func(h http.Header) { h["Mcp-Name"] = []string{"echo", "safe"} },
		"another version": func(h http.Header) { h.Set("Mcp-Protocol-Version", "2025-11-25") },
	} {
		h := c.Headers("tools/call", "echo")
		change(h)
		answer := c.Raw(body, h)
		if answer.Status != http.StatusBadRequest || answer.Reply.Error == nil || answer.Reply.Error.Code != -32020 {
			t.Errorf("%s: %d %s", name, answer.Status, answer.Body)
		}
	}
	h := c.Headers("tools/call", "echo")
	h.Set("Mcp-Protocol-Version", "2099-01-01")
	future := c.Raw([]byte(strings.ReplaceAll(string(body), "2026-07-28", "2099-01-01")), h)
	if future.Status != http.StatusBadRequest || future.Reply.Error == nil || future.Reply.Error.Code != -32022 {
		t.Errorf("an unknown revision: %d %s", future.Status, future.Body)
	}
	if len(s.up.Calls()) != before {
		t.Error("the server executed a call whose headers differ")
	}
	h = c.Headers("tools/call", "echo")
	h.Set("Mcp-Name", "=?base64?"+base64.StdEncoding.EncodeToString([]byte("echo"))+"?=")
	s.sent++
	if answer := c.Raw(body, h); !answer.OK() {
		t.Errorf("the right name in base64: %d %s", answer.Status, answer.Body)
	}
}

func badTokens(t *testing.T, s *scene) {
	before := len(s.up.Calls())
	good := s.Token("ana")
	parts := strings.Split(good, ".")
	issue := func(args ...string) string {
		return strings.TrimSpace(s.MustCLI("admin", append([]string{"token", "ana", "--tenant", "acme"}, args...)...))
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"at+jwt"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write([]byte(signed))
	expired := issue("--ttl", "1s")
	revoked := issue()
	s.revoke(t, revoked)
	for name, token := range map[string]string{
		"none": "", "nonsense": "nonsense", "algorithm none": none, "algorithm HS256": signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"another payload":      parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"admin"}`)) + "." + parts[2],
		"the API's only":       issue("--audience", s.Info().API),
		"another endpoint's":   issue("--audience", s.MCP("vault")),
		"expired":              expired,
		"revoked":              revoked,
		"two parts":            parts[0] + "." + parts[1],
		"a token with a space": good + " " + good,
	} {
		for _, modern := range eras() {
			c := &product.Client{URL: s.MCP("echo"), Token: token, Modern: modern, HTTP: &http.Client{}}
			list := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{` + strings.TrimPrefix(metaOf(modern), ",") + `}}`)
			product.Eventually(t, 5*time.Second, "the token is refused: "+name, func() bool { return c.Raw(list, c.Headers("tools/list", "")).Status == http.StatusUnauthorized })
			body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}` + metaOf(modern) + `}}`)
			answer := c.Raw(body, c.Headers("tools/call", "echo"))
			challenge := answer.Header.Get("WWW-Authenticate")
			if answer.Status != http.StatusUnauthorized || !strings.Contains(challenge, "Bearer") || !strings.Contains(challenge, "resource_metadata=") {
				t.Errorf("%s, modern %v: %d %q %s", name, modern, answer.Status, challenge, answer.Body)
			}
			if token != "" && strings.Contains(string(answer.Body)+challenge, token) {
				t.Errorf("%s: the answer shows the token", name)
			}
		}
	}
	here := issue("--audience", s.MCP("echo"))
	s.sent++
	c := product.NewClient(t, s.MCP("echo"), here, true)
	if answer := c.Call("echo", map[string]any{"text": "x"}); !answer.OK() {
		t.Errorf("a token for this endpoint: %s", answer.Body)
	}
	if answer := product.NewClient(t, s.MCP(""), here, true).List(); answer.Status != http.StatusUnauthorized {
		t.Errorf("a token for one server is good for all: %d", answer.Status)
	}
	if executed := len(s.up.Calls()) - before; executed != 1 {
		t.Errorf("%d calls were executed, not only the good one", executed)
	}
}

// revoke ends a token by the id that it carries.
func (s *scene) revoke(t *testing.T, token string) {
	t.Helper()
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var id struct{ JTI string }
	if err := json.Unmarshal(claims, &id); err != nil || id.JTI == "" {
		t.Fatalf("the token has no id: %s", claims)
	}
	body := fmt.Sprintf(`{"tenant":"acme","tokenId":%q}`, id.JTI)
	request, err := http.NewRequest(http.MethodPost, s.Info().API+"/headgate.identity.v1.IdentityService/Revoke", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+s.Token("admin"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("Revoke answered %d", response.StatusCode)
	}
}

func foreignOrigins(t *testing.T, s *scene) {
	before := len(s.up.Calls())
	c := s.Client("ana", "echo", true)
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},` + modernMeta + `}}`)
	for name, value := range map[string][2]string{
		"a foreign host": {"Host", "evil.example"}, "a foreign origin": {"Origin", "https://evil.example"}, "origin null": {"Origin", "null"},
	} {
		h := c.Headers("tools/call", "echo")
		h.Set(value[0], value[1])
		if answer := c.Raw(body, h); answer.Status != http.StatusForbidden || len(answer.Body) < 20 {
			t.Errorf("%s: %d %s", name, answer.Status, answer.Body)
		}
	}
	h := c.Headers("tools/call", "echo")
	h.Set("Content-Type", "text/plain")
	if answer := c.Raw(body, h); answer.Status != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d %s", answer.Status, answer.Body)
	}
	if len(s.up.Calls()) != before {
		t.Error("the server executed a foreign call")
	}
}
