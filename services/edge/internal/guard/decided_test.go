package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// watched is a guard whose other stages let everything through and remember what they were shown. What they do not have is not used here.
type watched struct {
	guard    *Guard
	question *Question
	exchange *Exchange
	records  []*eventsv1.Event
}

var onlyServer = &Server{Tenant: "acme", Name: "s", Timeout: time.Second}

type (
	door     struct{ Admitter }
	fresh    struct{}
	shelf    struct{ Catalogue }
	judge    struct{ of *watched }
	purse    struct{ Lender }
	recorder struct{ of *watched }
	wire     struct {
		Upstream
		of *watched
	}
	glass    struct{ Inspector }
	ring     struct{ Keys }
	anything struct{}
)

func (door) Admit(*Inbound) (*Caller, error) { return &Caller{Tenant: "acme", Person: "ana"}, nil }
func (door) Still(*Inbound, *Caller) error   { return nil }
func (door) Metadata(*Inbound) string        { return "" }

func (door) Current(_ *Inbound, c *Caller) (*Caller, error) {
	return c, nil
}
func (fresh) Fresh() error { return nil }
func (anything) Validate(json.RawMessage) (map[string]any, error) {
	return nil, nil
}

func (shelf) Resolve(_ context.Context, _ *Caller, _, visible string) (*Tool, error) {
	return &Tool{Server: onlyServer, Name: visible, Arguments: anything{}}, nil
}

func (s shelf) Method(ctx context.Context, c *Caller, server, method string) (*Tool, error) {
	return s.Resolve(ctx, c, server, method)
}
func (shelf) Stopped(*Caller) error                               { return nil }
func (shelf) Still(context.Context, *Caller, *Tool) error         { return nil }
func (shelf) Halted(*Caller, *Tool) error                         { return nil }
func (purse) Lease(context.Context, LeaseRequest) (*Lease, error) { return &Lease{}, nil }

func (j judge) Decide(_ context.Context, q Question) (policy.Decision, error) {
	kept := q
	j.of.question = &kept
	return policy.Decision{Effect: effectAllow}, nil
}

func (judge) Version() int64 { return 1 }

func (r recorder) Append(ev *eventsv1.Event, _ journal.Mode) error {
	r.of.records = append(r.of.records, ev)
	return nil
}

func (w wire) Forward(_ context.Context, ex Exchange) (Reply, error) {
	kept := ex
	w.of.exchange = &kept
	return Reply{Result: json.RawMessage(`{}`)}, nil
}

func (wire) About(context.Context, *Server, *Lease) (About, error) {
	return About{Modern: true, Legacy: true}, nil
}

func (glass) Inspect(document []byte, _ *Lease) ([]byte, Inspection, error) {
	return document, Inspection{}, nil
}
func (glass) Text(sentence string, _ *Lease) string        { return sentence }
func (ring) Sum(string, []byte) string                     { return "sum" }
func (ring) Open(string, string, ...string) (string, bool) { return "", false }

func watch() *watched {
	w := &watched{}
	w.guard = New(Stages{
		Admitter: door{}, Replicas: fresh{}, Catalogue: shelf{}, Decider: judge{w}, Lender: purse{}, Journal: recorder{w}, Upstream: wire{of: w}, Inspector: glass{},
		Keys: ring{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	return w
}

// FuzzWhatIsDecidedIsWhatIsSent holds the guard to deciding about exactly the bytes that the server gets, and to sending nothing else: whatever a
// client sends, in either era, either nothing reaches the server, or policy saw the name and the arguments that the server sees.
func FuzzWhatIsDecidedIsWhatIsSent(f *testing.F) {
	meta := `"_meta":{"` + mcp.MetaProtocolVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{}}`
	for _, params := range []string{
		`"name":"a","arguments":{"n":1}`, `"name":"a"`, `"arguments":{ "a\u0062" : [1e9] },"name":"\u0061"`, `"name":"p","arguments":{"x":"y"},"inputResponses":{"a":{}}`,
		`"uri":"memo://a","x":{}`, `"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"n","value":"v"}`,
	} {
		for _, method := range []string{"tools/call", "prompts/get", "resources/read", "completion/complete", "resources/subscribe"} {
			f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+params+`}}`), false)
			f.Add([]byte(`{"jsonrpc":"2.0","id":"x","method":"`+method+`","params":{`+params+`,`+meta+`}}`), true)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, modern bool) {
		w := watch()
		in := arrives(body, modern)
		w.guard.Call(t.Context(), in)
		if w.exchange == nil {
			return
		}
		if w.question == nil || len(w.records) != 2 {
			t.Fatalf("%q was sent after %d records without a decision", body, len(w.records))
		}
		seen, sent := w.question, w.exchange
		came := mcp.Get(body, "params")
		if sent.Method == mcp.MethodToolsCall {
			if !bytes.Equal(seen.Arguments, sent.Arguments) || !bytes.Equal(seen.Arguments, mcp.Get(sent.Params, "arguments")) || !bytes.Equal(seen.Arguments, mcp.Get(came, "arguments")) {
				t.Fatalf("%q: decided about %q, sent %q in %q", body, seen.Arguments, sent.Arguments, sent.Params)
			}
			if name, _ := mcp.Text(sent.Params, "name"); name != seen.Tool.Name || name != sent.Name {
				t.Fatalf("%q: decided about %q, sent %q", body, seen.Tool.Name, name)
			}
			return
		}
		names, values := mcp.Members(sent.Params)
		for i, name := range names {
			if name == "_meta" || name == mcp.MemberInputResponses || name == mcp.MemberRequestState {
				continue
			}
			if !bytes.Equal(mcp.Get(seen.Arguments, name), values[i]) || !bytes.Equal(mcp.Get(came, name), values[i]) {
				t.Fatalf("%q: decided about %q, sent %q", body, seen.Arguments, sent.Params)
			}
		}
	})
}

func TestEachMethodThatIsDecidedReachesTheServer(t *testing.T) {
	for method, params := range map[string]string{
		"tools/call": `"name":"a","arguments":{"n":1}`, "prompts/get": `"name":"p"`, "resources/read": `"uri":"memo://a"`,
		"completion/complete": `"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"n","value":"v"}`,
	} {
		for _, modern := range []bool{true, false} {
			w := watch()
			body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `}}`
			if modern {
				body = `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params + `,"_meta":{"` + mcp.MetaProtocolVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{}}}}`
			}
			answer := w.guard.Call(t.Context(), arrives([]byte(body), modern))
			if w.exchange == nil || w.question == nil || answer.Status != http.StatusOK {
				t.Errorf("%s did not reach the server: %s", body, answer.Message())
			}
		}
	}
}

func arrives(body []byte, modern bool) *Inbound {
	in := &Inbound{Verb: http.MethodPost, Endpoint: "/mcp/s", Server: "s", Body: bytes.Clone(body), Accept: "application/json", Headers: Headers{}}
	if modern {
		in.Headers = headersOf(body)
	}
	return in
}

// headersOf are those that go with a message of 2026-07-28.
func headersOf(body []byte) Headers {
	method, _ := mcp.Text(body, "method")
	name, ok := mcp.Text(body, "params", "name")
	if !ok {
		name, _ = mcp.Text(body, "params", "uri")
	}
	out := Headers{{Name: mcp.HeaderProtocolVersion, Value: mcp.V20260728}, {Name: mcp.HeaderMethod, Value: method}}
	if method == mcp.MethodToolsCall || method == mcp.MethodPromptsGet || method == mcp.MethodResourceRead {
		out = append(out, mcp.Field{Name: mcp.HeaderName, Value: mcp.EncodeHeader(name)})
	}
	return out
}
