package front

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
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

// FuzzInbound holds the door to this: whatever is read as a request without a complaint has one length, one token and a path, and reading it
// does not depend on memory that the library uses again.
func FuzzInbound(f *testing.F) {
	for _, raw := range []string{
		"POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}",
		"POST /mcp/echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST http://x/mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"GET /mcp HTTP/1.1\r\nHost: h\r\nOrigin: null\r\nOrigin: x\r\nMcp-Name: =?base64?eA==?=\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var ctx fasthttp.RequestCtx
		if err := ctx.Request.ReadLimitBody(bufio.NewReaderSize(bytes.NewReader(raw), headerRoom), 1<<16); err != nil {
			return
		}
		path := string(ctx.Path())
		server, ok := endpoint(path)
		if !ok {
			return
		}
		in := (&scratch{}).inbound(&ctx, path, server)
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

func TestSmuggledSeesWhatReadersDisagreeOn(t *testing.T) {
	for raw, fine := range map[string]bool{
		"Host: h\r\nContent-Length: 2\r\n\r\n":                                   true,
		"Host: h\r\nTransfer-Encoding: chunked\r\n\r\n":                          true,
		"Host: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n":     false,
		"Host: h\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\n":              false,
		"Host: h\r\nX: a\r\n b\r\n\r\n":                                          false,
		"Host: h\r\nX: a\r\n\tb\r\n\r\n":                                         false,
		"Host: h\r\n\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n": true,
	} {
		if got := smuggled([]byte("/mcp"), []byte(raw)); (got == "") != fine {
			t.Errorf("%q: %q", raw, got)
		}
	}
	if smuggled([]byte("http://h/mcp"), nil) == "" || smuggled(nil, nil) == "" {
		t.Error("a target that is not a path passes")
	}
	if verb([]byte(http.MethodPatch)) != http.MethodPatch {
		t.Error("a verb got lost")
	}
}
