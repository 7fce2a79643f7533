package stdio_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/secret"
	"headgate.dev/services/headgate/internal/stdio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// good is the token that test gateways take.
const good = "good-token-7f3a9c"

func given(t testing.TB, token string) stdio.Tokens {
	t.Helper()
	tokens, err := stdio.Given(secret.New(token))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// written keeps what a bridge logs.
type written struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// run is a running bridge. Its standard output is held to be messages and nothing else.
type run struct {
	t     testing.TB
	in    *io.PipeWriter
	out   *io.PipeReader
	log   *written
	stop  context.CancelFunc
	ended chan struct{}
	err   error // once ended is closed
}

func start(t testing.TB, cfg stdio.Config) *run {
	t.Helper()
	r := &run{t: t, log: &written{}, ended: make(chan struct{})}
	if cfg.Tokens == nil {
		cfg.Tokens = given(t, good)
	}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	b, err := stdio.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	r.in, r.out = inWrite, outRead
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		r.err = b.Run(ctx, inRead, outWrite)
		_ = outWrite.Close()
		_ = inRead.Close()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = r.in.Close()
		cancel()
		_ = r.out.Close()
		r.wait()
		if strings.Contains(r.log.String(), good) {
			t.Errorf("the log holds the token: %s", r.log)
		}
		if t.Failed() {
			t.Log(r.log)
		}
	})
	return r
}

// wait waits for the end of the bridge.
func (r *run) wait() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the bridge did not end")
	}
}

// pure reads standard output and fails the test where it is not one message a line.
func pure(t testing.TB, out io.Reader) *io.PipeReader {
	r, w := io.Pipe()
	go func() {
		lines := bufio.NewReaderSize(out, 1<<20)
		for {
			text, err := lines.ReadBytes('\n')
			if err != nil {
				if len(text) > 0 {
					t.Errorf("standard output ends inside a line: %q", text)
				}
				_ = w.CloseWithError(err)
				return
			}
			if bad := impure(text); bad != "" {
				t.Errorf("standard output has a line that is no message: %s: %.300q", bad, text)
			}
			if _, err := w.Write(text); err != nil {
				_, _ = io.Copy(io.Discard, lines)
				return
			}
		}
	}()
	return r
}

func impure(text []byte) string {
	parts := []json.RawMessage{text}
	if text[0] == '[' {
		parts = nil
		if err := json.Unmarshal(text, &parts); err != nil {
			return err.Error()
		}
	}
	for _, part := range parts {
		if _, err := mcp.ReadReply(bytes.TrimSpace(part), mcp.Limits{Bytes: 32 << 20, Depth: 500}); err != nil {
			return err.Error()
		}
	}
	return ""
}

// wire is a client that writes lines and reads lines.
type wire struct {
	*run

	lines chan string
}

func dial(t testing.TB, cfg stdio.Config) *wire {
	t.Helper()
	w := &wire{run: start(t, cfg), lines: make(chan string, 1000)}
	go func() {
		defer close(w.lines)
		lines := bufio.NewReaderSize(pure(t, w.out), 1<<20)
		for {
			text, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			w.lines <- strings.TrimSuffix(text, "\n")
		}
	}()
	return w
}

func (w *wire) send(lines ...string) {
	w.t.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(w.in, line+"\n"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// next is the next line of the bridge.
func (w *wire) next() string {
	w.t.Helper()
	select {
	case line, ok := <-w.lines:
		if !ok {
			w.t.Fatal("standard output is at its end")
		}
		return line
	case <-time.After(20 * time.Second):
		w.t.Fatalf("no line came: %s", w.log)
	}
	return ""
}

// want reads the next line and holds it to what it must be.
func (w *wire) want(line string) {
	w.t.Helper()
	if got := w.next(); got != line {
		w.t.Fatalf("got  %s\nwant %s", got, line)
	}
}

// refused reads the next line, an error to an id ("" for none) whose sentence holds all words.
func (w *wire) refused(id string, code int, words ...string) string {
	w.t.Helper()
	got := w.next()
	var reply struct {
		ID    json.RawMessage
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(got), &reply); err != nil || string(reply.ID) != id || reply.Error.Code != code {
		w.t.Fatalf("got %s, want an error %d to %q", got, code, id)
	}
	for _, word := range words {
		if !strings.Contains(reply.Error.Message, word) {
			w.t.Errorf("%q does not say %q", reply.Error.Message, word)
		}
	}
	return reply.Error.Message
}

// silent holds that nothing comes before the answer to a ping.
func (w *wire) silent() {
	w.t.Helper()
	w.send(`{"jsonrpc":"2.0","id":"silence","method":"ping"}`)
	w.want(`{"jsonrpc":"2.0","id":"silence","result":{}}`)
}

// request is what a gate was sent.
type request struct {
	Verb   string
	Header http.Header
	Body   string
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Gone   context.Context // ends with the client's connection
}

// gate is an MCP endpoint that a test scripts. It keeps what it was sent, asks for a token and answers ping by itself.
type gate struct {
	t      testing.TB
	URL    string
	server *httptest.Server

	mu    sync.Mutex
	token string
	seen  []request
}

func open(t testing.TB, handle func(w http.ResponseWriter, r request)) *gate {
	t.Helper()
	g := &gate{t: t, token: good}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		in := request{Verb: r.Method, Header: r.Header, Body: string(body), Gone: r.Context()}
		if len(body) > 0 && body[0] == '{' {
			if err := json.Unmarshal(body, &in); err != nil {
				t.Errorf("the gate was sent something that is not JSON: %q", body)
			}
		}
		g.mu.Lock()
		g.seen = append(g.seen, in)
		known := r.Header.Get("Authorization") == "Bearer "+g.token
		g.mu.Unlock()
		switch {
		case !known:
			w.Header().Set("WWW-Authenticate", "Bearer")
			reply(w, http.StatusUnauthorized, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"The access token has expired. Sign in again."}}`)
		case in.Method == "ping":
			reply(w, http.StatusOK, `{"jsonrpc":"2.0","id":`+string(in.ID)+`,"result":{}}`)
		default:
			handle(w, in)
		}
	}))
	g.URL = g.server.URL + "/mcp"
	t.Cleanup(func() {
		g.server.CloseClientConnections()
		g.server.Close()
	})
	return g
}

// allow changes the token that the gate takes.
func (g *gate) allow(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token = token
}

// all are the requests of a method, or of an HTTP verb.
func (g *gate) all(method string) []request {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []request
	for _, r := range g.seen {
		if r.Method == method || r.Verb == method && r.Method == "" {
			found = append(found, r)
		}
	}
	return found
}

// only is the one request of a method.
func (g *gate) only(method string) request {
	g.t.Helper()
	found := g.all(method)
	if len(found) != 1 {
		g.t.Fatalf("the gate was sent %d times %s, not once", len(found), method)
	}
	return found[0]
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func result(w http.ResponseWriter, r request, result string) {
	reply(w, http.StatusOK, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, r.ID, result))
}

// stream begins a stream of events, and answers what writes one piece of it.
func stream(w http.ResponseWriter) func(format string, args ...any) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	_ = flush()
	return func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, format, args...)
		_ = flush()
	}
}

// legacy answers what begins a session of 2025-11-25, and hands everything else on.
func legacy(session string, rest func(w http.ResponseWriter, r request)) func(w http.ResponseWriter, r request) {
	return func(w http.ResponseWriter, r request) {
		switch {
		case r.Method == "initialize":
			w.Header().Set("Mcp-Session-Id", session)
			result(w, r, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"gate","version":"1"}}`)
		case r.Method == "notifications/initialized":
			w.WriteHeader(http.StatusAccepted)
		case rest != nil:
			rest(w, r)
		case r.Verb == http.MethodPost && r.ID == nil:
			w.WriteHeader(http.StatusAccepted)
		case r.Verb == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}
}

const (
	hello       = `{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`
	welcome     = `{"jsonrpc":"2.0","id":"hello","result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"gate","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
)

// greet begins a session.
func (w *wire) greet() {
	w.t.Helper()
	w.send(hello)
	w.want(welcome)
	w.send(initialized)
}

// modern writes a request of 2026-07-28.
func modern(id, method, params string) string {
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`,
		id, method, params)
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		case <-tick.C:
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
