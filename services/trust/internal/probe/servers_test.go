package probe_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	mark3 "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/trust/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/mcp"
}

func look(t *testing.T, url string) probe.Look {
	t.Helper()
	got, err := probe.Server(t.Context(), probe.Target{URL: url}, probe.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func names(tools []mcp.Definition) []string {
	var out []string
	for _, tool := range tools {
		out = append(out, tool.Name)
	}
	return out
}

// markServer is a server of mark3labs/mcp-go with two tools on two pages.
func markServer() *server.MCPServer {
	s := server.NewMCPServer("mark", "1", server.WithToolCapabilities(true), server.WithInstructions("Ask first."), server.WithPaginationLimit(1))
	handler := func(context.Context, mark3.CallToolRequest) (*mark3.CallToolResult, error) {
		return mark3.NewToolResultText("ok"), nil
	}
	s.AddTool(mark3.NewTool("add", mark3.WithDescription("Adds."), mark3.WithNumber("a", mark3.Required())), handler)
	s.AddTool(mark3.NewTool("subtract", mark3.WithDescription("Subtracts."), mark3.WithReadOnlyHintAnnotation(true)), handler)
	return s
}

// sdkServer is a server of the official SDK with one tool.
func sdkServer() *sdk.Server {
	s := sdk.NewServer(&sdk.Implementation{Name: "official", Version: "1"}, &sdk.ServerOptions{Instructions: "Ask first."})
	type input struct {
		Text string `json:"text"`
	}
	sdk.AddTool(s, &sdk.Tool{Name: "echo", Description: "Says it again."}, func(context.Context, *sdk.CallToolRequest, input) (*sdk.CallToolResult, any, error) {
		return &sdk.CallToolResult{}, nil, nil
	})
	return s
}

// modernOnly and legacyOnly let one era through, as a server that knows no other would.
func modernOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Method") == "" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func legacyOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == mcp.V20260728 {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestAServerShowsTheSameInBothEras(t *testing.T) {
	official := sdkServer()
	stateful := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return official }, nil)
	stateless := sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return official }, &sdk.StreamableHTTPOptions{Stateless: true, JSONResponse: true})
	mark := server.NewStreamableHTTPServer(markServer())
	for name, c := range map[string]struct {
		handler http.Handler
		newest  string
		tools   []string
	}{
		"mcp-go, both":              {mark, mcp.V20260728, []string{"add", "subtract"}},
		"mcp-go, modern":            {modernOnly(mark), mcp.V20260728, []string{"add", "subtract"}},
		"mcp-go, legacy":            {legacyOnly(mark), mcp.V20251125, []string{"add", "subtract"}},
		"official, stateful":        {stateful, mcp.V20251125, []string{"echo"}},
		"official, stateless":       {stateless, mcp.V20260728, []string{"echo"}},
		"official, legacy by force": {legacyOnly(stateless), mcp.V20251125, []string{"echo"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := look(t, serve(t, c.handler))
			if got.Versions[0] != c.newest || !slices.Equal(names(got.Tools), c.tools) || got.Instructions != "Ask first." || got.ServerInfo == "" {
				t.Errorf("%v, %v, %q, %s", got.Versions, names(got.Tools), got.Instructions, got.ServerInfo)
			}
			for _, tool := range got.Tools {
				if err := tool.Check(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, h := range map[string]http.Handler{"mcp-go": mark, "official": stateless} {
		modern, legacy := look(t, serve(t, h)), look(t, serve(t, legacyOnly(h)))
		for i := range modern.Tools {
			if modern.Tools[i].Hash() != legacy.Tools[i].Hash() {
				t.Errorf("%s: %s has another hash in the other era: %s and %s", name, modern.Tools[i].Name, modern.Tools[i].Raw, legacy.Tools[i].Raw)
			}
		}
	}
}
