package back

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// maxSessions is how many sessions are open at one upstream at most, maxOffers how many of one holder, sessions or channels: one for each set of capabilities.
	maxSessions = 10_000
	maxOffers   = 8
	// maxPartings is how many sessions are ended at once.
	maxPartings = 16
)

// opens names a session to be opened: whom it is for, and the client's capabilities that the server is offered.
type opens struct {
	holder
	offer string
}

// session is one session with a server of the revisions that have them. Safe for concurrent use.
type session struct {
	holder  holder
	offer   json.RawMessage
	id      string
	version string
	about   guard.About
	life    context.Context // ends when the session is not to be used any more
	finish  context.CancelFunc

	users atomic.Int64 // calls and Listenings under way
	used  atomic.Int64 // when the last of them ended, in Unix nanoseconds
	stale atomic.Bool  // another has its place: who leaves it last ends it
	over  sync.Once
	lease atomic.Pointer[guard.Lease] // the newest, for what is said outside calls

	heard     atomic.Bool // its own stream is open, or is being opened
	mu        sync.Mutex
	standing  *standing
	calls     []*hearer // those that run while the stream is open, in the order of their beginnings
	listeners []*hearer
	waiting   *hearer       // questions that nobody is there for yet
	arrival   chan struct{} // closed when somebody comes
	memory    memory
	changing  chan struct{}  // has room for who changes the subscriptions
	followed  map[string]int // how many Listenings a resource is subscribed to for
}

// enter answers a session for a use, and opens one where there is none. Who enters a session leaves it.
func (u *upstream) enter(ctx context.Context, h holder, offer json.RawMessage, lease *guard.Lease) (*session, error) {
	for range 3 { // what another has opened can be gone again
		if s := u.sessions.take(h, offer); s != nil {
			s.lease.Store(lease)
			return s, nil
		}
		what := opens{h, string(offer)}
		_, err := u.opening.Do(ctx, what, u.limit, func(ctx context.Context) (*session, error) {
			if u.sessions.has(what) {
				return nil, nil // it was opened after the caller looked
			}
			return u.open(ctx, what, lease)
		})
		if errors.Is(err, errElder) {
			return nil, u.outside(errors.Join(errDoubt, err), "it takes no initialize any more")
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, u.outside(nil, "it ends the sessions that it opens")
}

// leave ends a use of a session.
func (u *upstream) leave(s *session) {
	s.used.Store(u.now().UnixNano())
	if s.users.Add(-1) == 0 && s.stale.Load() {
		u.end(s)
	}
}

// open makes a session with exactly the capabilities that are offered, in the newest revision that the server takes.
func (u *upstream) open(ctx context.Context, what opens, lease *guard.Lease) (*session, error) {
	id := mcp.NewID(u.ids.Add(1))
	speaker := u.speaker(mcp.V20251125)
	mine := &session{holder: what.holder, changing: make(chan struct{}, 1)}
	if what.offer != "" {
		mine.offer = json.RawMessage(what.offer)
		speaker.Capabilities = mine.offer
	}
	out := speaker.Initialize(id)
	r, err := u.send(ctx, message{body: out.Body, headers: out.Headers, lease: lease}, u.now().Add(u.limit))
	if err != nil {
		return nil, err
	}
	if r.refusesPost(u.limits) {
		return nil, fmt.Errorf("HTTP status %d: %w", r.status, errElder)
	}
	mine.id = r.session
	reply, err := u.answer(ctx, r, id, nil)
	if err != nil {
		return nil, err
	}
	if reply.Result == nil {
		return nil, u.outside(errDoubt, "it refused to initialize")
	}
	version, _ := mcp.Text(reply.Result, "protocolVersion")
	if !mcp.Legacy(version) && version != mcp.V20241105 || !printable(mine.id) {
		return nil, u.outside(nil, "it initialized with a revision or session id that cannot be used")
	}
	mine.version, mine.about = version, saysOf(reply.Result, "serverInfo")
	mine.used.Store(u.now().UnixNano())
	mine.lease.Store(lease)
	mine.life, mine.finish = context.WithCancel(u.crew.life)
	if err := u.tell(ctx, mine, u.speaker(version).Initialized().Body, lease); err != nil {
		u.end(mine)
		return nil, err
	}
	if mine.offer != nil {
		u.await(ctx, u.stand(mine))
	}
	u.restore(ctx, mine, u.sessions.recall(what), lease)
	gone, ok := u.sessions.put(mine)
	for _, old := range gone {
		u.end(old)
	}
	if !ok {
		u.end(mine)
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has too many sessions open. Try again in a moment.", u.name)
	}
	return mine, nil
}

// refusesPost reports an answer to initialize that a server of HTTP+SSE gives (2025-11-25, transports, "Backwards Compatibility").
func (r *response) refusesPost(limits mcp.Limits) bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		reply, err := mcp.ReadReply(r.body, limits)
		return err != nil || reply.Kind != mcp.Response
	}
	return false
}

// tell sends a message of a session that no answer belongs to.
func (u *upstream) tell(ctx context.Context, s *session, body []byte, lease *guard.Lease) error {
	m := message{body: body, headers: u.speaker(s.version).Headers("", ""), lease: lease, session: s.id}
	r, err := u.send(ctx, m, u.now().Add(u.limit))
	if err != nil {
		return err
	}
	r.finish(false)
	if r.status >= 300 {
		return u.outside(nil, "HTTP status %d to a message that needs no answer", r.status)
	}
	return nil
}

// lose forgets a session that the server does not know any more.
func (u *upstream) lose(s *session) {
	u.sessions.lose(s)
	s.over.Do(func() { s.finish() })
}

// end ends a session that was taken out, and tells the server so, without waiting for it.
func (u *upstream) end(s *session) {
	s.over.Do(func() {
		s.finish()
		u.crew.start(func(context.Context) {
			timer := time.NewTimer(farewell)
			defer timer.Stop()
			select {
			case u.partings <- struct{}{}:
				u.part(s)
				<-u.partings
			case <-timer.C: // the server is slow: its own expiry must do
			}
		})
	})
}

// endAll ends sessions and waits until the servers know, but not for longer than a farewell takes.
func (u *upstream) endAll(all []*session) {
	until := u.now().Add(farewell)
	left := make(chan *session, len(all))
	for _, s := range all {
		left <- s
	}
	close(left)
	var workers sync.WaitGroup
	for range min(maxPartings, len(all)) {
		workers.Go(func() {
			for s := range left {
				s.over.Do(func() {
					s.finish()
					if u.now().Before(until) {
						u.part(s)
					}
				})
			}
		})
	}
	workers.Wait()
}

// part tells the server that a session is not needed any more. Whatever it answers, that is all.
func (u *upstream) part(s *session) {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	m := message{head: u.heads.end, headers: u.speaker(s.version).Headers("", ""), lease: s.lease.Load(), session: s.id}
	if r, err := u.send(ctx, m, u.now().Add(farewell)); err == nil {
		r.finish(false)
	}
}

// printable reports whether a session id can be a header: visible ASCII (2025-11-25, transports).
func printable(id string) bool {
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			return false
		}
	}
	return len(id) <= 1024
}

// forgotten are the words in which servers say, instead of the 404 of the revisions, that they do not know a request's session: the whole message of an
// error about no request, or the whole body. Nothing like them counts, because a tool can speak of sessions that have nothing to do with the protocol.
func forgotten(said string) bool {
	switch strings.ToLower(strings.TrimSpace(said)) {
	case "bad request: no valid session id provided", "bad request: mcp-session-id header is required", "bad request: server not initialized",
		"bad request: missing session id", "invalid session id", "invalid or missing session id", "missing session id", "session not found",
		"not found: invalid or expired session id":
		return true
	}
	return false
}

// lost reports an answer after which the session is not used any more, and whether nothing ran of the request, so that it can be sent again: only where
// the server says, in the terms of the revisions or in words that are known, that it does not know the session. The revisions say 404; servers say 400 too.
func (r *response) lost(id json.RawMessage, limits mcp.Limits) (lost, nothingRan bool) {
	if r.events != nil || r.status != http.StatusNotFound && r.status != http.StatusBadRequest {
		return false, false
	}
	said := string(r.body)
	reply, err := mcp.ReadReply(r.body, limits)
	if err == nil && reply.Kind == mcp.Response {
		said = reply.ErrorMessage
		if mcp.SameID(reply.ID, id) { // whatever it is, it is what came of the request
			return reply.ErrorCode != 0 && forgotten(said), false
		}
	}
	unknown := r.status == http.StatusNotFound || forgotten(said)
	return unknown, unknown
}
