package stdio_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	community "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/services/headgate/internal/stdio"
)

// official is the official SDK's server behind a token, as a gateway would be that serves everything: sessions for the older revisions, none for 2026-07-28.
type official struct {
	URL       string
	server    *mcp.Server
	cancelled chan string // tools whose call was cancelled
	begun     chan string

	mu     sync.Mutex
	agreed []string // what people answered
}

func serveOfficial(t *testing.T) *official {
	t.Helper()
	o := &official{cancelled: make(chan string, 10), begun: make(chan string, 10)}
	ok := func(context.Context, *mcp.SubscribeRequest) error { return nil }
	o.server = mcp.NewServer(&mcp.Implementation{Name: "official", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler: ok, UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})
	object := map[string]any{"type": "object"}
	for name, handler := range map[string]mcp.ToolHandler{"echo": echo, "steps": steps, "ask": o.ask, "wait": o.wait, "poll": poll} {
		o.server.AddTool(&mcp.Tool{Name: name, InputSchema: object}, handler)
	}
	o.server.AddTool(&mcp.Tool{Name: "mirrored", InputSchema: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string","x-mcp-header":"City"}}}`)}, echo)
	o.server.AddResource(&mcp.Resource{Name: "news", URI: "news://today"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: "news://today", Text: "none"}}}, nil
	})
	get := func(*http.Request) *mcp.Server { return o.server }
	sessions := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)})
	single := mcp.NewStreamableHTTPHandler(get, &mcp.StreamableHTTPOptions{Stateless: true, PropagateRequestCancellation: true})
	o.URL = behindToken(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") == "2026-07-28" {
			single.ServeHTTP(w, r)
			return
		}
		sessions.ServeHTTP(w, r)
	}))
	return o
}

// serveCommunity is mcp-go's server behind a token. It speaks both eras by itself.
func serveCommunity(t *testing.T) string {
	s := server.NewMCPServer("community", "1", server.WithToolCapabilities(true))
	s.AddTool(community.NewTool("echo", community.WithString("text")), func(_ context.Context, r community.CallToolRequest) (*community.CallToolResult, error) {
		return community.NewToolResultText(r.GetString("text", "")), nil
	})
	return behindToken(t, server.NewStreamableHTTPServer(s, server.WithStateful(true)))
}

func behindToken(t *testing.T, next http.Handler) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+good {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func text(said string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: said}}}
}

func echo(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return text(string(r.Params.Arguments)), nil
}

func steps(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for i := range 5 {
		if err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1)}); err != nil {
			return nil, err
		}
	}
	return text("five"), nil
}

// ask needs a person's word and a model's: a request of the server in a session, input that is required on 2026-07-28.
func (o *official) ask(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if len(r.Params.InputResponses) == 0 {
		return &mcp.CallToolResult{RequestState: "sealed", InputRequests: mcp.InputRequestMap{
			"person": &mcp.ElicitParams{Message: "Sure?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"sure":{"type":"boolean"}}}`)},
			"model":  &mcp.CreateMessageParams{MaxTokens: 5, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "Say yes."}}}},
		}}, nil
	}
	said, err := json.Marshal(r.Params.InputResponses)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.agreed = append(o.agreed, string(said))
	return text("done"), nil
}

func (o *official) wait(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	o.begun <- r.Params.Name
	<-ctx.Done()
	o.cancelled <- r.Params.Name
	return nil, ctx.Err()
}

// poll closes its stream before it answers, as servers may in a session.
func poll(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if r.Extra.CloseSSEStream != nil {
		r.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 10 * time.Millisecond})
	}
	return text("later"), nil
}

// connect is the official client on the client's end of a bridge.
func connect(t *testing.T, endpoint, version string, opts *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r := start(t, stdio.Config{Endpoint: endpoint, Reconnect: 5 * time.Millisecond})
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, opts)
	session, err := client.Connect(ctx, &mcp.IOTransport{Reader: pure(t, r.out), Writer: r.in}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatalf("%s: %v: %s", version, err, r.log)
	}
	t.Cleanup(func() { _ = session.Close() })
	if got := session.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("the client asked for %s and got %s", version, got)
	}
	return session
}

func versions() []string {
	return []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func said(t *testing.T, result *mcp.CallToolResult, err error) string {
	t.Helper()
	if err != nil || result.IsError || len(result.Content) != 1 {
		t.Fatalf("%v %v", result, err)
	}
	content, ok := result.Content[0].(*mcp.TextContent)
	if !ok {
		t.Fatalf("%v", result.Content[0])
	}
	return content.Text
}

func TestClientsOfEveryRevisionListAndCall(t *testing.T) {
	o := serveOfficial(t)
	for name, endpoint := range map[string]string{"official": o.URL, "community": serveCommunity(t)} {
		for _, version := range versions() {
			t.Run(name+" "+version, func(t *testing.T) {
				session := connect(t, endpoint, version, nil)
				tools, err := session.ListTools(soon(t), nil)
				if err != nil || len(tools.Tools) == 0 {
					t.Fatalf("%v %v", tools, err)
				}
				result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "grüß"}})
				if got := said(t, result, err); !strings.Contains(got, "grüß") {
					t.Errorf("answered %q", got)
				}
				if _, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "nothing"}); err == nil {
					t.Error("a tool that is not there was called")
				}
				var calls sync.WaitGroup
				for i := range 20 {
					calls.Go(func() {
						result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": fmt.Sprint("n", i)}})
						if err != nil || !strings.Contains(fmt.Sprint(result.Content[0].(*mcp.TextContent).Text), fmt.Sprint("n", i)) {
							t.Errorf("call %d: %v %v", i, result, err)
						}
					})
				}
				calls.Wait()
			})
		}
	}
}

func TestProgressArrivesInOrderBeforeItsAnswer(t *testing.T) {
	o := serveOfficial(t)
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			seen := make(chan float64, 10)
			session := connect(t, o.URL, version, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { seen <- r.Params.Progress },
			})
			params := &mcp.CallToolParams{Name: "steps"}
			params.SetProgressToken("p")
			result, err := session.CallTool(soon(t), params)
			if said(t, result, err) != "five" {
				t.Error(result)
			}
			for i := range 5 {
				if got := <-seen; got != float64(i+1) {
					t.Errorf("step %d: %v", i+1, got)
				}
			}
		})
	}
}

func TestServersAskThePersonAndTheModel(t *testing.T) {
	for _, version := range []string{"2025-06-18", "2025-11-25", "2026-07-28"} {
		t.Run(version, func(t *testing.T) {
			o := serveOfficial(t)
			session := connect(t, o.URL, version, &mcp.ClientOptions{
				ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
					return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"sure": true}}, nil
				},
				CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
					return &mcp.CreateMessageResult{Role: "assistant", Model: "m", Content: &mcp.TextContent{Text: "yes it is"}}, nil
				},
			})
			result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "ask"})
			if said(t, result, err) != "done" {
				t.Error(result)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if len(o.agreed) != 1 || !strings.Contains(o.agreed[0], `"accept"`) || !strings.Contains(o.agreed[0], "yes it is") {
				t.Errorf("the server was told %v", o.agreed)
			}
		})
	}
}

func TestChangesAreHeardOf(t *testing.T) {
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			o := serveOfficial(t)
			changed, updated := make(chan struct{}, 10), make(chan string, 10)
			session := connect(t, o.URL, version, &mcp.ClientOptions{
				ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { changed <- struct{}{} },
				ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) { updated <- r.Params.URI },
			})
			if err := session.Subscribe(soon(t), &mcp.SubscribeParams{URI: "news://today"}); err != nil {
				t.Fatal(err)
			}
			n, last := 0, time.Time{}
			eventually(t, "the client hears that the list changed", func() bool {
				// The stream may open after the first change. The server tells of changes when there was none for 10 ms.
				if time.Since(last) > 200*time.Millisecond {
					n, last = n+1, time.Now()
					o.server.AddTool(&mcp.Tool{Name: fmt.Sprint("new", n), InputSchema: map[string]any{"type": "object"}}, echo)
				}
				return len(changed) > 0
			})
			eventually(t, "the client hears that the resource changed", func() bool {
				if err := o.server.ResourceUpdated(t.Context(), &mcp.ResourceUpdatedNotificationParams{URI: "news://today"}); err != nil {
					t.Error(err)
				}
				return len(updated) > 0
			})
			if got := <-updated; got != "news://today" {
				t.Errorf("updated %s", got)
			}
		})
	}
}

func TestCancellingReachesTheServer(t *testing.T) {
	o := serveOfficial(t)
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			session := connect(t, o.URL, version, nil)
			ctx, cancel := context.WithCancel(soon(t))
			failed := make(chan error, 1)
			go func() {
				_, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "wait"})
				failed <- err
			}()
			<-o.begun
			cancel()
			if err := <-failed; err == nil {
				t.Error("a call that was cancelled was answered")
			}
			select {
			case <-o.cancelled:
			case <-soon(t).Done():
				t.Fatal("the server goes on with a call that was cancelled")
			}
			result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "echo"})
			said(t, result, err)
		})
	}
}

func TestAServerMayCloseItsStreamAndAnswerLater(t *testing.T) {
	o := serveOfficial(t)
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			session := connect(t, o.URL, version, nil)
			result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "poll"})
			if version == "2025-11-25" && said(t, result, err) != "later" { // other revisions do not have this; servers close the stream all the same
				t.Error(result)
			}
		})
	}
}

func TestArgumentsAreMirroredAsTheOfficialServerChecks(t *testing.T) {
	o := serveOfficial(t)
	session := connect(t, o.URL, "2026-07-28", nil)
	for _, city := range []string{"Oslo", "São Paulo", " padded "} {
		result, err := session.CallTool(soon(t), &mcp.CallToolParams{Name: "mirrored", Arguments: map[string]any{"city": city}})
		if got := said(t, result, err); !strings.Contains(got, city) {
			t.Errorf("answered %q", got)
		}
	}
}

func TestABadTokenIsSaidToEveryClient(t *testing.T) {
	o := serveOfficial(t)
	for _, version := range []string{"2025-11-25", "2026-07-28"} {
		r := start(t, stdio.Config{Endpoint: o.URL, Tokens: given(t, "bad-token")})
		client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
		_, err := client.Connect(soon(t), &mcp.IOTransport{Reader: pure(t, r.out), Writer: r.in}, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err == nil || !strings.Contains(err.Error(), "Get a new token") {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestResourcesOfEveryRevision(t *testing.T) {
	o := serveOfficial(t)
	for _, version := range versions() {
		session := connect(t, o.URL, version, nil)
		read, err := session.ReadResource(soon(t), &mcp.ReadResourceParams{URI: "news://today"})
		if err != nil || len(read.Contents) != 1 || read.Contents[0].Text != "none" {
			t.Errorf("%s: %v %v", version, read, err)
		}
		list, err := session.ListResources(soon(t), nil)
		if err != nil || !slices.ContainsFunc(list.Resources, func(r *mcp.Resource) bool { return r.URI == "news://today" }) {
			t.Errorf("%s: %v %v", version, list, err)
		}
	}
}
