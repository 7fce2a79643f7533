package programs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
)

// MCPGo is mark3labs/mcp-go in this process.
func MCPGo(version string) Client {
	return Client{Name: "mcp-go " + version, Modern: version == Modern, Answers: true, run: func(ctx context.Context, at Endpoint, steps []Step) ([]Reply, error) {
		return mcpGo(ctx, at, version, steps)
	}}
}

// Elicit, CreateMessage and ListRoots are how mcp-go asks its user.
func (e *ear) Elicit(context.Context, mcp.ElicitationRequest) (*mcp.ElicitationResult, error) {
	return &mcp.ElicitationResult{ElicitationResponse: mcp.ElicitationResponse{Action: mcp.ElicitationResponseActionAccept, Content: e.hear("elicitation/create")}}, nil
}

// CreateMessage answers sampling.
func (e *ear) CreateMessage(context.Context, mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
	e.hear("sampling/createMessage")
	return &mcp.CreateMessageResult{Model: "e2e", SamplingMessage: mcp.SamplingMessage{Role: mcp.RoleAssistant, Content: mcp.NewTextContent(Sampled)}}, nil
}

// ListRoots answers roots.
func (e *ear) ListRoots(context.Context, mcp.ListRootsRequest) (*mcp.ListRootsResult, error) {
	e.hear("roots/list")
	return &mcp.ListRootsResult{Roots: []mcp.Root{{URI: Root, Name: "work"}}}, nil
}

func mcpGo(ctx context.Context, at Endpoint, version string, steps []Step) ([]Reply, error) {
	var e ear
	wire, err := mcpGoWire(at)
	if err != nil {
		return nil, err
	}
	c := client.NewClient(wire, client.WithElicitationHandler(&e), client.WithSamplingHandler(&e), client.WithRootsHandler(&e))
	defer func() { _ = c.Close() }()
	c.OnNotification(func(n mcp.JSONRPCNotification) { e.hear(n.Method) })
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	hello := mcp.InitializeRequest{}
	hello.Params.ProtocolVersion, hello.Params.ClientInfo = version, mcp.Implementation{Name: "mcp-go", Version: "1"}
	welcome, err := c.Initialize(ctx, hello)
	if err != nil {
		return nil, err
	}
	if welcome.ProtocolVersion != version {
		return nil, fmt.Errorf("the server speaks %s, not %s", welcome.ProtocolVersion, version)
	}
	var replies []Reply
	for _, step := range steps {
		e.begin(step)
		result, err := mcpGoStep(ctx, c, step)
		reply := Reply{Result: result, Heard: e.end()}
		if err != nil {
			if reply.Error = mcpGoError(err); reply.Error == nil {
				return nil, fmt.Errorf("%s: %w", step.Method, err)
			}
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

func mcpGoWire(at Endpoint) (transport.Interface, error) {
	if at.Program == nil {
		return transport.NewStreamableHTTP(at.URL, transport.WithHTTPHeaders(map[string]string{"Authorization": "Bearer " + at.Token}))
	}
	return transport.NewStdio(at.Program.Command, at.Program.variables(), at.Program.Args...), nil
}

// mcpGoError finds the code of an error that the server answered; the library keeps no other trace of it. Nil is an error of another kind.
func mcpGoError(err error) *Error {
	for code, known := range map[int]error{
		mcp.INVALID_REQUEST: mcp.ErrInvalidRequest, mcp.METHOD_NOT_FOUND: mcp.ErrMethodNotFound, mcp.INVALID_PARAMS: mcp.ErrInvalidParams,
		mcp.INTERNAL_ERROR: mcp.ErrInternalError, mcp.RESOURCE_NOT_FOUND: mcp.ErrResourceNotFound,
	} {
		if errors.Is(err, known) {
			return &Error{Code: code, Message: err.Error()}
		}
	}
	return nil
}

func mcpGoStep(ctx context.Context, c *client.Client, step Step) (json.RawMessage, error) {
	switch step.Method {
	case "tools/list":
		return request(ctx, step, c.ListTools)
	case "tools/call":
		return request(ctx, step.progressing(), c.CallTool)
	case "prompts/list":
		return request(ctx, step, c.ListPrompts)
	case "prompts/get":
		return request(ctx, step, c.GetPrompt)
	case "resources/list":
		return request(ctx, step, c.ListResources)
	case "resources/templates/list":
		return request(ctx, step, c.ListResourceTemplates)
	case "resources/read":
		return request(ctx, step, c.ReadResource)
	case "completion/complete":
		return request(ctx, step, c.Complete)
	}
	return nil, fmt.Errorf("no step %q", step.Method)
}

// request makes a call of the library, whose requests are structs with a field for the parameters.
func request[Q, R any](ctx context.Context, step Step, call func(context.Context, Q) (*R, error)) (json.RawMessage, error) {
	wrapped := Step{Params: map[string]any{"params": step.Params}}
	return typed(ctx, wrapped, func(ctx context.Context, q *Q) (*R, error) { return call(ctx, *q) })
}
