package credentials_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/credentials"
)

const apiKey = "sk-live-7Zq0PLmN4vX9"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func (r *recorder) of(action string) []*eventsv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(ev *eventsv1.Event) bool { return ev.GetAction() != action })
}

type harness struct {
	t       *testing.T
	dir     string
	journal *recorder
	now     time.Time
	mux     *rpc.Mux
}

// start runs the service on the databases of dir, which outlive it.
func start(t *testing.T, dir string) *harness {
	t.Helper()
	h := &harness{t: t, dir: dir, journal: &recorder{}, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	service, err := credentials.New(config(dir), credentials.Deps{Journal: h.journal, Log: slog.New(slog.DiscardHandler), Now: clock.Fixed(h.now)})
	if err != nil {
		t.Fatal(err)
	}
	h.mux = rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_CREDENTIALS, Authenticate: people, Record: func(ev *eventsv1.Event) error { return h.journal.Append(ev, journal.Spool) },
	})
	service.Register(h.mux)
	if err := h.mux.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := service.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

func config(dir string) credentials.Config {
	return credentials.Config{Database: sqlstore.Config{Path: filepath.Join(dir, "credentials.db")}, KeyFile: filepath.Join(dir, "key", "kek.json")}
}

// people takes "tenant/name" as the token of an administrator.
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	tenant, name, _ := strings.Cut(token, "/")
	return &identityv1.Caller{Tenant: tenant, Name: name, Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_ADMIN}}, nil
}

func (h *harness) as(person string) credentialsv1connect.CredentialsServiceClient {
	conn := rpc.InProcess(h.mux, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New(person))
	return rpc.Client(conn, credentialsv1connect.NewCredentialsServiceClient)
}

func (h *harness) service(s optionsv1.Service) credentialsv1connect.CredentialsServiceClient {
	return rpc.Client(rpc.InProcess(h.mux, s), credentialsv1connect.NewCredentialsServiceClient)
}

func (h *harness) apply(dryRun bool, connections ...*credentialsv1.Connection) (*credentialsv1.ApplyResponse, error) {
	h.t.Helper()
	req := &credentialsv1.ApplyRequest{DryRun: dryRun}
	for _, c := range connections {
		req.Resources = append(req.Resources, &credentialsv1.Resource{Kind: &credentialsv1.Resource_Connection{Connection: c}})
	}
	res, err := h.as("acme/adam").Apply(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (h *harness) mustApply(connections ...*credentialsv1.Connection) []*resourcev1.Change {
	h.t.Helper()
	res, err := h.apply(false, connections...)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.GetChanges()
}

func (h *harness) lease(tenant, server, host string) (*credentialsv1.LeaseResponse, error) {
	h.t.Helper()
	res, err := h.service(optionsv1.Service_SERVICE_EDGE).Lease(h.t.Context(), connect.NewRequest(&credentialsv1.LeaseRequest{
		Tenant: tenant, Person: "ana", Agent: "claude", Server: server, Tool: "read", Host: host, CallId: "call-1",
	}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func crm(change ...func(*credentialsv1.Connection)) *credentialsv1.Connection {
	c := &credentialsv1.Connection{
		ApiVersion: "headgate/v1", Kind: "Connection", Metadata: &resourcev1.Metadata{Name: "crm", Tenant: "acme"},
		Spec: &credentialsv1.ConnectionSpec{
			Server: "crm", Inject: &credentialsv1.Inject{In: "header", Name: "Authorization", Template: "Bearer {secret}"},
			AllowHosts: []string{"crm.example:443"}, Secret: apiKey,
		},
	}
	for _, each := range change {
		each(c)
	}
	return c
}

func without(c *credentialsv1.Connection) { c.Spec.Secret = "" }
