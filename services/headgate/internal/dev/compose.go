package dev

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/audit"
	"headgate.dev/services/authz"
	"headgate.dev/services/credentials"
	"headgate.dev/services/edge"
	"headgate.dev/services/identity"
	"headgate.dev/services/trust"
)

// indexingShare leaves most of the processor to calls: under load the index lags and catches up.
const indexingShare = 0.5

// suite is the six services, wired as in production: each calls the others through the same interceptors, only without a network.
type suite struct {
	identity, authz, credentials, trust, audit, edge *cell

	registry *prometheus.Registry
}

// parts are what the suite is composed from.
type parts struct {
	home      *home
	listeners *listeners
	broker    kafka.Config
	programs  edge.Stdio
	log       *slog.Logger
}

func compose(p parts) (*suite, error) {
	s := suite{registry: prometheus.NewRegistry()}
	var check authenticate // made once identity's mux is there
	people := func(ctx context.Context, token string) (*identityv1.Caller, error) { return check(ctx, token) }
	self := func(ctx context.Context, token string) (*identityv1.Caller, error) {
		own, ok := s.identity.service.(*identity.Identity)
		if !ok {
			return nil, errors.New("identity is not there yet")
		}
		return own.Authenticate(ctx, token)
	}
	for _, one := range []struct {
		at   **cell
		name string
		who  authenticate
	}{{&s.identity, "identity", self}, {&s.authz, "authz", people}, {&s.credentials, "credentials", people}, {&s.trust, "trust", people},
		{&s.audit, "audit", people}, {&s.edge, "edge", people}} {
		c, err := newCell(one.name, p.home, p.broker, one.who, p.log)
		if err != nil {
			return nil, err
		}
		*one.at = c
	}
	check = rpc.IdentityAuthenticator(client(s.identity, s.audit, identityv1connect.NewIdentityServiceClient), clock.System)
	return &s, errors.Join(s.directory(p), s.deciding(p), s.proving(p), s.front(p))
}

// client calls one service as another.
func client[T any](to, from *cell, newClient func(connect.HTTPClient, string, ...connect.ClientOption) T) T {
	return rpc.Client(rpc.InProcess(to.mux, rpc.ServiceByName(from.name)), newClient)
}

func (p parts) database(name string) sqlstore.Config {
	return sqlstore.Config{Path: p.home.path(name + ".db")}
}

func (s *suite) directory(p parts) error {
	config := identity.Config{
		Database: p.database("identity"), KeyFile: p.home.path("identity.key"), Issuer: base(p.listeners.api),
		APIAudience: []string{base(p.listeners.api)}, MCPAudience: []string{base(p.listeners.mcp) + "/mcp"},
		Clients:    []identity.Client{{ID: "headgate", Name: "Programs on this machine", RedirectURIs: []string{"http://127.0.0.1/callback", "http://localhost/callback"}}},
		AllowIssue: true, DemoLogin: true, BootstrapTokenFile: p.home.path("admin.token"),
	}
	service, err := identity.New(config, identity.Deps{Journal: s.identity.journal, Log: s.identity.log, Now: clock.System})
	if err != nil {
		return err
	}
	return s.identity.attach(service, config)
}

func (s *suite) deciding(p parts) error {
	config := authz.Config{Database: p.database("authz")}
	config.OpenFGA.Dir = p.home.path("openfga")
	rules, err := authz.New(config, authz.Deps{
		Identity: client(s.identity, s.authz, identityv1connect.NewIdentityServiceClient), Trust: client(s.trust, s.authz, trustv1connect.NewTrustServiceClient),
		Audit: client(s.audit, s.authz, auditv1connect.NewAuditServiceClient), Journal: s.authz.journal, Log: s.authz.log, Now: clock.System})
	if err != nil {
		return err
	}
	vault := credentials.Config{Database: p.database("credentials"), KeyFile: p.home.path("credentials.key")}
	secrets, err := credentials.New(vault, credentials.Deps{Journal: s.credentials.journal, Log: s.credentials.log, Now: clock.System})
	if err != nil {
		return err
	}
	registry := trust.Config{Database: p.database("trust")}
	servers, err := trust.New(registry, trust.Deps{
		Credentials: client(s.credentials, s.trust, credentialsv1connect.NewCredentialsServiceClient), Journal: s.trust.journal, Log: s.trust.log, Now: clock.System})
	if err != nil {
		return err
	}
	return errors.Join(s.authz.attach(rules, config), s.credentials.attach(secrets, vault), s.trust.attach(servers, registry))
}

func (s *suite) proving(p parts) error {
	config := audit.Config{Kafka: p.broker, Database: p.database("audit"), Share: indexingShare}
	config.Ledger.Dir = p.home.path("ledger")
	service, err := audit.New(config, audit.Deps{Journal: s.audit.journal, Log: s.audit.log, Now: clock.System, Metrics: s.registry})
	if err != nil {
		return err
	}
	return s.audit.attach(service, config)
}

func (s *suite) front(p parts) error {
	keyFile := p.home.path("edge.key")
	if err := makeKey(keyFile); err != nil {
		return err
	}
	config := edge.Config{
		PublicURL: base(p.listeners.mcp), Issuer: base(p.listeners.api), KeyFile: keyFile, Stdio: p.programs,
	}
	service, err := edge.New(config, edge.Deps{
		Identity:    client(s.identity, s.edge, identityv1connect.NewIdentityServiceClient),
		Authz:       client(s.authz, s.edge, authzv1connect.NewAuthzServiceClient),
		Trust:       client(s.trust, s.edge, trustv1connect.NewTrustServiceClient),
		Credentials: client(s.credentials, s.edge, credentialsv1connect.NewCredentialsServiceClient),
		Audit:       client(s.audit, s.edge, auditv1connect.NewAuditServiceClient),
		Journal:     s.edge.journal, Log: s.edge.log, Now: clock.System, Metrics: s.registry, Listener: p.listeners.mcp,
	})
	if err != nil {
		return err
	}
	return s.edge.attach(service, config)
}

// makeKey makes the edge's key where there is none yet.
func makeKey(path string) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(hex.EncodeToString(key) + "\n")
	return errors.Join(err, file.Close())
}

// cells lists the services in the order in which they start; they end in the opposite one.
func (s *suite) cells() []*cell {
	return []*cell{s.identity, s.credentials, s.authz, s.trust, s.audit, s.edge}
}
