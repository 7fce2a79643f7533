package serve

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headgate.dev/libs/rpc"
)

// patience is how long one question about readiness may take.
const patience = 2 * time.Second

// status answers on the diagnostics port.
type status struct {
	process  *process
	service  Service
	draining atomic.Bool
}

func (s *status) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.process.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ready answers 200 while the service can answer, 503 otherwise. With ?verbose it lists everything that the service leans on, also what it can do
// without for a while.
func (s *status) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var missing error
	if s.draining.Load() {
		missing = fmt.Errorf("the service ends")
	} else {
		missing = s.service.Ready(ctx)
	}
	code, text := http.StatusOK, "ok\n"
	if missing != nil {
		code, text = http.StatusServiceUnavailable, "not ready\n"
	}
	if _, verbose := r.URL.Query()["verbose"]; verbose {
		text = line("service", missing, "ready") + s.described() + s.leansOn(ctx) + text
	}
	say(w, code, text)
}

// described is what the service says of itself.
func (s *status) described() string {
	d, is := s.service.(Describer)
	if !is {
		return ""
	}
	var b strings.Builder
	for _, said := range d.Describe() {
		_, _ = fmt.Fprintln(&b, "    "+said)
	}
	return b.String()
}

// leansOn is a line for the journal, for Kafka and for every peer.
func (s *status) leansOn(ctx context.Context) string {
	stands := s.process.journal.Status()
	var b strings.Builder
	b.WriteString(line("journal", stands.Refused, fmt.Sprintf("%d records written, %d shipped, %d bytes", stands.Written, stands.Shipped, stands.Bytes)))
	b.WriteString(line("kafka", anyReachable(ctx, s.process.brokers), "a broker can be reached"))
	for _, name := range slices.Sorted(keys(s.process.conns)) {
		b.WriteString(line("peer "+name, rpc.Health(ctx, s.process.conns[name]), "answers"))
	}
	return b.String()
}

func line(name string, err error, fine string) string {
	if err != nil {
		return fmt.Sprintf("[-] %s: %v\n", name, err)
	}
	return fmt.Sprintf("[+] %s: %s\n", name, fine)
}

// anyReachable tries the brokers in turn.
func anyReachable(ctx context.Context, brokers []string) error {
	var last error
	for _, address := range brokers {
		conn, err := (&net.Dialer{Timeout: patience / 2}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		last = err
	}
	return last
}

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // a probe that went away needs no answer
}
