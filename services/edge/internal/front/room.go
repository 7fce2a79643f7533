package front

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/valyala/fasthttp"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// strangersBody is the most bytes of a request whose token is not known: it is read before it can be refused.
const strangersBody = 64 << 10

// room says how much of a request's body is read, when its head was.
func (f *Front) room(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if length := h.ContentLength(); length >= 0 && length <= strangersBody || !f.strange(h) {
		return fasthttp.RequestConfig{}
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: min(strangersBody, f.cfg.MaxBody)}
}

// strange reports whether a request has no token that is known.
func (f *Front) strange(h *fasthttp.RequestHeader) bool {
	return f.cfg.Knows != nil && !f.cfg.Knows(bearer(string(h.Peek("Authorization"))))
}

// unreadable answers what the library could not read as a request. There may be no path, so only the fault is recorded.
func (f *Front) unreadable(ctx *fasthttp.RequestCtx, err error) {
	in := &guard.Inbound{Verb: "POST", Endpoint: "/mcp", Host: string(ctx.Host()), IP: address(ctx.RemoteAddr())}
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		in = f.tooLarge(ctx, in)
		linger(ctx)
	case errors.Is(err, io.EOF), isTimeout(err):
		in.Unfit = guard.AtHTTP(http.StatusRequestTimeout, faultv1.Reason_REASON_PARSE, "The request did not come whole.")
	default:
		in.Unfit = guard.AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "This is not one well-formed HTTP/1.1 request.")
		linger(ctx)
	}
	answer := f.guard.Call(context.Background(), in)
	write(ctx, answer)
	ctx.SetConnectionClose()
}

// linger lets the client have the answer while it still sends.
func linger(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*patient); ok {
		c.linger.Store(true)
	}
}

// tooLarge is a request whose body has no room. To whoever has no token that counts first, as long as the library knows the head: of a body in
// chunks it does not any more.
func (f *Front) tooLarge(ctx *fasthttp.RequestCtx, in *guard.Inbound) *guard.Inbound {
	path := string(ctx.Path())
	server, ok := endpoint(path)
	if ok && unclear(&ctx.Request.Header, ctx.Path()) == "" && f.strange(&ctx.Request.Header) {
		return f.inbound(ctx, path, server)
	}
	in.Verb = string(ctx.Method())
	in.Unfit = guard.AtHTTP(http.StatusRequestEntityTooLarge, faultv1.Reason_REASON_TOO_LARGE,
		"The body is larger than %d bytes, or than %d without an access token that is known.", f.cfg.MaxBody, strangersBody)
	return in
}
