package back

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// BenchmarkForward measures what a plain tool call costs on this side, in both eras, answered with one body or with a stream of one event.
func BenchmarkForward(b *testing.B) {
	for _, modern := range []bool{true, false} {
		for _, stream := range []bool{false, true} {
			name := map[bool]string{true: "2026-07-28", false: "2025-11-25"}[modern] + map[bool]string{true: "/stream", false: "/body"}[stream]
			b.Run(name, func(b *testing.B) {
				back := New(Config{}, clock.System)
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan error, 1)
				go func() { done <- back.Run(ctx) }()
				defer func() { cancel(); <-done }()
				ex := guard.Exchange{
					Caller: &guard.Caller{Tenant: "acme", Person: "ana", Agent: "bot", ClientID: "ide"}, Server: declared(b, "one", lean(b, stream)),
					Method: mcp.MethodToolsCall, Name: "echo", Params: json.RawMessage(`{"name":"echo","arguments":{"text":"hello"}}`), Modern: modern,
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := back.Forward(context.Background(), ex); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// lean is a server of both eras that costs as little as can be.
func lean(b *testing.B, stream bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	text := `{"content":[{"type":"text","text":"` + strings.Repeat("x", 100) + `"}]}`
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		body := ctx.PostBody()
		method, _ := mcp.Text(body, "method")
		id := mcp.Get(body, "id")
		ctx.SetContentType("application/json")
		switch method {
		case mcp.MethodDiscover:
			ctx.SetBody(mcp.Result(id, []byte(`{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"resultType":"complete"}`)))
		case mcp.MethodInitialize:
			ctx.SetBody(mcp.Result(id, []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"u","version":"1"}}`)))
		case mcp.MethodToolsCall:
			if stream {
				ctx.SetContentType("text/event-stream")
				ctx.SetBodyString("data: " + string(mcp.Result(id, []byte(text))) + "\n\n")
				return
			}
			ctx.SetBody(mcp.Result(id, []byte(text)))
		default:
			ctx.SetStatusCode(fasthttp.StatusAccepted)
		}
	}}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	b.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			b.Error(err)
		}
		<-served
	})
	return "http://" + ln.Addr().String()
}
