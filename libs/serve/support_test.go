package serve

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/rpc/rpctest"
	"headgate.dev/libs/secret"
)

// TestMain is also the programs that tests need as processes of their own.
func TestMain(m *testing.M) {
	if program(os.Args[1:]) {
		return
	}
	goleak.VerifyTestMain(m)
}

// ownConfig is a service's own part of the configuration.
type ownConfig struct {
	Name     string        `yaml:"name"`
	Password secret.String `yaml:"password"`
	Limits   struct {
		Calls int `yaml:"calls"`
	} `yaml:"limits"`
	Hosts []string `yaml:"hosts"`
}

// Check implements the check of a service's own part.
func (c ownConfig) Check() error {
	if c.Name == "refused" {
		return fault.Invalid("service.name is refused. Give another.")
	}
	return nil
}

// testService is identity, or another service that asks it.
type testService struct {
	identityv1connect.UnimplementedIdentityServiceHandler

	running  chan struct{}
	missing  error
	runError error
}

func (s *testService) Register(m *rpc.Mux) {
	rpc.Handle[identityv1connect.IdentityServiceHandler](m, identityv1connect.NewIdentityServiceHandler, s)
}

func (s *testService) Run(ctx context.Context) error {
	close(s.running)
	if s.runError != nil {
		return s.runError
	}
	<-ctx.Done()
	return nil
}

func (s *testService) Ready(context.Context) error { return s.missing }

func (s *testService) Describe() []string { return []string{"trust: stale for 3 s"} }

func (s *testService) WhoAmI(ctx context.Context, _ *connect.Request[identityv1.WhoAmIRequest]) (*connect.Response[identityv1.WhoAmIResponse], error) {
	return connect.NewResponse(&identityv1.WhoAmIResponse{Caller: rpc.CallerFrom(ctx).Person}), nil
}

func (s *testService) Rotate(context.Context, *connect.Request[identityv1.RotateRequest]) (*connect.Response[identityv1.RotateResponse], error) {
	return connect.NewResponse(&identityv1.RotateResponse{KeyId: "k2"}), nil
}

// identityService also knows whose tokens are whose.
type identityService struct{ *testService }

func (s identityService) Register(m *rpc.Mux) {
	rpc.Handle[identityv1connect.IdentityServiceHandler](m, identityv1connect.NewIdentityServiceHandler, authenticating{s})
}

func (identityService) Authenticate(_ context.Context, token string) (*identityv1.Caller, error) {
	if token != "good" {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token is not known.")
	}
	return &identityv1.Caller{Tenant: "system", Name: "root", Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_PLATFORM}}, nil
}

// authenticating is the RPC of the same name.
type authenticating struct{ identityService }

func (a authenticating) Authenticate(
	ctx context.Context, r *connect.Request[identityv1.AuthenticateRequest],
) (*connect.Response[identityv1.AuthenticateResponse], error) {
	caller, err := a.identityService.Authenticate(ctx, r.Msg.GetToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.AuthenticateResponse{Caller: caller}), nil
}

// site is what processes of a test share.
type site struct {
	t         *testing.T
	authority *rpctest.Authority
	kafka     kafka.Config
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t: t, authority: rpctest.NewAuthority(t), kafka: kafkatest.Start(t).Config()}
}

// config writes a configuration file for a service on free ports.
func (s *site) config(name, more string) string {
	s.t.Helper()
	cert, key := s.authority.Service(s.t, name)
	text := fmt.Sprintf("listen: 127.0.0.1:0\ndiagnostics: 127.0.0.1:0\ntls: {cert: %s, key: %s, ca: %s}\njournal: {dir: %s}\nkafka: {brokers: [%q], createTopics: true, replicas: 1}\n%s",
		cert, key, s.authority.File, s.t.TempDir(), strings.Join(s.kafka.Brokers, `","`), more)
	return write(s.t, text)
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// started is a running process.
type started struct {
	api, diagnostics string
	log              *lockedBuffer
	stop             func() error
}

// start runs a process until stop, and waits until it listens.
func (s *site) start(name, file string, service Service) *started {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	up := &started{log: &lockedBuffer{}}
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, name, []string{"--config", file}, io.Discard, writer, func(ownConfig, Deps) (Service, error) { return service, nil })
		_ = writer.Close()
		ended <- err
	}()
	listening := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			up.log.add(lines.Text())
			var entry struct{ Msg, Address, Diagnostics string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "service listens" {
				up.api, up.diagnostics = entry.Address, entry.Diagnostics
				close(listening)
			}
		}
	}()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	up.stop = stop
	select {
	case <-listening:
	case err := <-ended:
		s.t.Fatalf("%s ended at once: %v", name, err)
	}
	s.t.Cleanup(func() {
		if err := stop(); err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	})
	return up
}

// client is a person's, with a token, through the console.
func (s *site) client(up *started, token string) identityv1connect.IdentityServiceClient {
	s.t.Helper()
	return s.dial(up, token, s.tls())
}

// stranger is a client without a certificate.
func (s *site) stranger(up *started, token string) identityv1connect.IdentityServiceClient {
	s.t.Helper()
	bare := s.tls()
	bare.GetClientCertificate = nil
	return s.dial(up, token, bare)
}

func (s *site) tls() *tls.Config {
	s.t.Helper()
	cert, key := s.authority.Service(s.t, "console")
	tlsConfig, err := rpc.ClientTLS(slog.New(slog.DiscardHandler), cert, key, s.authority.File)
	if err != nil {
		s.t.Fatal(err)
	}
	return tlsConfig
}

func (s *site) dial(up *started, token string, tlsConfig *tls.Config) identityv1connect.IdentityServiceClient {
	s.t.Helper()
	conn, err := rpc.Dial(rpc.DialConfig{URL: "https://" + up.api, TLS: tlsConfig, Token: secret.New(token)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	return rpc.Client(conn, identityv1connect.NewIdentityServiceClient)
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.WriteString(line + "\n")
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
