package edge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	mcpgoclient "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	libmcp "headgate.dev/libs/mcp"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// mcpGoServer is a server of both eras made with mcp-go.
func mcpGoServer(*testing.T) http.Handler {
	s := mcpgoserver.NewMCPServer("greeter", "1")
	s.AddTool(mcpgo.NewTool("greet", mcpgo.WithDescription("Greets."), mcpgo.WithString("name", mcpgo.Required())),
		func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
			return mcpgo.NewToolResultText("hello " + r.GetString("name", "")), nil
		})
	return mcpgoserver.NewStreamableHTTPServer(s)
}

type greetArgs struct {
	Name string `json:"name"`
}

// sdkServer is a server of one era made with the official SDK: stateless ones speak 2026-07-28, the others only what has sessions.
func sdkServer(stateless bool) func(*testing.T) http.Handler {
	return func(t *testing.T) http.Handler {
		s := sdk.NewServer(&sdk.Implementation{Name: "greeter", Version: "1"}, nil)
		t.Cleanup(func() {
			for session := range s.Sessions() {
				_ = session.Close()
			}
		})
		sdk.AddTool(s, &sdk.Tool{Name: "greet", Description: "Greets."}, func(ctx context.Context, r *sdk.CallToolRequest, in greetArgs) (*sdk.CallToolResult, any, error) {
			if token := r.Params.GetProgressToken(); token != nil {
				if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: 1}); err != nil {
					return nil, nil, err
				}
			}
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "hello " + in.Name}}}, nil, nil
		})
		return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, &sdk.StreamableHTTPOptions{Stateless: stateless})
	}
}

// shown asks a server what it shows, as trust would before somebody approves it.
func shown(t *testing.T, url string, modern bool) []string {
	t.Helper()
	version := libmcp.V20251125
	if modern {
		version = libmcp.V20260728
	}
	speaker := libmcp.Speaker{Version: version, ClientName: "trust", ClientVersion: "1"}
	session := ""
	send := func(out libmcp.Outgoing) []byte {
		q, err := http.NewRequest(http.MethodPost, url, strings.NewReader(string(out.Body)))
		must(t, err)
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Accept", "application/json, text/event-stream")
		for _, f := range out.Headers {
			q.Header.Set(f.Name, f.Value)
		}
		if session != "" {
			q.Header.Set("Mcp-Session-Id", session)
		}
		res, err := http.DefaultTransport.RoundTrip(q)
		must(t, err)
		defer res.Body.Close()
		if id := res.Header.Get("Mcp-Session-Id"); id != "" {
			session = id
		}
		if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
			events := libmcp.NewEventReader(res.Body, 0)
			for {
				ev, err := events.Next()
				must(t, err)
				if libmcp.Get(ev.Data, "result") != nil {
					return ev.Data
				}
			}
		}
		var raw json.RawMessage
		_ = json.NewDecoder(res.Body).Decode(&raw) // a notice has no answer
		return raw
	}
	if !modern {
		send(speaker.Initialize(json.RawMessage("1")))
		send(speaker.Initialized())
	}
	var raw []string
	for next := (*string)(nil); raw == nil || next != nil; {
		page := libmcp.Get(send(speaker.ListTools(json.RawMessage("2"), next)), "result")
		tools, _, _, err := libmcp.Tools(page)
		must(t, err)
		for _, tool := range tools {
			raw = append(raw, string(tool.Raw))
		}
		next = nil
		if cursor, more := libmcp.Text(page, "nextCursor"); more {
			next = &cursor
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return raw
}

type bearerTransport struct {
	token string
	next  http.RoundTripper
}

func (b bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func callWithSDK(t *testing.T, h *harness, token string) string {
	ctx := context.Background()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	c := sdk.NewClient(&sdk.Implementation{Name: "official", Version: "1"}, nil)
	session, err := c.Connect(ctx, &sdk.StreamableClientTransport{
		Endpoint: h.base + "/mcp/greeter", HTTPClient: &http.Client{Transport: bearerTransport{token, base}}, DisableStandaloneSSE: true,
	}, nil)
	must(t, err)
	defer session.Close()
	list, err := session.ListTools(ctx, nil)
	must(t, err)
	if len(list.Tools) != 1 || list.Tools[0].Name != "greet" {
		t.Fatalf("%v", list.Tools)
	}
	params := &sdk.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "ana"}}
	params.SetProgressToken("p1")
	result, err := session.CallTool(ctx, params)
	must(t, err)
	if result.IsError || len(result.Content) != 1 {
		t.Fatalf("%+v", result)
	}
	text, ok := result.Content[0].(*sdk.TextContent)
	if !ok {
		t.Fatalf("%T", result.Content[0])
	}
	return text.Text
}

func callWithMCPGo(t *testing.T, h *harness, token string, options ...mcpgoclient.ClientOption) string {
	ctx := context.Background()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	over, err := transport.NewStreamableHTTP(h.base+"/mcp/greeter", transport.WithHTTPBasicClient(&http.Client{Transport: bearerTransport{token, base}}))
	must(t, err)
	c := mcpgoclient.NewClient(over, options...)
	must(t, c.Start(ctx))
	defer c.Close()
	init := mcpgo.InitializeRequest{}
	init.Params.ProtocolVersion = mcpgo.LATEST_PROTOCOL_VERSION
	init.Params.ClientInfo = mcpgo.Implementation{Name: "mcp-go", Version: "1"}
	_, err = c.Initialize(ctx, init)
	must(t, err)
	list, err := c.ListTools(ctx, mcpgo.ListToolsRequest{})
	must(t, err)
	if len(list.Tools) != 1 || list.Tools[0].Name != "greet" {
		t.Fatalf("%v", list.Tools)
	}
	call := mcpgo.CallToolRequest{}
	call.Params.Name, call.Params.Arguments = "greet", map[string]any{"name": "ana"}
	result, err := c.CallTool(ctx, call)
	must(t, err)
	text, ok := mcpgo.AsTextContent(result.Content[0])
	if !ok || result.IsError {
		t.Fatalf("%+v", result)
	}
	return text.Text
}

func TestRealClientsWorkWithRealServers(t *testing.T) {
	servers := map[string]struct {
		make   func(*testing.T) http.Handler
		modern bool
	}{
		"mcp-go":             {mcpGoServer, true},
		"go-sdk, with state": {sdkServer(false), false},
		"go-sdk, stateless":  {sdkServer(true), true},
	}
	clients := map[string]func(*testing.T, *harness, string) string{
		"go-sdk": callWithSDK,
		"mcp-go": func(t *testing.T, h *harness, token string) string { return callWithMCPGo(t, h, token) },
	}
	for serverName, server := range servers {
		for clientName, call := range clients {
			t.Run(clientName+" to "+serverName, func(t *testing.T) {
				upstream := httptest.NewServer(server.make(t))
				t.Cleanup(upstream.Close)
				w := newWorld(t)
				w.person("ana", nil)
				w.server("greeter", upstream.URL, shown(t, upstream.URL, server.modern), func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "5s" })
				w.grant("person/ana", "greeter", "*", "call")
				h := start(t, w, nil)
				if got := call(t, h, h.tokenFor("ana", h.base+"/mcp", nil)); got != "hello ana" {
					t.Fatalf("%q", got)
				}
			})
		}
	}
}
