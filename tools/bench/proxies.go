package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

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

// role runs one of the helpers in a process of its own, so that its cost can be told apart. It prints where it serves and where it says what it
// allocates, and serves until it is killed.
func role(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stats, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(stats, http.HandlerFunc(allocations)) }()
	if _, err := fmt.Fprintf(os.Stdout, "%s %s\n", listener.Addr(), stats.Addr()); err != nil {
		return err
	}
	switch args[0] {
	case "upstream":
		var sizes []int
		for text := range strings.FieldsSeq(strings.Trim(args[2], "[]")) {
			size, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			sizes = append(sizes, size)
		}
		return newServer(sizes).serve(listener, args[1])
	case "reverseproxy":
		return serveReverseProxy(listener, args[1])
	case "leanproxy":
		return serveLeanProxy(listener, args[1])
	default:
		return fmt.Errorf("no role %q", args[0])
	}
}

// allocations says what this process has allocated, as the services' metrics do.
func allocations(w http.ResponseWriter, _ *http.Request) {
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	_, _ = fmt.Fprintf(w, "%s %d\n%s %d\n", statMallocs, now.Mallocs, statBytes, now.TotalAlloc) // a client that went away asks again
}
