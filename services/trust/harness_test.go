package trust_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	"headgate.dev/libs/mcp"
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
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/trust"
)

const (
	patience = 10 * time.Second
	poll     = 20 * time.Millisecond
)

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

// lender is a credentials service with one answer for everyone.
type lender struct {
	credentialsv1connect.CredentialsServiceClient

	mu     sync.Mutex
	answer *credentialsv1.LeaseResponse
	err    error
	asked  []*credentialsv1.LeaseRequest
}

func (l *lender) Lease(_ context.Context, req *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, req.Msg)
	if l.err != nil {
		return nil, l.err
	}
	return connect.NewResponse(proto.CloneOf(l.answer)), nil
}

// upstream is an MCP server of 2026-07-28 whose tools the test changes.
type upstream struct {
	t            *testing.T
	mu           sync.Mutex
	tools        []string
	instructions string
	down         bool
	wants        string // the Authorization header that it takes
	url          string
}

func serve(t *testing.T, tools ...string) *upstream {
	t.Helper()
	u := &upstream{t: t, tools: tools}
	s := httptest.NewServer(u)
	t.Cleanup(s.Close)
	u.url = s.URL + "/mcp"
	return u
}

func (u *upstream) shows(tools ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tools = tools
}

func (u *upstream) set(change func(u *upstream)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the one who asked went away
	}
	if u.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Header.Get("Authorization") != u.wants {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	method, _ := mcp.Text(body, "method")
	w.Header().Set("Content-Type", "application/json")
	id := mcp.Get(body, "id")
	switch method {
	case mcp.MethodDiscover:
		const discovery = `{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":%q}}`
		_, err = fmt.Fprintf(w, discovery, id, u.instructions)
	case mcp.MethodToolsList:
		_, err = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"tools":[%s]}}`, id, strings.Join(u.tools, ","))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	if err != nil {
		u.t.Log(err) // the one who asked went away
	}
}

// tool is a definition with a description.
func tool(name, description string) string {
	return fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object","properties":{"a":{"type":"string"}}}}`, name, description)
}

// harness is the service on the databases of dir, which outlive it, and an edge that follows it.
type harness struct {
	t       *testing.T
	dir     string
	journal *recorder
	lender  *lender
	mux     *rpc.Mux
	edge    *edge
	stop    func()
}

func start(t *testing.T, dir string) *harness {
	t.Helper()
	h := &harness{t: t, dir: dir, journal: &recorder{}, lender: &lender{answer: &credentialsv1.LeaseResponse{}}}
	service, err := trust.New(trust.Config{Database: sqlstore.Config{Path: filepath.Join(dir, "trust.db")}, PollEvery: poll},
		trust.Deps{Credentials: h.lender, Journal: h.journal, Log: slog.New(slog.DiscardHandler), Now: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	h.mux = rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_TRUST, Authenticate: people, Record: func(ev *eventsv1.Event) error { return h.journal.Append(ev, journal.Spool) },
	})
	service.Register(h.mux)
	if err := h.mux.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	h.edge = follow(t, h.service(optionsv1.Service_SERVICE_EDGE))
	h.stop = sync.OnceFunc(func() {
		h.edge.stop()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	if err := service.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

// people takes "tenant/name" as the token of an administrator.
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	tenant, name, _ := strings.Cut(token, "/")
	return &identityv1.Caller{Tenant: tenant, Name: name, Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_ADMIN}}, nil
}

func (h *harness) as(person string) trustv1connect.TrustServiceClient {
	return rpc.Client(rpc.InProcess(h.mux, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New(person)), trustv1connect.NewTrustServiceClient)
}

func (h *harness) service(s optionsv1.Service) trustv1connect.TrustServiceClient {
	return rpc.Client(rpc.InProcess(h.mux, s), trustv1connect.NewTrustServiceClient)
}

func echo(url string, change ...func(*trustv1.Server)) *trustv1.Server {
	s := &trustv1.Server{
		ApiVersion: "headgate/v1", Kind: "Server", Metadata: &resourcev1.Metadata{Name: "echo", Tenant: "acme"}, Spec: &trustv1.ServerSpec{Url: url},
	}
	for _, each := range change {
		each(s)
	}
	return s
}

func initial(s *trustv1.Server) { s.Spec.Approve = "initial" }

func (h *harness) apply(servers ...*trustv1.Server) error {
	h.t.Helper()
	req := &trustv1.ApplyRequest{}
	for _, s := range servers {
		req.Resources = append(req.Resources, &trustv1.Resource{Kind: &trustv1.Resource_Server{Server: s}})
	}
	_, err := h.as("acme/adam").Apply(h.t.Context(), connect.NewRequest(req))
	return err
}

func (h *harness) mustApply(servers ...*trustv1.Server) {
	h.t.Helper()
	if err := h.apply(servers...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) approve(seen string, tools ...string) (*trustv1.ServerState, error) {
	h.t.Helper()
	res, err := h.as("acme/sam").Approve(h.t.Context(), connect.NewRequest(&trustv1.ApproveRequest{Name: "echo", Tools: tools, Seen: seen}))
	if err != nil {
		return nil, err
	}
	return res.Msg.GetServer(), nil
}

func (h *harness) show() *trustv1.ServerState {
	h.t.Helper()
	res, err := h.as("acme/sam").Show(h.t.Context(), connect.NewRequest(&trustv1.ShowRequest{Name: "echo"}))
	if err != nil {
		h.t.Fatal(err)
	}
	return res.Msg.GetServer()
}

func (h *harness) refresh() *trustv1.ServerState {
	h.t.Helper()
	res, err := h.as("acme/sam").Refresh(h.t.Context(), connect.NewRequest(&trustv1.RefreshRequest{Name: "echo"}))
	if err != nil {
		h.t.Fatal(err)
	}
	return res.Msg.GetServer()
}

// kill stops or revives, as "person ana".
func (h *harness) kill(what string) error {
	h.t.Helper()
	kind, name, _ := strings.Cut(what, " ")
	_, err := h.as("acme/sam").Kill(h.t.Context(), connect.NewRequest(&trustv1.KillRequest{Target: &trustv1.Target{Kind: kind, Name: name}, Reason: "incident 7"}))
	return err
}

func (h *harness) revive(what string) error {
	h.t.Helper()
	kind, name, _ := strings.Cut(what, " ")
	_, err := h.as("acme/sam").Revive(h.t.Context(), connect.NewRequest(&trustv1.ReviveRequest{Target: &trustv1.Target{Kind: kind, Name: name}}))
	return err
}

// told writes a state as "approved: a:ok b:changed".
func told(s *trustv1.ServerState) string {
	words := []string{strings.ToLower(strings.TrimPrefix(s.GetStanding().String(), "STANDING_")) + ":"}
	for _, d := range s.GetDefinitions() {
		words = append(words, d.GetName()+":"+strings.ToLower(strings.TrimPrefix(d.GetState().String(), "DEFINITION_STATE_")))
	}
	return strings.Join(words, " ")
}
