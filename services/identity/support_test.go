package identity_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mcp = "http://127.0.0.1:9/mcp"
	api = "http://127.0.0.1:9/api"
)

const acme = `
apiVersion: headgate/v1
kind: Person
metadata: {name: ana, tenant: acme}
spec: {email: ana@acme.example, displayName: Ana, roles: [support]}
---
apiVersion: headgate/v1
kind: Person
metadata: {name: boss, tenant: acme}
spec: {roles: [admin]}
---
apiVersion: headgate/v1
kind: Group
metadata: {name: care, tenant: acme}
spec: {members: [ana, nobody], roles: [auditor, support]}
---
apiVersion: headgate/v1
kind: Agent
metadata: {name: helper, tenant: acme}
spec: {owner: ana, delegators: {people: [ana]}}
---
apiVersion: headgate/v1
kind: Tenant
metadata: {name: acme}
---
apiVersion: headgate/v1
kind: Tenant
metadata: {name: other}
---
apiVersion: headgate/v1
kind: Person
metadata: {name: ana, tenant: other}
spec: {roles: [admin]}
`

// recorder is a journal that keeps what it is given and can be told to fail.
type recorder struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	broken bool
}

func (r *recorder) Append(ev *eventsv1.Event, _ journal.Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return fault.New(faultv1.Reason_REASON_JOURNAL, "The journal is full.")
	}
	r.events = append(r.events, proto.CloneOf(ev))
	return nil
}

func (r *recorder) fail(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

func (r *recorder) last(action string) *eventsv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range slices.Backward(r.events) {
		if v.GetAction() == action {
			return v
		}
	}
	return nil
}

// shifted is the system's clock that a test can move on.
type shifted struct{ by atomic.Int64 }

func (c *shifted) now() time.Time          { return time.Now().UTC().Add(time.Duration(c.by.Load())) }
func (c *shifted) advance(d time.Duration) { c.by.Add(int64(d)) }

// house is the service as others see it.
type house struct {
	t       *testing.T
	cfg     identity.Config
	service *identity.Identity
	mux     *rpc.Mux
	url     string // where it answers over HTTP; its issuer
	journal *recorder
	clock   *shifted
	stop    func()
	served  atomic.Pointer[rpc.Mux]
}

func start(t *testing.T, change func(*identity.Config)) *house {
	t.Helper()
	h := &house{t: t, journal: &recorder{}, clock: &shifted{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.served.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	h.url = server.URL
	dir := t.TempDir()
	h.cfg = identity.Config{
		Database: database(t), KeyFile: filepath.Join(dir, "identity.key"),
		Issuer: h.url, APIAudience: []string{api}, MCPAudience: []string{mcp}, AllowIssue: true, DemoLogin: true,
		BootstrapTokenFile: filepath.Join(dir, "admin.token"),
		Clients: []identity.Client{
			{ID: "cli", Name: "Command line", RedirectURIs: []string{"http://127.0.0.1/callback"}},
			{ID: "assistant", RedirectURIs: []string{"https://assistant.example/callback?x=y"}, Agent: "helper"},
		},
	}
	if change != nil {
		change(&h.cfg)
	}
	h.open()
	t.Cleanup(func() { h.stop() })
	return h
}

// open starts the service on its configuration; restart does it again on the same database.
func (h *house) open() {
	h.t.Helper()
	service, err := identity.New(h.cfg, identity.Deps{Journal: h.journal, Log: slog.New(slog.DiscardHandler), Now: h.clock.now})
	if err != nil {
		h.t.Fatal(err)
	}
	h.service = service
	h.mux = rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_IDENTITY, Authenticate: service.Authenticate, Now: h.clock.now,
		Record: func(ev *eventsv1.Event) error { return h.journal.Append(ev, journal.Spool) },
	})
	service.Register(h.mux)
	if err := h.mux.Check(); err != nil {
		h.t.Fatal(err)
	}
	h.served.Store(h.mux)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
}

// advance moves the clock on and waits until the service has heard of its database again.
func (h *house) advance(d time.Duration) {
	h.t.Helper()
	h.clock.advance(d)
	eventually(h.t, func() bool { return h.service.Ready(h.t.Context()) == nil })
}

// eventually asks until the answer is yes, for seconds.
func eventually(t *testing.T, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for !yes() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it did not happen")
		}
	}
}

// as is a client that calls with a person's token.
func (h *house) as(token string) identityv1connect.IdentityServiceClient {
	conn := rpc.InProcess(h.mux, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New(token))
	return rpc.Client(conn, identityv1connect.NewIdentityServiceClient)
}

// edge is a client that calls as the service edge.
func (h *house) edge() identityv1connect.IdentityServiceClient {
	return rpc.Client(rpc.InProcess(h.mux, optionsv1.Service_SERVICE_EDGE), identityv1connect.NewIdentityServiceClient)
}

// admin is the bootstrap administrator's token.
func (h *house) admin() string {
	h.t.Helper()
	raw, err := os.ReadFile(h.cfg.BootstrapTokenFile)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func (h *house) apply(token, yaml string) (*identityv1.ApplyResponse, error) {
	h.t.Helper()
	located, err := resource.Parse("it.yaml", []byte(yaml))
	if err != nil {
		h.t.Fatal(err)
	}
	req := &identityv1.ApplyRequest{}
	for _, l := range located {
		r := &identityv1.Resource{}
		if err := resource.Wrap(l.Object, r); err != nil {
			h.t.Fatal(err)
		}
		req.Resources = append(req.Resources, r)
	}
	res, err := h.as(token).Apply(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (h *house) mustApply(yaml string) {
	h.t.Helper()
	if _, err := h.apply(h.admin(), yaml); err != nil {
		h.t.Fatal(err)
	}
}

// token gets a token for someone of a tenant.
func (h *house) token(tenant, person string, change ...func(*identityv1.IssueTokenRequest)) string {
	h.t.Helper()
	req := &identityv1.IssueTokenRequest{Tenant: tenant, Person: person, Ttl: durationpb.New(time.Hour)}
	for _, c := range change {
		c(req)
	}
	res, err := h.as(h.admin()).IssueToken(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		h.t.Fatal(err)
	}
	return res.Msg.GetToken()
}

func (h *house) authenticate(token, audience string) (*identityv1.Caller, error) {
	res, err := h.edge().Authenticate(h.t.Context(), connect.NewRequest(&identityv1.AuthenticateRequest{Token: token, Audience: audience}))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetCaller(), nil
}

func reason(err error) faultv1.Reason {
	if err == nil {
		return faultv1.Reason_REASON_UNSPECIFIED
	}
	return fault.From(err).Reason
}
