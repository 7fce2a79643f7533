package edge_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	libmcp "headgate.dev/libs/mcp"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// second is a fixture of both eras at one URL made with mcp-go, for a second opinion of what is right. It has what the fixture has, but for errors with
// codes of its own and notices in the middle of calls, some of which it loses.
type second struct {
	*server.MCPServer
	running, cancelled atomic.Int64
}

type tool = func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error)

func newSecond() *second {
	s := &second{}
	s.MCPServer = server.NewMCPServer("second", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true), server.WithPromptCapabilities(true),
		server.WithCompletions(), server.WithPromptCompletionProvider(completes{}), server.WithResourceCompletionProvider(completes{}))
	s.EnableSampling()
	for name, run := range map[string]tool{
		"echo": s.echo, "slow": s.slow, "given_up": s.givenUp, "ask": s.ask, "ask_twice": s.askTwice, "sample": s.sample, "touch": s.touch,
	} {
		s.AddTool(mcp.NewToolWithRawSchema(name, "Does what its name says.", json.RawMessage(`{"type":"object","properties":{"value":{}}}`)), run)
	}
	s.AddPrompt(mcp.NewPrompt("greet", mcp.WithArgument("name", mcp.RequiredArgument())), func(_ context.Context, r mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		text := mcp.NewTextContent("Greet " + r.Params.Arguments["name"] + ".")
		return &mcp.GetPromptResult{Messages: []mcp.PromptMessage{mcp.NewPromptMessage(mcp.RoleUser, text)}}, nil
	})
	text := func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		said := "buy paper"
		if day, ok := strings.CutPrefix(r.Params.URI, "memo://days/"); ok {
			said = "nothing on " + day
		}
		return []mcp.ResourceContents{mcp.TextResourceContents{URI: r.Params.URI, MIMEType: "text/plain", Text: said}}, nil
	}
	s.AddResource(mcp.NewResource(noteURI, "note"), text)
	s.AddResourceTemplate(mcp.NewResourceTemplate(dayURI, "day"), text)
	s.AddResource(mcp.NewResource(imageURI, "dot"), func(_ context.Context, r mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
		blob := base64.StdEncoding.EncodeToString([]byte{0, 1, 0xfe, 0xff})
		return []mcp.ResourceContents{mcp.BlobResourceContents{URI: r.Params.URI, MIMEType: "image/png", Blob: blob}}, nil
	})
	return s
}

func (s *second) echo(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	raw, err := json.Marshal(r.GetRawArguments())
	return mcp.NewToolResultText(string(raw)), err
}

func (s *second) slow(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	s.running.Add(1)
	select {
	case <-ctx.Done():
		s.cancelled.Add(1)
		return nil, ctx.Err()
	case <-time.After(20 * time.Second):
		return mcp.NewToolResultText("nobody cancelled"), nil
	}
}

func (s *second) givenUp(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return mcp.NewToolResultText(fmt.Sprint(s.running.Load(), " ", s.cancelled.Load())), nil
}

func asksFor(question string) mcp.ElicitationParams {
	return mcp.ElicitationParams{Message: question, RequestedSchema: map[string]any{
		"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}, "required": []string{"name"},
	}}
}

func nameIn(answer *mcp.ElicitationResult) string {
	content, _ := answer.Content.(map[string]any)
	return fmt.Sprint(content["name"])
}

func (s *second) ask(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if answer := server.ElicitationResponse(r.Params.InputResponses, "who"); answer != nil {
		return mcp.NewToolResultText("hello " + nameIn(answer)), nil
	}
	return server.NewInputRequestBuilder("").Elicit("who", asksFor("Who are you?")).ToolResult(), nil
}

// askTwice asks for the second answer only when it has the first.
func (s *second) askTwice(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	first, begun := strings.CutPrefix(r.Params.RequestState, "first=")
	if answer := server.ElicitationResponse(r.Params.InputResponses, "second"); begun && answer != nil {
		return mcp.NewToolResultText(first + " and " + nameIn(answer)), nil
	}
	if answer := server.ElicitationResponse(r.Params.InputResponses, "first"); answer != nil {
		return server.NewInputRequestBuilder("first="+nameIn(answer)).Elicit("second", asksFor("Second?")).ToolResult(), nil
	}
	return server.NewInputRequestBuilder("begun").Elicit("first", asksFor("First?")).ToolResult(), nil
}

func (s *second) sample(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if answer := server.SamplingResponse(r.Params.InputResponses, "model"); answer != nil {
		raw, err := json.Marshal(answer.Content)
		text, _ := libmcp.Text(raw, "text")
		return mcp.NewToolResultText("the model says " + text), err
	}
	message := mcp.SamplingMessage{Role: mcp.RoleUser, Content: mcp.NewTextContent("What is the capital of France?")}
	return server.NewInputRequestBuilder("").Sample("model", mcp.CreateMessageParams{MaxTokens: 10, Messages: []mcp.SamplingMessage{message}}).ToolResult(), nil
}

// touch tells every client, subscribed or not. This maker's notices have no metadata, so the mark is a query of the URI: what lies below the resource.
func (s *second) touch(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	told, _ := r.GetArguments()["value"].(map[string]any)
	s.SendNotificationToAllClients("notifications/resources/updated", map[string]any{"uri": fmt.Sprint(told["uri"], "?", told["mark"])})
	return mcp.NewToolResultText("touched"), nil
}

// completes knows the same names as the fixture.
type completes struct{}

func beginning(all []string, with string) (*mcp.Completion, error) {
	all = slices.DeleteFunc(all, func(one string) bool { return !strings.HasPrefix(one, with) })
	return &mcp.Completion{Values: all, Total: len(all)}, nil
}

func (completes) CompletePromptArgument(_ context.Context, _ string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return beginning([]string{"ana", "anton", "bob"}, a.Value)
}

func (completes) CompleteResourceArgument(_ context.Context, _ string, a mcp.CompleteArgument, _ mcp.CompleteContext) (*mcp.Completion, error) {
	return beginning([]string{"monday", "tuesday"}, a.Value)
}

// TestASecondMakerOfServersAgrees tries the features of the matrix with a server of both eras that another library made.
func TestASecondMakerOfServersAgrees(t *testing.T) {
	s := newSecond()
	at := httptest.NewServer(server.NewStreamableHTTPServer(s.MCPServer, server.WithStateful(true), server.WithStreamableHTTPLogger(slog.New(slog.DiscardHandler))))
	t.Cleanup(func() {
		at.CloseClientConnections()
		at.Close()
	})
	w := newWorld(t)
	w.person("ana", nil)
	w.server("second", at.URL+"/mcp", shown(t, at.URL+"/mcp", true), func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "30s" })
	w.grant("person/ana", "second", "*", "call")
	h := start(t, w, nil)
	for _, front := range libmcp.Supported() {
		t.Run(front, func(t *testing.T) {
			v := h.visit(t, "ana", "/mcp/second", front, answers{name: "eve"})
			for _, feature := range features {
				// Without a gateway as well, it says nothing in subscriptions of 2026-07-28.
				own := feature.name == "progress" || feature.name == "log" || feature.name == "subscription" && libmcp.Modern(front)
				other := feature.name == "list" || feature.name == "list of two pages" || feature.name == "200 notices" || feature.name == "resource link"
				if !own && !other && feature.name != "error" {
					v.cell(t, feature.name, "mcp-go", front, feature.try)
				}
			}
		})
	}
}
