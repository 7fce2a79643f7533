package stdio

import (
	"encoding/json"
	"sync"

	"headgate.dev/libs/mcp"
)

// maxAsked is how many requests of the server may wait for the client at once.
const maxAsked = 1024

// question is a request of the server that the client has not answered yet.
type question struct {
	session *session        // whose server asks
	id      json.RawMessage // as the server knows it
}

// asked are the open requests of the server, by the id that the client knows. Only what was asked is answered, and only to the session that asked:
// a yes must never become the answer to another question that happens to have the same id. Safe for concurrent use.
type asked struct {
	newID func() json.RawMessage

	mu   sync.Mutex
	open map[string]question
}

// note remembers a request and answers it as the client gets it: as it came, or under another id where a session that is gone asked under the same one.
// Nil means that there are too many.
func (a *asked) note(s *session, r *mcp.Reply) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.open) >= maxAsked {
		return nil
	}
	line, id := r.Raw, r.ID
	if q, taken := a.open[keyOf(r.ID)]; taken && q.session != s {
		id = a.newID()
		changed, err := mcp.Set(r.Raw, id, "id")
		if err != nil {
			return nil
		}
		line = changed
	}
	a.open[keyOf(id)] = question{session: s, id: r.ID}
	return line
}

// answer takes the question that the client answers.
func (a *asked) answer(id json.RawMessage) (question, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, ok := a.open[keyOf(id)]
	delete(a.open, keyOf(id))
	return q, ok
}

// unchanged reports whether a session waits for the answer under exactly this id.
func (a *asked) unchanged(s *session, id json.RawMessage) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	q, ok := a.open[keyOf(id)]
	return ok && q.session == s && keyOf(q.id) == keyOf(id)
}

// withdraw takes a question back that its server cancels, and answers the notice as the client gets it.
func (a *asked) withdraw(s *session, notice []byte) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := mcp.Get(notice, "params", "requestId")
	for key, q := range a.open {
		if id == nil || q.session != s || keyOf(q.id) != keyOf(id) {
			continue
		}
		delete(a.open, key)
		if known := idOf(key); keyOf(id) != key {
			if changed, err := mcp.Set(notice, known, "params", "requestId"); err == nil {
				return changed
			}
		}
		break
	}
	return notice
}

// lost answers the ids that the client knows of questions whose session is gone. They stay taken until the client has answered them.
func (a *asked) lost(s *session) []json.RawMessage {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ids []json.RawMessage
	for key, q := range a.open {
		if q.session == s {
			ids = append(ids, idOf(key))
		}
	}
	return ids
}

// idOf is the id of a key.
func idOf(key string) json.RawMessage {
	if key[0] == 's' {
		return mcp.Quote(key[1:])
	}
	return json.RawMessage(key[1:])
}
