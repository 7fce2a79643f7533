package rpc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/rpc/rpctest"
	"headgate.dev/libs/secret"
)

// listen serves a mux on a free port until stop is called, which returns what Serve returned.
func listen(t *testing.T, h http.Handler, tlsConfig *tls.Config) (address string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(ctx, ln, h, tlsConfig) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-served
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String(), stop
}

func dial(t *testing.T, cfg rpc.DialConfig) *rpc.Conn {
	t.Helper()
	conn, err := rpc.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func echoing() *identity {
	return &identity{
		whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
			return &identityv1.WhoAmIResponse{Caller: rpc.CallerFrom(ctx).Person}, nil
		},
		authenticate: func(ctx context.Context, _ string) (*identityv1.Caller, error) {
			return &identityv1.Caller{Tenant: "acme", Name: rpc.CallerFrom(ctx).String()}, nil
		},
		watch: func(ctx context.Context, send func(*identityv1.WatchResponse) error) error {
			if err := send(&identityv1.WatchResponse{Snapshot: true, Revision: 1}); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		},
	}
}

func TestOnePortSpeaksConnectAndGRPCAndJSON(t *testing.T) {
	address, _ := listen(t, echoing().serve(rpc.MuxConfig{}), nil)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	for name, option := range map[string]connect.ClientOption{
		"connect": connect.WithClientOptions(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(), "connect json": connect.WithProtoJSON(),
	} {
		c := identityv1connect.NewIdentityServiceClient(&http.Client{Transport: transport}, "http://"+address, option)
		request := connect.NewRequest(&identityv1.WhoAmIRequest{})
		request.Header().Set("Authorization", "Bearer token-of-member")
		if response, err := c.WhoAmI(t.Context(), request); err != nil || response.Msg.GetCaller().GetName() != "member" {
			t.Errorf("%s: %v", name, err)
		}
		request = connect.NewRequest(&identityv1.WhoAmIRequest{})
		if _, err := c.WhoAmI(t.Context(), request); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s without a token: %v", name, err)
		}
	}
	response, err := http.Post("http://"+address+"/headgate.identity.v1.IdentityService/WhoAmI", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusUnauthorized || !strings.Contains(string(body), `"unauthenticated"`) {
		t.Errorf("JSON over HTTP/1.1: %d %s", response.StatusCode, body)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: identityv1connect.IdentityServiceName})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health of the gRPC project's own client: %v, %v", health, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// secured serves with mutual TLS as service identity.
func secured(t *testing.T, a *rpctest.Authority, service string) (address string, cert string) {
	t.Helper()
	cert, key := a.Service(t, service)
	tlsConfig, err := rpc.ServerTLS(slog.New(slog.DiscardHandler), cert, key, a.File)
	if err != nil {
		t.Fatal(err)
	}
	address, _ = listen(t, echoing().serve(rpc.MuxConfig{}), tlsConfig)
	return address, cert
}

// clientTLS is the client side of a service with a certificate of this authority, trusting roots.
func clientTLS(t *testing.T, a *rpctest.Authority, roots, name string, uris ...string) *tls.Config {
	t.Helper()
	cert, key := a.Issue(t, name, uris...)
	cfg, err := rpc.ClientTLS(slog.New(slog.DiscardHandler), cert, key, roots)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func authenticate(t *testing.T, conn *rpc.Conn) (string, error) {
	t.Helper()
	response, err := clientOf(conn).Authenticate(t.Context(), connect.NewRequest(&identityv1.AuthenticateRequest{Token: "t"}))
	if err != nil {
		return "", err
	}
	return response.Msg.GetCaller().GetName(), nil
}

func TestServicesAreKnownByTheirCertificates(t *testing.T) {
	ours, theirs := rpctest.NewAuthority(t), rpctest.NewAuthority(t)
	address, _ := secured(t, ours, "identity")
	cases := map[string]struct {
		tls     *tls.Config
		service optionsv1.Service
		token   string
		name    string
		reason  faultv1.Reason
	}{
		"a listed service": {tls: clientTLS(t, ours, ours.File, "edge", "spiffe://headgate/service/edge"), name: "service edge"},
		"a listed service that expects identity": {
			tls: clientTLS(t, ours, ours.File, "edge2", "spiffe://headgate/service/edge"), service: optionsv1.Service_SERVICE_IDENTITY, name: "service edge",
		},
		"a listed service that expects another": {
			tls: clientTLS(t, ours, ours.File, "edge3", "spiffe://headgate/service/edge"), service: optionsv1.Service_SERVICE_TRUST,
			reason: faultv1.Reason_REASON_UNAVAILABLE,
		},
		"a listed service that trusts another authority": {
			tls: clientTLS(t, ours, theirs.File, "edge4", "spiffe://headgate/service/edge"), reason: faultv1.Reason_REASON_UNAVAILABLE,
		},
		"a service that is not listed": {
			tls: clientTLS(t, ours, ours.File, "identity2", "spiffe://headgate/service/identity"), reason: faultv1.Reason_REASON_ROLE_REQUIRED,
		},
		"a certificate that names nobody": {tls: clientTLS(t, ours, ours.File, "x"), reason: faultv1.Reason_REASON_UNAUTHENTICATED},
		"a certificate that names another trust domain": {
			tls: clientTLS(t, ours, ours.File, "y", "spiffe://other/service/edge"), reason: faultv1.Reason_REASON_UNAUTHENTICATED,
		},
		"a certificate of a strange authority": {
			tls: clientTLS(t, theirs, ours.File, "edge", "spiffe://headgate/service/edge"), reason: faultv1.Reason_REASON_UNAUTHENTICATED,
		},
		"a certificate of a strange authority with a token": {
			tls: clientTLS(t, theirs, ours.File, "edge5", "spiffe://headgate/service/edge"), token: "token-of-platform",
			reason: faultv1.Reason_REASON_UNAUTHENTICATED,
		},
		"a listed service with a bad token": {
			tls: clientTLS(t, ours, ours.File, "edge6", "spiffe://headgate/service/edge"), token: "stolen", reason: faultv1.Reason_REASON_UNAUTHENTICATED,
		},
		"a person without a certificate": {tls: rootsOnly(t, ours), token: "token-of-platform", reason: faultv1.Reason_REASON_ROLE_REQUIRED},
		"nobody":                         {tls: rootsOnly(t, ours), reason: faultv1.Reason_REASON_UNAUTHENTICATED},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, rpc.DialConfig{URL: "https://" + address, TLS: c.tls, Service: c.service, Token: secret.New(c.token)})
			got, err := authenticate(t, conn)
			reason := reasonOf(err)
			if strings.Contains(name, "of a strange authority") && reason == faultv1.Reason_REASON_UNAVAILABLE {
				reason = c.reason // the server breaks off the handshake, and its alert does not always arrive before the end of the connection
			}
			if got != c.name || reason != c.reason {
				t.Errorf("got %q, %v %v", got, reasonOf(err), errors.Unwrap(err))
			}
		})
	}
}

// rootsOnly is TLS as a person's client has it.
func rootsOnly(t *testing.T, a *rpctest.Authority) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

func TestPeopleNeedNoCertificateAndOldTLSIsRefused(t *testing.T) {
	a := rpctest.NewAuthority(t)
	address, _ := secured(t, a, "identity")
	conn := dial(t, rpc.DialConfig{URL: "https://" + address, TLS: rootsOnly(t, a), Token: secret.New("token-of-member")})
	if p, err := whoAmI(t.Context(), clientOf(conn)); err != nil || p.GetName() != "member" {
		t.Errorf("a person: %v, %v", p, err)
	}
	old := rootsOnly(t, a)
	old.MaxVersion = tls.VersionTLS12
	if _, err := whoAmI(t.Context(), clientOf(dial(t, rpc.DialConfig{URL: "https://" + address, TLS: old}))); err == nil {
		t.Error("TLS 1.2 is let in")
	}
}

func TestANewCertificateIsUsedWithoutARestart(t *testing.T) {
	a := rpctest.NewAuthority(t)
	address, file := secured(t, a, "identity")
	served := func() []byte {
		conn, err := tls.Dial("tcp", address, rootsOnly(t, a))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].Raw
	}
	onDisk := func() []byte {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	before := served()
	if !bytes.Equal(before, onDisk()) {
		t.Fatal("another certificate is served than the file holds")
	}
	key := strings.TrimSuffix(file, ".pem") + "-key.pem"
	whole, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(served(), before) {
		t.Error("a broken file changed the certificate")
	}
	if err := os.WriteFile(key, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Service(t, "identity")
	eventually(t, 5*time.Second, func() bool { return bytes.Equal(served(), onDisk()) && !bytes.Equal(served(), before) })
}

// eventually polls until the condition holds.
func eventually(t *testing.T, within time.Duration, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it did not hold within %v", within)
		}
	}
}

func TestTLSFilesThatDoNotFitAreRefusedWithTheirNames(t *testing.T) {
	a := rpctest.NewAuthority(t)
	cert, key := a.Service(t, "edge")
	_, otherKey := a.Service(t, "trust")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][3]string{
		"missing": {cert, key, "/nowhere/ca.pem"}, "another key": {cert, otherKey, a.File}, "empty ca": {cert, key, empty}, "none": {"", "", ""},
	} {
		if _, err := rpc.ServerTLS(slog.New(slog.DiscardHandler), files[0], files[1], files[2]); err == nil || !strings.Contains(err.Error(), "TLS") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := rpc.ClientTLS(slog.New(slog.DiscardHandler), files[0], files[1], files[2]); err == nil {
			t.Errorf("%s: the client takes it", name)
		}
	}
}

func TestAServerThatStopsEndsStreamsAndFinishesCalls(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	service := echoing()
	service.whoAmI = func(context.Context) (*identityv1.WhoAmIResponse, error) {
		close(entered)
		<-release
		return &identityv1.WhoAmIResponse{Caller: &identityv1.Caller{Name: "late"}}, nil
	}
	a := rpctest.NewAuthority(t)
	cert, key := a.Service(t, "identity")
	tlsConfig, err := rpc.ServerTLS(slog.New(slog.DiscardHandler), cert, key, a.File)
	if err != nil {
		t.Fatal(err)
	}
	address, stop := listen(t, service.serve(rpc.MuxConfig{}), tlsConfig)
	edge := clientOf(dial(t, rpc.DialConfig{URL: "https://" + address, TLS: clientTLS(t, a, a.File, "edge", "spiffe://headgate/service/edge")}))
	stream, err := edge.Watch(t.Context(), connect.NewRequest(&identityv1.WatchRequest{}))
	if err != nil || !stream.Receive() {
		t.Fatal(err, stream.Err())
	}
	person := clientOf(dial(t, rpc.DialConfig{URL: "https://" + address, TLS: rootsOnly(t, a), Token: secret.New("token-of-member")}))
	answered := make(chan error, 1)
	go func() {
		_, err := whoAmI(context.Background(), person)
		answered <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	if stream.Receive() || !fault.Is(stream.Err(), faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("the stream ends with %v", stream.Err())
	}
	_ = stream.Close()
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := whoAmI(t.Context(), person); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), address) {
		t.Errorf("after the end: %v", err)
	}
}

func TestDialRefusesWhatIsNoAddressAndTokensInTheClear(t *testing.T) {
	for _, url := range []string{"", "localhost:8081", "ftp://x", "http://", "http://u:p@x", "https://x?y=1", "unix:///x", "https://x#y", "::"} {
		if _, err := rpc.Dial(rpc.DialConfig{URL: url}); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%q: %v", url, err)
		}
	}
	token := secret.New("hunter2")
	for url, want := range map[string]bool{
		"http://127.0.0.1:1": true, "http://localhost:1": true, "http://[::1]:1": true, "https://headgate.example": true,
		"http://headgate.example": false, "http://10.0.0.1": false, "http://127.0.0.1.example.com": false, "http://localhost.example.com": false,
	} {
		if _, err := rpc.Dial(rpc.DialConfig{URL: url, Token: token}); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := rpc.Dial(rpc.DialConfig{URL: "http://headgate.example", Token: token, InsecurePlain: true}); err != nil {
		t.Errorf("allowed in the clear: %v", err)
	}
}

func TestATokenDoesNotFollowARedirect(t *testing.T) {
	reached := make(chan string, 1)
	elsewhere, _ := listen(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("Authorization") }), nil)
	address, _ := listen(t, http.RedirectHandler("http://"+elsewhere+"/", http.StatusTemporaryRedirect), nil)
	if _, err := whoAmI(t.Context(), clientOf(dial(t, rpc.DialConfig{URL: "http://" + address, Token: secret.New("hunter2")}))); err == nil {
		t.Error("a redirect is an answer")
	}
	select {
	case header := <-reached:
		t.Errorf("the redirect was followed with %q", header)
	default:
	}
}

func TestServeSaysWhenItCannot(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rpc.Serve(t.Context(), ln, http.NotFoundHandler(), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve on a closed listener: %v", err)
	}
}
