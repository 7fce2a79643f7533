package back

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// maxRemembered is how many subscriptions of one session are remembered, and subscribed to again at most.
const maxRemembered = 256

// memory is what a client has set in its session. Sessions with servers come and go without the client's knowledge: what it has set is set again.
type memory struct {
	level json.RawMessage // the params of the last logging/setLevel; nil for none
	uris  map[string]bool // resources that are subscribed to
}

func (m memory) empty() bool { return m.level == nil && len(m.uris) == 0 }

// remember notes what a successful request has set in the session.
func (s *session) remember(method string, params json.RawMessage) {
	switch method {
	case mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	uri, _ := mcp.Text(params, "uri")
	switch {
	case method == mcp.MethodSetLevel:
		s.memory.level = bytes.Clone(params)
	case method == mcp.MethodUnsubscribe:
		delete(s.memory.uris, uri)
	case len(s.memory.uris) < maxRemembered:
		if s.memory.uris == nil {
			s.memory.uris = map[string]bool{}
		}
		s.memory.uris[uri] = true
	}
}

// follow counts one more Listening for each resource, and answers those that the client has not subscribed to itself.
func (s *session) follow(uris []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followed == nil {
		s.followed = map[string]int{}
	}
	var mine []string
	for _, uri := range uris {
		s.followed[uri]++
		if !s.memory.uris[uri] {
			mine = append(mine, uri)
		}
	}
	return mine
}

// unfollow counts one Listening less for each resource.
func (s *session) unfollow(uris []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, uri := range uris {
		if s.followed[uri]--; s.followed[uri] <= 0 {
			delete(s.followed, uri)
		}
	}
}

// free reports whether nobody needs a subscription any more.
func (s *session) free(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.followed[uri] == 0 && !s.memory.uris[uri]
}

// keep puts away what was set in a session that is gone. The lock is held.
func (t *sessions) keep(s *session) {
	s.mu.Lock()
	kept := memory{s.memory.level, maps.Clone(s.memory.uris)}
	s.mu.Unlock()
	if kept.empty() || t.closed {
		return
	}
	if t.memories == nil {
		t.memories = map[opens]memory{}
	}
	if len(t.memories) >= maxSessions {
		for some := range t.memories { // a client of which nothing was heard since is as likely as any other
			delete(t.memories, some)
			break
		}
	}
	t.memories[opens{s.holder, string(s.offer)}] = kept
}

// recall takes back what was put away for a session.
func (t *sessions) recall(what opens) memory {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.memories[what]
	delete(t.memories, what)
	return kept
}

// restore sets in a new session what was set in the one before. What the server refuses, or does not do in time, stays as the server has it: it is no
// reason for having no session.
func (u *upstream) restore(ctx context.Context, s *session, before memory, lease *guard.Lease) {
	if before.empty() {
		return
	}
	s.mu.Lock()
	s.memory = before
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, u.limit/2)
	defer cancel()
	if before.level != nil {
		if _, err := u.set(ctx, s, mcp.MethodSetLevel, before.level, lease); err != nil {
			return
		}
	}
	for _, uri := range slices.Sorted(maps.Keys(before.uris)) {
		if _, err := u.set(ctx, s, mcp.MethodSubscribe, aboutResource(uri), lease); err != nil {
			return
		}
	}
}

// speakUp lets a server say as much of its log in a session as a request asks for: what 2026-07-28 says with each request, the revisions before say
// once. It never lets the server say less, which another request may have asked for.
func (u *upstream) speakUp(ctx context.Context, s *session, ex *guard.Exchange) error {
	wish, asked := mcp.Text(ex.Params, "_meta", mcp.MetaLogLevel)
	wanted, known := mcp.LogLevel(wish)
	if !asked || !known || mcp.Get(s.about.Capabilities, "logging") == nil {
		return nil
	}
	s.mu.Lock()
	level, _ := mcp.Text(s.memory.level, "level")
	s.mu.Unlock()
	if said, known := mcp.LogLevel(level); known && said <= wanted {
		return nil
	}
	params := slices.Concat([]byte(`{"level":`), mcp.Quote(wish), []byte{'}'})
	if _, err := u.set(ctx, s, mcp.MethodSetLevel, params, ex.Lease); err != nil {
		return err
	}
	s.remember(mcp.MethodSetLevel, params) // also where the server refused: it is not asked for the same again
	return nil
}

// set makes a request of the edge's own in a client's session. It reports when the server does not know the session.
func (u *upstream) set(ctx context.Context, s *session, method string, params json.RawMessage, lease *guard.Lease) (lost bool, err error) {
	ex := guard.Exchange{Method: method, Params: params, Lease: lease}
	_, lost, err = u.callIn(ctx, s, &ex, mcp.NewID(u.ids.Add(1)), u.now().Add(u.limit))
	return lost, err
}
