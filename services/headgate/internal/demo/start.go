package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Servers are all demo servers, listening on loopback.
type Servers struct {
	all  []*Server
	urls map[string]string
	seed []byte
	http []*http.Server
	done sync.WaitGroup
}

// Start makes every server, keeps its state in dir ("" is memory) and lets it listen on a free port of loopback.
func Start(dir string) (*Servers, error) {
	all, err := All(dir)
	if err != nil {
		return nil, err
	}
	s := &Servers{all: all, urls: map[string]string{}}
	for _, one := range all {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("listen for the demo server %s: %w", one.Name, err)
		}
		s.serve(one, listener)
	}
	if s.seed, err = Seed(all, s.urls); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Servers) serve(one *Server, listener net.Listener) {
	web := &http.Server{Handler: one.Handler, ReadHeaderTimeout: 10 * time.Second}
	s.urls[one.Name] = "http://" + listener.Addr().String() + Path
	s.http = append(s.http, web)
	s.done.Go(func() { _ = web.Serve(listener) }) // ends with ErrServerClosed
}

// Seed is the tenant that goes with these servers, as resources in YAML.
func (s *Servers) Seed() []byte { return s.seed }

// URL is the MCP endpoint of one server.
func (s *Servers) URL(name string) string { return s.urls[name] }

// Server is one of them, or nil.
func (s *Servers) Server(name string) *Server {
	for _, one := range s.all {
		if one.Name == name {
			return one
		}
	}
	return nil
}

// Close ends the servers and waits for them. What is under way has two seconds.
func (s *Servers) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, web := range s.http {
		if err := web.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			_ = web.Close() // streams that stay open by themselves
		}
	}
	s.done.Wait()
	_ = closeAll(s.all) // nothing is left to write
}
