package stdio

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"headgate.dev/libs/mcp"
)

// flight is a message under way that wants an answer: a request of the client or of the bridge itself, or a batch that holds requests.
type flight struct {
	body    []byte
	message *mcp.Message // the one request; nil of a batch
	method  string       // its method
	modern  bool         // it carries its own metadata: closing its stream cancels it, and no other stream brings its answer
	own     bool         // the bridge asks for itself: the client sees nothing of it
	long    bool         // it is answered when its stream ends

	cancel context.CancelFunc
	sent   chan struct{} // closed when the request is on its way
	onWay  func()        // closes sent
	done   chan struct{} // closed when nothing more comes

	// Guarded by flights.mu.
	open    []json.RawMessage // ids that are not answered
	begun   bool              // it may be on its way
	dropped bool              // nobody waits for an answer any more
	reply   *mcp.Reply        // the last answer
}

func newFlight(body []byte, ids ...json.RawMessage) *flight {
	f := &flight{body: body, open: ids, cancel: func() {}, sent: make(chan struct{}), done: make(chan struct{})}
	f.onWay = sync.OnceFunc(func() { close(f.sent) })
	return f
}

// flightOf is the flight of one request of the client.
func flightOf(m *mcp.Message) *flight {
	f := newFlight(m.Raw, m.ID)
	f.message, f.method, f.modern = m, m.Method, modern(m)
	f.long = f.modern && m.Method == mcp.MethodListen
	return f
}

// flights are those under way, by the ids that they wait for. Safe for concurrent use.
type flights struct {
	limit int

	mu    sync.Mutex
	byID  map[string]*flight
	count int
}

// add lets a flight in, or says why not.
func (t *flights) add(f *flight) *mcp.Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count >= t.limit && !f.own {
		return &mcp.Error{Code: mcp.CodeInternal, Message: fmt.Sprintf("%d requests wait for their answers, as many as are taken at once. Wait for one of them.", t.count)}
	}
	seen := map[string]bool{}
	for _, id := range f.open {
		key := keyOf(id)
		if t.byID[key] != nil || seen[key] {
			return &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "The id is that of a request which is not answered yet, so the request was not sent. Use each id once."}
		}
		seen[key] = true
	}
	for key := range seen {
		t.byID[key] = f
	}
	t.count++
	return nil
}

// begin is false when the flight was given up before it was sent.
func (t *flights) begin(f *flight) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.begun = !f.dropped
	return f.begun
}

// find answers the flight that waits for an id, and whether it may be on its way.
func (t *flights) find(id json.RawMessage) (f *flight, begun bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f = t.byID[keyOf(id)]
	return f, f != nil && f.begun
}

// take answers whose answer a message is that came on the stream of a flight, or on a stream of its own (from is nil). Each id is answered once.
// A modern request is answered by its own stream alone.
func (t *flights) take(reply *mcp.Reply, from *flight) *flight {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := keyOf(reply.ID)
	f := t.byID[key]
	if f == nil || f != from && (f.modern || f.own || from != nil && from.modern) {
		return nil
	}
	delete(t.byID, key)
	f.open = slices.DeleteFunc(f.open, func(id json.RawMessage) bool { return keyOf(id) == key })
	f.reply = reply
	return f
}

// drop gives a flight up: what still comes for it is not passed on.
func (t *flights) drop(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(f)
	f.dropped = true
}

// rest answers the ids that are not answered yet, and regards them as answered.
func (t *flights) rest(f *flight) []json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.release(f)
}

func (t *flights) release(f *flight) []json.RawMessage {
	rest := f.open
	for _, id := range rest {
		if key := keyOf(id); t.byID[key] == f {
			delete(t.byID, key)
		}
	}
	f.open = nil
	return rest
}

// refuse lets an error that names no request answer all that are not answered yet, and answers their ids.
func (t *flights) refuse(f *flight, reply *mcp.Reply) []json.RawMessage {
	t.mu.Lock()
	defer t.mu.Unlock()
	f.reply = reply
	return t.release(f)
}

// expects reports whether the flight waits for this id.
func (t *flights) expects(f *flight, id json.RawMessage) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[keyOf(id)] == f
}

// waits reports whether an answer of the flight is still to come.
func (t *flights) waits(f *flight) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(f.open) > 0
}

// landed is the end of a flight that was let in.
func (t *flights) landed(f *flight) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
	close(f.done)
}

// answered is the last answer to the flight; nil without one.
func (t *flights) answered(f *flight) *mcp.Reply {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f.reply
}

// keyOf is an id as the key of a map: ids that readers take for the same have the same key.
func keyOf(id json.RawMessage) string {
	if text, ok := mcp.Text(slices.Concat([]byte(`{"id":`), id, []byte{'}'}), "id"); ok {
		return "s" + text
	}
	return "n" + string(id)
}
