package back

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-ticker.C {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

// received is one HTTP request as a server got it.
type received struct {
	verb, session string
	header        http.Header
	body          string
	message       *mcp.Message // nil when there was none
	w             http.ResponseWriter
	gone          <-chan struct{} // closed when the client went away
	line          *line
}

// line lets a test write to a stream from outside its handler, as long as the handler runs.
type line struct {
	mu   sync.Mutex
	over bool
}

// server is an MCP server that does what the protocol says, except where a test takes over.
type server struct {
	*httptest.Server
	// version is the revision that initialize answers; empty for a server of 2026-07-28, which knows no initialize.
	version      string
	capabilities string

	mu       sync.Mutex
	all      []received
	sessions map[string]bool
	on       map[string]func(received)
}

// newServer makes a server of one revision.
func newServer(t testing.TB, version string) *server {
	s := &server{version: version, capabilities: `{"tools":{}}`, sessions: map[string]bool{}, on: map[string]func(received){}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// when takes over what a server does about a method of the protocol, or about an HTTP verb other than POST.
func (s *server) when(what string, do func(received)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on[what] = do
}

// got answers what came for a method or verb.
func (s *server) got(what string) []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []received
	for _, one := range s.all {
		if one.verb == what || one.message != nil && (one.message.Method == what || what == "response" && one.message.Kind == mcp.Response) {
			out = append(out, one)
		}
	}
	return out
}

// forget makes the server lose all of its sessions.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// open counts the sessions that the server has.
func (s *server) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	one := received{verb: r.Method, session: r.Header.Get(mcp.HeaderSessionID), header: r.Header.Clone(), body: string(body), w: w, gone: r.Context().Done()}
	one.line = &line{}
	defer func() {
		one.line.mu.Lock()
		one.line.over = true
		one.line.mu.Unlock()
	}()
	what := r.Method
	if r.Method == http.MethodPost {
		if one.message, err = mcp.Read(body, mcp.DefaultLimits()); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		what = one.message.Method
		if one.message.Kind == mcp.Response {
			what = "response"
		}
	}
	s.mu.Lock()
	s.all = append(s.all, one)
	do, known := s.on[what], s.sessions[one.session]
	s.mu.Unlock()
	switch {
	case do != nil:
		do(one)
	case s.version == "":
		s.modern(one)
	case what != mcp.MethodInitialize && what != mcp.MethodDiscover && !known:
		w.WriteHeader(http.StatusNotFound)
	default:
		s.legacy(one)
	}
}

func (s *server) modern(one received) {
	switch m := one.message; {
	case m == nil:
		one.w.WriteHeader(http.StatusMethodNotAllowed)
	case m.Method == mcp.MethodDiscover:
		one.result(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + s.capabilities +
			`,"instructions":"be kind","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"modern","version":"1"}},"ttlMs":0,"cacheScope":"private"}`)
	case m.Method == mcp.MethodToolsCall, m.Method == mcp.MethodToolsList, m.Method == mcp.MethodPromptsGet, m.Method == mcp.MethodResourceRead,
		strings.HasPrefix(m.Method, "tasks/"):
		one.result(`{"resultType":"complete","content":[]}`)
	default:
		one.json(http.StatusNotFound, string(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found", nil)))
	}
}

func (s *server) legacy(one received) {
	switch m := one.message; {
	case one.verb == http.MethodDelete:
		s.mu.Lock()
		delete(s.sessions, one.session)
		s.mu.Unlock()
		one.w.WriteHeader(http.StatusNoContent)
	case m == nil:
		one.w.WriteHeader(http.StatusMethodNotAllowed)
	case m.Method == mcp.MethodInitialize:
		id := rand.Text()
		s.mu.Lock()
		s.sessions[id] = true
		s.mu.Unlock()
		one.w.Header().Set(mcp.HeaderSessionID, id)
		one.result(`{"protocolVersion":"` + s.version + `","capabilities":` + s.capabilities + `,"serverInfo":{"name":"old","version":"1"},"instructions":"be brief"}`)
	case m.Method == mcp.MethodDiscover:
		one.json(http.StatusBadRequest, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}`)
	case m.Kind != mcp.Request:
		one.w.WriteHeader(http.StatusAccepted)
	default:
		one.result(`{"content":[]}`)
	}
}

// json answers with one body.
func (r received) json(status int, body string) {
	r.w.Header().Set("Content-Type", "application/json")
	r.w.WriteHeader(status)
	fmt.Fprint(r.w, body)
}

func (r received) result(result string) {
	r.json(http.StatusOK, string(mcp.Result(r.message.ID, json.RawMessage(result))))
}

// stream begins an answer of events.
func (r received) stream() {
	r.w.Header().Set("Content-Type", "text/event-stream")
	r.w.WriteHeader(http.StatusOK)
	r.w.(http.Flusher).Flush()
}

// say writes raw text to a stream.
func (r received) say(text string) {
	r.line.mu.Lock()
	defer r.line.mu.Unlock()
	if r.line.over {
		return
	}
	fmt.Fprint(r.w, text)
	r.w.(http.Flusher).Flush()
}

// event writes one message to a stream.
func (r received) event(message string) { r.say("data: " + message + "\n\n") }

// answer writes the result of a request to its stream.
func (r received) answer(result string) {
	r.event(string(mcp.Result(r.message.ID, json.RawMessage(result))))
}

// side is a Back under test, with the server that it speaks to as trust would declare it.
type side struct {
	*Back
	t      testing.TB
	server *guard.Server
	stop   func() // ends Run and waits
}

func newSide(t testing.TB, url string, change func(*Config)) *side {
	cfg := Config{}
	if change != nil {
		change(&cfg)
	}
	s := &side{Back: New(cfg, clock.System), t: t, server: declared(t, "one", url)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(2 * patience):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(s.stop)
	return s
}

// declared is a server as trust declares it.
func declared(t testing.TB, name, at string) *guard.Server {
	parsed, err := url.Parse(at)
	require.NoError(t, err)
	return &guard.Server{Tenant: "acme", Name: name, URL: at + "/mcp", Address: parsed.Host, Timeout: patience}
}

var ana = &guard.Caller{Tenant: "acme", Person: "ana", Agent: "bot", ClientID: "ide"}

// exchange is a call of ana's tool; change makes it another request.
func (s *side) exchange(change func(*guard.Exchange)) guard.Exchange {
	ex := guard.Exchange{
		Caller: ana, Server: s.server, Method: mcp.MethodToolsCall, Name: "echo", Params: json.RawMessage(`{"name":"echo","arguments":{}}`), Session: "s1",
	}
	if change != nil {
		change(&ex)
	}
	return ex
}

func (s *side) forward(change func(*guard.Exchange)) (guard.Reply, error) {
	return s.Forward(context.Background(), s.exchange(change))
}

// must makes a request that has to succeed.
func (s *side) must(change func(*guard.Exchange)) guard.Reply {
	s.t.Helper()
	reply, err := s.forward(change)
	require.NoError(s.t, err)
	return reply
}

// refused requires an error of a reason, with a sentence.
func refused(t testing.TB, err error, reason faultv1.Reason) {
	t.Helper()
	require.Error(t, err)
	require.Truef(t, fault.Is(err, reason), "%v: %s", fault.From(err).Reason, err)
	require.NotEmpty(t, err.Error())
}

// revisions runs a test against servers of each of the older revisions.
func revisions(t *testing.T, run func(t *testing.T, version string)) {
	for _, version := range []string{mcp.V20251125, mcp.V20250618, mcp.V20250326} {
		t.Run(version, func(t *testing.T) { run(t, version) })
	}
}

// outcome is what Forward answered.
type outcome struct {
	reply guard.Reply
	err   error
}

// start makes a request that a test does not wait for.
func (s *side) start(ctx context.Context, change func(*guard.Exchange)) <-chan outcome {
	out := make(chan outcome, 1)
	ex := s.exchange(change)
	go func() {
		reply, err := s.Forward(ctx, ex)
		out <- outcome{reply, err}
	}()
	return out
}

// within waits for what must come.
func within[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatal("it did not come in time")
		panic("unreachable")
	}
}

// still requires that nothing comes for a moment.
func still[T any](t testing.TB, from <-chan T) {
	t.Helper()
	select {
	case got := <-from:
		t.Fatalf("nothing should come, but %v did", got)
	case <-time.After(30 * time.Millisecond):
	}
}

const everything = `{"elicitation":{},"sampling":{},"roots":{}}`

// asking makes an exchange of a client that can be asked.
func asking(ask func(ctx context.Context, request *mcp.Reply) (guard.Reply, error)) func(*guard.Exchange) {
	return func(ex *guard.Exchange) { ex.Offer, ex.Ask = json.RawMessage(everything), ask }
}

// accepts is a client that accepts whatever it is asked.
func accepts(context.Context, *mcp.Reply) (guard.Reply, error) {
	return guard.Reply{Result: json.RawMessage(`{"action":"accept"}`)}, nil
}

// question is a request of a server's as it writes it.
func questionOf(id, method string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{"message":"sure?"}}`
}

// answers are the bodies of the responses that came to the server, by their raw ids.
func (s *server) answers() map[string]string {
	out := map[string]string{}
	for _, one := range s.got("response") {
		out[string(one.message.ID)] = one.body
	}
	return out
}

// notices collects what a client is told.
type notices struct {
	mu  sync.Mutex
	all []string
}

func (n *notices) take(notice []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, string(notice))
	return nil
}

func (n *notices) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.all...)
}
