// Package front is the HTTP door of the edge: it turns requests into values for the guard and its answers into responses, and decides nothing
// but what is no request at all.
package front

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	headerRoom   = 32 << 10
	idleLimit    = 2 * time.Minute
	readLimit    = 30 * time.Second
	metadataPath = "/.well-known/oauth-protected-resource"
)

// Guard answers one MCP request.
type Guard interface {
	Call(ctx context.Context, in *guard.Inbound) guard.Answer
	// CutOff cancels the calls that do not end with their client's connection.
	CutOff()
}

// Config says what the endpoint is called.
type Config struct {
	// Base is the public URL without a path; Issuer is who gives tokens for it.
	Base, Issuer string
	// MaxBody is the most bytes of one request; 0 means 4 MiB.
	MaxBody int
}

// Front serves HTTP. Safe for concurrent use.
type Front struct {
	cfg    Config
	guard  Guard
	ready  func(ctx context.Context) error
	detail func() []string
	log    *slog.Logger
	server *fasthttp.Server
	open   connections

	scratches sync.Pool
}

// New makes a front for a guard. Ready is asked for /readyz, and detail for more lines of it where a client wants them.
func New(cfg Config, g Guard, ready func(ctx context.Context) error, detail func() []string, log *slog.Logger) *Front {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 4 << 20
	}
	f := &Front{cfg: cfg, guard: g, ready: ready, detail: detail, log: log}
	f.server = &fasthttp.Server{
		Handler: f.handle, ErrorHandler: f.unreadable, ReadBufferSize: headerRoom, MaxRequestBodySize: cfg.MaxBody,
		ReadTimeout: readLimit, IdleTimeout: idleLimit, NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		SecureErrorLogMessage: true, Logger: quiet{}, DisablePreParseMultipartForm: true, ConnState: f.open.state,
	}
	return f
}

// quiet drops the library's own log: it prints what clients sent.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// handle takes one request apart by its path.
func (f *Front) handle(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	switch {
	case path == "/livez":
		plain(ctx, http.StatusOK, "ok\n")
	case path == "/readyz":
		f.readiness(ctx)
	case path == metadataPath || strings.HasPrefix(path, metadataPath+"/"):
		f.metadata(ctx, strings.TrimPrefix(path, metadataPath))
	default:
		server, ok := endpoint(path)
		if !ok {
			ctx.SetStatusCode(http.StatusNotFound)
			return
		}
		f.call(ctx, path, server)
	}
}

// endpoint reads /mcp and /mcp/{server}.
func endpoint(path string) (server string, ok bool) {
	if path == "/mcp" {
		return "", true
	}
	server, ok = strings.CutPrefix(path, "/mcp/")
	if !ok || server == "" || len(server) > 63 {
		return "", false
	}
	for i := range len(server) {
		c := server[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return "", false
		}
	}
	return server, true
}

func (f *Front) readiness(ctx *fasthttp.RequestCtx) {
	soon, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, said := http.StatusOK, "ok\n"
	if err := f.ready(soon); err != nil {
		status, said = http.StatusServiceUnavailable, err.Error()+"\n"
	}
	if ctx.QueryArgs().Has("verbose") {
		for _, line := range f.detail() {
			said += line + "\n"
		}
	}
	plain(ctx, status, said)
}

func plain(ctx *fasthttp.RequestCtx, status int, text string) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(text)
}

// metadata answers RFC 9728 for an endpoint; every endpoint that could be has the same, whether its server exists or not.
func (f *Front) metadata(ctx *fasthttp.RequestCtx, path string) {
	if path == "" {
		path = "/mcp"
	}
	if _, ok := endpoint(path); !ok {
		ctx.SetStatusCode(http.StatusNotFound)
		return
	}
	if !ctx.IsGet() && !ctx.IsHead() {
		ctx.Response.Header.Set("Allow", "GET, HEAD")
		ctx.SetStatusCode(http.StatusMethodNotAllowed)
		return
	}
	body, err := json.Marshal(map[string]any{
		"resource": f.cfg.Base + path, "authorization_servers": []string{f.cfg.Issuer}, "bearer_methods_supported": []string{"header"},
		"resource_name": "Headgate",
	})
	if err != nil {
		ctx.SetStatusCode(http.StatusInternalServerError)
		return
	}
	ctx.SetContentType("application/json")
	ctx.Response.Header.Set("Access-Control-Allow-Origin", "*")
	ctx.SetBody(body)
}

// call hands one request to the guard.
func (f *Front) call(ctx *fasthttp.RequestCtx, path, server string) {
	in := f.inbound(ctx, path, server)
	calling, cancel := context.WithCancel(context.Background())
	gone := watch(ctx.Conn(), cancel)
	var out *stream
	if strings.Contains(in.Accept, "text/event-stream") && ctx.Request.Header.IsHTTP11() {
		out = &stream{ctx: ctx}
		in.Notify = out.notify
	}
	answer := f.guard.Call(calling, in)
	gone.stop()
	cancel()
	if in.Unfit != nil {
		ctx.SetConnectionClose() // where the next request begins is not certain
	}
	if out != nil && out.begun {
		out.end(answer)
		return
	}
	write(ctx, answer)
}

func write(ctx *fasthttp.RequestCtx, a guard.Answer) {
	ctx.SetStatusCode(a.Status)
	h := &ctx.Response.Header
	if len(a.Body) > 0 {
		h.SetContentType("application/json")
		ctx.Response.SetBodyRaw(a.Body)
	}
	if a.Session != "" {
		h.Set("Mcp-Session-Id", a.Session)
	}
	if a.Challenge != "" {
		h.Set("WWW-Authenticate", a.Challenge)
	}
	if a.Allow != "" {
		h.Set("Allow", a.Allow)
	}
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((a.RetryAfter+time.Second-1)/time.Second)))
	}
	h.Set("Cache-Control", "no-store")
}

// unreadable answers what the library could not read as a request. There may be no path, so only the fault is recorded.
func (f *Front) unreadable(ctx *fasthttp.RequestCtx, err error) {
	in := &guard.Inbound{Verb: "POST", Endpoint: "/mcp", Host: string(ctx.Host()), IP: address(ctx.RemoteAddr())}
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		in.Verb = string(ctx.Method())
		in.Unfit = guard.AtHTTP(http.StatusRequestEntityTooLarge, faultv1.Reason_REASON_TOO_LARGE, "The body is larger than %d bytes.", f.cfg.MaxBody)
		if c, ok := ctx.Conn().(*patient); ok {
			c.linger.Store(true)
		}
	case errors.Is(err, io.EOF), isTimeout(err):
		in.Unfit = guard.AtHTTP(http.StatusRequestTimeout, faultv1.Reason_REASON_PARSE, "The request did not come whole.")
	default:
		in.Unfit = guard.AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "This is not one well-formed HTTP/1.1 request.")
	}
	answer := f.guard.Call(context.Background(), in)
	write(ctx, answer)
	ctx.SetConnectionClose()
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func address(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().String()
	}
	return ""
}
