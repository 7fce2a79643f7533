package edge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// visitor is a client of one server, as a person has it: the official SDK in one revision. What it is told between answers is in its channels.
type visitor struct {
	*sdk.ClientSession
	// of is the server that is visited at the endpoint of all servers, of which there are so many; empty at a server's own endpoint.
	of       string
	servers  int
	patience time.Duration // with what may come
	progress chan float64
	updated  chan change
	logged   chan string
	asked    chan string
}

// change is a notice that a resource changed, with what the tool that changed it was told to write onto it.
type change struct{ uri, mark string }

// answers are what a visitor says when it is asked.
type answers struct {
	name   string // accepts with it; empty declines
	silent bool   // has no capabilities
}

// visit opens an endpoint in a revision. The session ends with the test.
func (h *harness) visit(t *testing.T, person, path, revision string, as answers) *visitor {
	t.Helper()
	return visit(t, h.overHTTP(t, person, path), revision, as)
}

func visit(t *testing.T, over sdk.Transport, revision string, as answers) *visitor {
	t.Helper()
	v := &visitor{progress: make(chan float64, 2*manyNotices), updated: make(chan change, 64), logged: make(chan string, 64), asked: make(chan string, 64)}
	options := &sdk.ClientOptions{
		Capabilities: &sdk.ClientCapabilities{},
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) {
			v.progress <- r.Params.Progress
		},
		ResourceUpdatedHandler: func(_ context.Context, r *sdk.ResourceUpdatedNotificationRequest) {
			uri, mark, within := strings.Cut(r.Params.URI, "?")
			if !within {
				mark, _ = r.Params.Meta[touchMark].(string)
			}
			v.updated <- change{uri, mark}
		},
		LoggingMessageHandler: func(_ context.Context, r *sdk.LoggingMessageRequest) {
			text, _ := r.Params.Data.(string)
			v.logged <- text
		},
	}
	if !as.silent {
		options.ElicitationHandler = func(_ context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			v.asked <- r.Params.Message
			if as.name == "" {
				return &sdk.ElicitResult{Action: "decline"}, nil
			}
			return &sdk.ElicitResult{Action: "accept", Content: map[string]any{"name": as.name}}, nil
		}
		options.CreateMessageHandler = func(_ context.Context, r *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) {
			v.asked <- r.Params.Messages[0].Content.(*sdk.TextContent).Text
			return &sdk.CreateMessageResult{Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "Paris"}}, nil
		}
	}
	session, err := sdk.NewClient(&sdk.Implementation{Name: "official", Version: "1"}, options).
		Connect(context.Background(), over, &sdk.ClientSessionOptions{ProtocolVersion: revision})
	must(t, err)
	t.Cleanup(func() { _ = session.Close() })
	if got := session.InitializeResult().ProtocolVersion; got != revision {
		t.Fatalf("the client speaks %s, not %s", got, revision)
	}
	v.ClientSession = session
	return v
}

// overHTTP is the way of a client to an endpoint.
func (h *harness) overHTTP(t *testing.T, person, path string) sdk.Transport {
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	return &sdk.StreamableClientTransport{
		Endpoint: h.base + path, MaxRetries: -1,
		HTTPClient: &http.Client{Transport: bearerTransport{h.tokenFor(person, h.base+"/mcp", nil), base}},
	}
}

// at is the same visitor at another server of the endpoint of all of them.
func (v *visitor) at(server string, servers int) *visitor {
	there := *v
	there.of, there.servers = server, servers
	return &there
}

// named is the name that a tool or a prompt of the server has where the visitor is.
func (v *visitor) named(name string) string {
	if v.of == "" {
		return name
	}
	return v.of + "." + name
}

// uri is the name that a resource of the server has there.
func (v *visitor) uri(uri string) string {
	if v.of == "" {
		return uri
	}
	return "hg." + v.of + "+" + uri
}

// question is how the visitor is asked what the server wants to know.
func (v *visitor) question(text string) string {
	if v.of == "" {
		return text
	}
	return v.of + ": " + text
}

func (v *visitor) all(name func(string) string, own []string) []string {
	var out []string
	for _, one := range own {
		out = append(out, name(one))
	}
	slices.Sort(out)
	return out
}

// mine are the names of a list that the server has there, in order.
func (v *visitor) mine(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.DeleteFunc(list, func(name string) bool {
		return !strings.HasPrefix(name, v.named("")) && !strings.HasPrefix(name, v.uri(""))
	})
}

// tool calls a tool; arguments are JSON. The first text of the result is what it answers.
func (v *visitor) tool(ctx context.Context, name, arguments string) (string, error) {
	_, text, err := v.toolWith(ctx, name, arguments, nil)
	return text, err
}

func (v *visitor) toolWith(ctx context.Context, name, arguments string, meta sdk.Meta) (*sdk.CallToolResult, string, error) {
	result, err := v.CallTool(ctx, &sdk.CallToolParams{Name: v.named(name), Arguments: json.RawMessage(arguments), Meta: meta})
	if err != nil {
		return nil, "", err
	}
	text := ""
	if len(result.Content) > 0 {
		if one, ok := result.Content[0].(*sdk.TextContent); ok {
			text = one.Text
		}
	}
	return result, text, nil
}

// wireError is the JSON-RPC error in what the SDK answers; nil for none.
func wireError(err error) *jsonrpc.Error {
	for err != nil {
		if wire, ok := err.(*jsonrpc.Error); ok {
			return wire
		}
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return nil
		}
		err = inner.Unwrap()
	}
	return nil
}
