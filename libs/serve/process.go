package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/life"
	"headgate.dev/libs/rpc"
)

// shipLast is how long the end waits for Kafka to take the last records. What it does not take stays in the journal for the next start.
const shipLast = 3 * time.Second

// process is what a service runs in. Each part is opened before anything starts, so that what is missing is said at once.
type process struct {
	name string
	log  *slog.Logger
	now  clock.Now

	listener    net.Listener
	diagnostics net.Listener
	server      *tls.Config
	client      *tls.Config
	peers       map[string]string
	conns       map[string]*rpc.Conn
	brokers     []string
	journal     *journal.Writer
	publisher   *kafka.Publisher
	registry    *prometheus.Registry
	life        life.Config
	telemetry   rpc.Telemetry
}

func (p *process) open(listen, diagnostics string, files TLS, peers map[string]string, j journal.Config, k kafka.Config) error {
	var err error
	p.peers, p.conns, p.brokers = peers, map[string]*rpc.Conn{}, k.Brokers
	if !files.empty() {
		if p.server, err = rpc.ServerTLS(p.log, files.Cert, files.Key, files.CA); err != nil {
			return err
		}
		if p.client, err = rpc.ClientTLS(p.log, files.Cert, files.Key, files.CA); err != nil {
			return err
		}
	}
	if p.listener, err = bind("listen", listen); err != nil {
		return err
	}
	if p.diagnostics, err = bind("diagnostics", diagnostics); err != nil {
		return err
	}
	if p.publisher, err = kafka.NewPublisher(k); err != nil {
		return err
	}
	if p.journal, err = journal.Open(j, p.name, p.log, p.now); err != nil {
		return err
	}
	return p.measure()
}

// bind listens, and says in words why it cannot.
func bind(field, address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the port of %s is in use by another process. Stop it, or give %s another port in the configuration", address, field)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (%s in the configuration): %w", address, field, err)
	}
	return ln, nil
}

// measure makes the service's metrics: Go's own, the journal's, and what OpenTelemetry counts.
func (p *process) measure() error {
	p.registry = prometheus.NewRegistry()
	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for name, read := range map[string]func(journal.Status) float64{
		"headgate_journal_written_records": func(s journal.Status) float64 { return float64(s.Written) },
		"headgate_journal_synced_records":  func(s journal.Status) float64 { return float64(s.Synced) },
		"headgate_journal_shipped_records": func(s journal.Status) float64 { return float64(s.Shipped) },
		"headgate_journal_bytes":           func(s journal.Status) float64 { return float64(s.Bytes) },
	} {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: "Where the service's audit journal stands."},
			func() float64 { return read(p.journal.Status()) })
		if err := p.registry.Register(gauge); err != nil {
			return err
		}
	}
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(p.registry))
	if err != nil {
		return err
	}
	p.telemetry.Metrics = sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	return nil
}

func (p *process) deps() Deps {
	return Deps{Dial: p.dial, Knows: p.knows, DialAt: p.dialAt, Journal: p.journal, Log: p.log, Now: p.now, Metrics: p.registry, Telemetry: p.telemetry}
}

func (p *process) knows(service string) bool { return p.peers[service] != "" }

// dial is called while the service is built, by one goroutine.
func (p *process) dial(service string) (*rpc.Conn, error) {
	if conn := p.conns[service]; conn != nil {
		return conn, nil
	}
	address, ok := p.peers[service]
	if !ok {
		return nil, fmt.Errorf("peers.%s is missing in the configuration: %s calls it", service, p.name)
	}
	conn, err := rpc.Dial(rpc.DialConfig{URL: address, TLS: p.client, Service: rpc.ServiceByName(service), Telemetry: p.telemetry})
	if err != nil {
		return nil, fmt.Errorf("peers.%s: %w", service, err)
	}
	p.conns[service] = conn
	return conn, nil
}

func (p *process) dialAt(service, url string) (*rpc.Conn, error) {
	return rpc.Dial(rpc.DialConfig{URL: url, TLS: p.client, Service: rpc.ServiceByName(service), Telemetry: p.telemetry})
}

// authenticator is who checks access tokens.
func (p *process) authenticator(service Service) (func(context.Context, string) (*identityv1.Caller, error), error) {
	if own, ok := service.(Authenticator); ok {
		return own.Authenticate, nil
	}
	conn, err := p.dial("identity")
	if err != nil {
		return nil, err
	}
	return rpc.IdentityAuthenticator(rpc.Client(conn, identityv1connect.NewIdentityServiceClient), p.now), nil
}

// serve runs everything until ctx ends or a part fails, and then ends in order: no new calls, calls under way, the service, the last records.
func (p *process) serve(ctx context.Context, service Service) error {
	authenticate, err := p.authenticator(service)
	if err != nil {
		return err
	}
	mux := rpc.NewMux(rpc.MuxConfig{
		Self: rpc.ServiceByName(p.name), Authenticate: authenticate, Log: p.log, Now: p.now, Telemetry: p.telemetry,
		Record: func(ev *eventsv1.Event) error { return p.journal.Append(ev, journal.Strict) },
	})
	service.Register(mux)
	if err := mux.Check(); err != nil {
		return err
	}
	status := &status{process: p, service: service}
	listener, diagnostics := p.listener, p.diagnostics
	p.listener, p.diagnostics = nil, nil // their servers close them
	stages := newStages(ctx)
	stages.start("the audit journal", p.journal.Run)
	stages.start("the shipping of the audit journal", journal.NewShipper(p.journal, p.publisher, p.log).Run)
	stages.start("the wait for the last records", p.waitShipped)
	p.life.Sink = p.journal
	stages.start("the record of the service's own life", func(ctx context.Context) error { return life.Run(ctx, p.life) })
	stages.start("the count of refused calls", mux.Run)
	stages.start("the diagnostics server", func(ctx context.Context) error { return rpc.Serve(ctx, diagnostics, status.handler(), nil) })
	stages.start("the service", service.Run)
	stages.start("the RPC server", func(ctx context.Context) error {
		p.log.InfoContext(ctx, "service listens", "address", listener.Addr().String(), "diagnostics", diagnostics.Addr().String())
		return rpc.Serve(ctx, listener, mux, p.server)
	})
	return stages.wait(func() {
		status.draining.Store(true)
		p.log.Info("service ends")
	})
}

// waitShipped holds the end up until Kafka has what was written, or for as long as is bearable.
func (p *process) waitShipped(ctx context.Context) error {
	<-ctx.Done()
	until := time.NewTimer(shipLast)
	defer until.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s := p.journal.Status()
		if s.Shipped >= s.Written {
			return nil
		}
		select {
		case <-tick.C:
		case <-until.C:
			p.log.Warn("records wait in the journal for the next start", "records", s.Written-s.Shipped)
			return nil
		}
	}
}

// close gives back what was opened and not handed on.
func (p *process) close() error {
	var errs []error
	for _, ln := range []net.Listener{p.listener, p.diagnostics} {
		if ln != nil {
			errs = append(errs, ln.Close())
		}
	}
	for _, conn := range p.conns {
		conn.Close()
	}
	if p.publisher != nil {
		p.publisher.Close()
	}
	if p.journal != nil {
		errs = append(errs, p.journal.Close())
	}
	return errors.Join(errs...)
}
