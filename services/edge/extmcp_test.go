package edge_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"headgate.dev/libs/mcp"
	"headgate.dev/proto/gen/agentgateway/extmcp"
	"headgate.dev/proto/gen/agentgateway/extmcp/extmcpconnect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/edge"
)

// agentgateway asks as agentgateway does, with a client that is made from its own proto, for a backend named echo.
type agentgateway struct {
	t      *testing.T
	h      *harness
	client extmcpconnect.ExtMcpClient
}

func askedByAgentgateway(t *testing.T, w *world) *agentgateway {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mcp")
	h := start(t, w, func(c *edge.Config) { c.ExtMCP = "unix:" + path })
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &agentgateway{t, h, extmcpconnect.NewExtMcpClient(&http.Client{Transport: transport}, "http://edge", connect.WithGRPC())}
}

// check asks about one message; change may spoil it.
func (a *agentgateway) check(person, method, params string, change func(*extmcp.McpRequest)) *extmcp.McpRequestResult {
	a.t.Helper()
	added, err := structpb.NewStruct(map[string]any{"ip": "203.0.113.9", "host": strings.TrimPrefix(a.h.base, "http://")})
	must(a.t, err)
	r := &extmcp.McpRequest{ServiceNames: []string{"echo"}, Method: method, MetadataContext: added, Headers: []*extmcp.McpHeader{
		{Key: "Authorization", Value: []byte("Bearer " + a.h.tokenFor(person, a.h.base+"/mcp", nil))},
		{Key: "mcp-protocol-version", Value: []byte(mcp.V20251125)}, {Key: "mcp-session-id", Value: []byte("the gateway's own")},
	}}
	if params != "" {
		r.McpRequest = []byte(params)
	}
	if change != nil {
		change(r)
	}
	answer, err := a.client.CheckRequest(a.t.Context(), connect.NewRequest(r))
	must(a.t, err)
	return answer.Msg
}

const echoParams = `{"name":"echo","arguments":{"text":"x","n":3}}`

func TestAgentgatewayGetsTheDecisionsOfAnEdgeAndItsCredentials(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.policy("small", onEcho(rule("big", `has(args.n) && args.n > 10`, "block"), rule("rest", "true", "allow")))
	w.lend("echo", "X-Key", "leased-secret-value", "leased-secret-value", u.host())
	a := askedByAgentgateway(t, w)
	r := a.check("ana", "tools/call", echoParams, nil)
	change := r.GetHeaderMutation()
	if r.GetPass() == nil || len(change.GetSet()) != 1 || string(change.GetSet()[0].GetValue()) != "leased-secret-value" ||
		len(change.GetRemove()) != 1 || change.GetRemove()[0] != "authorization" {
		t.Fatalf("%v", r)
	}
	final := a.h.find("an allowed call", func(ev *eventsv1.Event) bool { return ev.GetPhase() == eventsv1.Phase_PHASE_FINAL })
	if final.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN || final.GetTarget().GetTool() != "echo" || final.GetDecision().GetRule() != "small/rest" ||
		final.GetSource().GetIp() != "203.0.113.9" || final.GetArguments().GetHmac() == "" || final.GetCredential().GetLeaseId() == "" {
		t.Errorf("recorded: %v", final)
	}
	if n := len(u.called()); n != 0 {
		t.Errorf("the edge itself made %d calls", n)
	}
	r = a.check("ana", "tools/call", strings.Replace(echoParams, `"n":3`, `"n":11`, 1), nil)
	effect, _ := mcp.Text(r.GetError().GetMcpError(), "data", mcp.MetaDecision, "effect")
	if r.GetError().GetCode() != extmcp.AuthorizationError_PERMISSION_DENIED || effect != "block" || !strings.Contains(r.GetError().GetReason(), "small/big") || r.GetHeaderMutation() != nil {
		t.Errorf("a call that a rule blocks: %v", r)
	}
	for method, params := range map[string]string{
		"initialize": `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`,
		"tools/list": "", "ping": "", "notifications/initialized": "",
	} {
		if r := a.check("ana", method, params, nil); r.GetPass() == nil {
			t.Errorf("%s: %v", method, r)
		}
		if r := a.check("bob", method, params, nil); r.GetError() == nil {
			t.Errorf("%s of somebody without a relation: %v", method, r)
		}
	}
}

// TestT26AMessageToSeveralServersIsRecordedAsCarriedToAllOrNone: one that the second of them refuses was not carried to the first.
func TestT26AMessageToSeveralServersIsRecordedAsCarriedToAllOrNone(t *testing.T) {
	a := askedByAgentgateway(t, support(t, newUpstream(t, echoTool)))
	to := func(names ...string) func(*extmcp.McpRequest) {
		return func(r *extmcp.McpRequest) { r.ServiceNames = names }
	}
	if r := a.check("ana", "tools/list", "", to("echo", "none")); r.GetError() == nil {
		t.Fatalf("%v", r)
	}
	finals := func() (found []*eventsv1.Event) {
		for _, ev := range a.h.all() {
			if ev.GetPhase() == eventsv1.Phase_PHASE_FINAL && ev.GetAction() == "tool-list" {
				found = append(found, ev)
			}
		}
		return found
	}
	eventually(t, 20*time.Second, "both are recorded", func() bool { return len(finals()) == 2 })
	for _, ev := range finals() {
		if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetEffect() != "block" || strings.Contains(ev.GetFindings().String(), "carried by another") {
			t.Errorf("recorded: %v", ev)
		}
	}
	a.h.find("why the first did not get it", func(ev *eventsv1.Event) bool {
		return ev.GetPhase() == eventsv1.Phase_PHASE_FINAL && strings.Contains(ev.GetDecision().GetSentence(), "refused for none (call ")
	})
	if r := a.check("ana", "tools/list", "", to("echo", "echo")); r.GetPass() == nil || len(r.GetHeaderMutation().GetSet()) != 0 {
		t.Errorf("%v", r)
	}
	eventually(t, 20*time.Second, "both are recorded as carried", func() bool {
		n := 0
		for _, ev := range finals() {
			if ev.GetOutcome() == eventsv1.Outcome_OUTCOME_UNKNOWN {
				n++
			}
		}
		return n == 2
	})
}

func TestWhatAgentgatewayCannotDoOrDidNotShowIsRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	caps := rule("cap", "args.n > 5", "modify")
	caps.Modify = []*authzv1.Modification{{Path: "/n", Action: &authzv1.Modification_Clamp{Clamp: &authzv1.Clamp{Max: new(5.0)}}}}
	w.policy("small", onEcho(caps, rule("ask", "args.n == 4", "escalate"), rule("rest", "true", "allow")))
	a := askedByAgentgateway(t, w)
	header := func(key, value string) func(*extmcp.McpRequest) {
		return func(r *extmcp.McpRequest) {
			r.Headers = append(r.Headers, &extmcp.McpHeader{Key: key, Value: []byte(value)})
		}
	}
	to := func(names ...string) func(*extmcp.McpRequest) {
		return func(r *extmcp.McpRequest) { r.ServiceNames = names }
	}
	for name, c := range map[string]struct {
		person, method, params string
		change                 func(*extmcp.McpRequest)
		code                   extmcp.AuthorizationError_Code
		says                   string
	}{
		"arguments that a rule changes": {"ana", "tools/call", strings.Replace(echoParams, `"n":3`, `"n":6`, 1), nil, 1, "cannot do"},
		"a call that needs a person":    {"ana", "tools/call", strings.Replace(echoParams, `"n":3`, `"n":4`, 1), nil, 1, "approv"},
		"an unknown tool":               {"ana", "tools/call", strings.Replace(echoParams, `"echo"`, `"none"`, 1), nil, 1, "Unknown tool: none"},
		"somebody without a relation":   {"bob", "tools/call", echoParams, nil, 1, "Unknown tool: echo"},
		"arguments that do not fit":     {"ana", "tools/call", strings.Replace(echoParams, `"n":3`, `"m":3`, 1), nil, 1, "m"},
		"no token":                      {"ana", "tools/call", echoParams, func(r *extmcp.McpRequest) { r.Headers = r.GetHeaders()[1:] }, 1, ""},
		"two tokens":                    {"ana", "tools/call", echoParams, func(r *extmcp.McpRequest) { r.Headers = append(r.GetHeaders(), r.GetHeaders()[0]) }, 1, ""},
		"another's page":                {"ana", "tools/call", echoParams, header("Origin", "https://evil.example"), 1, ""},
		"no host":                       {"ana", "tools/call", echoParams, func(r *extmcp.McpRequest) { r.MetadataContext = nil }, 1, ""},
		"no server":                     {"ana", "tools/call", echoParams, to(), 1, "does not say which server"},
		"a name that is a path":         {"ana", "tools/call", echoParams, to("echo/../crm"), 1, "does not say which server"},
		"a server that is not there":    {"ana", "tools/list", "", to("echo", "none"), 1, ""},
		"a name twice":                  {"ana", "tools/call", `{"name":"echo","name":"other"}`, nil, extmcp.AuthorizationError_INVALID, "strict"},
		"params that end the message":   {"ana", "tools/call", echoParams + `,"method":"ping"`, nil, extmcp.AuthorizationError_INVALID, "strict"},
		"a list for params":             {"ana", "tools/call", `[]`, nil, extmcp.AuthorizationError_INVALID, ""},
		"an unknown method":             {"ana", "tools/erase", "", nil, 1, "Method not found"},
		"no method":                     {"ana", "", "", nil, extmcp.AuthorizationError_INVALID, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := (&agentgateway{t, a.h, a.client}).check(c.person, c.method, c.params, c.change)
			if e := r.GetError(); e == nil || e.GetCode() != c.code || e.GetReason() == "" || !strings.Contains(e.GetReason(), c.says) || r.GetHeaderMutation() != nil {
				t.Errorf("%v", r)
			}
		})
	}
	back, err := a.client.CheckResponse(t.Context(), connect.NewRequest(&extmcp.McpResponse{ServiceNames: []string{"echo"}, Method: "tools/list", McpResponse: []byte(`{}`)}))
	if err != nil || back.Msg.GetError().GetReason() == "" {
		t.Errorf("a response: %v, %v", back, err)
	}
}
