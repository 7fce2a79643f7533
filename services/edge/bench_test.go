package edge_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/mcp"
)

// lean is an upstream that costs as little as can be, so that a benchmark sees the edge.
func lean(b *testing.B, size int, tools ...string) (url string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	text := `{"content":[{"type":"text","text":"` + strings.Repeat("x", size) + `"}]}`
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		body := ctx.PostBody()
		method, _ := mcp.Text(body, "method")
		id := mcp.Get(body, "id")
		ctx.SetContentType("application/json")
		switch method {
		case "server/discover":
			ctx.SetBody(mcp.Result(id, []byte(`{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"resultType":"complete"}`)))
		case "initialize":
			ctx.SetBody(mcp.Result(id, []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"u","version":"1"}}`)))
		case "tools/list":
			ctx.SetBody(mcp.Result(id, []byte(`{"tools":[`+strings.Join(tools, ",")+`]}`)))
		case "tools/call":
			ctx.SetBody(mcp.Result(id, []byte(text)))
		default:
			ctx.SetStatusCode(202)
		}
	}}
	go func() { _ = s.Serve(ln) }()
	b.Cleanup(func() { _ = s.Shutdown() })
	return "http://" + ln.Addr().String() + "/mcp"
}

// bare is a proxy that does nothing: what any hop costs.
func bare(b *testing.B, upstream string) (address string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	c := &fasthttp.HostClient{Addr: upstream, MaxConns: 1024}
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		if err := c.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.SetStatusCode(502)
		}
	}}
	go func() { _ = s.Serve(ln) }()
	b.Cleanup(func() { _ = s.Shutdown(); c.CloseIdleConnections() })
	return ln.Addr().String()
}

// hammer sends one request over and over on keep-alive connections of its own.
func hammer(b *testing.B, address, path string, headers map[string]string, body string) {
	var head strings.Builder
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n", path, address, len(body))
	for name, value := range headers {
		fmt.Fprintf(&head, "%s: %s\r\n", name, value)
	}
	request := []byte(head.String() + "\r\n" + body)
	b.SetParallelism(8) // 16 callers on two processors
	b.ReportAllocs()
	b.ResetTimer()
	before := processor(b)
	defer func() { b.ReportMetric(float64(processor(b)-before)/1e3/float64(b.N), "cpu-µs/op") }()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		var res fasthttp.Response
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if err := res.Read(reader); err != nil || res.StatusCode() != 200 || bytes.Contains(res.Body()[:min(200, len(res.Body()))], []byte(`"isError":true`)) {
				b.Errorf("%v %d %s", err, res.StatusCode(), res.Body())
				return
			}
		}
	})
}

// processor is the time that this process has used: it means the same on a busy machine.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func BenchmarkCall(b *testing.B) { call(b, 100) }

// BenchmarkLargeCall has an answer of 256 KiB.
func BenchmarkLargeCall(b *testing.B) { call(b, 256<<10) }

func call(b *testing.B, size int) {
	url := lean(b, size, echoTool)
	w := newWorld(b)
	w.person("ana", nil)
	w.server("echo", url, []string{echoTool}, nil)
	w.grant("person/ana", "echo", "*", "call")
	w.policy("small", onEcho(rule("big", "args.n > 10", "block"), rule("rest", "true", "allow")))
	h := start(b, w, nil)
	h.blind.Store(true)
	token := "Bearer " + h.tokenFor("ana", h.base+"/mcp", nil)
	legacy := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello","n":3}}}`
	modern := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{` + modernMeta + `,"name":"echo","arguments":{"text":"hello","n":3}}}`
	upstreamAt := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/mcp")
	at := strings.TrimPrefix(h.base, "http://")
	b.Run("direct", func(b *testing.B) {
		hammer(b, upstreamAt, "/mcp", map[string]string{"MCP-Protocol-Version": mcp.V20251125}, legacy)
	})
	b.Run("a bare hop", func(b *testing.B) {
		hammer(b, bare(b, upstreamAt), "/mcp", map[string]string{"MCP-Protocol-Version": mcp.V20251125, "Authorization": token}, legacy)
	})
	b.Run("edge, 2025-11-25", func(b *testing.B) {
		hammer(b, at, "/mcp/echo", map[string]string{"MCP-Protocol-Version": mcp.V20251125, "Authorization": token}, legacy)
	})
	b.Run("edge, 2026-07-28", func(b *testing.B) {
		hammer(b, at, "/mcp/echo", map[string]string{
			"MCP-Protocol-Version": mcp.V20260728, "Mcp-Method": "tools/call", "Mcp-Name": "echo", "Authorization": token,
		}, modern)
	})
}

// BenchmarkList is a list of 1,000 tools of which the caller may see 900.
func BenchmarkList(b *testing.B) {
	tools := make([]string, 1000)
	for i := range tools {
		tools[i] = fmt.Sprintf(`{"name":"tool_%d","description":"Does what the tool with the number %d does, and nothing else.","inputSchema":{"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}}}}`, i, i)
	}
	url := lean(b, 1, tools...)
	w := newWorld(b)
	w.person("ana", nil)
	w.server("echo", url, tools, nil)
	for i := range 900 {
		w.grant("person/ana", "echo", fmt.Sprint("tool_", i), "call")
	}
	h := start(b, w, nil)
	h.blind.Store(true)
	token := "Bearer " + h.tokenFor("ana", h.base+"/mcp", nil)
	upstreamAt := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/mcp")
	list := `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`
	b.Run("direct", func(b *testing.B) {
		hammer(b, upstreamAt, "/mcp", map[string]string{"MCP-Protocol-Version": mcp.V20251125}, list)
	})
	b.Run("edge", func(b *testing.B) {
		hammer(b, strings.TrimPrefix(h.base, "http://"), "/mcp/echo", map[string]string{"MCP-Protocol-Version": mcp.V20251125, "Authorization": token}, list)
	})
}
