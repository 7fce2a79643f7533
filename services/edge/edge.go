// Package edge is the MCP door of Headgate: it knows who calls, shows what they may see, decides every tool call, makes it with a credential
// that the agent never sees, inspects what comes back and writes it all down.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"headgate.dev/libs/certfile"
	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/geoip"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/edge/internal/admit"
	"headgate.dev/services/edge/internal/back"
	"headgate.dev/services/edge/internal/beside"
	"headgate.dev/services/edge/internal/catalogue"
	"headgate.dev/services/edge/internal/count"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/directory"
	"headgate.dev/services/edge/internal/extauthz"
	"headgate.dev/services/edge/internal/extmcp"
	"headgate.dev/services/edge/internal/facts"
	"headgate.dev/services/edge/internal/front"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
	"headgate.dev/services/edge/internal/keep"
	"headgate.dev/services/edge/internal/keyed"
	"headgate.dev/services/edge/internal/lend"
	"headgate.dev/services/edge/internal/peers"
	"headgate.dev/services/edge/internal/replicas"
	"headgate.dev/services/edge/internal/session"
	"headgate.dev/services/edge/internal/stdio"
)

// Stdio is which programs of its machine an edge may start, Command one of them as it is declared.
type (
	Stdio   = stdio.Config
	Command = stdio.Command
)

// Config is what an edge must be told.
type Config struct {
	// Listen is the address of the MCP endpoints. Not needed when Deps has a listener.
	Listen string `yaml:"listen"`
	// PublicURL is how clients reach it, without a path. Empty means the listener's address, https with a certificate and http without.
	PublicURL string `yaml:"publicURL"`
	// Issuer is the URL of the authorization server whose tokens are taken.
	Issuer string `yaml:"issuer"`
	// KeyFile has 64 hexadecimal digits, the same for all edges. Key is the same for who composes services in one process.
	KeyFile string        `yaml:"keyFile"`
	Key     secret.String `yaml:"key"`
	// AllowedHosts are further values of Host that are served, AllowedOrigins those of Origin.
	AllowedHosts   []string `yaml:"allowedHosts"`
	AllowedOrigins []string `yaml:"allowedOrigins"`
	// RatePerSecond and Burst bound the requests of one principal; 0 means no bound.
	RatePerSecond float64 `yaml:"ratePerSecond"`
	Burst         float64 `yaml:"burst"`
	// MaxBody and MaxResult are in bytes; 0 means 4 MiB and 8 MiB.
	MaxBody   int `yaml:"maxBody"`
	MaxResult int `yaml:"maxResult"`
	// MaxCalls is how many calls may run at one server at once, MaxCallsOfOne how many of them may be one principal's; 0 means 1,024 and an eighth.
	MaxCalls      int `yaml:"maxCalls"`
	MaxCallsOfOne int `yaml:"maxCallsOfOne"`
	// MaxConnections is how many connections of clients are served at once, besides the streams that stay open; 0 means 16,384.
	MaxConnections int `yaml:"maxConnections"`
	// MaxStreams is how many streams stay open at once, MaxStreamsOfOne how many of them may be one principal's; 0 means 20,000 and 1,000.
	MaxStreams      int `yaml:"maxStreams"`
	MaxStreamsOfOne int `yaml:"maxStreamsOfOne"`
	// Stdio says which programs of this machine may be started as servers, and how many; the zero value allows none.
	Stdio Stdio `yaml:"stdio"`
	// Certificate and CertificateKey are PEM files, read again when they change; without them the endpoint speaks plain HTTP behind something
	// that does TLS.
	Certificate    string `yaml:"certificate"`
	CertificateKey string `yaml:"certificateKey"`
	// Advertise is the URL by which other edges reach this one's RPCs, as https://edge-0.edge:8443. Empty means that there is only one edge: then what
	// belongs to a session is not found from another.
	Advertise string `yaml:"advertise"`
	// ExtAuthz is where Envoy asks about requests that it carries itself to servers: unix:PATH, or an address of this machine. Empty means nowhere.
	ExtAuthz string `yaml:"extAuthz"`
	// ExtMCP is where agentgateway asks about MCP messages that it carries itself to servers, in the same form.
	ExtMCP string `yaml:"extMcp"`
	// ClientCertificates are those that Server resources can name, to be shown to servers that want one.
	ClientCertificates egress.Certificates `yaml:"clientCertificates"`
	// GeoIP says in which countries callers are, for request.country.
	GeoIP geoip.Config `yaml:"geoip"`
	// Grace is how long calls under way may take at shutdown; 0 means 10 s.
	Grace time.Duration `yaml:"grace"`
}

// Deps are the services that the edge decides by, and where it writes.
type Deps struct {
	Identity    identityv1connect.IdentityServiceClient
	Authz       authzv1connect.AuthzServiceClient
	Trust       trustv1connect.TrustServiceClient
	Credentials credentialsv1connect.CredentialsServiceClient
	// Audit answers keys to seal copies with; without it, calls that need one are refused.
	Audit   keep.Subjects
	Journal *journal.Writer
	Log     *slog.Logger
	Now     clock.Now
	// Steady is the time that passes whatever the clock says; nil is the machine's.
	Steady func() time.Duration
	// Edge is the way to another edge by the URL that it advertises; nil when there is only one.
	Edge func(url string) (edgev1connect.EdgeServiceClient, error)
	// Metrics takes the edge's own; nil for nobody.
	Metrics prometheus.Registerer
	// Listener takes the place of Config.Listen.
	Listener net.Listener
}

// Edge is one edge.
type Edge struct {
	cfg      Config
	deps     Deps
	replicas *replicas.Replicas
	back     *back.Back
	guard    *guard.Guard
	counter  *count.Counter
	peers    *peers.Peers
	known    *catalogue.Catalogue
	front    *front.Front
	// joins end what requests have begun and left behind.
	joins   []func()
	serving chan struct{}
	once    sync.Once
	// certificate is nil where something else does TLS.
	certificate *certfile.Held[*tls.Certificate]
}

// New checks the configuration and puts the edge together. It starts nothing.
func New(cfg Config, deps Deps) (*Edge, error) {
	if deps.Identity == nil || deps.Authz == nil || deps.Trust == nil || deps.Credentials == nil || deps.Journal == nil {
		return nil, fault.Invalid("The edge needs identity, authz, trust, credentials and a journal.")
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = clock.System
	}
	if err := complete(&cfg, deps.Listener); err != nil {
		return nil, err
	}
	key := cfg.Key
	if key.Empty() {
		var err error
		if key, err = keyed.Read(cfg.KeyFile); err != nil {
			return nil, err
		}
	}
	keys, err := keyed.New(key)
	if err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, deps: deps, serving: make(chan struct{})}
	if cfg.Certificate != "" {
		if e.certificate, err = certfile.Pair(deps.Log, cfg.Certificate, cfg.CertificateKey); err != nil {
			return nil, fault.Invalid("The edge's certificate cannot be read from %s and %s.", cfg.Certificate, cfg.CertificateKey).Because(err)
		}
	}
	as, err := cfg.ClientCertificates.Open(deps.Log)
	if err != nil {
		return nil, fault.Invalid("%s", err)
	}
	if err := e.compose(keys, as); err != nil {
		return nil, err
	}
	return e, nil
}

// compose makes the stages and puts them in their places.
func (e *Edge) compose(keys *keyed.Keys, as egress.Identities) error {
	now, log := e.deps.Now, e.deps.Log
	people := directory.New()
	relations := decide.NewRelations(e.deps.Authz, people)
	decider := decide.New(relations)
	e.counter = count.New(e.deps.Authz, e.cfg.Advertise, now, log)
	decider.Count(e.counter)
	countries, err := e.cfg.GeoIP.Open(log)
	if err != nil {
		return err
	}
	decider.Locate(countries)
	lender := lend.New(e.deps.Credentials, os.LookupEnv, now)
	e.back = back.New(back.Config{
		MaxResult: e.cfg.MaxResult, MaxCalls: e.cfg.MaxCalls, MaxCallsOfOne: e.cfg.MaxCallsOfOne,
		Identities: as, Stdio: e.cfg.Stdio, Lookup: os.LookupEnv, Log: log,
	}, now)
	known := catalogue.New(catalogue.Parts{
		Relations: func(ctx context.Context, c *guard.Caller) (catalogue.Reach, error) { return relations.Of(ctx, c) },
		Changes:   func() int64 { return people.Generation() + relations.Generation() },
		Upstream:  e.back, Lender: lender, Trust: e.deps.Trust, Now: now, Log: log,
	})
	keeper := keep.New(e.deps.Audit, people, inspect.Inspector{}, now)
	reader := facts.New(facts.Parts{
		Tools: known, Lender: lender, Journal: e.deps.Journal, Upstream: e.back, Inspector: inspect.Inspector{}, Keys: keys, Now: now, Decide: decider.DecideReading,
	})
	decider.Use(reader)
	e.joins = []func(){reader.Close, known.Close, lender.Close, relations.Close, keeper.Close}
	e.peers = peers.New(e.cfg.Advertise, e.counter.Edges, e.deps.Edge, log)
	e.known = known
	var gate *guard.Guard
	sweep := func() { gate.Sweep() }
	shut := func() {
		sweep()
		e.back.Retain(known.Kept)
	}
	e.replicas = replicas.New(replicas.Parts{
		Identity: e.deps.Identity, Authz: e.deps.Authz, Trust: e.deps.Trust, Decider: replicas.ThenDecider(decider, sweep), Now: now, Steady: e.deps.Steady, Log: log,
		Directory: replicas.Then(people, sweep), Catalogue: replicas.Then(known, shut),
	})
	sessions, err := session.New(keys, e.deps.Journal.Dir(), now)
	if err != nil {
		return err
	}
	hosts, origins := names(e.cfg)
	admitter := admit.New(admit.Config{
		Base: e.cfg.PublicURL, Issuer: e.cfg.Issuer, Hosts: hosts, Origins: origins, Rate: e.cfg.RatePerSecond, Burst: max(e.cfg.Burst, e.cfg.RatePerSecond, 1),
	}, people, now)
	gate = guard.New(guard.Stages{
		Admitter: admitter, Limits: guard.Limits{Streams: e.cfg.MaxStreams, StreamsOfOne: e.cfg.MaxStreamsOfOne},
		Replicas: e.replicas, Sessions: sessions, Catalogue: known, Decider: decider, Lender: lender, Journal: e.deps.Journal,
		Upstream: e.back, Inspector: inspect.Inspector{}, Peers: e.peers, Keeper: keeper, Keys: keys, Now: now, Log: log,
	})
	e.guard = gate
	e.front, err = front.New(front.Config{
		Base: e.cfg.PublicURL, Issuer: e.cfg.Issuer, MaxBody: e.cfg.MaxBody, MaxConnections: e.cfg.MaxConnections, Knows: admitter.Knows, Origins: origins,
	}, gate, e.replicas.Ready, log)
	return errors.Join(err, e.measure())
}

// measure counts what the edge alone knows.
func (e *Edge) measure() error {
	if e.deps.Metrics == nil {
		return nil
	}
	return e.deps.Metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "headgate_edge_refused_connections_total", Help: "Connections of clients that were closed at once because there were too many.",
	}, func() float64 { return float64(e.front.Refused()) }))
}

// complete fills what can be known from the rest and refuses what cannot.
func complete(cfg *Config, ln net.Listener) error {
	if ln == nil && cfg.Listen == "" {
		return fault.Invalid("The edge has no address. Set listen, as 127.0.0.1:8080.")
	}
	if cfg.PublicURL == "" {
		at := cfg.Listen
		if ln != nil {
			at = ln.Addr().String()
		}
		if _, port, err := net.SplitHostPort(at); err != nil || port == "0" || port == "" {
			return fault.Invalid("The edge's public URL is not known. Set publicURL, as https://mcp.acme.example.")
		}
		cfg.PublicURL = "http://" + at
		if cfg.Certificate != "" {
			cfg.PublicURL = "https://" + at
		}
	}
	u, err := url.Parse(cfg.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path,
		"/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fault.Invalid("publicURL must be http or https with a host and without a path, not %q.", cfg.PublicURL)
	}
	cfg.PublicURL = u.Scheme + "://" + strings.ToLower(u.Host)
	if issuer, err := url.Parse(cfg.Issuer); err != nil || issuer.Host == "" {
		return fault.Invalid("The edge does not know whose tokens to take. Set issuer to the identity service's URL.")
	}
	if cfg.Key.Empty() && cfg.KeyFile == "" {
		return fault.Invalid("The edge has no key. Make one with openssl rand -hex 32 and set keyFile.")
	}
	if (cfg.Certificate == "") != (cfg.CertificateKey == "") {
		return fault.Invalid("certificate and certificateKey belong together: set both or none.")
	}
	if cfg.Advertise != "" {
		if u, err := url.Parse(cfg.Advertise); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fault.Invalid("advertise must be the URL of this edge's RPCs, as https://edge-0.edge:8443, not %q.", cfg.Advertise)
		}
	}
	for field, address := range cfg.beside() {
		if err := beside.Check(field, address); address != "" && err != nil {
			return err
		}
	}
	if cfg.MaxCalls < 0 || cfg.MaxCallsOfOne < 0 || cfg.MaxConnections < 0 || cfg.MaxStreams < 0 || cfg.MaxStreamsOfOne < 0 {
		return fault.Invalid("maxCalls, maxCallsOfOne, maxConnections, maxStreams and maxStreamsOfOne cannot be negative.")
	}
	if cfg.RatePerSecond < 0 || cfg.Burst < 0 || cfg.MaxBody < 0 || cfg.MaxResult < 0 || cfg.Grace < 0 {
		return fault.Invalid("ratePerSecond, burst, maxBody, maxResult and grace cannot be negative.")
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	return cfg.Stdio.Check()
}

// names are the hosts and origins that the endpoint is served under. On loopback, all of its names are the same machine.
func names(cfg Config) (hosts, origins []string) {
	u, err := url.Parse(cfg.PublicURL)
	if err != nil {
		return nil, nil
	}
	hosts = append(hosts, u.Host)
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		for _, name := range []string{"127.0.0.1", "localhost", "::1"} {
			host := net.JoinHostPort(name, u.Port())
			if u.Port() == "" {
				host = name
			}
			hosts = append(hosts, host)
		}
	}
	for _, host := range cfg.AllowedHosts {
		hosts = append(hosts, strings.ToLower(host))
	}
	for _, host := range hosts {
		origins = append(origins, u.Scheme+"://"+host)
	}
	for _, origin := range cfg.AllowedOrigins {
		origins = append(origins, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	slices.Sort(hosts)
	slices.Sort(origins)
	return slices.Compact(hosts), slices.Compact(origins)
}

// Register serves the edge's own RPCs.
func (e *Edge) Register(mux *rpc.Mux) {
	rpc.Handle(mux, edgev1connect.NewEdgeServiceHandler, edgev1connect.EdgeServiceHandler(&status{replicas: e.replicas, journal: e.deps.Journal, guard: e.guard}))
}

// Run follows the services and serves MCP until ctx ends. It returns when every goroutine of the edge has ended.
func (e *Edge) Run(ctx context.Context) error {
	ln, err := e.listen(ctx)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	judging, err := e.judging(ctx)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	outcome := make([]error, 7)
	var all sync.WaitGroup
	all.Go(func() { collectLess(following) })
	all.Go(func() { outcome[0] = e.replicas.Run(following) })
	all.Go(func() { outcome[1] = e.back.Run(following) })
	all.Go(func() { outcome[3] = e.guard.Run(following) })
	all.Go(func() { outcome[4] = e.known.Run(following) })
	all.Go(func() { outcome[6] = judging(following) })
	all.Go(func() { outcome[5] = e.counter.Run(following) })
	e.once.Do(func() { close(e.serving) })
	outcome[2] = e.front.Serve(ctx, ln, e.cfg.Grace)
	stop() // the replicas serve until the last call is over
	all.Wait()
	e.peers.Wait()
	for _, join := range e.joins {
		join()
	}
	return errors.Join(outcome...)
}

// beside is where other data planes ask, by the name of the field.
func (cfg *Config) beside() map[string]string {
	return map[string]string{"extAuthz": cfg.ExtAuthz, "extMcp": cfg.ExtMCP}
}

// judging opens the ways for the questions of other data planes and answers what serves them, which does nothing where nobody asks.
func (e *Edge) judging(ctx context.Context) (func(context.Context) error, error) {
	answers := map[string]func(*grpc.Server){
		"extAuthz": func(s *grpc.Server) { extauthz.Register(s, e.guard) }, "extMcp": func(s *grpc.Server) { extmcp.Register(s, e.guard) },
	}
	opened := map[string]net.Listener{}
	for field, address := range e.cfg.beside() {
		if address == "" {
			continue
		}
		ln, err := beside.Listen(ctx, field, address)
		if err != nil {
			for _, other := range opened {
				err = errors.Join(err, other.Close())
			}
			return nil, err
		}
		opened[field] = ln
	}
	return func(ctx context.Context) error {
		var serving errgroup.Group
		for field, ln := range opened {
			serving.Go(func() error { return beside.Serve(ctx, ln, answers[field], e.cfg.Grace) })
		}
		return serving.Wait()
	}, nil
}

func (e *Edge) listen(ctx context.Context) (net.Listener, error) {
	ln := e.deps.Listener
	if ln == nil {
		var lc net.ListenConfig
		var err error
		if ln, err = lc.Listen(ctx, "tcp", e.cfg.Listen); err != nil {
			return nil, fault.Invalid("The edge cannot listen on %s: is something else running there?", e.cfg.Listen).Because(err)
		}
	}
	if e.certificate == nil {
		return ln, nil
	}
	return front.Secured(ln, e.certificate.Now), nil
}

// Describe implements serve.Describer: how fresh what the edge decides by is.
func (e *Edge) Describe() []string { return e.replicas.Describe() }

// Ready waits until the edge serves and has heard of all that it decides by.
func (e *Edge) Ready(ctx context.Context) error {
	select {
	case <-e.serving:
	case <-ctx.Done():
		return fault.New(unavailable, "The edge does not listen yet.")
	}
	if err := e.replicas.Ready(ctx); err != nil {
		return err
	}
	return e.counter.Ready(ctx)
}
