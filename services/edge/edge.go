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
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
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
	"headgate.dev/services/edge/internal/catalogue"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/directory"
	"headgate.dev/services/edge/internal/facts"
	"headgate.dev/services/edge/internal/front"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
	"headgate.dev/services/edge/internal/keyed"
	"headgate.dev/services/edge/internal/lend"
	"headgate.dev/services/edge/internal/replicas"
	"headgate.dev/services/edge/internal/session"
)

// Config is what an edge must be told.
type Config struct {
	// Listen is the address of the MCP endpoints. Not needed when Deps has a listener.
	Listen string `yaml:"listen"`
	// PublicURL is how clients reach it, without a path. Empty means http and the listener's address.
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
	// Certificate and CertificateKey are PEM files; without them the endpoint speaks plain HTTP behind something that does TLS.
	Certificate    string `yaml:"certificate"`
	CertificateKey string `yaml:"certificateKey"`
	// Grace is how long calls under way may take at shutdown; 0 means 10 s.
	Grace time.Duration `yaml:"grace"`
}

// Deps are the services that the edge decides by, and where it writes.
type Deps struct {
	Identity    identityv1connect.IdentityServiceClient
	Authz       authzv1connect.AuthzServiceClient
	Trust       trustv1connect.TrustServiceClient
	Credentials credentialsv1connect.CredentialsServiceClient
	Journal     *journal.Writer
	Log         *slog.Logger
	Now         clock.Now
	// Listener takes the place of Config.Listen.
	Listener net.Listener
}

// Edge is one edge.
type Edge struct {
	cfg      Config
	deps     Deps
	replicas *replicas.Replicas
	back     *back.Back
	front    *front.Front
	serving  chan struct{}
	once     sync.Once
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
	e.compose(keys)
	return e, nil
}

// compose makes the stages and puts them in their places.
func (e *Edge) compose(keys *keyed.Keys) {
	now, log := e.deps.Now, e.deps.Log
	people := directory.New()
	relations := decide.NewRelations(e.deps.Authz, people)
	decider := decide.New(relations)
	lender := lend.New(e.deps.Credentials, now)
	e.back = back.New(back.Config{MaxResult: e.cfg.MaxResult}, now)
	known := catalogue.New(catalogue.Parts{
		Relations: func(ctx context.Context, c *guard.Caller) (catalogue.Reach, error) { return relations.Of(ctx, c) },
		Changes:   func() int64 { return people.Generation() + relations.Generation() },
		Upstream:  e.back, Lender: lender, Trust: e.deps.Trust, Now: now, Log: log,
	})
	decider.Use(facts.New(facts.Parts{
		Tools: known, Lender: lender, Journal: e.deps.Journal, Upstream: e.back, Inspector: inspect.Inspector{}, Keys: keys, Now: now,
	}))
	var gate *guard.Guard
	sweep := func() { gate.Sweep() }
	e.replicas = replicas.New(replicas.Parts{
		Identity: e.deps.Identity, Authz: e.deps.Authz, Trust: e.deps.Trust, Decider: decider, Now: now, Log: log,
		Directory: replicas.Then(people, sweep), Catalogue: replicas.Then(known, sweep),
	})
	hosts, origins := names(e.cfg)
	gate = guard.New(guard.Stages{
		Admitter: admit.New(admit.Config{
			Base: e.cfg.PublicURL, Issuer: e.cfg.Issuer, Hosts: hosts, Origins: origins, Rate: e.cfg.RatePerSecond, Burst: max(e.cfg.Burst, e.cfg.RatePerSecond, 1),
		}, people, now),
		Replicas: e.replicas, Sessions: session.New(keys, now), Catalogue: known, Decider: decider, Lender: lender, Journal: e.deps.Journal,
		Upstream: e.back, Inspector: inspect.Inspector{}, Keys: keys, Now: now, Log: log,
	})
	e.front = front.New(front.Config{Base: e.cfg.PublicURL, Issuer: e.cfg.Issuer, MaxBody: e.cfg.MaxBody}, gate, e.replicas.Ready, e.replicas.Describe, log)
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
	if cfg.RatePerSecond < 0 || cfg.Burst < 0 || cfg.MaxBody < 0 || cfg.MaxResult < 0 || cfg.Grace < 0 {
		return fault.Invalid("ratePerSecond, burst, maxBody, maxResult and grace cannot be negative.")
	}
	if cfg.Grace == 0 {
		cfg.Grace = 10 * time.Second
	}
	return nil
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
	rpc.Handle(mux, edgev1connect.NewEdgeServiceHandler, edgev1connect.EdgeServiceHandler(&status{replicas: e.replicas, journal: e.deps.Journal}))
}

// Run follows the services and serves MCP until ctx ends. It returns when every goroutine of the edge has ended.
func (e *Edge) Run(ctx context.Context) error {
	ln, err := e.listen(ctx)
	if err != nil {
		return err
	}
	defer collectLess()()
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	outcome := make([]error, 3)
	var all sync.WaitGroup
	all.Go(func() { outcome[0] = e.replicas.Run(following) })
	all.Go(func() { outcome[1] = e.back.Run(following) })
	e.once.Do(func() { close(e.serving) })
	outcome[2] = e.front.Serve(ctx, ln, e.cfg.Grace)
	stop() // the replicas serve until the last call is over
	all.Wait()
	return errors.Join(outcome...)
}

// collectAt lets the heap grow to five times what lives: an edge keeps little and makes much that is gone after a call.
const collectAt = 400

// collectLess sets the collector of this process for an edge, unless its operator did with GOGC. What it returns sets it back.
func collectLess() (undo func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(collectAt)
	return func() { debug.SetGCPercent(before) }
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
	if e.cfg.Certificate == "" {
		return ln, nil
	}
	pair, err := tls.LoadX509KeyPair(e.cfg.Certificate, e.cfg.CertificateKey)
	if err != nil {
		unread := fault.Invalid("The edge's certificate cannot be read from %s and %s.", e.cfg.Certificate, e.cfg.CertificateKey).Because(err)
		return nil, errors.Join(unread, ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

// Ready waits until the edge serves and has heard of all that it decides by.
func (e *Edge) Ready(ctx context.Context) error {
	select {
	case <-e.serving:
	case <-ctx.Done():
		return fault.New(unavailable, "The edge does not listen yet.")
	}
	return e.replicas.Ready(ctx)
}
