// Package session makes the ids that clients of the revisions with sessions carry. An id holds what the client said of itself and a seal that
// binds it to its caller, so any edge with the same key can read it and nobody can use another's.
package session

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/keyed"
)

const (
	purpose = "session"
	// remembered is how many ended sessions are known at most; the oldest are forgotten first.
	remembered = 16384
	maxID      = 1024
)

// Sessions makes and checks ids. Safe for concurrent use.
type Sessions struct {
	keys *keyed.Keys
	now  clock.Now

	mu    sync.Mutex
	ended map[string]time.Time
	order []string
}

// New makes an empty set.
func New(keys *keyed.Keys, now clock.Now) *Sessions {
	return &Sessions{keys: keys, now: now, ended: map[string]time.Time{}}
}

// Open makes an id for a caller.
func (s *Sessions) Open(c *guard.Caller, client guard.Client) string {
	state := strings.Join([]string{rand.Text(), client.Version, client.Name, client.Release}, "\x00")
	return base64.RawURLEncoding.EncodeToString([]byte(state)) + "." + s.seal(c, state)
}

// Check reads an id; false when it is forged, another caller's or ended.
func (s *Sessions) Check(c *guard.Caller, id string) (guard.Client, bool) {
	encoded, seal, ok := strings.Cut(id, ".")
	if !ok || len(id) > maxID {
		return guard.Client{}, false
	}
	state, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || !hmac.Equal([]byte(seal), []byte(s.seal(c, string(state)))) {
		return guard.Client{}, false
	}
	s.mu.Lock()
	_, over := s.ended[id]
	s.mu.Unlock()
	parts := strings.Split(string(state), "\x00")
	if over || len(parts) != 4 {
		return guard.Client{}, false
	}
	return guard.Client{Version: parts[1], Name: parts[2], Release: parts[3]}, true
}

// End makes an id useless on this edge.
func (s *Sessions) End(_ *guard.Caller, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.ended[id]; known {
		return
	}
	s.ended[id] = s.now()
	s.order = append(s.order, id)
	if len(s.order) > remembered {
		delete(s.ended, s.order[0])
		s.order = s.order[1:]
	}
}

func (s *Sessions) seal(c *guard.Caller, state string) string {
	return base64.RawURLEncoding.EncodeToString(s.keys.Mac(purpose, c.Tenant, c.Person, c.Agent, c.ClientID, state))
}
