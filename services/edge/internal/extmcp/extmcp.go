// Package extmcp lets agentgateway ask the edge about the MCP messages to servers that it stands in front of: the gRPC service ExtMcp, as agentgateway
// publishes it (tools/third_party/agentgateway). It must ask in the phase Request and refuse when it gets no answer (failureMode: FailClosed).
package extmcp

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc"

	"headgate.dev/libs/mcp"
	"headgate.dev/proto/gen/agentgateway/extmcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/beside"
	"headgate.dev/services/edge/internal/guard"
)

// What the gateway's configuration may add to a question, where headers do not say it.
const (
	addedHost = "host" // the host name that the client called
	addedIP   = "ip"   // the client's address
)

// mostServers is how many backends one message may go to.
const mostServers = 100

// Judge decides a request, once for each server that it goes to: they all get it, or none. *guard.Guard is one.
type Judge interface {
	Judge(ctx context.Context, in ...*guard.Inbound) guard.Verdict
}

// Register makes a server answer agentgateway.
func Register(server *grpc.Server, judge Judge) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "agentgateway.dev.ext_mcp.ExtMcp", HandlerType: (*any)(nil), Metadata: "ext_mcp.proto",
		Methods: []grpc.MethodDesc{
			{MethodName: "CheckRequest", Handler: method(func(ctx context.Context, r *extmcp.McpRequest) *extmcp.McpRequestResult { return check(ctx, judge, r) })},
			{MethodName: "CheckResponse", Handler: method(response)},
		},
	}, struct{}{})
}

// method reads one message and writes one. No answer is a gRPC error: agentgateway would say nothing to the client.
func method[In, Out any](answer func(context.Context, *In) *Out) grpc.MethodHandler {
	return func(_ any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := read(in); err != nil {
			return nil, err
		}
		return answer(ctx, in), nil
	}
}

// response refuses the other phase: nobody here looks at results, and what is not looked at may not look as if it were.
func response(context.Context, *extmcp.McpResponse) *extmcp.McpResponseResult {
	return &extmcp.McpResponseResult{Result: &extmcp.McpResponseResult_Error{Error: &extmcp.AuthorizationError{
		Code: extmcp.AuthorizationError_PERMISSION_DENIED, Reason: "Headgate judges requests here and not what comes back. Set the phase Request for this method in the gateway's " +
			"configuration, or use Headgate's own endpoint, which inspects results.",
	}}}
}

// check decides about a message for each server that it goes to: all must take it.
func check(ctx context.Context, judge Judge, r *extmcp.McpRequest) *extmcp.McpRequestResult {
	servers := r.GetServiceNames()
	if len(servers) == 0 || len(servers) > mostServers {
		servers = []string{""} // is refused, and recorded
	}
	requests := make([]*guard.Inbound, len(servers))
	for i, server := range servers {
		requests[i] = inbound(r, server)
	}
	verdict := judge.Judge(ctx, requests...)
	if !verdict.Allowed {
		return refused(verdict.Answer)
	}
	leased := verdict.Headers
	if len(servers) > 1 {
		leased = nil // a credential is for one server; the lists of several come without
	}
	change := &extmcp.HeaderMutation{}
	authorized := false
	for _, h := range leased {
		authorized = authorized || strings.EqualFold(h.Name, "authorization")
		change.Set = append(change.Set, &extmcp.McpHeader{Key: strings.ToLower(h.Name), Value: []byte(h.Value)})
	}
	if !authorized {
		change.Remove = []string{"authorization"} // the caller's token is for Headgate alone
	}
	return &extmcp.McpRequestResult{Result: &extmcp.McpRequestResult_Pass{Pass: &extmcp.Pass{}}, HeaderMutation: change}
}

// inbound is a message as the edge's own endpoint of the server would have got it.
func inbound(r *extmcp.McpRequest, server string) *guard.Inbound {
	added := r.GetMetadataContext().GetFields()
	in := &guard.Inbound{
		Verb: http.MethodPost, Endpoint: "/mcp/" + server, Server: server, Host: added[addedHost].GetStringValue(), IP: added[addedIP].GetStringValue(),
		ContentType: "application/json", Accept: "application/json, text/event-stream", // the gateway has read a message, and takes either answer
	}
	var fields guard.Headers
	tokens := 0
	for _, h := range r.GetHeaders() {
		name, value := strings.ToLower(h.GetKey()), string(h.GetValue())
		switch name {
		case "authorization":
			in.Bearer = beside.Bearer(value)
			tokens++
		case "host", ":authority":
			in.Host = value
		case "origin":
			in.Origins = append(in.Origins, value)
		case "user-agent":
			in.UserAgent = value
		case "traceparent":
			in.TraceParent = value
		case "mcp-session-id": // is between the client and the gateway
		default:
			if strings.HasPrefix(name, "mcp-") {
				fields = append(fields, mcp.Field{Name: name, Value: value})
			}
		}
	}
	if tokens > 1 {
		in.Bearer = ""
	}
	in.Headers = fields
	in.Body, in.Unfit = message(r, server)
	return in
}

// message puts the JSON-RPC message together again, for which the params must be one whole value. Its id is nobody's.
func message(r *extmcp.McpRequest, server string) ([]byte, error) {
	if server == "" || url.PathEscape(server) != server {
		return nil, guard.AtHTTP(http.StatusBadGateway, faultv1.Reason_REASON_INVALID,
			"The gateway does not say which server this message goes to, or to too many. Its targets must have the names of Server resources.")
	}
	if r.McpRequest != nil && !mcp.Valid(r.GetMcpRequest()) {
		return nil, guard.AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "The params of the message are not strict JSON: a name is there twice, or it is cut off.")
	}
	out := struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      int             `json:"id,omitempty"`
		Method  string          `json:"method"`
		Params  json.RawMessage `json:"params,omitempty"`
	}{JSONRPC: "2.0", ID: 1, Method: r.GetMethod(), Params: r.GetMcpRequest()}
	if strings.HasPrefix(r.GetMethod(), "notifications/") {
		out.ID = 0
	}
	var body strings.Builder
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		return nil, guard.AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "The params of the message are not JSON.")
	}
	return []byte(body.String()), nil
}

// refused says in the gateway's terms what the edge's endpoint would have answered.
func refused(a guard.Answer) *extmcp.McpRequestResult {
	body := a.Message()
	out := &extmcp.AuthorizationError{Code: code(a.Status), Reason: http.StatusText(a.Status)}
	if text, ok := mcp.Text(body, "error", "message"); ok {
		out.Reason, out.McpError = text, mcp.Get(body, "error")
	} else if result := mcp.Get(body, "result"); result != nil {
		out.Reason, out.McpError = ofResult(result)
	}
	return &extmcp.McpRequestResult{Result: &extmcp.McpRequestResult_Error{Error: out}}
}

// ofResult makes the error of a tool's result that says no: its sentence, and the decision beside it.
func ofResult(result []byte) (sentence string, object []byte) {
	var said struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
	}
	if json.Unmarshal(result, &said) != nil || len(said.Content) == 0 {
		return "Headgate refused the call.", nil
	}
	sentence = said.Content[0].Text
	object, err := json.Marshal(map[string]any{"code": guard.CodeRefused, "message": sentence, "data": mcp.Get(result, "_meta")})
	if err != nil {
		return sentence, nil
	}
	return sentence, object
}

func code(status int) extmcp.AuthorizationError_Code {
	switch status {
	case http.StatusTooManyRequests:
		return extmcp.AuthorizationError_RESOURCE_EXHAUSTED
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return extmcp.AuthorizationError_INVALID
	}
	return extmcp.AuthorizationError_PERMISSION_DENIED
}
