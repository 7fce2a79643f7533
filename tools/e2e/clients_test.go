package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgoproto "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// bearer adds an access token to each request of a client that we did not write.
type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return http.DefaultTransport.RoundTrip(r)
}

func foreignClients(t *testing.T, s *scene) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		t.Run("official Go SDK "+version, func(t *testing.T) {
			goSDK(ctx, t, s, version, &mcp.StreamableClientTransport{Endpoint: s.MCP("echo"), HTTPClient: &http.Client{Transport: bearer{s.Token("ana")}}})
		})
		t.Run("mcp-go "+version, func(t *testing.T) { mcpGo(ctx, t, s, version) })
	}
}

func goSDK(ctx context.Context, t *testing.T, s *scene, version string, way mcp.Transport) {
	client := mcp.NewClient(&mcp.Implementation{Name: "go-sdk", Version: "1"}, &mcp.ClientOptions{})
	session, err := client.Connect(ctx, way, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	list, err := session.ListTools(ctx, nil)
	if err != nil || len(list.Tools) != 1 || list.Tools[0].Name != "echo" {
		t.Fatalf("list: %v %v", list, err)
	}
	s.sent += 3
	good, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "hi"}})
	if err != nil || good.IsError {
		t.Errorf("call: %v %v", good, err)
	}
	bad, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"n": 11}})
	if err != nil || !bad.IsError {
		t.Errorf("refused call: %v %v", bad, err)
	}
	if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "nope"}); err == nil || !strings.Contains(err.Error(), "Unknown tool: nope") {
		t.Errorf("unknown tool: %v", err)
	}
}

func mcpGo(ctx context.Context, t *testing.T, s *scene, version string) {
	client, err := mcpgo.NewStreamableHttpClient(s.MCP("echo"), transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + s.Token("ana")}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.Start(ctx); err != nil {
		t.Fatal(err)
	}
	hello := mcpgoproto.InitializeRequest{}
	hello.Params.ProtocolVersion = version
	hello.Params.ClientInfo = mcpgoproto.Implementation{Name: "mcp-go", Version: "1"}
	welcome, err := client.Initialize(ctx, hello)
	if err != nil || welcome.ProtocolVersion != version {
		t.Fatalf("initialize: %v %v", welcome, err)
	}
	list, err := client.ListTools(ctx, mcpgoproto.ListToolsRequest{})
	if err != nil || len(list.Tools) != 1 {
		t.Fatalf("list: %v %v", list, err)
	}
	call := mcpgoproto.CallToolRequest{}
	call.Params.Name, call.Params.Arguments = "echo", map[string]any{"text": "hi"}
	s.sent += 2
	if good, err := client.CallTool(ctx, call); err != nil || good.IsError {
		t.Errorf("call: %v %v", good, err)
	}
	call.Params.Arguments = map[string]any{"n": 11}
	if bad, err := client.CallTool(ctx, call); err != nil || !bad.IsError {
		t.Errorf("refused call: %v %v", bad, err)
	}
}
