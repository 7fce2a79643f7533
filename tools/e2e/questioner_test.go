package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
)

// questioner is an MCP server of one revision that asks its client in the middle of a call. It counts what it executes by the id in the arguments.
type questioner struct {
	URL     string
	modern  bool
	release chan struct{} // lets calls of wait go on

	mu        sync.Mutex
	begun     map[string]int
	finished  map[string]int
	cancelled map[string]int
	running   map[string]string // raw JSON-RPC id → id in the arguments
	waits     map[string]chan []byte
	streams   map[chan string]bool
	next      int
}

const questionerTools = `{"name":"ask","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}}},` +
	`{"name":"wait","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}}}`

func startQuestioner(t *testing.T, modern bool) *questioner {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	q := &questioner{
		URL: "http://" + listener.Addr().String() + "/mcp", modern: modern, release: make(chan struct{}), begun: map[string]int{}, finished: map[string]int{},
		cancelled: map[string]int{}, running: map[string]string{}, waits: map[string]chan []byte{}, streams: map[chan string]bool{},
	}
	server := &http.Server{Handler: q, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return q
}

// counts are how often the call with an id was begun, finished and cancelled.
func (q *questioner) counts(id string) (begun, finished, cancelled int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.begun[id], q.finished[id], q.cancelled[id]
}

func (q *questioner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method != http.MethodPost {
		q.other(w, r)
		return
	}
	m, err := mcp.Read(body, mcp.ReplyLimits())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch m.Kind {
	case mcp.Request:
		q.answer(w, r, m)
	case mcp.Notification:
		q.notice(m)
		w.WriteHeader(http.StatusAccepted)
	case mcp.Response:
		q.mu.Lock()
		wait := q.waits[string(m.ID)]
		delete(q.waits, string(m.ID))
		q.mu.Unlock()
		if wait != nil {
			wait <- body
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

// other is what is no POST: the standing stream of a session, or its end.
func (q *questioner) other(w http.ResponseWriter, r *http.Request) {
	if q.modern || r.Method != http.MethodGet {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	says := make(chan string, 64)
	q.mu.Lock()
	q.streams[says] = true
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.streams, says)
		q.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case message := <-says:
			say(w, message)
		case <-r.Context().Done():
			return
		}
	}
}

func say(w http.ResponseWriter, message string) {
	fmt.Fprintf(w, "data: %s\n\n", message)
	w.(http.Flusher).Flush()
}

// tell says on all standing streams that a resource changed.
func (q *questioner) tell(uri string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for says := range q.streams {
		says <- `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `"}}`
	}
}

// notice takes what needs no answer: that a call is not wanted any more.
func (q *questioner) notice(m *mcp.Message) {
	if m.Method != mcp.MethodCancelled {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if id, ok := q.running[string(mcp.Get(m.Params, "requestId"))]; ok {
		q.cancelled[id]++
	}
}

func (q *questioner) answer(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	const capabilities = `"capabilities":{"tools":{},"resources":{"subscribe":true}}`
	result := ""
	switch {
	case m.Method == mcp.MethodInitialize && !q.modern:
		q.mu.Lock()
		q.next++
		w.Header().Set("Mcp-Session-Id", "s"+strconv.Itoa(q.next))
		q.mu.Unlock()
		result = `{"protocolVersion":"2025-11-25",` + capabilities + `,"serverInfo":{"name":"questioner","version":"1"}}`
	case m.Method == mcp.MethodDiscover && q.modern:
		result = `{"resultType":"complete","supportedVersions":["2026-07-28"],` + capabilities + `,"ttlMs":0,"cacheScope":"private"}`
	case m.Method == mcp.MethodToolsList && q.modern:
		result = `{"tools":[` + questionerTools + `],"resultType":"complete","ttlMs":0,"cacheScope":"private"}`
	case m.Method == mcp.MethodToolsList:
		result = `{"tools":[` + questionerTools + `]}`
	case m.Method == mcp.MethodSubscribe, m.Method == mcp.MethodUnsubscribe:
		result = `{}`
	case m.Method == mcp.MethodToolsCall && q.modern:
		result = q.round(m)
	case m.Method == mcp.MethodToolsCall:
		q.call(w, r, m)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if result == "" {
		_, _ = w.Write(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found", nil))
		return
	}
	_, _ = w.Write(mcp.Result(m.ID, json.RawMessage(result)))
}

const whatName = `{"message":"Name?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`

// round is one round of a call of 2026-07-28: it is finished when it brings the state that it was given.
func (q *questioner) round(m *mcp.Message) string {
	id, _ := mcp.Text(m.Arguments, "id")
	q.mu.Lock()
	defer q.mu.Unlock()
	if state, _ := mcp.Text(m.Params, "requestState"); state == "state of "+id {
		q.finished[id]++
		name, _ := mcp.Text(m.InputResponses, "q", "content", "name")
		return `{"resultType":"complete","content":[{"type":"text","text":"hello ` + name + `"}]}`
	}
	q.begun[id]++
	return `{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":` + whatName + `}},"requestState":"state of ` + id + `"}`
}

// call is one call of 2025-11-25. Both tools say that they began; ask asks, and wait waits for the test.
func (q *questioner) call(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	id, _ := mcp.Text(m.Arguments, "id")
	answered := make(chan []byte, 1)
	q.mu.Lock()
	q.begun[id]++
	q.running[string(m.ID)] = id
	q.next++
	question := strconv.Itoa(q.next)
	q.waits[question] = answered
	q.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	say(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"`+id+`"}}`)
	text := "waited"
	if m.Name == "ask" {
		say(w, `{"jsonrpc":"2.0","id":`+question+`,"method":"elicitation/create","params":`+whatName+`}`)
		select {
		case answer := <-answered:
			name, _ := mcp.Text(answer, "result", "content", "name")
			text = "hello " + name
		case <-r.Context().Done():
			return
		}
	} else {
		select {
		case <-q.release:
		case <-r.Context().Done():
			return
		}
		say(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"released"}}`)
	}
	q.mu.Lock()
	q.finished[id]++
	q.mu.Unlock()
	say(w, string(mcp.Result(m.ID, json.RawMessage(`{"content":[{"type":"text","text":"`+text+`"}]}`))))
}
