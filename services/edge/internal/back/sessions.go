package back

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/mcp"
)

// sessions are those with one server.
type sessions struct {
	mu     sync.Mutex
	open   map[holder][]*session
	count  int
	closed bool
	// memories are of sessions that are gone while their clients are not.
	memories map[opens]memory
}

// take finds a session and counts the caller as its user until leave.
func (t *sessions) take(h holder, offer json.RawMessage) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.open[h] {
		if bytes.Equal(s.offer, offer) {
			s.users.Add(1)
			return s
		}
	}
	return nil
}

// has reports whether there is a session for a use.
func (t *sessions) has(what opens) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.open[what.holder], func(s *session) bool { return string(s.offer) == what.offer })
}

// offering are a holder's sessions in which the server was offered something, each with one more user.
func (t *sessions) offering(h holder, path ...string) []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*session
	for _, s := range t.open[h] {
		if mcp.Get(s.offer, path...) != nil {
			s.users.Add(1)
			out = append(out, s)
		}
	}
	return out
}

// put adds a session in the place of another for the same use. What must go for it, it answers; false when there is no room.
func (t *sessions) put(s *session) (gone []*session, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	for _, old := range t.open[s.holder] {
		if bytes.Equal(old.offer, s.offer) {
			old.stale.Store(true)
			t.remove(old)
			if old.users.Load() == 0 {
				gone = append(gone, old)
			}
		}
	}
	if mine := t.open[s.holder]; len(mine) >= maxOffers {
		old := idlest(nil, mine)
		if old == nil {
			return gone, false
		}
		t.remove(old)
		gone = append(gone, old)
	}
	if t.count >= maxSessions {
		var old *session
		for _, some := range t.open {
			old = idlest(old, some)
		}
		if old == nil {
			return gone, false
		}
		t.remove(old)
		gone = append(gone, old)
	}
	if t.open == nil {
		t.open = map[holder][]*session{}
	}
	t.open[s.holder] = append(t.open[s.holder], s)
	t.count++
	return gone, true
}

// idlest is the session that has been unused for longest; nil when all are in use.
func idlest(best *session, among []*session) *session {
	for _, s := range among {
		if s.users.Load() == 0 && (best == nil || s.used.Load() < best.used.Load()) {
			best = s
		}
	}
	return best
}

// remove takes a session out. The lock is held.
func (t *sessions) remove(s *session) {
	mine := t.open[s.holder]
	for i, one := range mine {
		if one != s {
			continue
		}
		t.count--
		if len(mine) == 1 {
			delete(t.open, s.holder)
			return
		}
		t.open[s.holder] = append(append(make([]*session, 0, len(mine)-1), mine[:i]...), mine[i+1:]...)
		return
	}
}

// lose takes a session out that is not to be used any more.
func (t *sessions) lose(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(s)
	t.keep(s)
}

// idle takes out the sessions that were not used since a time.
func (t *sessions) idle(since time.Time) []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*session
	for _, some := range t.open {
		for _, s := range some {
			if s.users.Load() == 0 && s.used.Load() < since.UnixNano() {
				out = append(out, s)
			}
		}
	}
	for _, s := range out {
		t.remove(s)
		t.keep(s)
	}
	return out
}

// drop takes out a holder's sessions, used or not.
func (t *sessions) drop(h holder) []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.open[h]
	t.count -= len(out)
	delete(t.open, h)
	maps.DeleteFunc(t.memories, func(of opens, _ memory) bool { return of.holder == h })
	return out
}

// close takes out all sessions. None can be put in any more.
func (t *sessions) close() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*session, 0, t.count)
	for _, some := range t.open {
		out = append(out, some...)
	}
	t.open, t.memories, t.count, t.closed = nil, nil, 0, true
	return out
}
