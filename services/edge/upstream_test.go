package edge_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/mcp"
)

const echoTool = `{"name":"echo","description":"Echoes.","inputSchema":{"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}}}}`

// upstream is a server of both eras that remembers what it was sent.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	tools []string
	calls []sent
	seen  []sent
	// answer takes over tools/call when set.
	answer func(w http.ResponseWriter, r *http.Request, m *mcp.Message)
	legacy bool // knows no server/discover
}

type sent struct {
	method string
	header http.Header
	body   string
}

func newUpstream(t testing.TB, tools ...string) *upstream {
	u := &upstream{tools: tools}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) url() string  { return u.URL + "/mcp" }
func (u *upstream) host() string { return strings.TrimPrefix(u.URL, "http://") }

func (u *upstream) called() []sent {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]sent(nil), u.calls...)
}

func (u *upstream) everything() []sent {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]sent(nil), u.seen...)
}

func (u *upstream) show(tools ...string) {
	u.mu.Lock()
	u.tools = tools
	u.mu.Unlock()
}

func (u *upstream) replies(answer func(w http.ResponseWriter, r *http.Request, m *mcp.Message)) {
	u.mu.Lock()
	u.answer = answer
	u.mu.Unlock()
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, err := mcp.Read(body, mcp.DefaultLimits())
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	one := sent{m.Method, r.Header.Clone(), string(body)}
	u.mu.Lock()
	u.seen = append(u.seen, one)
	if m.Method == "tools/call" {
		u.calls = append(u.calls, one)
	}
	tools, answer, legacy := u.tools, u.answer, u.legacy
	u.mu.Unlock()
	modern := r.Header.Get("Mcp-Protocol-Version") == mcp.V20260728
	if m.Kind != mcp.Request {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if legacy && modern {
		write(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Server not initialized"}}`)
		return
	}
	end := "}"
	if modern {
		end = `,"resultType":"complete"}`
	}
	switch m.Method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", rand.Text())
		write(w, 200, string(mcp.Result(m.ID, json.RawMessage(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"u","version":"1"}}`))))
	case "server/discover":
		write(w, 200, string(mcp.Result(m.ID, json.RawMessage(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"`+end))))
	case "tools/list":
		write(w, 200, string(mcp.Result(m.ID, json.RawMessage(`{"tools":[`+strings.Join(tools, ",")+`]`+end))))
	case "tools/call":
		if answer != nil {
			answer(w, r, m)
			return
		}
		arguments := string(m.Arguments)
		if arguments == "" {
			arguments = "{}"
		}
		write(w, 200, string(mcp.Result(m.ID, textResult(arguments, end))))
	default:
		write(w, 404, string(mcp.ErrorReply(m.ID, -32601, "Method not found", nil)))
	}
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

// textResult is a tool's result with one text, ended by end.
func textResult(text, end string) json.RawMessage {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return json.RawMessage(`{"content":[{"type":"text","text":` + string(quoted) + `}]` + end)
}

// support is a world with ana, who may call everything of the echo server, and bob, who may nothing.
func support(t testing.TB, u *upstream) *world {
	w := newWorld(t)
	w.person("ana", nil)
	w.person("bob", nil)
	w.server("echo", u.url(), []string{echoTool}, nil)
	w.grant("person/ana", "echo", "*", "call")
	return w
}

// eras runs a test for clients of both.
func eras(t *testing.T, run func(t *testing.T, modern bool)) {
	for _, modern := range []bool{true, false} {
		t.Run(map[bool]string{true: "2026-07-28", false: "2025-11-25"}[modern], func(t *testing.T) { run(t, modern) })
	}
}
