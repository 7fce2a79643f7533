package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/kafka"
	"headgate.dev/libs/rpc"
)

const readyWithin = 30 * time.Second

// Run runs everything until the context ends.
func Run(ctx context.Context, o Options) (err error) {
	objects, err := load(o.Files)
	if err != nil {
		return err
	}
	programs, err := allowed(o.AllowCommands, objects)
	if err != nil {
		return err
	}
	ports, err := listen(o)
	if err != nil {
		return err
	}
	defer ports.close()
	h, err := openHome(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	cluster, address, err := startBroker(h.path("kafka"))
	if err != nil {
		return err
	}
	defer cluster.Close()
	log := slog.New(slog.NewTextHandler(o.Err, &slog.HandlerOptions{Level: o.Log}))
	broker := kafka.Config{Brokers: []string{address}, CreateTopics: true, Partitions: 4, Replicas: 1}
	if err := kafka.EnsureTopics(ctx, broker); err != nil {
		return err
	}
	s, err := compose(parts{home: h, listeners: ports, broker: broker, programs: programs, log: log})
	if err != nil {
		return err
	}
	return s.run(ctx, o, h, ports, func(ctx context.Context) error {
		return start(ctx, o, h, ports, s, address, objects)
	})
}

// run starts the services and the API, then does what comes first, then waits. When one ends, all end: the edge first, so that calls under way
// still have what they need.
func (s *suite) run(ctx context.Context, o Options, h *home, ports *listeners, first func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	edgeDone := make(chan struct{})
	for _, c := range s.cells() {
		if c == s.edge {
			group.Go(func() error {
				defer close(edgeDone)
				return named(c.name, c.run(ctx))
			})
			continue
		}
		group.Go(func() error { return named(c.name, c.run(rest)) })
	}
	group.Go(func() error { return named("api", rpc.Serve(rest, ports.api, s.api(), nil)) })
	group.Go(func() error { return named("diagnostics", rpc.Serve(rest, ports.metrics, s.diagnostics(), nil)) })
	group.Go(func() error {
		<-edgeDone
		stopRest()
		return nil
	})
	group.Go(func() error { return first(ctx) })
	err := group.Wait()
	stopRest()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func named(name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// api routes each service's methods to its mux, the OAuth endpoints to identity and the AuthZEN API to authz.
func (s *suite) api() http.Handler {
	mux := http.NewServeMux()
	for _, c := range s.cells() {
		title := strings.ToUpper(c.name[:1]) + c.name[1:]
		mux.Handle(fmt.Sprintf("/headgate.%s.v1.%sService/", c.name, title), c.mux)
	}
	for _, pattern := range []string{"/oauth2/", "/.well-known/", "/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/"} {
		mux.Handle(pattern, s.identity.mux)
	}
	for _, pattern := range []string{"/access/v1/", "/.well-known/authzen-configuration"} {
		mux.Handle(pattern, s.authz.mux)
	}
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", s.ready)
	return mux
}

// ready says which service is not ready; with ?verbose also which are.
func (s *suite) ready(w http.ResponseWriter, r *http.Request) {
	var lines []string
	status := http.StatusOK
	for _, c := range s.cells() {
		if err := c.service.Ready(r.Context()); err != nil {
			status = http.StatusServiceUnavailable
			lines = append(lines, fmt.Sprintf("[-] %s: %v", c.name, err))
		} else if r.URL.Query().Has("verbose") {
			lines = append(lines, "[+] "+c.name)
		}
	}
	if len(lines) == 0 {
		lines = []string{"ok"}
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, strings.Join(lines, "\n"))
}

// waitReady waits until every service is.
func (s *suite) waitReady(ctx context.Context) error {
	deadline := time.Now().Add(readyWithin)
	for _, c := range s.cells() {
		var last error
		yes, err := poll(ctx, deadline, func() (bool, error) {
			last = c.service.Ready(ctx)
			return last == nil, nil
		})
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("%s is not ready within %s: %w", c.name, readyWithin, last)
		}
	}
	return nil
}

// pids names this process for each service: in production each has its own.
func (s *suite) pids() map[string]int {
	pids := map[string]int{}
	for _, c := range s.cells() {
		pids[c.name] = os.Getpid()
	}
	return pids
}
