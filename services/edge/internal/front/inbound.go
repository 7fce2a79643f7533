package front

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// headers are the request's header fields, copied: the library reuses its own when the handler returns, and a call may outlive that.
type headers struct{ fields []field }

type field struct{ name, value string }

// Values implements mcp.Header.
func (h headers) Values(name string) []string {
	var out []string
	for _, f := range h.fields {
		if f.name == name || strings.EqualFold(f.name, name) {
			out = append(out, f.value)
		}
	}
	return out
}

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
	authorizations, sessions := 0, 0
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
			sessions++
			t.add(&in.Session, value)
		case bytes.EqualFold(name, []byte("Content-Encoding")):
			in.Encoded = in.Encoded || !bytes.EqualFold(bytes.TrimSpace(value), []byte("identity"))
		case bytes.EqualFold(name, []byte("Traceparent")):
			t.add(&in.TraceParent, value)
		case len(name) > 4 && bytes.EqualFold(name[:4], []byte("Mcp-")):
			s.kept = append(s.kept, field{known(name), revision(value)})
		}
	}
	t.settle()
	in.Bearer = bearer(authorization)
	in.Headers = headers{fields: slices.Clone(s.kept)}
	switch {
	case authorizations > 1:
		in.Bearer = ""
		in.Unfit = unfit("The request has more than one Authorization header.")
	case sessions > 1:
		in.Unfit = unfit("The request has more than one Mcp-Session-Id header.")
	default:
		if why := smuggled(h.RequestURI(), h.RawHeaders()); why != "" {
			in.Unfit = unfit(why)
		}
	}
	return in
}

// scratch is memory for reading a request's head, used again for another. Nothing of a request stays in it.
type scratch struct {
	texts texts
	kept  []field
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

// smuggled says what of a request's head different readers would read differently; empty for nothing. The library lets these pass.
func smuggled(uri, raw []byte) string {
	if len(uri) == 0 || uri[0] != '/' {
		return "The request's target is not a path."
	}
	lengths, encodings := 0, 0
	for len(raw) > 0 {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		raw = rest
		if len(line) == 0 || line[0] == '\r' {
			break
		}
		switch line[0] {
		case ' ', '\t':
			return "A header is folded over lines."
		case 'c', 'C':
			if is(line, "content-length:") {
				lengths++
			}
		case 't', 'T':
			if is(line, "transfer-encoding:") {
				encodings++
			}
		}
	}
	if lengths > 1 || encodings > 1 || lengths > 0 && encodings > 0 {
		return "The request says its length in more than one way."
	}
	return ""
}

func is(line []byte, prefix string) bool {
	return len(line) >= len(prefix) && bytes.EqualFold(line[:len(prefix)], []byte(prefix))
}
