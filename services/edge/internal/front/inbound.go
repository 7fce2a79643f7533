package front

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/head"
)

// inbound copies what the guard needs of a request. The copies are parts of one.
func (s *scratch) inbound(ctx *fasthttp.RequestCtx, path, server string) *guard.Inbound {
	h := &ctx.Request.Header
	in := &guard.Inbound{
		Verb: verb(h.Method()), Endpoint: path, Server: server, Body: bytes.Clone(ctx.Request.Body()),
		IP: address(ctx.RemoteAddr()), ContentType: contentType(h.ContentType()),
	}
	t := &s.texts
	t.add(&in.Host, h.Host())
	t.add(&in.UserAgent, h.UserAgent())
	var authorization string
	authorizations := 0
	for name, value := range h.All() {
		switch {
		case bytes.EqualFold(name, []byte("Authorization")):
			authorizations++
			t.add(&authorization, value)
		case bytes.EqualFold(name, []byte("Origin")):
			in.Origins = append(in.Origins, string(value))
		case bytes.EqualFold(name, []byte("Accept")):
			if in.Accept != "" {
				in.Accept += ","
			}
			in.Accept += accept(value)
		case bytes.EqualFold(name, []byte("Mcp-Session-Id")):
			t.add(&in.Session, value)
		case bytes.EqualFold(name, []byte("Content-Encoding")):
			in.Encoded = in.Encoded || !bytes.EqualFold(bytes.TrimSpace(value), []byte("identity"))
		case bytes.EqualFold(name, []byte("Last-Event-Id")):
			t.add(&in.LastEventID, value)
		case bytes.EqualFold(name, []byte("Traceparent")):
			t.add(&in.TraceParent, value)
		case len(name) > 4 && bytes.EqualFold(name[:4], []byte("Mcp-")):
			s.kept = append(s.kept, mcp.Field{Name: known(name), Value: revision(value)})
		}
	}
	t.settle()
	in.Bearer = bearer(authorization)
	in.Headers = guard.Headers(slices.Clone(s.kept)) // copied: the library uses its own again
	if authorizations > 1 {
		in.Bearer = ""
		in.Unfit = unfit("The request has more than one Authorization header.")
	}
	return in
}

// scratch is memory for reading a request's head, used again for another. Nothing of a request stays in it.
type scratch struct {
	texts texts
	kept  []mcp.Field
}

func (f *Front) inbound(ctx *fasthttp.RequestCtx, path, server string) *guard.Inbound {
	s, ok := f.scratches.Get().(*scratch)
	if !ok {
		s = &scratch{}
	}
	in := s.inbound(ctx, path, server)
	clear(s.kept)
	s.kept = s.kept[:0]
	if cap(s.texts.bytes) <= headerRoom {
		f.scratches.Put(s)
	}
	return in
}

// texts makes the strings of one request in one allocation.
type texts struct {
	bytes []byte
	into  [8]*string
	size  [8]int
	count int
}

// add keeps a text for settle. One that finds no room any more is copied by itself.
func (t *texts) add(into *string, text []byte) {
	if len(text) == 0 {
		return
	}
	if t.count == len(t.into) {
		*into = string(text)
		return
	}
	t.into[t.count], t.size[t.count] = into, len(text)
	t.bytes = append(t.bytes, text...)
	t.count++
}

func (t *texts) settle() {
	all := string(t.bytes)
	for i := range t.count {
		*t.into[i], all = all[:t.size[i]], all[t.size[i]:]
		t.into[i] = nil
	}
	clear(t.bytes) // a token was among it
	t.bytes, t.count = t.bytes[:0], 0
}

func unfit(why string) error {
	return guard.AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_PARSE, "%s Send one plain HTTP/1.1 request.", why)
}

// known answers the protocol's own header names without a copy.
func known(name []byte) string {
	for _, usual := range [...]string{mcp.HeaderProtocolVersion, mcp.HeaderMethod, mcp.HeaderName} {
		if string(name) == usual {
			return usual
		}
	}
	return string(name)
}

// verb answers the usual methods without a copy.
func verb(method []byte) string {
	switch string(method) {
	case http.MethodPost:
		return http.MethodPost
	case http.MethodGet:
		return http.MethodGet
	case http.MethodDelete:
		return http.MethodDelete
	}
	return string(method)
}

// accept answers what most clients send without a copy.
func accept(value []byte) string {
	const usual = "application/json, text/event-stream"
	if string(value) == usual {
		return usual
	}
	return string(value)
}

// revision answers the usual values of the protocol's headers without a copy.
func revision(value []byte) string {
	for _, usual := range [...]string{mcp.V20260728, mcp.V20251125, mcp.V20250618, mcp.MethodToolsCall, mcp.MethodToolsList} {
		if string(value) == usual {
			return usual
		}
	}
	return string(value)
}

func contentType(value []byte) string {
	if string(value) == "application/json" {
		return "application/json"
	}
	return string(value)
}

// bearer takes the token of an Authorization header (RFC 6750, 2.1); empty when it is another scheme.
func bearer(value string) string {
	scheme, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// unclear says what of a request has more than one reading, in words that follow "the request"; empty for nothing. The library lets these pass.
func unclear(h *fasthttp.RequestHeader, path []byte) string {
	target, _, _ := bytes.Cut(h.RequestURI(), []byte{'?'})
	switch {
	case !bytes.Equal(target, path): // absolute, encoded, with dots or empty segments: not everybody makes the same path of it
		return "does not name its path plainly"
	case bytes.IndexByte(h.RequestURI(), '#') >= 0:
		return "has a fragment in its target"
	case string(h.Protocol()) != "HTTP/1.1" && string(h.Protocol()) != "HTTP/1.0":
		return "has another version of HTTP"
	case len(h.PeekTrailerKeys()) > 0:
		return "has trailer fields"
	}
	return head.Unclear(h.RawHeaders())
}

// refuse answers a request with more than one reading, whatever it is for. The connection ends, because where the next one begins is not certain.
func (f *Front) refuse(ctx *fasthttp.RequestCtx, path, why string) {
	in := &guard.Inbound{Verb: verb(ctx.Method()), Endpoint: "/mcp", Host: string(ctx.Request.Header.Host()), IP: address(ctx.RemoteAddr())}
	if server, ok := endpoint(path); ok {
		in.Endpoint, in.Server = path, server
	}
	in.Unfit = unfit("The request " + why + ".")
	write(ctx, f.guard.Call(context.Background(), in))
	ctx.SetConnectionClose()
}
