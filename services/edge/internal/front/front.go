// Package front is the HTTP door of the edge: it turns requests into values for the guard and its answers into responses, and decides nothing
// but what is no request at all.
package front

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

const (
	headerRoom = 32 << 10
	idleLimit  = 2 * time.Minute
	readLimit  = 30 * time.Second
	// streamAfter is how long a call may take before its answer becomes a stream where the client takes one.
	streamAfter  = 15 * time.Second
	metadataPath = "/.well-known/oauth-protected-resource"
)

// Guard answers one MCP request.
type Guard interface {
	Call(ctx context.Context, in *guard.Inbound) guard.Answer
	// CutOff cancels the calls under way, so that they are answered.
	CutOff()
	// EndStreams ends the streams that stay open, as each revision has it.
	EndStreams()
}

// Config says what the endpoint is called.
type Config struct {
	// Base is the public URL without a path; Issuer is who gives tokens for it.
	Base, Issuer string
	// MaxBody is the most bytes of one request; 0 means 4 MiB.
	MaxBody int
	// MaxConnections is how many connections are served at once, besides the streams that stay open; 0 means 16,384.
	MaxConnections int
	// Origins are those, in lower case, whose pages may read answers.
	Origins []string
	// Knows reports whether a request with a token may be larger than a small one; nil means that every one may.
	Knows func(bearer string) bool
}

// Front serves HTTP. Safe for concurrent use.
type Front struct {
	cfg    Config
	guard  Guard
	ready  func(ctx context.Context) error
	log    *slog.Logger
	server *fasthttp.Server
	open   connections
	idles  *idles
	after  time.Duration // streamAfter
	limit  time.Duration // writeLimit

	scratches sync.Pool
}

// New makes a front for a guard. Ready is asked for /readyz.
func New(cfg Config, g Guard, ready func(ctx context.Context) error, log *slog.Logger) (*Front, error) {
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = 4 << 20
	}
	if cfg.MaxConnections <= 0 {
		cfg.MaxConnections = 16 << 10
	}
	idle, err := newIdles()
	if err != nil {
		return nil, err
	}
	f := &Front{idles: idle, after: streamAfter, limit: writeLimit, cfg: cfg, guard: g, ready: ready, log: log}
	f.server = &fasthttp.Server{
		Handler: f.handle, ErrorHandler: f.unreadable, ReadBufferSize: headerRoom, MaxRequestBodySize: cfg.MaxBody,
		ReadTimeout: readLimit, IdleTimeout: idleLimit, NoDefaultServerHeader: true, NoDefaultDate: true, NoDefaultContentType: true,
		SecureErrorLogMessage: true, Logger: quiet{}, DisablePreParseMultipartForm: true, ConnState: f.open.state,
		KeepHijackedConns: true, HeaderReceived: f.room,
	}
	f.open.most = cfg.MaxConnections
	return f, nil
}

// quiet drops the library's own log: it prints what clients sent.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// handle takes one request apart by its path.
func (f *Front) handle(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	if why := unclear(&ctx.Request.Header, ctx.Path()); why != "" {
		f.refuse(ctx, path, why)
		return
	}
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
		if !f.preflight(ctx) {
			f.call(ctx, path, server)
		}
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

// notReady names nothing: whoever reaches the endpoint can ask, and what an edge leans on is nobody's business there.
const notReady = "not ready: something that this edge leans on does not answer or is not fresh; /readyz?verbose on its diagnostics port names it\n"

func (f *Front) readiness(ctx *fasthttp.RequestCtx) {
	soon, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, said := http.StatusOK, "ok\n"
	if err := f.ready(soon); err != nil {
		status, said = http.StatusServiceUnavailable, notReady
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
	shared := f.share(ctx)
	calling, cancel := context.WithCancel(context.Background())
	var out *stream
	tend := func(time.Time) bool { return true }
	if strings.Contains(in.Accept, "text/event-stream") && ctx.Request.Header.IsHTTP11() {
		in.Opening = &guard.Opening{}
		out = &stream{
			ctx: ctx, conn: ctx.Conn(), shared: shared, every: f.idles.every, after: f.after, began: time.Now(), answers: func() bool { return answered(in) },
			opening: in.Opening,
		}
		in.Send, in.Pause, tend = out.message, out.pause, out.tend
	}
	gone := watch(ctx.Conn(), cancel, tend)
	answer := f.guard.Call(calling, in)
	begun := out != nil && out.seal()
	gone.stop()
	cancel()
	if c, ok := ctx.Conn().(*patient); ok && answer.Stream != nil {
		ctx.HijackSetNoResponse(true)
		f.open.running.Add(1)
		ctx.Hijack(func(net.Conn) { // by then the library is done with the connection
			defer f.open.running.Done()
			f.idles.open(c, answer.Stream, streamHead(shared))
		})
		return
	}
	if in.Unfit != nil {
		ctx.SetConnectionClose() // where the next request begins is not certain
	}
	if begun {
		out.end(answer)
		return
	}
	write(ctx, answer)
}

// answered reports whether a request is one whose answer is one message and needs no header of its own: initialize gives a session, and a
// subscription begins its stream by itself. The answer to a batch is one message if one of its messages is such a request.
func answered(in *guard.Inbound) bool {
	if in.Verb != http.MethodPost || in.Unfit != nil {
		return false
	}
	messages := [][]byte{in.Body}
	if body := bytes.TrimLeft(in.Body, " \t\r\n"); len(body) > 0 && body[0] == '[' {
		messages = nil
		for _, one := range mcp.Elements(in.Body) {
			messages = append(messages, one)
		}
	}
	limits := mcp.DefaultLimits()
	limits.Bytes = max(limits.Bytes, len(in.Body))
	asks := false
	for _, one := range messages {
		m, err := mcp.Read(one, limits)
		if err != nil || m.Method == mcp.MethodInitialize || m.Method == mcp.MethodListen {
			return false
		}
		asks = asks || m.Kind == mcp.Request
	}
	return asks
}

func write(ctx *fasthttp.RequestCtx, a guard.Answer) {
	ctx.SetStatusCode(a.Status)
	h := &ctx.Response.Header
	if len(a.Body) > 0 {
		h.SetContentType("application/json")
		if a.Result == nil {
			ctx.Response.SetBodyRaw(a.Body)
		} else { // into the library's memory, which it uses again
			ctx.Response.SetBody(a.Body)
			ctx.Response.AppendBody(a.Result)
			ctx.Response.AppendBodyString("}")
		}
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
