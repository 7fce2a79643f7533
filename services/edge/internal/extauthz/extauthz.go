// Package extauthz lets Envoy ask the edge about the requests to an MCP server that Envoy itself stands in front of: the gRPC service
// envoy.service.auth.v3.Authorization. Envoy must send whole bodies (with_request_body, without allow_partial_message) and refuse when it gets no answer
// (failure_mode_allow: false).
package extauthz

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/beside"
	"headgate.dev/services/edge/internal/guard"
)

// serverKey is the context extension that names the Server resource that a route of Envoy leads to.
const serverKey = "server"

// Judge decides requests. *guard.Guard is one.
type Judge interface {
	Judge(ctx context.Context, in ...*guard.Inbound) guard.Verdict
}

// Server answers Envoy.
type Server struct {
	auth.UnimplementedAuthorizationServer

	judge Judge
}

// Register makes a server answer Envoy.
func Register(server *grpc.Server, judge Judge) {
	auth.RegisterAuthorizationServer(server, &Server{judge: judge})
}

// Check implements Envoy's service. It never answers with a gRPC error: Envoy would say nothing to the client.
func (s *Server) Check(ctx context.Context, r *auth.CheckRequest) (*auth.CheckResponse, error) {
	verdict := s.judge.Judge(ctx, inbound(r.GetAttributes()))
	if !verdict.Allowed {
		return denied(verdict.Answer), nil
	}
	ok := &auth.OkHttpResponse{}
	authorized := false
	for _, h := range verdict.Headers {
		authorized = authorized || strings.EqualFold(h.Name, "authorization")
		ok.Headers = append(ok.Headers, header(h.Name, h.Value))
	}
	if !authorized {
		ok.HeadersToRemove = []string{"authorization"} // the caller's token is for Headgate alone
	}
	return &auth.CheckResponse{Status: &rpcstatus.Status{Code: int32(codes.OK)}, HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: ok}}, nil
}

// inbound reads what Envoy says of a request. Envoy has put headers that came more than once into one, with commas.
func inbound(a *auth.AttributeContext) *guard.Inbound {
	h := a.GetRequest().GetHttp()
	server := a.GetContextExtensions()[serverKey]
	in := &guard.Inbound{
		Verb: h.GetMethod(), Endpoint: "/mcp/" + server, Server: server, Host: h.GetHost(), IP: a.GetSource().GetAddress().GetSocketAddress().GetAddress(),
		Body: h.GetRawBody(),
	}
	if len(in.Body) == 0 {
		in.Body = []byte(h.GetBody())
	}
	var fields guard.Headers
	for name, value := range h.GetHeaders() {
		switch strings.ToLower(name) {
		case "authorization":
			in.Bearer = beside.Bearer(value)
		case "origin":
			in.Origins = []string{value}
		case "accept":
			in.Accept = value
		case "content-type":
			in.ContentType, _, _ = strings.Cut(value, ";")
		case "content-encoding":
			in.Encoded = !strings.EqualFold(strings.TrimSpace(value), "identity")
		case "user-agent":
			in.UserAgent = value
		case "traceparent":
			in.TraceParent = value
		case "mcp-session-id": // is the server's
		default:
			if len(name) > 4 && strings.EqualFold(name[:4], "mcp-") {
				fields = append(fields, mcp.Field{Name: name, Value: value})
			}
		}
	}
	in.Headers = fields
	in.Unfit = unfit(server, h)
	return in
}

// unfit says what keeps a request from being judged, whatever is in it.
func unfit(server string, h *auth.AttributeContext_HttpRequest) error {
	size, declared := h.GetHeaders()["content-length"]
	length, err := strconv.Atoi(size)
	whole := h.GetHeaders()["x-envoy-auth-partial-body"] != "true" && (!declared || err == nil && length == max(len(h.GetBody()), len(h.GetRawBody())))
	switch {
	case server == "" || strings.ContainsAny(server, "/?#") || url.PathEscape(server) != server:
		return guard.AtHTTP(http.StatusBadGateway, faultv1.Reason_REASON_INVALID,
			"The route of this request does not say which server it leads to. Set the context extension %q of Envoy's ext_authz filter there.", serverKey)
	case !whole:
		return guard.AtHTTP(http.StatusRequestEntityTooLarge, faultv1.Reason_REASON_TOO_LARGE,
			"The request was not shown whole to Headgate, so it cannot be judged. Send less, or raise max_request_bytes of Envoy's ext_authz filter, without allow_partial_message.")
	}
	return nil
}

func denied(a guard.Answer) *auth.CheckResponse {
	out := &auth.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.Status)}, Body: string(a.Message())}
	for name, value := range map[string]string{"www-authenticate": a.Challenge, "allow": a.Allow, "cache-control": "no-store"} {
		if value != "" {
			out.Headers = append(out.Headers, header(name, value))
		}
	}
	if out.Body != "" {
		out.Headers = append(out.Headers, header("content-type", "application/json"))
	}
	if a.RetryAfter > 0 {
		out.Headers = append(out.Headers, header("retry-after", strconv.Itoa(int((a.RetryAfter+time.Second-1)/time.Second))))
	}
	return &auth.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: out},
	}
}

func header(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header: &core.HeaderValue{Key: strings.ToLower(name), Value: value}, AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
