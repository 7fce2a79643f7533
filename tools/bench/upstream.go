package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// The kinds of upstream.
const (
	plainUpstream = "nethttp"
	leanUpstream  = "fasthttp"
)

// serveUpstream is the MCP server that is measured against: one tool that answers a text of the wanted size. It runs on the standard library's
// HTTP server, as the official Go SDK does, without the SDK's own cost. The lean one on fasthttp is cheaper than any server that does something:
// against it a hop of any kind looks dear.
func serveUpstream(listener net.Listener, kind string, size int) error {
	text := string(bytes.Repeat([]byte("a"), size))
	if kind == leanUpstream {
		server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("application/json")
			reply := answer(ctx.PostBody(), text)
			if reply == nil {
				ctx.SetStatusCode(http.StatusAccepted)
				return
			}
			ctx.Response.SetBodyRaw(reply)
		}}
		return server.Serve(listener)
	}
	return (&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		reply := answer(body, text)
		if reply == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		_, _ = w.Write(reply) // a client that went away shows on its own side
	})}).Serve(listener)
}

// answer is the reply to one message in the era that it speaks; nil to a notification.
func answer(body []byte, text string) []byte {
	id := gjson.GetBytes(body, "id").Raw
	if id == "" {
		return nil
	}
	kind := ""
	if gjson.GetBytes(body, `params._meta.io\.modelcontextprotocol/protocolVersion`).Exists() {
		kind = `"resultType":"complete","ttlMs":0,"cacheScope":"public",`
	}
	b := append(append(make([]byte, 0, 256+len(text)), `{"jsonrpc":"2.0","id":`...), id...)
	switch gjson.GetBytes(body, "method").String() {
	case "initialize":
		return append(b, `,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}}`...)
	case "server/discover":
		b = append(append(b, `,"result":{`...), kind...)
		return append(b, `"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}}}}`...)
	case "tools/list":
		b = append(append(b, `,"result":{`...), kind...)
		return append(b, `"tools":[{"name":"echo","description":"Answers.","inputSchema":{"type":"object",`+
			`"properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]}}]}}`...)
	case "tools/call":
		b = append(append(b, `,"result":{`...), kind...)
		return append(append(append(b, `"content":[{"type":"text","text":"`...), text...), `"}]}}`...)
	default:
		return append(b, `,"error":{"code":-32601,"message":"Method not found"}}`...)
	}
}

// serveReverseProxy is the bare proxy of the standard library, with a connection pool large enough not to be the limit.
func serveReverseProxy(listener net.Listener, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000}
	return (&http.Server{Handler: proxy}).Serve(listener)
}

// serveLeanProxy is the bare proxy on fasthttp: the least that a hop in front of the upstream costs.
func serveLeanProxy(listener net.Listener, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	client := &fasthttp.HostClient{Addr: to.Host, MaxConns: 1000}
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.Request.Header.Set("Host", to.Host)
		if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error(err.Error(), http.StatusBadGateway)
		}
	}}
	return server.Serve(listener)
}

// role runs one of the helpers in a process of its own, so that its cost can be told apart. It prints its URL and serves until it is killed.
func role(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(os.Stdout, "http://%s\n", listener.Addr()); err != nil {
		return err
	}
	switch args[0] {
	case "upstream":
		kind, text, _ := strings.Cut(args[1], ",")
		size, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		return serveUpstream(listener, kind, size)
	case "reverseproxy":
		return serveReverseProxy(listener, args[1])
	case "leanproxy":
		return serveLeanProxy(listener, args[1])
	default:
		return fmt.Errorf("no role %q", args[0])
	}
}
