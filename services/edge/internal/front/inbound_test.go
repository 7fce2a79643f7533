package front

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

func TestEndpointTakesOnlyServerNames(t *testing.T) {
	for path, want := range map[string]struct {
		server string
		ok     bool
	}{
		"/mcp": {"", true}, "/mcp/echo": {"echo", true}, "/mcp/a.b_c-1": {"a.b_c-1", true}, "/mcp/": {"", false}, "/mcp/a/b": {"", false},
		"/mcp/UP": {"", false}, "/mcpx": {"", false}, "/mcp/é": {"", false}, "/mcp/" + strings.Repeat("a", 64): {"", false},
	} {
		if server, ok := endpoint(path); server != want.server || ok != want.ok {
			t.Errorf("%s: %q %v", path, server, ok)
		}
	}
}

func TestBearerTakesOnlyItsOwnScheme(t *testing.T) {
	for value, want := range map[string]string{"Bearer x": "x", "bearer  x ": "x", "Basic x": "", "x": "", "": "", "Bearer": ""} {
		if got := bearer(value); got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}

// requests are seeds of both fuzz targets.
func requests() []string {
	return []string{
		"POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST /mcp/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\nGET",
		"POST /mcp/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer t\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\nGET /mcp HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n{}",
		"POST http://x/mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"POST /mcp HTTP/1.1\nHost: h\nContent-Length: 0\n\n\r\n\r\n",
		"\r\nPOST /mcp?a#b HTTP/1.0\r\nContent Length: 2\r\n\r\n{}",
		"GET //mcp/%65cho HTTP/9.9\r\nHost: u@h:0\r\n\r\n",
		"GET /mcp HTTP/1.1\r\nHost: h\r\nOrigin: null\r\nOrigin: x\r\nMcp-Name: =?base64?eA==?=\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\nContent-Length: 0\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 5\r\n\r\n--x--",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
	}
}

// read reads a request as the server does, and answers nil when the door would refuse it.
func read(raw *bufio.Reader, ctx *fasthttp.RequestCtx) *guard.Inbound {
	if ctx.Request.Header.Read(raw) != nil || ctx.Request.ContinueReadBody(raw, 1<<16, false) != nil {
		return nil
	}
	path := string(ctx.Path())
	server, ok := endpoint(path)
	if !ok || unclear(&ctx.Request.Header, ctx.Path()) != "" {
		return nil
	}
	in := (&scratch{}).inbound(ctx, path, server)
	if in.Unfit != nil {
		return nil
	}
	return in
}

// FuzzInbound holds the door to this: whatever is read as a request without a complaint has one length, one token and a path, and reading it
// does not depend on memory that the library uses again.
func FuzzInbound(f *testing.F) {
	for _, raw := range requests() {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var ctx fasthttp.RequestCtx
		in := read(bufio.NewReaderSize(bytes.NewReader(raw), headerRoom), &ctx)
		if in == nil {
			return
		}
		body, host := string(in.Body), in.Host
		versions := in.Headers.Values(mcp.HeaderProtocolVersion)
		ctx.Request.Reset()
		copy(raw, bytes.Repeat([]byte{0xaa}, len(raw)))
		if string(in.Body) != body || in.Host != host || len(in.Headers.Values(mcp.HeaderProtocolVersion)) != len(versions) {
			t.Fatal("the request changed after it was read")
		}
		if strings.ContainsAny(in.Bearer+in.Session+in.Host, "\r\n") {
			t.Fatal("a header holds a line break")
		}
	})
}

func TestAVerbThatNobodyUsesIsNotLost(t *testing.T) {
	if verb([]byte(http.MethodPatch)) != http.MethodPatch {
		t.Error("a verb got lost")
	}
}
