package guard

import (
	"crypto/rand"
	"crypto/sha256"
	hexadecimal "encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	sealState = "request-state"
	// stateFor is how long a client may take to answer what it was asked for.
	stateFor = 10 * time.Minute
	// maxStates is how many questions to clients are open on one edge at most, maxStatesOf how many of one caller.
	maxStates   = 50_000
	maxStatesOf = 256
)

// state is what a requestState stands for. The client carries it sealed; it is bound to its caller and its request, good once and for a while.
type state struct {
	home, id string
	expires  int64  // seconds since 1970
	request  string // digest of the request that it belongs to
	of       stateOf
	upstream string // the server's own
}

// stateOf says what goes on with a state.
type stateOf string

const (
	ofParked stateOf = "false" // a call that waits at its edge
	ofServer stateOf = "true"  // a request that is made again, with the state that its server gave
	ofAnswer stateOf = "none"  // a request that is made again, whose server gave none
)

func (s state) text() string {
	return strings.Join([]string{s.home, s.id, strconv.FormatInt(s.expires, 10), s.request, string(s.of), s.upstream}, "\x00")
}

func readState(text string) (s state, ok bool) {
	parts := strings.SplitN(text, "\x00", 6)
	if len(parts) != 6 {
		return s, false
	}
	expires, err := strconv.ParseInt(parts[2], 10, 64)
	return state{home: parts[0], id: parts[1], expires: expires, request: parts[3], of: stateOf(parts[4]), upstream: parts[5]}, err == nil
}

func bound(c *Caller) []string { return []string{c.Tenant, c.Person, c.Agent, c.ClientID} }

// digest names a request by what it asks for and of which server, so that a state is no good for another: not for a server that has the name by now, nor for
// a tool that was approved anew.
func digest(in *Inbound, e *Entry) string {
	asked := subject(e)
	canonical, err := mcp.Canonical(asked)
	if err != nil {
		canonical = asked
	}
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(in.Endpoint), []byte(e.msg.Method), []byte(e.msg.Name), canonical, []byte(e.tool.identity())} {
		_, _ = sum.Write(part)
		_, _ = sum.Write([]byte{0})
	}
	return hexadecimal.EncodeToString(sum.Sum(nil))
}

// identity is the same for the same definition of the same server at the same place; empty for no tool.
func (t *Tool) identity() string {
	if t == nil {
		return ""
	}
	return strings.Join([]string{t.Server.Name, t.Server.URL, t.Server.Stdio.Key(), t.Name, t.Hash}, "\x00")
}

// states remembers which were given out and not used, on the edge that gave them.
type states struct {
	mu     sync.Mutex
	unused map[string]open
	of     map[string]int   // how many are unused, by owner
	used   map[string]int64 // of edges that are gone: id → when it expires
}

// open is a state that was not used yet.
type open struct {
	owner   string
	expires int64
}

func newStates() *states {
	return &states{unused: map[string]open{}, of: map[string]int{}, used: map[string]int64{}}
}

// give makes a new id; empty when too many are open, of all or of its owner.
func (s *states) give(owner string, now time.Time) (id string, expires int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unused) >= maxStates || s.of[owner] >= maxStatesOf {
		s.sweep(now)
		if len(s.unused) >= maxStates || s.of[owner] >= maxStatesOf {
			return "", 0
		}
	}
	id, expires = rand.Text(), now.Add(stateFor).Unix()
	s.unused[id] = open{owner, expires}
	s.of[owner]++
	return id, expires
}

// take uses an id up; false when it was not given out or was used before.
func (s *states) take(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(id)
}

// remove takes an id out. The lock is held.
func (s *states) remove(id string) bool {
	one, ok := s.unused[id]
	if !ok {
		return false
	}
	delete(s.unused, id)
	if s.of[one.owner]--; s.of[one.owner] == 0 {
		delete(s.of, one.owner)
	}
	return true
}

// adopt uses up the id of an edge that cannot be asked; false when it was used here before.
func (s *states) adopt(id string, expires int64, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.used[id]; used {
		return false
	}
	if len(s.used) >= maxStates {
		s.sweep(now)
		if len(s.used) >= maxStates {
			return false
		}
	}
	s.used[id] = expires
	return true
}

// sweep forgets what expired. The lock is held.
func (s *states) sweep(now time.Time) {
	for id, one := range s.unused {
		if now.Unix() > one.expires {
			s.remove(id)
		}
	}
	for id, expires := range s.used {
		if now.Unix() > expires {
			delete(s.used, id)
		}
	}
}

// badState refuses a requestState in the same words whatever is wrong with it.
func badState() error {
	return &mcp.Error{
		Code: mcp.CodeInvalidParams, Message: "This requestState is not good for this request: it is unknown, changed, used, expired or another caller's. " +
			"Make the request again without it.",
		HTTPStatus: 200, Reason: faultv1.Reason_REASON_INVALID,
	}
}

// seal makes the requestState that a client gets for an answer that asks for input.
func (g *Guard) seal(e *Entry, request string, of stateOf, upstream string) (sealed, id string, expires int64, err error) {
	id, expires = g.states.give(ownerOf(e.caller), g.Now())
	if id == "" {
		return "", "", 0, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Too many questions to you are open. Answer them first, or try again later.")
	}
	s := state{home: g.Peers.Self(), id: id, expires: expires, request: request, of: of, upstream: upstream}
	return g.Keys.Seal(sealState, s.text(), bound(e.caller)...), id, expires, nil
}

// unseal opens the requestState of a request that is made again.
func (g *Guard) unseal(e *Entry) (state, error) {
	text, _ := mcp.Text(e.msg.Params, mcp.MemberRequestState)
	plain, ok := g.Keys.Open(sealState, text, bound(e.caller)...)
	if !ok {
		return state{}, badState()
	}
	s, ok := readState(plain)
	if !ok || g.Now().Unix() > s.expires {
		return state{}, badState()
	}
	return s, nil
}
