package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// serveUpstream is the MCP server that is measured against: one tool that answers a text of the wanted size, as cheap as it can be.
func serveUpstream(listener net.Listener, size int) error {
	text := string(bytes.Repeat([]byte("a"), size))
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		body := ctx.PostBody()
		id := gjson.GetBytes(body, "id").Raw
		ctx.SetContentType("application/json")
		if id == "" {
			ctx.SetStatusCode(http.StatusAccepted)
			return
		}
		modern := gjson.GetBytes(body, `params._meta.io\.modelcontextprotocol/protocolVersion`).Exists()
		kind := ""
		if modern {
			kind = `"resultType":"complete","ttlMs":0,"cacheScope":"public",`
		}
		switch gjson.GetBytes(body, "method").String() {
		case "initialize":
			_, _ = fmt.Fprintf(ctx, `{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}}`, id)
		case "server/discover":
			_, _ = fmt.Fprintf(ctx, `{"jsonrpc":"2.0","id":%s,"result":{%s"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}`, id, kind)
		case "tools/list":
			_, _ = fmt.Fprintf(ctx, `{"jsonrpc":"2.0","id":%s,"result":{%s"tools":[{"name":"echo","description":"Answers.","inputSchema":{"type":"object",`+
				`"properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]}}]}}`, id, kind)
		case "tools/call":
			_, _ = fmt.Fprintf(ctx, `{"jsonrpc":"2.0","id":%s,"result":{%s"content":[{"type":"text","text":"%s"}]}}`, id, kind, text)
		default:
			_, _ = fmt.Fprintf(ctx, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, id)
		}
	}}
	return server.Serve(listener)
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
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return serveUpstream(listener, size)
	case "reverseproxy":
		return serveReverseProxy(listener, args[1])
	case "leanproxy":
		return serveLeanProxy(listener, args[1])
	default:
		return fmt.Errorf("no role %q", args[0])
	}
}
