package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/validate"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

// Conn is a way to a service: over the network or inside the process. Clients of all its RPC services are made with Client. Safe for concurrent use.
type Conn struct {
	http      connect.HTTPClient
	url       string
	peer      string // in sentences: "authz service at https://..."
	token     secret.String
	inside    bool
	telemetry Telemetry
	close     func()
}

// DialConfig says where a service is and as whom to call it.
type DialConfig struct {
	// URL is http or https, host and port, and an optional path before the services' own.
	URL string
	// TLS is from ClientTLS for services; nil means the system's authorities and no client certificate.
	TLS *tls.Config
	// Service is which service the server's certificate must name; unspecified for people, who go by the host name alone.
	Service optionsv1.Service
	// Token is a person's access token. Without TLS it goes to this machine only, unless InsecurePlain.
	Token secret.String
	// InsecurePlain allows a token to cross the network in the clear.
	InsecurePlain bool
	Telemetry     Telemetry
}

// Dial checks the configuration; the connection is made with the first call.
func Dial(cfg DialConfig) (*Conn, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.Invalid("%q is not the address of a service. Give http://HOST:PORT or https://HOST:PORT.", cfg.URL)
	}
	if u.Scheme == "http" && !cfg.Token.Empty() && !cfg.InsecurePlain && !loopback(u.Hostname()) {
		return nil, fault.Invalid("The access token would cross the network in the clear to %s. Use https.", u.Host)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
	}
	transport.Protocols.SetHTTP1(true)
	peer := "service at " + u.Host
	if u.Scheme == "https" {
		transport.Protocols.SetHTTP2(true)
		transport.TLSClientConfig = expect(cfg.TLS, u.Hostname(), cfg.Service)
	}
	if cfg.Service != optionsv1.Service_SERVICE_UNSPECIFIED {
		transport.Proxy = nil
		peer = ServiceName(cfg.Service) + " " + peer
	}
	return &Conn{
		http: &http.Client{Transport: transport, CheckRedirect: noRedirect}, url: strings.TrimRight(cfg.URL, "/"), peer: peer,
		token: cfg.Token, telemetry: cfg.Telemetry, close: transport.CloseIdleConnections,
	}, nil
}

// noRedirect keeps a token from following a redirect to somewhere else.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// As is the same way with a person's access token.
func (c *Conn) As(token secret.String) *Conn {
	other := *c
	other.token = token
	return &other
}

// Close lets go of idle connections. Calls under way are not touched.
func (c *Conn) Close() {
	if c.close != nil {
		c.close()
	}
}

// Client makes a client of one RPC service. Its errors are *fault.Error: code, reason and sentence as the service gave them, or
// REASON_UNAVAILABLE when it does not answer.
func Client[T any](c *Conn, newClient func(connect.HTTPClient, string, ...connect.ClientOption) T) T {
	interceptors := []connect.Interceptor{&rebuilt{conn: c}}
	if t, err := c.telemetry.client(); err == nil { // only a meter that refuses instruments fails; the mux's Check reports that
		interceptors = append(interceptors, t)
	}
	interceptors = append(interceptors, validate.NewInterceptor(), deadline{})
	options := []connect.ClientOption{connect.WithInterceptors(interceptors...)}
	if c.inside {
		options = append(options, connect.WithAcceptCompression("gzip", nil, nil))
	}
	return newClient(c.http, c.url, options...)
}

// rebuilt sends who calls and the request id, and turns what comes back into faults.
type rebuilt struct{ conn *Conn }

// WrapUnary implements connect.Interceptor.
func (r *rebuilt) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		r.sign(ctx, request.Header())
		response, err := next(ctx, request)
		if err != nil {
			return nil, r.fault(ctx, err)
		}
		return response, nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (r *rebuilt) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		r.sign(ctx, conn.RequestHeader())
		return rebuiltConn{StreamingClientConn: conn, rebuilt: r, ctx: ctx}
	}
}

// WrapStreamingHandler implements connect.Interceptor; it does nothing there.
func (r *rebuilt) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (r *rebuilt) sign(ctx context.Context, header http.Header) {
	if !r.conn.token.Empty() {
		header.Set("Authorization", "Bearer "+r.conn.token.Reveal())
	}
	if id := RequestID(ctx); id != "" {
		header.Set(requestIDHeader, id)
	}
}

func (r *rebuilt) fault(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "remote error" { // a TLS alert: the server does not know this client's certificate
		return fault.New(faultv1.Reason_REASON_UNAUTHENTICATED,
			"The %s refused this client's certificate. Check that the installation's authority signed it.", r.conn.peer).Because(err)
	}
	if connect.CodeOf(err) == connect.CodeCanceled && !connect.IsWireError(err) && ctx.Err() == nil {
		return unanswered(err, r.conn.peer) // connect calls every broken connection cancelled
	}
	return fromWire(err, r.conn.peer)
}

type rebuiltConn struct {
	connect.StreamingClientConn

	rebuilt *rebuilt
	ctx     context.Context // of the stream; it says whose end it was
}

// Send implements connect.StreamingClientConn.
func (c rebuiltConn) Send(message any) error {
	return c.rebuilt.fault(c.ctx, c.StreamingClientConn.Send(message))
}

// Receive implements connect.StreamingClientConn.
func (c rebuiltConn) Receive(message any) error {
	return c.rebuilt.fault(c.ctx, c.StreamingClientConn.Receive(message))
}

// CloseRequest implements connect.StreamingClientConn.
func (c rebuiltConn) CloseRequest() error {
	return c.rebuilt.fault(c.ctx, c.StreamingClientConn.CloseRequest())
}

// CloseResponse implements connect.StreamingClientConn.
func (c rebuiltConn) CloseResponse() error {
	return c.rebuilt.fault(c.ctx, c.StreamingClientConn.CloseResponse())
}

// Health asks whether a service answers. It needs no right.
func Health(ctx context.Context, c *Conn) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	_, err := grpchealth.NewClient(c.http, c.url).Check(ctx, &grpchealth.CheckRequest{})
	if err != nil {
		return fromWire(err, c.peer)
	}
	return nil
}

// Peer is a client of a service that need not be among the peers; nil where it is not.
func Peer[T any](service string, knows func(service string) bool, dial func(service string) (*Conn, error), newClient func(connect.HTTPClient, string, ...connect.ClientOption) T) (T, error) {
	var none T
	if !knows(service) {
		return none, nil
	}
	conn, err := dial(service)
	if err != nil {
		return none, err
	}
	return Client(conn, newClient), nil
}
