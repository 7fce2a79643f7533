package front

import (
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// What pages of an allowed origin may send and read (Fetch, "HTTP-network-or-cache fetch" and "CORS protocol").
const (
	sharedVerbs   = "POST, GET, DELETE"
	sharedHeaders = "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method, Mcp-Name"
	exposed       = "Mcp-Session-Id, WWW-Authenticate, Retry-After"
)

// origin is the one origin of a request where that is allowed; empty otherwise.
func (f *Front) origin(ctx *fasthttp.RequestCtx) string {
	values := ctx.Request.Header.PeekAll("Origin")
	if len(values) != 1 || !slices.Contains(f.cfg.Origins, strings.ToLower(string(values[0]))) {
		return ""
	}
	return string(values[0])
}

// share lets pages of an allowed origin read the answer, and answers the origin.
func (f *Front) share(ctx *fasthttp.RequestCtx) string {
	origin := f.origin(ctx)
	if origin != "" {
		h := &ctx.Response.Header
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposed)
		h.Set("Vary", "Origin")
	}
	return origin
}

// preflight answers a browser that asks what a page of an allowed origin may send. It reports whether the request was one.
func (f *Front) preflight(ctx *fasthttp.RequestCtx) bool {
	asked := ctx.Request.Header.Peek("Access-Control-Request-Headers")
	if !ctx.IsOptions() || len(ctx.Request.Header.Peek("Access-Control-Request-Method")) == 0 || f.share(ctx) == "" {
		return false
	}
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Methods", sharedVerbs)
	h.Set("Access-Control-Allow-Headers", sharedHeaders+parameters(string(asked)))
	h.Set("Access-Control-Max-Age", "600")
	ctx.SetStatusCode(http.StatusNoContent)
	return true
}

// parameters are the asked-for headers that mirror arguments: their names are the tools'.
func parameters(asked string) string {
	var out strings.Builder
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if strings.HasPrefix(name, "mcp-param-") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" {
			out.WriteString(", " + name)
		}
	}
	return out.String()
}

// streamHead is the head of an answer that is a stream, which the library does not write.
func streamHead(origin string) string {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: " +
		"chunked\r\nConnection: close\r\n"
	if origin != "" {
		head += "Access-Control-Allow-Origin: " + origin + "\r\nAccess-Control-Expose-Headers: " + exposed + "\r\nVary: Origin\r\n"
	}
	return head + "\r\n"
}
