package back

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mcpgo "github.com/mark3labs/mcp-go/mcp"
	mcpgoserver "github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

type interview struct {
	// Alone asks by the session's own stream instead of the call's.
	Alone bool `json:"alone"`
}

// official is a server made with the official SDK that does everything a server can do besides answering.
func official(t *testing.T, version string, opts *sdk.StreamableHTTPOptions) (*sdk.Server, string) {
	s := sdk.NewServer(&sdk.Implementation{Name: "official", Version: "1"}, &sdk.ServerOptions{
		SupportedProtocolVersions: []string{version}, Instructions: "be kind",
		SubscribeHandler:   func(context.Context, *sdk.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *sdk.UnsubscribeRequest) error { return nil },
		CompletionHandler: func(context.Context, *sdk.CompleteRequest) (*sdk.CompleteResult, error) {
			return &sdk.CompleteResult{Completion: sdk.CompletionResultDetails{Values: []string{"paris"}}}, nil
		},
	})
	sdk.AddTool(s, &sdk.Tool{Name: "interview"}, func(ctx context.Context, r *sdk.CallToolRequest, in interview) (*sdk.CallToolResult, any, error) {
		if token := r.Params.GetProgressToken(); token != nil {
			if err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: token, Progress: 1}); err != nil {
				return nil, nil, err
			}
		}
		if err := r.Session.Log(ctx, &sdk.LoggingMessageParams{Level: "warning", Data: "asking"}); err != nil {
			return nil, nil, err
		}
		if in.Alone {
			ctx = context.WithoutCancel(context.Background())
		}
		elicited, err := r.Session.Elicit(ctx, &sdk.ElicitParams{Message: "sure?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}}})
		if err != nil {
			return nil, nil, err
		}
		sampled, err := r.Session.CreateMessage(ctx, &sdk.CreateMessageParams{MaxTokens: 10, Messages: []*sdk.SamplingMessage{}})
		if err != nil {
			return nil, nil, err
		}
		roots, err := r.Session.ListRoots(ctx, nil)
		if err != nil {
			return nil, nil, err
		}
		text, ok := sampled.Content.(*sdk.TextContent)
		if !ok {
			return nil, nil, fmt.Errorf("sampled %T", sampled.Content)
		}
		return said(elicited.Action, text.Text, roots.Roots[0].URI), nil, nil
	})
	sdk.AddTool(s, &sdk.Tool{Name: "leave"}, func(ctx context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		r.Extra.CloseSSEStream(sdk.CloseSSEStreamArgs{RetryAfter: 20 * time.Millisecond})
		err := r.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: 1})
		return said("back again"), nil, err
	})
	sdk.AddTool(s, &sdk.Tool{Name: "wait"}, func(ctx context.Context, _ *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	s.AddResource(&sdk.Resource{URI: "res://a", Name: "a"}, func(context.Context, *sdk.ReadResourceRequest) (*sdk.ReadResourceResult, error) {
		return &sdk.ReadResourceResult{Contents: []*sdk.ResourceContents{{URI: "res://a", Text: "hello"}}}, nil
	})
	s.AddPrompt(&sdk.Prompt{Name: "greet"}, func(context.Context, *sdk.GetPromptRequest) (*sdk.GetPromptResult, error) {
		return &sdk.GetPromptResult{Description: "greets"}, nil
	})
	h := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, opts))
	t.Cleanup(func() {
		for session := range s.Sessions() {
			_ = session.Close()
		}
		h.CloseClientConnections()
		h.Close()
	})
	return s, h.URL
}

func said(text ...string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: strings.Join(text, " ")}}}
}

// interviewee is a client that answers whatever it is asked.
func interviewee(_ context.Context, request *mcp.Reply) (guard.Reply, error) {
	switch request.Method {
	case mcp.MethodElicit:
		return guard.Reply{Result: json.RawMessage(`{"action":"accept","content":{}}`)}, nil
	case mcp.MethodSample:
		return guard.Reply{Result: json.RawMessage(`{"role":"assistant","model":"m","content":{"type":"text","text":"poem"}}`)}, nil
	}
	return guard.Reply{Result: json.RawMessage(`{"roots":[{"uri":"file:///home"}]}`)}, nil
}

func tool(name, arguments string, change func(*guard.Exchange)) func(*guard.Exchange) {
	return func(ex *guard.Exchange) {
		ex.Name, ex.Offer, ex.Ask = name, json.RawMessage(everything), interviewee
		ex.Params = json.RawMessage(`{"name":"` + name + `","arguments":` + arguments + `,"_meta":{"progressToken":"p"}}`)
		if change != nil {
			change(ex)
		}
	}
}

// text is the text of a tool's result.
func text(t testing.TB, reply guard.Reply) string {
	t.Helper()
	var result struct {
		Content []struct{ Text string } `json:"content"`
		IsError bool                    `json:"isError"`
	}
	require.NoError(t, json.Unmarshal(reply.Result, &result), "%s", reply.Error)
	require.Len(t, result.Content, 1)
	require.False(t, result.IsError, result.Content[0].Text)
	return result.Content[0].Text
}

// methods are the methods of what was told.
func (n *notices) methods() []string {
	var out []string
	for _, one := range n.list() {
		method, _ := mcp.Text([]byte(one), "method")
		out = append(out, method)
	}
	return out
}

func TestAllThatAServerOfTheOfficialSDKAsksAndSaysIsRelayed(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		_, url := official(t, version, nil)
		b := newSide(t, url, nil)
		about, err := b.About(context.Background(), b.server, nil)
		require.NoError(t, err)
		require.True(t, about.Legacy)
		require.False(t, about.Modern)
		require.Equal(t, "be kind", about.Instructions)
		for _, arguments := range []string{`{"alone":false}`, `{"alone":true}`} {
			b.must(func(ex *guard.Exchange) {
				ex.Method, ex.Name, ex.Params, ex.Offer = mcp.MethodSetLevel, "", json.RawMessage(`{"level":"info"}`), json.RawMessage(everything)
			})
			var told notices
			reply := b.must(tool("interview", arguments, func(ex *guard.Exchange) { ex.Notify = told.take }))
			require.Equal(t, "accept poem file:///home", text(t, reply))
			require.Equal(t, []string{mcp.MethodProgress, mcp.MethodLog}, told.methods())
		}
	})
}

func TestEveryMethodOfTheOfficialSDKIsServed(t *testing.T) {
	for _, version := range []string{mcp.V20260728, mcp.V20251125, mcp.V20250618, mcp.V20250326} {
		t.Run(version, func(t *testing.T) {
			_, url := official(t, version, &sdk.StreamableHTTPOptions{Stateless: mcp.Modern(version)})
			b := newSide(t, url, nil)
			for _, c := range []struct{ method, name, params, want string }{
				{mcp.MethodToolsList, "", ``, `"interview"`},
				{mcp.MethodPromptsList, "", `{}`, `"greet"`},
				{mcp.MethodPromptsGet, "greet", `{"name":"greet"}`, `"greets"`},
				{mcp.MethodResourcesList, "", `{}`, `"res://a"`},
				{mcp.MethodTemplatesList, "", `{}`, `"resourceTemplates"`},
				{mcp.MethodResourceRead, "res://a", `{"uri":"res://a"}`, `"hello"`},
				{mcp.MethodComplete, "", `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"city","value":"p"}}`, `"paris"`},
			} {
				reply := b.must(func(ex *guard.Exchange) {
					ex.Method, ex.Name, ex.Params, ex.Modern = c.method, c.name, nil, true
					if c.params != "" {
						ex.Params = json.RawMessage(c.params)
					}
				})
				require.Equal(t, mcp.Modern(version), reply.Modern)
				require.Contains(t, string(reply.Result), c.want, "%s: %s", c.method, reply.Error)
			}
			all, err := b.Definitions(context.Background(), b.server, nil)
			require.NoError(t, err)
			require.Len(t, all, 3)
		})
	}
}

func TestTheOfficialSDKHearsOfCancellations(t *testing.T) {
	for _, version := range []string{mcp.V20260728, mcp.V20251125, mcp.V20250618, mcp.V20250326} {
		t.Run(version, func(t *testing.T) {
			s, url := official(t, version, &sdk.StreamableHTTPOptions{Stateless: mcp.Modern(version), PropagateRequestCancellation: true})
			begun, ended := make(chan struct{}, 1), make(chan struct{}, 1)
			s.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
				return func(ctx context.Context, method string, r sdk.Request) (sdk.Result, error) {
					if method != mcp.MethodToolsCall {
						return next(ctx, method, r)
					}
					begun <- struct{}{}
					defer func() { ended <- struct{}{} }()
					return next(ctx, method, r)
				}
			})
			b := newSide(t, url, nil)
			ctx, cancel := context.WithCancel(context.Background())
			done := b.start(ctx, tool("wait", `{}`, nil))
			within(t, begun)
			cancel()
			require.Error(t, within(t, done).err)
			within(t, ended)
		})
	}
}

func TestAStreamThatTheOfficialSDKClosesIsTakenUpAgain(t *testing.T) {
	_, url := official(t, mcp.V20251125, &sdk.StreamableHTTPOptions{EventStore: sdk.NewMemoryEventStore(nil)})
	b := newSide(t, url, nil)
	for _, change := range []func(*guard.Exchange){nil, func(ex *guard.Exchange) { ex.Offer = nil }} {
		var told notices
		reply := b.must(tool("leave", `{}`, func(ex *guard.Exchange) {
			ex.Notify = told.take
			if change != nil {
				change(ex)
			}
		}))
		require.Equal(t, "back again", text(t, reply))
		require.Equal(t, []string{mcp.MethodProgress}, told.methods())
	}
}

func TestChangesAtAServerOfTheOfficialSDKAreHeard(t *testing.T) {
	for _, version := range []string{mcp.V20260728, mcp.V20251125, mcp.V20250618, mcp.V20250326} {
		t.Run(version, func(t *testing.T) {
			s, url := official(t, version, &sdk.StreamableHTTPOptions{Stateless: mcp.Modern(version)})
			b := newSide(t, url, nil)
			heard, over, stop := b.listening(func(l *guard.Listening) { l.Resources = []string{"res://a"} })
			var updated, changed bool
			eventually(t, "both are heard", func() bool {
				require.NoError(t, s.ResourceUpdated(context.Background(), &sdk.ResourceUpdatedNotificationParams{URI: "res://a"}))
				s.AddPrompt(&sdk.Prompt{Name: "another"}, nil)
				for _, one := range heard.list() {
					method, _ := mcp.Text([]byte(one), "method")
					uri, _ := mcp.Text([]byte(one), "params", "uri")
					updated = updated || method == mcp.MethodResourceUpdated && uri == "res://a"
					changed = changed || method == mcp.MethodPromptsListChanged
					require.NotContains(t, one, mcp.MetaSubscription)
				}
				return updated && changed
			})
			stop()
			require.NoError(t, within(t, over))
		})
	}
}

func TestAServerOf20260728AsksByItsResult(t *testing.T) {
	s, url := official(t, mcp.V20260728, &sdk.StreamableHTTPOptions{Stateless: true})
	sdk.AddTool(s, &sdk.Tool{Name: "deploy"}, func(_ context.Context, r *sdk.CallToolRequest, _ struct{}) (*sdk.CallToolResult, any, error) {
		if answer, ok := r.Params.InputResponses["sure"].(*sdk.ElicitResult); ok {
			return said(answer.Action), nil, nil
		}
		return &sdk.CallToolResult{InputRequests: sdk.InputRequestMap{"sure": &sdk.ElicitParams{
			Message: "sure?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}},
		}}}, nil, nil
	})
	b := newSide(t, url, nil)
	reply := b.must(tool("deploy", `{}`, nil))
	require.True(t, reply.Modern)
	kind, _ := mcp.Text(reply.Result, "resultType")
	require.Equal(t, mcp.ResultInputRequired, kind, "%s %s", reply.Result, reply.Error)
	reply = b.must(tool("deploy", `{},"inputResponses":{"sure":{"action":"accept","content":{}}}`, nil))
	require.Equal(t, "accept", text(t, reply))
}

func TestAServerOfMCPGoIsServedInBothEras(t *testing.T) {
	s := mcpgoserver.NewMCPServer("greeter", "1")
	s.AddTool(mcpgo.NewTool("greet", mcpgo.WithString("name")), func(_ context.Context, r mcpgo.CallToolRequest) (*mcpgo.CallToolResult, error) {
		return mcpgo.NewToolResultText("hello " + r.GetString("name", "")), nil
	})
	h := httptest.NewServer(mcpgoserver.NewStreamableHTTPServer(s))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	b := newSide(t, h.URL, nil)
	about, err := b.About(context.Background(), b.server, nil)
	require.NoError(t, err)
	require.True(t, about.Modern)
	for _, modern := range []bool{true, false} {
		for _, offer := range []string{"", everything} {
			reply := b.must(tool("greet", `{"name":"ana"}`, func(ex *guard.Exchange) {
				if ex.Modern, ex.Offer = modern, nil; offer != "" {
					ex.Offer = json.RawMessage(offer)
				}
			}))
			require.Equal(t, "hello ana", text(t, reply))
			require.Equal(t, modern, reply.Modern)
		}
	}
}
