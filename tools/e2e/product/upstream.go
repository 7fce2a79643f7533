package product

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Upstream is an MCP server of both eras that remembers what it executed. Its definitions can be changed while it runs.
type Upstream struct {
	URL   string
	mu    sync.Mutex
	tools []Tool
	calls []Executed
	heads []http.Header
	brief bool
	// OnCall answers a call; nil echoes the arguments.
	OnCall func(call Executed) map[string]any
}

// Tool is one definition.
type Tool struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema map[string]any `json:"inputSchema"`
	Annotations map[string]any `json:"annotations,omitempty"`
}

// Executed is one call that the server ran.
type Executed struct {
	Tool   string
	Args   json.RawMessage
	Header http.Header
}

// Echo is the definition of a tool that answers its arguments.
func Echo() Tool {
	return Tool{Name: "echo", Description: "Answers its arguments.", InputSchema: map[string]any{"type": "object",
		"properties": map[string]any{"text": map[string]any{"type": "string"}, "n": map[string]any{"type": "integer"}}}}
}

// StartUpstream serves on a free port of this machine until the test ends.
func StartUpstream(t testing.TB, tools ...Tool) *Upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &Upstream{URL: "http://" + listener.Addr().String() + "/mcp", tools: tools}
	server := &http.Server{Handler: http.HandlerFunc(u.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return u
}

// Show changes what the server shows.
func (u *Upstream) Show(tools ...Tool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tools = tools
}

// Forget has the server remember nothing from now on: who calls for minutes would else fill this process's memory with arguments.
func (u *Upstream) Forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.brief, u.calls, u.heads = true, nil, nil
}

// Calls are the calls that were executed so far.
func (u *Upstream) Calls() []Executed {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]Executed(nil), u.calls...)
}

// Headers are those of every request so far.
func (u *Upstream) Headers() []http.Header {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]http.Header(nil), u.heads...)
}

func (u *Upstream) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	u.mu.Lock()
	if !u.brief {
		u.heads = append(u.heads, r.Header.Clone())
	}
	u.mu.Unlock()
	var message struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name      string
			Arguments json.RawMessage
			Meta      map[string]json.RawMessage `json:"_meta"`
		}
	}
	if json.Unmarshal(body, &message) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if message.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	_, modern := message.Params.Meta["io.modelcontextprotocol/protocolVersion"]
	result := u.answer(message.Method, Executed{Tool: message.Params.Name, Args: message.Params.Arguments, Header: r.Header.Clone()}, w)
	out := map[string]any{"jsonrpc": "2.0", "id": message.ID}
	if result == nil {
		out["error"] = map[string]any{"code": -32601, "message": "Method not found"}
	} else {
		if modern {
			result["resultType"] = "complete"
		}
		out["result"] = result
	}
	encoded, err := json.Marshal(out)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(encoded)
}

func (u *Upstream) answer(method string, call Executed, w http.ResponseWriter) map[string]any {
	switch method {
	case "initialize":
		w.Header().Set("Mcp-Session-Id", strings.ReplaceAll(time.Now().Format("150405.000000000"), ".", ""))
		return map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{"tools": map[string]any{}}, "serverInfo": map[string]any{"name": "e2e", "version": "1"}}
	case "server/discover":
		return map[string]any{"supportedVersions": []string{"2026-07-28"}, "capabilities": map[string]any{"tools": map[string]any{}}, "ttlMs": 0, "cacheScope": "private"}
	case "ping":
		return map[string]any{}
	case "tools/list":
		u.mu.Lock()
		defer u.mu.Unlock()
		return map[string]any{"tools": u.tools, "ttlMs": 0, "cacheScope": "private"}
	case "tools/call":
		u.mu.Lock()
		if !u.brief {
			u.calls = append(u.calls, call)
		}
		onCall := u.OnCall
		u.mu.Unlock()
		if onCall != nil {
			return onCall(call)
		}
		return Text(string(call.Args))
	}
	return nil
}

// Text is a result of one text.
func Text(text string) map[string]any {
	return map[string]any{"content": []map[string]any{{"type": "text", "text": text}}}
}
