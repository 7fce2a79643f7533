package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"
	"connectrpc.com/validate"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/flood"
	"headgate.dev/libs/ids"
)

// maxMessage is the most bytes that one request message may have, unpacked.
const maxMessage = 16 << 20

// requestIDHeader carries the request id from hop to hop. Only a service's is believed.
const requestIDHeader = "Headgate-Request-Id"

// MuxConfig is what a mux needs.
type MuxConfig struct {
	// Self is the service that the mux serves; records name it.
	Self optionsv1.Service
	// Authenticate says whose access token this is. Nil refuses all people.
	Authenticate func(ctx context.Context, token string) (*identityv1.Caller, error)
	// Record writes an audit record; when it fails, the call is refused. Nil refuses people's calls of audited methods.
	Record func(ev *eventsv1.Event) error
	// Log takes the causes of failures; nil discards.
	Log *slog.Logger
	// Now is the clock; nil is the system's.
	Now clock.Now
	// Telemetry takes traces and metrics; zero discards.
	Telemetry Telemetry
}

// Mux serves RPCs and plain HTTP handlers. Register everything before the first request. Safe for concurrent use after that.
type Mux struct {
	cfg      MuxConfig
	http     *http.ServeMux
	options  []connect.HandlerOption
	watch    instruments
	patterns []string
	flood    atomic.Pointer[flood.Counter] // while Run runs

	mu       sync.RWMutex
	services []string
	methods  map[string]*method
	problems []string
}

// NewMux returns a mux that serves gRPC health to anyone, gRPC reflection to services, and nothing else yet.
func NewMux(cfg MuxConfig) *Mux {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	m := &Mux{cfg: cfg, http: http.NewServeMux(), methods: map[string]*method{}}
	traced, err := cfg.Telemetry.server()
	if err != nil {
		m.problems = append(m.problems, fmt.Sprintf("telemetry: %v", err))
	}
	if m.watch, err = cfg.Telemetry.instruments(); err != nil {
		m.problems = append(m.problems, fmt.Sprintf("telemetry: %v", err))
	}
	m.options = []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithCompressMinBytes(1 << 10),
		connect.WithCodec(strictJSON{name: "json"}), connect.WithCodec(strictJSON{name: "json; charset=utf-8"}),
		connect.WithRequestGate(m.admit),
		connect.WithInterceptors(traced, &boundary{mux: m}, &checked{mux: m}, validate.NewInterceptor(), deadline{}),
	}
	pattern, health := grpchealth.NewHandler(healthy{mux: m}, connect.WithReadMaxBytes(1<<10))
	m.http.Handle(pattern, health)
	names := grpcreflect.NewReflector(grpcreflect.NamerFunc(m.names))
	for _, newHandler := range []func(*grpcreflect.Reflector, ...connect.HandlerOption) (string, http.Handler){
		grpcreflect.NewHandlerV1, grpcreflect.NewHandlerV1Alpha,
	} {
		pattern, reflection := newHandler(names, connect.WithReadMaxBytes(64<<10), connect.WithRequestGate(m.admitServices))
		m.http.Handle(pattern, reflection)
	}
	return m
}

// Handle registers the implementation of a generated service, behind every interceptor.
func Handle[T any](m *Mux, newHandler func(T, ...connect.HandlerOption) (string, http.Handler), impl T) {
	pattern, handler := newHandler(impl, m.options...)
	m.register(strings.Trim(pattern, "/"))
	m.patterns = append(m.patterns, pattern)
	m.http.Handle(pattern, handler)
}

// HandlePlain registers a handler that is no RPC, as an OAuth endpoint. It is open to anyone: what it needs to know of its caller it checks itself.
func (m *Mux) HandlePlain(pattern string, h http.Handler) {
	m.patterns = append(m.patterns, pattern)
	m.http.Handle(pattern, h)
}

// Patterns lists what is registered, as http.ServeMux patterns, for a process that serves several muxes on one port.
func (m *Mux) Patterns() []string { return slices.Clone(m.patterns) }

// Services lists the registered RPC services by their full names.
func (m *Mux) Services() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.services)
}

func (m *Mux) names() []string {
	return append(m.Services(), grpchealth.HealthV1ServiceName)
}

func (m *Mux) register(service string) {
	rows, problems := methodsOf(service)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services = append(m.services, service)
	m.problems = append(m.problems, problems...)
	for procedure, row := range rows {
		m.methods[procedure] = row
		if row.access.GetAudited() && len(row.access.GetPeople()) > 0 && m.cfg.Record == nil {
			m.problems = append(m.problems, procedure+": it is audited, but the service has no journal")
		}
	}
}

// Check is the start-up check: it refuses a mux with a method that does not say who may call it.
func (m *Mux) Check() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.problems) == 0 {
		return nil
	}
	return fmt.Errorf("the service cannot start: %s", strings.Join(m.problems, "; "))
}

// Run writes down the counts of what is refused too often for a record each, until ctx ends, and those that are left then. It must end after the last
// call is answered and before the journal does. Without it every refusal has a record.
func (m *Mux) Run(ctx context.Context) error {
	counter := flood.New(action, stage)
	m.flood.Store(counter)
	counter.Run(ctx, m.cfg.Now, m.recordCount)
	return nil
}

func (m *Mux) method(procedure string) *method {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.methods[procedure]
}

// call is what the mux knows of one request. It is made before anything is read and belongs to the request's goroutine.
type call struct {
	id        string
	service   optionsv1.Service
	stranger  error // why the certificate is not one of a service
	sourceIP  string
	userAgent string
	method    *method
	caller    Caller
	callID    string // of the records
	tenant    string // of the records
	note      string // what the call is about, for the final record
	admitted  bool
	recorded  bool
}

type callKey struct{}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return &call{id: ids.Prefixed("req"), stranger: errors.New("the request did not come through the mux")}
	}
	return c
}

// RequestID names the request that this context belongs to; empty when it belongs to none.
func RequestID(ctx context.Context) string {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return ""
	}
	return c.id
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{userAgent: r.UserAgent()}
	c.service, c.stranger = serviceOf(r)
	c.sourceIP, _, _ = net.SplitHostPort(r.RemoteAddr) // empty for the in-process transport
	if c.service != optionsv1.Service_SERVICE_UNSPECIFIED && validID(r.Header.Get(requestIDHeader)) {
		c.id = r.Header.Get(requestIDHeader)
	} else {
		c.id = ids.Prefixed("req")
	}
	w.Header().Set(requestIDHeader, c.id)
	ctx := context.WithValue(r.Context(), callKey{}, c)
	m.http.ServeHTTP(w, r.WithContext(ctx))
	m.recordUnread(c)
}

func validID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// healthy answers gRPC health checks: a service that is registered is served.
type healthy struct{ mux *Mux }

// Check implements grpchealth.Checker.
func (h healthy) Check(_ context.Context, r *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	if r.Service == "" || slices.Contains(h.mux.Services(), r.Service) {
		return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
	}
	return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("unknown service %q", r.Service))
}
