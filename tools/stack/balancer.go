package stack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"
)

// balancer stands before all edges and gives each request to the next of them, whoever sent it: no client stays with one.
type balancer struct {
	server *http.Server
	turn   atomic.Uint64
}

// balance serves at an address until close.
func balance(address string, fronts []string) (*balancer, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	b := &balancer{}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	proxy := &httputil.ReverseProxy{
		Transport: inTurn{b, fronts, transport}, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", fronts[0]
			r.Out.Host = r.In.Host // the edges know themselves by the balancer's name
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) && r.Context().Err() == nil {
				w.Header().Set("X-Balancer", "the edge did not answer")
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	b.server = &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_ = b.server.Serve(listener)
		transport.CloseIdleConnections()
	}()
	return b, nil
}

func (b *balancer) close() { _ = b.server.Close() }

// inTurn takes each request to the next edge. One that does not listen is passed over.
type inTurn struct {
	of     *balancer
	fronts []string
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t inTurn) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	for range t.fronts {
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.URL.Host = t.fronts[int(t.of.turn.Add(1)%uint64(len(t.fronts)))]
		var response *http.Response
		response, err = t.next.RoundTrip(r)
		var failed *net.OpError
		if err == nil || !errors.As(err, &failed) || failed.Op != "dial" {
			return response, err
		}
	}
	return nil, err
}
