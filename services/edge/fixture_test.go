package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	libmcp "headgate.dev/libs/mcp"
)

// The fixture is a server with one of everything, made with the official SDK so that somebody else decides what is right. It speaks the revisions
// that it is told to.
const (
	noteURI  = "memo://notes/today"
	imageURI = "memo://images/dot"
	dayURI   = "memo://days/{day}"
	// ownCode is an error code that the fixture's tool chooses by itself.
	ownCode = -4711
	// pageSize is how much of a list the fixture gives at once: its tools and its resources are on two pages.
	pageSize = 8
	// manyNotices are what one call tells of its progress.
	manyNotices = 200
)

// fixtureNames are the tools of the fixture, in their order.
func fixtureNames() []string {
	return []string{"ask", "ask_twice", "count", "echo", "fail", "given_up", "link", "log", "refuse", "sample", "slow", "touch"}
}

// fixtureURIs are the resources of the fixture, in their order.
func fixtureURIs() []string {
	uris := []string{imageURI, noteURI}
	for i := range pageSize {
		uris = append(uris, fmt.Sprintf("memo://pages/%d", i))
	}
	return uris
}

// fixture is that server with what it keeps.
type fixture struct {
	*sdk.Server
	cancelled atomic.Int64 // calls of slow that were given up
	running   atomic.Int64 // calls of slow that have begun
}

func newFixture(revisions ...string) *fixture {
	f := &fixture{}
	f.Server = sdk.NewServer(&sdk.Implementation{Name: "fixture", Version: "1"}, &sdk.ServerOptions{
		Instructions: "Ask for anything.", PageSize: pageSize, SupportedProtocolVersions: revisions, CompletionHandler: complete,
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
	})
	for i, run := range []sdk.ToolHandler{ask, askTwice, count, echo, fail, f.givenUp, link, logs, refuse, sample, f.slow, f.touch} {
		schema := map[string]any{"type": "object", "properties": map[string]any{"value": map[string]any{}}}
		f.AddTool(&sdk.Tool{Name: fixtureNames()[i], Description: "Does what its name says.", InputSchema: schema}, run)
	}
	f.AddPrompt(&sdk.Prompt{Name: "greet", Arguments: []*sdk.PromptArgument{{Name: "name", Required: true}}}, greet)
	for _, uri := range fixtureURIs() {
		f.AddResource(&sdk.Resource{URI: uri, Name: "memo"}, read)
	}
	f.AddResourceTemplate(&sdk.ResourceTemplate{URITemplate: dayURI, Name: "day", MIMEType: "text/plain"}, read)
	return f
}

func said(text string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: text}}}
}

func echo(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return said(string(r.Params.Arguments)), nil
}

func fail(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	out := said("out of paper")
	out.IsError = true
	return out, nil
}

func refuse(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return nil, &jsonrpc.Error{Code: ownCode, Message: "no such tray", Data: json.RawMessage(`{"tray":2}`)}
}

func count(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var told struct{ Value int }
	if err := json.Unmarshal(r.Params.Arguments, &told); err != nil {
		return nil, err
	}
	token := r.Params.GetProgressToken()
	for i := range told.Value {
		if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: float64(i + 1), Total: float64(told.Value)}); err != nil {
			return nil, err
		}
	}
	return said("counted"), nil
}

func (f *fixture) slow(ctx context.Context, _ *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	f.running.Add(1)
	select {
	case <-ctx.Done():
		f.cancelled.Add(1)
		return nil, ctx.Err()
	case <-time.After(20 * time.Second):
		return said("nobody cancelled"), nil
	}
}

// givenUp answers how many calls of slow began and how many of them were given up.
func (f *fixture) givenUp(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return said(fmt.Sprintf("%d %d", f.running.Load(), f.cancelled.Load())), nil
}

func nameForm(question string) *sdk.ElicitParams {
	return &sdk.ElicitParams{Message: question, RequestedSchema: map[string]any{
		"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}, "required": []string{"name"},
	}}
}

// named is what a person answered; false when there is no answer yet.
func named(r *sdk.CallToolRequest, key string) (string, bool) {
	answer, ok := r.Params.InputResponses[key].(*sdk.ElicitResult)
	if !ok {
		return "", false
	}
	if answer.Action != "accept" {
		return answer.Action, true
	}
	name, _ := answer.Content["name"].(string)
	return name, true
}

func ask(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	if name, ok := named(r, "who"); ok {
		return said("hello " + name), nil
	}
	return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"who": nameForm("Who are you?")}}, nil
}

// askTwice asks for the second answer only when it has the first: by state with 2026-07-28, and by asking within the call before.
func askTwice(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	if r.Session.InitializeParams() != nil && r.Session.InitializeParams().ProtocolVersion < libmcp.V20260728 {
		first, err := r.Session.Elicit(ctx, nameForm("First?"))
		if err != nil {
			return nil, err
		}
		second, err := r.Session.Elicit(ctx, nameForm("Second?"))
		if err != nil {
			return nil, err
		}
		return said(fmt.Sprintf("%v and %v", first.Content["name"], second.Content["name"])), nil
	}
	if r.Params.RequestState == "" {
		return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"first": nameForm("First?")}, RequestState: "begun"}, nil
	}
	if name, ok := named(r, "first"); ok && r.Params.RequestState == "begun" {
		return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"second": nameForm("Second?")}, RequestState: "first=" + name}, nil
	}
	second, ok := named(r, "second")
	first, found := strings.CutPrefix(r.Params.RequestState, "first=")
	if !ok || !found {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "the state is not one that was given"}
	}
	return said(first + " and " + second), nil
}

func sample(_ context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	if answer, ok := r.Params.InputResponses["model"].(*sdk.CreateMessageWithToolsResult); ok {
		if text, isText := answer.Content[0].(*sdk.TextContent); isText {
			return said("the model says " + text.Text), nil
		}
	}
	return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"model": &sdk.CreateMessageParams{
		MaxTokens: 10, Messages: []*sdk.SamplingMessage{{Role: "user", Content: &sdk.TextContent{Text: "What is the capital of France?"}}},
	}}}, nil
}

// touchMark is in the metadata of a notice what the touch that it is about was told.
const touchMark = "com.example/mark"

// touch changes the note, or the image when it is told so.
func (f *fixture) touch(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var told struct{ Value struct{ URI, Mark string } }
	if err := json.Unmarshal(r.Params.Arguments, &told); err != nil {
		return nil, err
	}
	params := &sdk.ResourceUpdatedNotificationParams{URI: noteURI}
	if told.Value.URI != "" {
		params.URI, params.Meta = told.Value.URI, sdk.Meta{touchMark: told.Value.Mark}
	}
	return said("touched"), f.ResourceUpdated(ctx, params)
}

func logs(ctx context.Context, r *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	err := r.Session.Log(ctx, &sdk.LoggingMessageParams{Level: "warning", Logger: "fixture", Data: "paper is low"})
	return said("logged"), err
}

func link(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return &sdk.CallToolResult{Content: []sdk.Content{
		&sdk.ResourceLink{URI: noteURI, Name: "note"}, &sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: noteURI, Text: "embedded"}},
	}}, nil
}

func greet(_ context.Context, r *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
	return &sdk.GetPromptResult{Messages: []*sdk.PromptMessage{{Role: "user", Content: &sdk.TextContent{Text: "Greet " + r.Params.Arguments["name"] + "."}}}}, nil
}

func read(_ context.Context, r *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
	one := &sdk.ResourceContents{URI: r.Params.URI, MIMEType: "text/plain"}
	switch day, isDay := strings.CutPrefix(r.Params.URI, "memo://days/"); {
	case r.Params.URI == noteURI:
		one.Text = "buy paper"
	case r.Params.URI == imageURI:
		one.MIMEType, one.Blob = "image/png", []byte{0, 1, 0xfe, 0xff}
	case isDay && day != "never":
		one.Text = "nothing on " + day
	default:
		return nil, sdk.ResourceNotFoundError(r.Params.URI)
	}
	return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{one}}, nil
}

func complete(_ context.Context, r *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
	all := []string{"ana", "anton", "bob"}
	if r.Params.Ref.Type == "ref/resource" {
		all = []string{"monday", "tuesday"}
	}
	all = slices.DeleteFunc(all, func(one string) bool { return !strings.HasPrefix(one, r.Params.Argument.Value) })
	return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: all, Total: len(all)}}, nil
}

// end closes what clients of the fixture left open.
func (f *fixture) end() {
	for session := range f.Sessions() {
		_ = session.Close()
	}
}

// stateless serves 2026-07-28 over HTTP.
func (f *fixture) stateless() http.Handler {
	return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return f.Server },
		&sdk.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
}

// stateful serves the revisions that have sessions over HTTP.
func (f *fixture) stateful() http.Handler {
	return sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return f.Server }, &sdk.StreamableHTTPOptions{})
}

// elder serves HTTP+SSE of 2024-11-05.
func (f *fixture) elder() http.Handler {
	return sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return f.Server }, nil)
}

// served puts a fixture behind a URL until the test ends.
func serving(t testing.TB, f *fixture, handler http.Handler) string {
	t.Helper()
	at := httptest.NewServer(handler)
	t.Cleanup(func() {
		f.end()
		at.CloseClientConnections()
		at.Close()
	})
	return at.URL
}

// fixtureTools are the definitions of a fixture as it shows them.
func fixtureTools(t *testing.T) []string {
	t.Helper()
	f := newFixture()
	at := httptest.NewServer(f.stateless())
	defer at.Close()
	return shown(t, at.URL, true)
}

// fixtureProgram is the argument with which the test binary becomes a fixture on its standard input and output.
const fixtureProgram = "fixture"

// serveStdio is the whole process of a fixture that another process speaks to over pipes.
func serveStdio(revisions []string) {
	if err := newFixture(revisions...).Run(context.Background(), &sdk.StdioTransport{}); err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
