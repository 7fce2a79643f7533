package edge_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/rpc/rpctest"
	"headgate.dev/libs/secret"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/edge"
)

// overTLS runs an edge whose endpoint speaks TLS with a certificate of this authority.
func overTLS(t *testing.T, a *rpctest.Authority, w *world) (*harness, *tls.Config) {
	t.Helper()
	cert, key := a.Issue(t, "door")
	h := start(t, w, func(c *edge.Config) { c.Certificate, c.CertificateKey = cert, key })
	h.base = "https" + strings.TrimPrefix(h.base, "http")
	pem, err := os.ReadFile(a.File)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	trusting := &tls.Config{RootCAs: roots}
	transport := &http.Transport{TLSClientConfig: trusting, ForceAttemptHTTP2: true}
	h.http.CloseIdleConnections()
	h.http = &http.Client{Timeout: 20 * time.Second, Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	return h, trusting
}

// serial says which certificate a new connection is shown.
func (h *harness) serial(trusting *tls.Config) string {
	h.t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(h.base, "https://"), trusting)
	must(h.t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestTheEdgesCertificateIsReplacedWhileConnectionsStay(t *testing.T) {
	u := newUpstream(t, echoTool)
	a := rpctest.NewAuthority(t)
	h, trusting := overTLS(t, a, support(t, u))
	ana := h.client("ana", "/mcp/echo", true)
	first := h.serial(trusting)
	before, err := tls.Dial("tcp", strings.TrimPrefix(h.base, "https://"), trusting)
	must(t, err)
	defer before.Close()
	reader := bufio.NewReader(before)
	ask := func() {
		t.Helper()
		body, _ := ana.body("tools/call", `{"name":"echo","arguments":{"n":1}}`)
		q, err := http.NewRequest(http.MethodPost, h.base+"/mcp/echo", strings.NewReader(body))
		must(t, err)
		q.Header = ana.header("tools/call", "echo")
		must(t, before.SetDeadline(time.Now().Add(5*time.Second)))
		must(t, q.Write(before))
		res, err := http.ReadResponse(reader, q)
		must(t, err)
		defer res.Body.Close()
		if said, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || mcp.Get(said, "result") == nil {
			t.Fatalf("%d %s %v", res.StatusCode, said, err)
		}
	}
	ask()
	cert, _ := a.Issue(t, "door")
	second := first
	eventually(t, 20*time.Second, "new connections are shown the new certificate", func() bool { second = h.serial(trusting); return second != first })
	ask()

	must(t, os.WriteFile(cert, []byte("half of a certificate"), 0o600))
	const warning = "changed files cannot be used"
	eventually(t, 20*time.Second, "the broken file is noticed", func() bool { h.serial(trusting); return strings.Contains(h.logged.String(), warning) })
	if got := h.serial(trusting); got != second || strings.Count(h.logged.String(), warning) != 1 {
		t.Errorf("shows %s instead of %s, or warns more than once: %s", got, second, h.logged.String())
	}
	ask()
}

func TestAnEdgeWithoutAWholeCertificateIsRefused(t *testing.T) {
	h := start(t, support(t, newUpstream(t, echoTool)), nil)
	deps := edge.Deps{
		Identity: identityv1connect.NewIdentityServiceClient(h.http, h.base), Authz: authzv1connect.NewAuthzServiceClient(h.http, h.base),
		Trust: trustv1connect.NewTrustServiceClient(h.http, h.base), Credentials: credentialsv1connect.NewCredentialsServiceClient(h.http, h.base),
		Journal: h.journal,
	}
	a := rpctest.NewAuthority(t)
	cert, key := a.Issue(t, "door")
	_, other := a.Issue(t, "other")
	cfg := edge.Config{Listen: "127.0.0.1:8443", Issuer: issuer, Key: secret.New(strings.Repeat("5a", 32)), Certificate: cert, CertificateKey: key}
	if _, err := edge.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][2]string{"no key": {cert, ""}, "no such file": {cert, "/nowhere.pem"}, "another key": {cert, other}, "swapped": {key, cert}} {
		cfg.Certificate, cfg.CertificateKey = files[0], files[1]
		if _, err := edge.New(cfg, deps); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), "ertificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoingAwayOverTLSCancelsTheCall(t *testing.T) {
	u := newUpstream(t, echoTool)
	h, _ := overTLS(t, rpctest.NewAuthority(t), support(t, u))
	ana := h.client("ana", "/mcp/echo", true)
	arrived, ended := make(chan struct{}), make(chan struct{})
	u.replies(func(_ http.ResponseWriter, r *http.Request, _ *mcp.Message) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	body, id := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/mcp/echo", strings.NewReader(body))
	must(t, err)
	q.Header = ana.header("tools/call", "echo")
	failed := make(chan error, 1)
	go func() {
		res, err := h.http.Do(q)
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client did not go away: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Fatal("the upstream still works")
	}
	if ev := h.final(id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_CANCELLED || ev.GetOutcome() == eventsv1.Outcome_OUTCOME_SUCCESS {
		t.Errorf("%v", ev)
	}
}
