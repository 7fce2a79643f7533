package programs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// GoSDK is the official SDK of Go in this process.
func GoSDK(version string) Client {
	return Client{Name: "Go SDK " + version, Modern: version == Modern, Answers: true, run: func(ctx context.Context, at Endpoint, steps []Step) ([]Reply, error) {
		return goSDK(ctx, at, version, steps)
	}}
}

// ear collects what the server sends in the course of a step, and holds what the person answers there.
type ear struct {
	mu     sync.Mutex
	answer map[string]any
	heard  []string
}

func (e *ear) hear(method string) map[string]any {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, method)
	return e.answer
}

func (e *ear) begin(step Step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer, e.heard = step.Answer, nil
}

func (e *ear) end() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string{}, e.heard...)
}

// bearer adds the access token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

func goSDK(ctx context.Context, at Endpoint, version string, steps []Step) ([]Reply, error) {
	var e ear
	client := mcp.NewClient(&mcp.Implementation{Name: "go-sdk", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: e.hear("elicitation/create")}, nil
		},
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			e.hear("sampling/createMessage")
			return &mcp.CreateMessageResult{Role: "assistant", Model: "e2e", Content: &mcp.TextContent{Text: Sampled}}, nil
		},
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { e.hear("notifications/progress") },
	})
	client.AddRoots(&mcp.Root{URI: Root, Name: "work"})
	client.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, request mcp.Request) (mcp.Result, error) {
			if method == "roots/list" {
				e.hear(method)
			}
			return next(ctx, method, request)
		}
	})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	session, err := client.Connect(ctx, goSDKWire(ctx, at, transport), &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		return nil, err
	}
	defer func() { _ = session.Close() }()
	var replies []Reply
	for _, step := range steps {
		e.begin(step)
		result, err := goSDKStep(ctx, session, step)
		reply := Reply{Result: result, Heard: e.end()}
		var refused *jsonrpc.Error
		switch {
		case errors.As(err, &refused):
			reply.Error = &Error{Code: int(refused.Code), Message: refused.Message}
		case err != nil:
			return nil, fmt.Errorf("%s: %w", step.Method, err)
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

func goSDKWire(ctx context.Context, at Endpoint, transport http.RoundTripper) mcp.Transport {
	if at.Program == nil {
		return &mcp.StreamableClientTransport{Endpoint: at.URL, HTTPClient: &http.Client{Transport: bearer{at.Token, transport}}}
	}
	cmd := exec.CommandContext(ctx, at.Program.Command, at.Program.Args...)
	cmd.Env = append(os.Environ(), at.Program.variables()...)
	return &mcp.CommandTransport{Command: cmd}
}

func goSDKStep(ctx context.Context, s *mcp.ClientSession, step Step) (json.RawMessage, error) {
	switch step.Method {
	case "tools/list":
		return typed(ctx, step, s.ListTools)
	case "tools/call":
		return typed(ctx, step.progressing(), s.CallTool)
	case "prompts/list":
		return typed(ctx, step, s.ListPrompts)
	case "prompts/get":
		return typed(ctx, step, s.GetPrompt)
	case "resources/list":
		return typed(ctx, step, s.ListResources)
	case "resources/templates/list":
		return typed(ctx, step, s.ListResourceTemplates)
	case "resources/read":
		return typed(ctx, step, s.ReadResource)
	case "completion/complete":
		return typed(ctx, step, s.Complete)
	}
	return nil, fmt.Errorf("no step %q", step.Method)
}

// typed makes a call of the library, whose parameters and result are structs, of a step's JSON.
func typed[P, R any](ctx context.Context, step Step, call func(context.Context, *P) (*R, error)) (json.RawMessage, error) {
	params := new(P)
	encoded, err := json.Marshal(step.Params)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(encoded, params); err != nil {
		return nil, err
	}
	result, err := call(ctx, params)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}
