package authz_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/authz"
	"headgate.dev/services/authz/internal/openfga"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity is the service that authz follows: the real methods over a directory in memory.
type identity struct {
	identityv1connect.UnimplementedIdentityServiceHandler

	hub *replica.Hub[*identityv1.WatchResponse]

	mu       sync.Mutex
	revision int64
	objects  map[string]resource.Object
	silent   bool
	trust    *trust // for those that follow this identity; nil for one each
	bare     bool   // trust tells of no servers but those of the test
}

func newIdentity() *identity {
	id := &identity{objects: map[string]resource.Object{}}
	id.hub = replica.NewHub(replica.HubConfig[*identityv1.WatchResponse]{
		Snapshot: func(context.Context) (*identityv1.WatchResponse, error) {
			id.mu.Lock()
			defer id.mu.Unlock()
			return &identityv1.WatchResponse{Snapshot: true, Revision: id.revision, Upserts: wrap(slices.Collect(maps.Values(id.objects)))}, nil
		},
		Heartbeat: func() (*identityv1.WatchResponse, bool) {
			id.mu.Lock()
			defer id.mu.Unlock()
			return &identityv1.WatchResponse{Revision: id.revision}, !id.silent
		},
		Revision: func(m *identityv1.WatchResponse) int64 { return m.GetRevision() },
	})
	return id
}

func wrap(objects []resource.Object) []*identityv1.Resource {
	var all []*identityv1.Resource
	for _, o := range objects {
		r := &identityv1.Resource{}
		if err := resource.Wrap(o, r); err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
}

func (id *identity) Watch(ctx context.Context, _ *connect.Request[identityv1.WatchRequest], s *connect.ServerStream[identityv1.WatchResponse]) error {
	return id.hub.Serve(ctx, s.Send)
}

// apply declares resources in one change and returns its revision.
func (id *identity) apply(t testing.TB, yaml string) int64 {
	t.Helper()
	located, err := resource.Parse("it.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	var objects []resource.Object
	for _, l := range located {
		objects = append(objects, l.Object)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	for _, o := range objects {
		id.objects[resource.Key(o)] = o
	}
	id.revision++
	id.hub.Publish(&identityv1.WatchResponse{Revision: id.revision, Upserts: wrap(objects)})
	return id.revision
}

func (id *identity) remove(kind, tenant, name string) int64 {
	id.mu.Lock()
	defer id.mu.Unlock()
	maps.DeleteFunc(id.objects, func(_ string, o resource.Object) bool {
		m := o.GetMetadata()
		return o.GetKind() == kind && m.GetTenant() == tenant && m.GetName() == name || kind == "Tenant" && m.GetTenant() == name
	})
	id.revision++
	id.hub.Publish(&identityv1.WatchResponse{Revision: id.revision, Deletions: []*identityv1.Deletion{{Kind: kind, Tenant: tenant, Name: name}}})
	return id.revision
}

// hush stops the heartbeats, as when identity hangs.
func (id *identity) hush(silent bool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.silent = silent
}

// record is a journal in memory.
type record struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	full   bool
}

func (r *record) Append(ev *eventsv1.Event, _ journal.Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return errors.New("no space left on device")
	}
	r.events = append(r.events, ev)
	return nil
}

// of returns the events of one action, as "created Policy tickets by ana".
func (r *record) of(action string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, ev := range r.events {
		if ev.GetAction() == action {
			c := ev.GetChange()
			found = append(found, fmt.Sprintf("%s %s %s/%s by %s", c.GetAction(), c.GetKind(), ev.GetTenant(), c.GetName(), ev.GetPrincipal().GetPerson()))
		}
	}
	return found
}

func (r *record) fill(full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = full
}

// watch is a clock that can be moved.
type watch struct {
	mu    sync.Mutex
	off   time.Duration
	wrong time.Duration // by which it goes wrong, though no time has passed
}

// steady is the time that passes.
func (w *watch) steady() func() time.Duration {
	real := clock.NewSteady()
	return func() time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		return real() + w.off
	}
}

func (w *watch) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong += d
}

func (w *watch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.off + w.wrong).UTC()
}

func (w *watch) forward(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off += d
}

// harness is the service as its callers see it.
type harness struct {
	t        testing.TB
	identity *identity
	trust    *trust
	journal  *record
	clock    *watch
	mux      *rpc.Mux
	edge     authzv1connect.AuthzServiceClient
	service  *authz.Authz
	stop     func()
}

type option func(*authz.Config)

func on(dir string) option {
	return func(c *authz.Config) {
		c.OpenFGA, c.Database.Path = openfga.Config{Dir: filepath.Join(dir, "openfga")}, filepath.Join(dir, "authz.db")
	}
}

// start runs the service until the test ends and waits until it is ready.
func start(t testing.TB, id *identity, options ...option) *harness {
	t.Helper()
	h := launch(t, id, options...)
	h.ready()
	return h
}

// recorded is start with an audit service that knows what was used.
func recorded(t testing.TB, id *identity, audit *records) *harness {
	t.Helper()
	h := launchWith(t, id, audit.client(t))
	h.ready()
	return h
}

func launch(t testing.TB, id *identity, options ...option) *harness {
	t.Helper()
	return launchWith(t, id, nil, options...)
}

func launchWith(t testing.TB, id *identity, audit auditv1connect.AuditServiceClient, options ...option) *harness {
	t.Helper()
	h := &harness{t: t, identity: id, journal: &record{}, clock: &watch{}}
	behind := rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_IDENTITY})
	rpc.Handle[identityv1connect.IdentityServiceHandler](behind, identityv1connect.NewIdentityServiceHandler, id)
	if h.trust = id.trust; h.trust == nil {
		h.trust = newTrust()
		if !id.bare {
			h.trust.usual()
		}
	}
	beside := rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_TRUST})
	rpc.Handle[trustv1connect.TrustServiceHandler](beside, trustv1connect.NewTrustServiceHandler, h.trust)
	cfg := authz.Config{Database: sqlstore.Config{}}
	on(t.TempDir())(&cfg)
	for _, o := range options {
		o(&cfg)
	}
	service, err := authz.New(cfg, authz.Deps{
		Identity: rpc.Client(rpc.InProcess(behind, optionsv1.Service_SERVICE_AUTHZ), identityv1connect.NewIdentityServiceClient),
		Trust:    rpc.Client(rpc.InProcess(beside, optionsv1.Service_SERVICE_AUTHZ), trustv1connect.NewTrustServiceClient),
		Audit:    audit,
		Journal:  h.journal, Log: slog.New(slog.DiscardHandler), Now: h.clock.now, Steady: h.clock.steady(),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.service = service
	h.mux = rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_AUTHZ, Authenticate: people,
		Record: func(ev *eventsv1.Event) error { return h.journal.Append(ev, journal.Spool) },
	})
	service.Register(h.mux)
	if err := h.mux.Check(); err != nil {
		t.Fatal(err)
	}
	h.edge = rpc.Client(rpc.InProcess(h.mux, optionsv1.Service_SERVICE_EDGE), authzv1connect.NewAuthzServiceClient)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

func (h *harness) ready() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	eventually(h.t, 20*time.Second, func() bool { // the database may not have been asked yet
		err := h.service.Ready(ctx)
		if err != nil && ctx.Err() != nil {
			h.t.Fatalf("ready: %v (%v)", err, errors.Unwrap(err))
		}
		return err == nil
	})
}

// people are known by tokens "tenant/name/right".
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	var rights = map[string]optionsv1.Role{
		"admin": optionsv1.Role_ROLE_ADMIN, "app": optionsv1.Role_ROLE_APP, "security": optionsv1.Role_ROLE_SECURITY, "platform": optionsv1.Role_ROLE_PLATFORM,
		"registrar": optionsv1.Role_ROLE_REGISTRAR,
	}
	parts := strings.Split(token, "/")
	if len(parts) != 3 {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "not a token")
	}
	return &identityv1.Caller{Tenant: parts[0], Name: parts[1], Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, rights[parts[2]]}}, nil
}

// as is a client for a person with one right.
func (h *harness) as(tenant, name, right string) authzv1connect.AuthzServiceClient {
	conn := rpc.InProcess(h.mux, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New(tenant + "/" + name + "/" + right))
	return rpc.Client(conn, authzv1connect.NewAuthzServiceClient)
}

// rights lists a principal's entitlements as "call tickets/*: ana → role support → server tickets".
func (h *harness) rights(tenant, person, agent string) []string {
	h.t.Helper()
	resp, err := h.entitlements(tenant, person, agent)
	if err != nil {
		h.t.Fatalf("entitlements of %s%s: %v (%v)", person, agent, err, errors.Unwrap(err))
	}
	var all []string
	for _, e := range resp.GetEntitlements() {
		can := "see"
		if e.GetCanCall() {
			can = "call"
		}
		line := fmt.Sprintf("%s %s/%s: %s", can, e.GetServer(), e.GetTool(), e.GetVia())
		if e.GetUntil() != nil {
			line += " until " + e.GetUntil().AsTime().Format(time.RFC3339)
		}
		all = append(all, line)
	}
	return all
}

func (h *harness) entitlements(tenant, person, agent string) (*authzv1.EntitlementsResponse, error) {
	req := &authzv1.EntitlementsRequest{Tenant: tenant, Principal: &authzv1.EntitlementsRequest_Person{Person: person}}
	if agent != "" {
		req.Principal = &authzv1.EntitlementsRequest_Agent{Agent: agent}
	}
	resp, err := h.edge.Entitlements(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

// decide asks about a call "tenant/person[+agent] server.tool".
func (h *harness) decide(req *authzv1.DecideRequest) *authzv1.Decision {
	h.t.Helper()
	resp, err := h.edge.Decide(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		h.t.Fatalf("decide %v: %v (%v)", req, err, errors.Unwrap(err))
	}
	return resp.Msg.GetDecision()
}

// settled waits until the relations hold a revision of the directory.
func (h *harness) settled(revision int64) {
	h.t.Helper()
	f := h.follow()
	defer f.stop()
	f.until(20*time.Second, func(m *authzv1.WatchResponse) bool { return m.GetDirectoryRevision() >= revision })
}

// follower is an edge that watches.
type follower struct {
	t        testing.TB
	messages chan *authzv1.WatchResponse
	ended    chan error
	stop     func()
}

func (h *harness) follow() *follower {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{t: h.t, messages: make(chan *authzv1.WatchResponse, 1000), ended: make(chan error, 1)}
	var running sync.WaitGroup
	f.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	h.t.Cleanup(f.stop)
	stream, err := h.edge.Watch(ctx, connect.NewRequest(&authzv1.WatchRequest{}))
	if err != nil {
		h.t.Fatal(err)
	}
	running.Go(func() {
		for stream.Receive() {
			f.messages <- stream.Msg()
		}
		f.ended <- stream.Err()
		_ = stream.Close()
	})
	return f
}

// until returns the first message that is wanted, and fails when there is none in time.
func (f *follower) until(within time.Duration, wanted func(*authzv1.WatchResponse) bool) *authzv1.WatchResponse {
	f.t.Helper()
	deadline := time.After(within)
	for {
		select {
		case m := <-f.messages:
			if wanted(m) {
				return m
			}
		case err := <-f.ended:
			f.t.Fatalf("the stream ended: %v", err)
		case <-deadline:
			f.t.Fatalf("nothing of what was wanted within %s", within)
		}
	}
}

// changedFor reports whether a message tells a principal to ask again.
func changedFor(tenant, person, agent string) func(*authzv1.WatchResponse) bool {
	return func(m *authzv1.WatchResponse) bool {
		return slices.ContainsFunc(m.GetChanged(), func(p *authzv1.Principal) bool {
			everyone := p.GetPerson() == "" && p.GetAgent() == ""
			return p.GetTenant() == tenant && (everyone || p.GetPerson() == person && p.GetAgent() == agent)
		})
	}
}

// eventually polls, because what it waits for has no event.
func eventually(t testing.TB, within time.Duration, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(within)
	for !holds() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("did not come true within %s", within)
		}
	}
}

func same(t testing.TB, about string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", about, got, want)
	}
}
