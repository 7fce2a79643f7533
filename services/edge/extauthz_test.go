package edge_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/edge"
)

// envoy asks as Envoy does, for a route to the server echo.
type envoy struct {
	t      *testing.T
	h      *harness
	client auth.AuthorizationClient
}

func askedByEnvoy(t *testing.T, w *world) *envoy {
	t.Helper()
	at := "unix:" + filepath.Join(t.TempDir(), "authz")
	h := start(t, w, func(c *edge.Config) { c.ExtAuthz = at })
	conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &envoy{t, h, auth.NewAuthorizationClient(conn)}
}

// check asks about one request; change may spoil it.
func (e *envoy) check(person, body string, change func(*auth.AttributeContext)) *auth.CheckResponse {
	e.t.Helper()
	at := strings.TrimPrefix(e.h.base, "http://")
	attributes := &auth.AttributeContext{
		Source: &auth.AttributeContext_Peer{Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{Address: "203.0.113.9"}}}},
		Request: &auth.AttributeContext_Request{Http: &auth.AttributeContext_HttpRequest{
			Method: http.MethodPost, Path: "/mcp", Host: at, Body: body,
			Headers: map[string]string{
				"authorization": "Bearer " + e.h.tokenFor(person, e.h.base+"/mcp", nil), "content-type": "application/json", "accept": "application/json, text/event-stream",
				"mcp-protocol-version": mcp.V20251125, "mcp-session-id": "the-servers-own", "content-length": strconv.Itoa(len(body)),
			},
		}},
		ContextExtensions: map[string]string{"server": "echo"},
	}
	if change != nil {
		change(attributes)
	}
	answer, err := e.client.Check(e.t.Context(), &auth.CheckRequest{Attributes: attributes})
	must(e.t, err)
	return answer
}

func allowed(r *auth.CheckResponse) bool {
	return r.GetStatus().GetCode() == int32(codes.OK) && r.GetOkResponse() != nil && r.GetDeniedResponse() == nil
}

const echoCall = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x","n":3}}}`

func TestEnvoyGetsTheDecisionsOfAnEdgeAndItsCredentials(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.policy("small", onEcho(rule("big", `has(args.n) && args.n > 10`, "block"), rule("rest", "true", "allow")))
	w.lend("echo", "X-Key", "leased-secret-value", "leased-secret-value", u.host())
	e := askedByEnvoy(t, w)
	r := e.check("ana", echoCall, nil)
	if !allowed(r) || len(r.GetOkResponse().GetHeaders()) != 1 || r.GetOkResponse().GetHeaders()[0].GetHeader().GetValue() != "leased-secret-value" ||
		len(r.GetOkResponse().GetHeadersToRemove()) != 1 || r.GetOkResponse().GetHeadersToRemove()[0] != "authorization" {
		t.Fatalf("%v", r)
	}
	final := e.h.find("an allowed call", func(ev *eventsv1.Event) bool { return ev.GetPhase() == eventsv1.Phase_PHASE_FINAL })
	if final.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN || final.GetTarget().GetTool() != "echo" || final.GetDecision().GetRule() != "small/rest" ||
		final.GetSource().GetIp() != "203.0.113.9" || final.GetArguments().GetHmac() == "" || final.GetCredential().GetLeaseId() == "" {
		t.Errorf("recorded: %v", final)
	}
	if n := len(u.called()); n != 0 {
		t.Errorf("the edge itself made %d calls", n)
	}
	r = e.check("ana", strings.Replace(echoCall, `"n":3`, `"n":11`, 1), nil)
	body := []byte(r.GetDeniedResponse().GetBody())
	if effect, _ := mcp.Text(body, "result", "_meta", mcp.MetaDecision, "effect"); allowed(r) || r.GetDeniedResponse().GetStatus().GetCode() != 200 || effect != "block" {
		t.Errorf("a call that a rule blocks: %v", r)
	}
	for _, method := range []string{`"id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`,
		`"id":1,"method":"tools/list"`, `"id":1,"method":"ping"`, `"method":"notifications/initialized"`} {
		if r := e.check("ana", `{"jsonrpc":"2.0",`+method+`}`, nil); !allowed(r) {
			t.Errorf("%s: %v", method, r)
		}
		if r := e.check("bob", `{"jsonrpc":"2.0",`+method+`}`, nil); allowed(r) {
			t.Errorf("%s of somebody without a relation: %v", method, r)
		}
	}
}

func TestWhatEnvoyCannotDoOrDidNotShowIsRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	caps := rule("cap", "args.n > 5", "modify")
	caps.Modify = []*authzv1.Modification{{Path: "/n", Action: &authzv1.Modification_Clamp{Clamp: &authzv1.Clamp{Max: new(5.0)}}}}
	w.policy("small", onEcho(caps, rule("ask", "args.n == 4", "escalate"), rule("rest", "true", "allow")))
	e := askedByEnvoy(t, w)
	set := func(name, value string) func(*auth.AttributeContext) {
		return func(a *auth.AttributeContext) { a.GetRequest().GetHttp().Headers[name] = value }
	}
	for name, c := range map[string]struct {
		body   string
		person string
		change func(*auth.AttributeContext)
		status int32
		says   string
	}{
		"arguments that a rule changes": {strings.Replace(echoCall, `"n":3`, `"n":6`, 1), "ana", nil, 200, "cannot do"},
		"a call that needs a person":    {strings.Replace(echoCall, `"n":3`, `"n":4`, 1), "ana", nil, 200, "approv"},
		"an unknown tool":               {strings.Replace(echoCall, `"name":"echo"`, `"name":"none"`, 1), "ana", nil, 200, "Unknown tool: none"},
		"somebody without a relation":   {echoCall, "bob", nil, 200, "Unknown tool: echo"},
		"arguments that do not fit":     {strings.Replace(echoCall, `"n":3`, `"m":3`, 1), "ana", nil, 200, "m"},
		"no token":                      {echoCall, "ana", func(a *auth.AttributeContext) { delete(a.GetRequest().GetHttp().Headers, "authorization") }, 401, ""},
		"two tokens in one header": {echoCall, "ana", func(a *auth.AttributeContext) {
			h := a.GetRequest().GetHttp().Headers
			h["authorization"] += "," + h["authorization"]
		}, 401, ""},
		"another's page":        {echoCall, "ana", set("origin", "https://evil.example"), 403, ""},
		"part of a body":        {echoCall, "ana", set("x-envoy-auth-partial-body", "true"), 413, "whole"},
		"less than was said":    {echoCall, "ana", set("content-length", "4711"), 413, "whole"},
		"no body":               {"", "ana", nil, 400, ""},
		"a route without name":  {echoCall, "ana", func(a *auth.AttributeContext) { a.ContextExtensions = nil }, 502, "context extension"},
		"a name that is a path": {echoCall, "ana", func(a *auth.AttributeContext) { a.ContextExtensions = map[string]string{"server": "echo/../crm"} }, 502, ""},
		"a batch":               {"[" + echoCall + "]", "ana", set("mcp-protocol-version", mcp.V20250326), 405, "single messages"},
		"a stream":              {"", "ana", func(a *auth.AttributeContext) { a.GetRequest().GetHttp().Method = "GET" }, 405, ""},
		"a name twice":          {strings.Replace(echoCall, `"id":7`, `"id":7,"id":8`, 1), "ana", nil, 400, ""},
		"an unknown method":     {`{"jsonrpc":"2.0","id":1,"method":"tools/erase"}`, "ana", nil, 200, "Method not found"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &envoy{t, e.h, e.client}
			r := e.check(c.person, c.body, c.change)
			if allowed(r) || int32(r.GetDeniedResponse().GetStatus().GetCode()) != c.status || !strings.Contains(r.GetDeniedResponse().GetBody(), c.says) {
				t.Errorf("%v", r)
			}
		})
	}
	e.h.find("the refusal of a part of a body", func(ev *eventsv1.Event) bool {
		return ev.GetRequest().GetHttpStatus() == 413 && ev.GetPhase() == eventsv1.Phase_PHASE_FINAL
	})
}

func TestT26EnvoyIsRefusedWhenIdentityIsSilentOrAPersonStopped(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	e := askedByEnvoy(t, w)
	if r := e.check("ana", echoCall, nil); !allowed(r) {
		t.Fatalf("%v", r)
	}
	w.kill("person", "ana")
	eventually(t, 20*time.Second, "a stopped person is refused", func() bool { return !allowed(e.check("ana", echoCall, nil)) })
	w.silence("identity")
	eventually(t, 20*time.Second, "everybody is refused", func() bool {
		r := e.check("bob", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, nil)
		return !allowed(r) && strings.Contains(r.GetDeniedResponse().GetBody(), `"stale"`)
	})
}
