package edge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"github.com/prometheus/client_golang/prometheus"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/token"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/edge"
)

// TestMain is also the program that edges start in tests: its own file, with the word program first.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "program" {
		program()
		return
	}
	if len(os.Args) > 2 && os.Args[1] == chaosProgram {
		chaos(os.Args[2])
		return
	}
	if len(os.Args) > 2 && os.Args[1] == fixtureProgram {
		serveStdio(os.Args[2:])
		return
	}
	goleak.VerifyTestMain(m)
}

// harness is a running edge in its world.
type harness struct {
	*world
	t       testing.TB
	base    string
	edge    *edge.Edge
	journal *journal.Writer
	// journalDir is where the journal's files are.
	journalDir string
	logged     *locked
	metrics    *prometheus.Registry
	http       *http.Client
	status     edgev1connect.EdgeServiceClient
	rpcs       *rpc.Mux // its own
	end        func()   // ends the edge as its operator does, and waits

	ids    atomic.Uint64
	broken atomic.Bool // the test broke the journal
	blind  atomic.Bool // records are not kept, so that a benchmark measures the edge

	mu      sync.Mutex
	records []*eventsv1.Event
}

type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Publish implements journal.Publisher: the test is the broker.
func (h *harness) Publish(_ context.Context, batch []journal.Message) error {
	if h.blind.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range batch {
		ev, err := record.Decode(m.Value)
		if err != nil {
			return err
		}
		h.records = append(h.records, ev)
	}
	return nil
}

// start runs an edge over a world; the world may be changed before and after.
func start(t testing.TB, w *world, change func(*edge.Config)) *harness {
	t.Helper()
	steady := clock.NewSteady()
	h := &harness{world: w, t: t, journalDir: t.TempDir(), logged: &locked{}, metrics: prometheus.NewRegistry(), http: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	log := slog.New(slog.NewTextHandler(h.logged, nil))
	var err error
	h.journal, err = journal.Open(journal.Config{Dir: h.journalDir, SyncEvery: 5 * time.Millisecond}, "edge", log, clock.System)
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.base = "http://" + ln.Addr().String()
	cfg := edge.Config{Issuer: issuer, Key: secret.New(strings.Repeat("5a", 32)), Grace: time.Second}
	if change != nil {
		change(&cfg)
	}
	h.edge, err = edge.New(cfg, edge.Deps{
		Identity: rpc.Client(w.mux(optionsv1.Service_SERVICE_IDENTITY, func(m *rpc.Mux) {
			rpc.Handle(m, identityv1connect.NewIdentityServiceHandler, identityv1connect.IdentityServiceHandler(identityService{w: w}))
		}), identityv1connect.NewIdentityServiceClient),
		Authz: rpc.Client(w.mux(optionsv1.Service_SERVICE_AUTHZ, func(m *rpc.Mux) {
			rpc.Handle(m, authzv1connect.NewAuthzServiceHandler, authzv1connect.AuthzServiceHandler(authzService{w: w}))
		}), authzv1connect.NewAuthzServiceClient),
		Trust: rpc.Client(w.mux(optionsv1.Service_SERVICE_TRUST, func(m *rpc.Mux) {
			rpc.Handle(m, trustv1connect.NewTrustServiceHandler, trustv1connect.TrustServiceHandler(trustService{w: w}))
		}), trustv1connect.NewTrustServiceClient),
		Credentials: rpc.Client(w.mux(optionsv1.Service_SERVICE_CREDENTIALS, func(m *rpc.Mux) {
			rpc.Handle(m, credentialsv1connect.NewCredentialsServiceHandler, credentialsv1connect.CredentialsServiceHandler(credentialsService{w: w}))
		}), credentialsv1connect.NewCredentialsServiceClient),
		Audit: w.subjects, Journal: h.journal, Log: log, Listener: ln, Edge: w.edges, Metrics: h.metrics, Now: func() time.Time { return clock.System().Add(time.Duration(w.ahead.Load() + w.wrong.Load())) },
		Steady: func() time.Duration { return steady() + time.Duration(w.ahead.Load()) },
	})
	must(t, err)
	own := rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_EDGE, Record: func(*eventsv1.Event) error { return nil }})
	h.edge.Register(own)
	must(t, own.Check())
	h.rpcs = own
	h.status = rpc.Client(rpc.InProcess(own, optionsv1.Service_SERVICE_CONSOLE), edgev1connect.NewEdgeServiceClient)
	ctx, cancel := context.WithCancel(context.Background())
	served, stopServing := context.WithCancel(ctx)
	var serving, all sync.WaitGroup
	run := func(group *sync.WaitGroup, ctx context.Context, f func(context.Context) error) {
		group.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil && !h.broken.Load() {
				t.Errorf("ended early: %v", err)
			}
		})
	}
	run(&serving, served, h.edge.Run)
	run(&all, ctx, h.journal.Run)
	run(&all, ctx, journal.NewShipper(h.journal, h, log).Run)
	h.end = func() {
		stopServing()
		serving.Wait()
	}
	t.Cleanup(func() {
		h.end() // the journal takes the records of the last calls
		cancel()
		all.Wait()
		_ = h.journal.Close()
		h.http.CloseIdleConnections()
		if strings.Contains(h.logged.String(), "eyJ") {
			t.Error("a token is in the log")
		}
	})
	ready, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	must(t, h.edge.Ready(ready))
	return h
}

// behind lets this edge's clients reach it under a URL that others share with it, as behind a load balancer.
func (h *harness) behind(url string) {
	own := strings.TrimPrefix(h.base, "http://")
	h.base, h.http.Transport = url, &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, own)
	}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until a condition holds.
func eventually(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}

// find waits for a record.
func (h *harness) find(what string, fits func(*eventsv1.Event) bool) *eventsv1.Event {
	h.t.Helper()
	var found *eventsv1.Event
	eventually(h.t, 20*time.Second, "a record: "+what, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := len(h.records) - 1; i >= 0; i-- {
			if fits(h.records[i]) {
				found = h.records[i]
				return true
			}
		}
		return false
	})
	return found
}

// final waits for the final record of the request with this JSON-RPC id.
func (h *harness) final(id string) *eventsv1.Event {
	h.t.Helper()
	return h.find("final of "+id, func(ev *eventsv1.Event) bool {
		return ev.GetPhase() == eventsv1.Phase_PHASE_FINAL && ev.GetRequest().GetId() == id
	})
}

// all answers the records that are there.
func (h *harness) all() []*eventsv1.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*eventsv1.Event(nil), h.records...)
}

// client is a plain HTTP client of one era.
type client struct {
	h       *harness
	token   string
	path    string
	modern  bool
	session string
	// version is of a client of the revisions with sessions, 2025-11-25 unless it says another. Capabilities are those of a client of 2026-07-28.
	version, capabilities string
}

func (h *harness) client(person, path string, modern bool) *client {
	h.t.Helper()
	c := &client{h: h, token: h.tokenFor(person, h.base+"/mcp", nil), path: path, modern: modern}
	if !modern {
		r := c.send("initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"check","version":"3"}}`)
		c.session = r.header.Get("Mcp-Session-Id")
		if r.status != 200 || c.session == "" {
			h.t.Fatalf("initialize: %d %s", r.status, r.body)
		}
	}
	return c
}

type reply struct {
	status int
	header http.Header
	body   []byte
	id     string
}

func (r reply) result() json.RawMessage { return mcp.Get(r.body, "result") }
func (r reply) error() string {
	text, _ := mcp.Text(r.body, "error", "message")
	return text
}
func (r reply) refused() bool { return string(mcp.Get(r.body, "result", "isError")) == "true" }
func (r reply) reason() string {
	text, _ := mcp.Text(r.body, "result", "_meta", mcp.MetaDecision, "reason")
	if text == "" {
		text, _ = mcp.Text(r.body, "error", "data", mcp.MetaDecision, "reason")
	}
	return text
}

// text is the first text of a tool's result.
func (r reply) text() string {
	var result struct {
		Content []struct{ Text string } `json:"content"`
	}
	if json.Unmarshal(r.result(), &result) != nil || len(result.Content) == 0 {
		return ""
	}
	return result.Content[0].Text
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"check","version":"3"}}`

// body writes a request of the client's era around params, a JSON object.
func (c *client) body(method, params string) (string, string) {
	id := strconv.FormatUint(c.h.ids.Add(1), 10)
	if c.modern {
		meta := modernMeta
		if c.capabilities != "" {
			meta = strings.Replace(meta, `clientCapabilities":{}`, `clientCapabilities":`+c.capabilities, 1)
		}
		if params == "" || params == "{}" {
			params = "{" + meta + "}"
		} else {
			params = "{" + meta + "," + params[1:]
		}
	}
	if params == "" {
		params = "{}"
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`, id
}

func (c *client) header(method, name string) http.Header {
	hd := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}, "User-Agent": {"check/3"}}
	if c.token != "" {
		hd.Set("Authorization", "Bearer "+c.token)
	}
	if c.modern {
		hd.Set("MCP-Protocol-Version", mcp.V20260728)
		hd.Set("Mcp-Method", method)
		if name != "" {
			hd.Set("Mcp-Name", name)
		}
	} else if c.session != "" {
		hd.Set("Mcp-Session-Id", c.session)
		switch c.version {
		case "":
			hd.Set("MCP-Protocol-Version", mcp.V20251125)
		case mcp.V20250326: // it has no such header
		default:
			hd.Set("MCP-Protocol-Version", c.version)
		}
	}
	return hd
}

func (c *client) send(method, params string) reply {
	body, id := c.body(method, params)
	name, _ := mcp.Text([]byte(params), "name")
	for _, member := range []string{"uri", "taskId"} {
		if named, ok := mcp.Text([]byte(params), member); ok {
			name = named
		}
	}
	r := c.post(body, c.header(method, name))
	r.id = id
	return r
}

// post sends one body; the answer of a stream is its last event.
func (c *client) post(body string, header http.Header) reply {
	c.h.t.Helper()
	q, err := http.NewRequest(http.MethodPost, c.h.base+c.path, strings.NewReader(body))
	must(c.h.t, err)
	q.Header = header
	res, err := c.h.http.Do(q)
	must(c.h.t, err)
	defer res.Body.Close()
	out := reply{status: res.StatusCode, header: res.Header}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		events := mcp.NewEventReader(res.Body, 0)
		for {
			ev, err := events.Next()
			if err != nil {
				return out
			}
			out.body = ev.Data
		}
	}
	out.body, err = io.ReadAll(res.Body)
	must(c.h.t, err)
	return out
}

func (c *client) call(name, arguments string) reply {
	return c.send("tools/call", `{"name":"`+name+`","arguments":`+arguments+`}`)
}

// names are those of tools/list.
func (c *client) names() []string {
	c.h.t.Helper()
	r := c.send("tools/list", "")
	tools, _, _, err := mcp.Tools(r.result())
	if err != nil {
		c.h.t.Fatalf("tools/list: %s", r.body)
	}
	names := []string{}
	for _, tool := range tools {
		names = append(names, tool.Name)
	}
	return names
}

// replicasAt asks the edge's own Status whether each copy stands at a revision.
func (h *harness) replicasAt(revision int64) bool {
	answer, err := h.status.Status(context.Background(), connect.NewRequest(&edgev1.StatusRequest{}))
	must(h.t, err)
	highest := int64(0)
	for _, r := range answer.Msg.GetReplicas() {
		highest = max(highest, r.GetRevision())
	}
	return highest >= revision
}

func (h *harness) agentToken(person, agent string) string {
	return h.tokenFor(person, h.base+"/mcp", func(c *token.Claims) { c.Agent = agent })
}

// stream calls a tool with a progress token and a text, and answers the notices that came before the answer.
func (c *client) stream(tool, text string) (notices [][]byte, last reply) {
	c.h.t.Helper()
	body, id := c.body("tools/call", `{"name":"`+tool+`","arguments":{"text":"`+text+`"}}`)
	body = strings.Replace(body, `"_meta":{`, `"_meta":{"progressToken":"the same",`, 1)
	q, err := http.NewRequest(http.MethodPost, c.h.base+c.path, strings.NewReader(body))
	must(c.h.t, err)
	q.Header = c.header("tools/call", tool)
	res, err := c.h.http.Do(q)
	must(c.h.t, err)
	defer res.Body.Close()
	events := mcp.NewEventReader(res.Body, 0)
	for {
		ev, err := events.Next()
		if err != nil {
			return notices, last
		}
		if mcp.Get(ev.Data, "method") != nil {
			notices = append(notices, ev.Data)
			continue
		}
		last = reply{status: res.StatusCode, body: ev.Data, id: id}
	}
}
