//go:build external

package programs_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/tools/e2e/programs"
)

// modernOnly is a server that speaks 2026-07-28 and nothing older: what it asks of a client comes in its results. It returns its URL.
func modernOnly(t *testing.T) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "modern-only", Version: "1"}, &mcp.ServerOptions{SupportedProtocolVersions: []string{programs.Modern}})
	asks := func(name string, request mcp.InputRequest, answer func(mcp.InputResponseMap) string) {
		mcp.AddTool(server, &mcp.Tool{Name: name, Description: "Answers with what the client says."},
			func(_ context.Context, call *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
				if len(call.Params.InputResponses) == 0 {
					return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"it": request}, RequestState: "asked " + name}, nil, nil
				}
				if call.Params.RequestState != "asked "+name {
					return nil, nil, fmt.Errorf("the state came back as %q", call.Params.RequestState)
				}
				return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: answer(call.Params.InputResponses)}}}, nil, nil
			})
	}
	asks("ask_person", &mcp.ElicitParams{Message: "Which gate?", RequestedSchema: map[string]any{"type": "object",
		"properties": map[string]any{"gate": map[string]any{"type": "string"}}, "required": []string{"gate"}}},
		func(given mcp.InputResponseMap) string {
			said, _ := given["it"].(*mcp.ElicitResult)
			return fmt.Sprint(said.Action, " ", said.Content["gate"])
		})
	asks("ask_model", &mcp.CreateMessageParams{Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "The capital of France?"}}}, MaxTokens: 10},
		func(given mcp.InputResponseMap) string {
			said, _ := given["it"].(*mcp.CreateMessageWithToolsResult)
			return said.Content[0].(*mcp.TextContent).Text
		})
	asks("ask_roots", &mcp.ListRootsParams{}, func(given mcp.InputResponseMap) string {
		said, _ := given["it"].(*mcp.ListRootsResult)
		return said.Roots[0].URI
	})
	serve := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true}))
	t.Cleanup(serve.Close)
	return serve.URL
}

func modernOnlyVisit() []ask {
	return []ask{
		lists("tools/list", "ask_person", "ask_model", "ask_roots"),
		says(programs.Call("ask_person", nil), "accept Rhine").answered(map[string]any{"gate": "Rhine"}).hears("elicitation/create"),
		says(programs.Call("ask_model", nil), programs.Sampled).hears("sampling/createMessage"),
		says(programs.Call("ask_roots", nil), programs.Root).fromClient(),
		refused(programs.Call("nope", nil), invalidParams),
	}
}
