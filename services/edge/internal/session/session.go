// Package session makes the ids that clients of the revisions with sessions carry. An id holds what the client said of itself and a seal that
// binds it to its caller, so any edge with the same key can read it and nobody can use another's.
package session

import (
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/keyed"
)

const (
	purpose = "session"
	maxID   = 4096
	// lasts is how long an id is good after its session began, whatever is known of its end.
	lasts = 7 * 24 * time.Hour
)

// Sessions makes and checks ids. Safe for concurrent use.
type Sessions struct {
	keys *keyed.Keys
	now  clock.Now
	ends *ends
}

// New takes up what is known of ended sessions in a directory that is this process's alone.
func New(keys *keyed.Keys, dir string, now clock.Now) (*Sessions, error) {
	ends, err := openEnds(dir, now())
	if err != nil {
		return nil, err
	}
	return &Sessions{keys: keys, now: now, ends: ends}, nil
}

// Open makes an id for a caller at one endpoint.
func (s *Sessions) Open(c *guard.Caller, endpoint string, client guard.Client) string {
	// What the client said of itself is last: whatever is in it, it cannot be taken for the rest.
	began := strconv.FormatInt(s.now().Unix(), 10)
	return s.keys.Seal(purpose, strings.Join([]string{began, client.Version, client.Home, string(client.Offer), client.Name, client.Release}, "\x00"), bound(c, endpoint)...)
}

// Check reads an id; false when it is forged, another caller's or endpoint's, ended or too old.
func (s *Sessions) Check(c *guard.Caller, endpoint, id string) (guard.Client, bool) {
	client, ok := s.read(c, endpoint, id)
	if !ok || s.now().Sub(client.Began) >= lasts || s.ends.over(digestOf(id)) {
		return guard.Client{}, false
	}
	return client, true
}

func (s *Sessions) read(c *guard.Caller, endpoint, id string) (guard.Client, bool) {
	if len(id) > maxID {
		return guard.Client{}, false
	}
	state, ok := s.keys.Open(purpose, id, bound(c, endpoint)...)
	if !ok {
		return guard.Client{}, false
	}
	parts := strings.SplitN(state, "\x00", 6)
	if len(parts) != 6 {
		return guard.Client{}, false
	}
	began, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return guard.Client{}, false
	}
	client := guard.Client{Began: time.Unix(began, 0).UTC(), Version: parts[1], Home: parts[2], Name: parts[4], Release: parts[5]}
	if parts[3] != "" {
		client.Offer = json.RawMessage(parts[3])
	}
	return client, true
}

// End implements guard.Sessions.
func (s *Sessions) End(c *guard.Caller, endpoint, id string) error {
	client, ok := s.read(c, endpoint, id)
	if !ok {
		return nil // it is good for nothing already
	}
	return s.ends.add(end{of: digestOf(id), until: client.Began.Add(lasts).Unix()}, s.now())
}

func digestOf(id string) digest {
	sum := sha256.Sum256([]byte(id))
	return digest(sum[:len(digest{})])
}

func bound(c *guard.Caller, endpoint string) []string {
	return []string{c.Tenant, c.Person, c.Agent, c.ClientID, endpoint}
}
