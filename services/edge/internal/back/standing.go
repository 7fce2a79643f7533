package back

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// maxStreams is how many streams of sessions, and Listenings, one upstream has at most.
	maxStreams = 2_000
	// opening is how long the first call waits for the session's own stream, so that nothing said there is missed. Some servers answer the GET
	// only when they have something to say.
	opening = 250 * time.Millisecond
	// lingering is how long a question waits for somebody who can answer it.
	lingering = time.Second
)

// errSilent says that the server offers no stream to listen to.
var errSilent = errors.New("the server has no stream of its own")

// standing is the stream on which the server of a session speaks by itself (2025-11-25, transports, "Listening for Messages from the Server").
type standing struct {
	life  context.Context
	stop  context.CancelFunc
	begun sync.Once
	ready chan struct{} // closed when the server has taken the stream or refused it
	done  chan struct{} // closed when the stream is over
	err   error         // why, once done is closed; nil when it was not needed any more
	sent  *guard.Lease  // what it was asked for with last; its own goroutine's
	// lease is what it was refused with, under the lock of the session; nil otherwise.
	lease *guard.Lease
}

// stand opens the stream of a session where it is not open; one that the server does not offer, or refused, is over already. It does not wait.
// Without room for another stream it answers nil.
func (u *upstream) stand(s *session) *standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.standing; st != nil && (st.lease == nil || st.lease == s.lease.Load()) {
		return st
	}
	if u.streams.Add(1) > maxStreams {
		u.streams.Add(-1)
		return nil
	}
	st := &standing{ready: make(chan struct{}), done: make(chan struct{})}
	st.life, st.stop = context.WithCancel(s.life)
	started := u.crew.start(func(context.Context) {
		defer u.streams.Add(-1)
		u.keep(s, st)
	})
	if !started {
		u.streams.Add(-1)
		st.stop()
		return nil
	}
	s.standing = st
	s.heard.Store(true)
	return st
}

// keep hears the stream of a session, and opens it again whenever it ends, until it is stopped or the server has none.
func (u *upstream) keep(s *session, st *standing) {
	st.err = u.hearOn(s, st)
	s.mu.Lock()
	if s.standing == st {
		s.heard.Store(false)
		switch { // that a server has none is remembered, and what credential it does not take
		case fault.Is(st.err, faultv1.Reason_REASON_CREDENTIAL):
			st.lease = st.sent
		case !errors.Is(st.err, errSilent):
			s.standing = nil
		}
	}
	s.mu.Unlock()
	st.stop()
	st.begin()
	close(st.done)
}

// await waits a moment until the server has taken the stream.
func (u *upstream) await(ctx context.Context, st *standing) {
	if st == nil {
		return
	}
	timer := time.NewTimer(opening)
	defer timer.Stop()
	select {
	case <-st.ready:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (st *standing) begin() { st.begun.Do(func() { close(st.ready) }) }

func (u *upstream) hearOn(s *session, st *standing) error {
	way := trail{pause: retryAfter}
	for pause, known := retryAfter, false; ; {
		st.sent = s.lease.Load()
		m := message{head: u.heads.get, headers: u.speaker(s.version).Headers("", ""), lease: st.sent, session: s.id, last: way.last}
		r, err := u.send(st.life, m, time.Time{})
		switch {
		case st.life.Err() != nil:
			if err == nil {
				r.finish(false)
			}
			return nil
		case err != nil || r.status >= 500 || r.status == http.StatusTooManyRequests:
			pause = min(2*pause, retryMost)
		case r.events != nil:
			known = true
			st.begin()
			if heard := u.hearStream(s, st, r, &way); heard || way.told {
				pause = max(way.pause, opening)
			} else {
				pause = min(2*pause, retryMost)
			}
		case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden:
			return u.unauthorized(r.status)
		case known && r.status == http.StatusNotFound:
			u.lose(s)
			return nil
		default:
			return errSilent
		}
		if !clock.Sleep(st.life, pause) {
			return nil
		}
	}
}

// hearStream passes on what one connection brings. It reports whether that was anything.
func (u *upstream) hearStream(s *session, st *standing, r *response, way *trail) bool {
	heard := false
	for {
		event, err := r.events.Next()
		if err == nil && event.Message() {
			heard = true
			err = u.routeAll(s, event.Data)
		}
		if err != nil || st.life.Err() != nil {
			way.mark(r.events)
			r.finish(false)
			return heard
		}
	}
}

// routeAll gives what one event of a session's own stream holds to whom it concerns.
func (u *upstream) routeAll(s *session, event []byte) error {
	replies, err := u.replies(event, s.version)
	for _, said := range replies {
		if err == nil {
			err = u.route(s, said)
		}
	}
	return err
}

// route gives what a server says by itself to whom it concerns. It answers an error when the server says too much.
func (u *upstream) route(s *session, said *mcp.Reply) error {
	switch said.Kind {
	case mcp.Request:
		if taken, err := s.give(said); taken {
			return err
		}
		_, err := s.lobby(u).take(said)
		return err
	case mcp.Notification:
		s.spread(said, nil)
	case mcp.Response: // an answer belongs to the stream of its request
	}
	return nil
}

// join lets a call hear what the session's own stream brings for it, until part.
func (s *session) join(h *hearer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, h)
	s.arrived()
}

// part ends what a call hears.
func (s *session) part(h *hearer) {
	s.mu.Lock()
	s.calls = without(s.calls, h)
	s.mu.Unlock()
	h.end()
}

// attach lets a Listening hear what the session's own stream brings, until detach.
func (s *session) attach(h *hearer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, h)
	s.arrived()
}

// detach ends what a Listening hears. A stream that was open for Listenings alone is closed with the last of them.
func (s *session) detach(h *hearer) {
	s.mu.Lock()
	s.listeners = without(s.listeners, h)
	if len(s.listeners) == 0 && s.offer == nil && s.standing != nil {
		s.standing.stop()
		s.standing = nil
		s.heard.Store(false)
	}
	s.mu.Unlock()
	h.end()
}

func without(all []*hearer, h *hearer) []*hearer {
	return slices.DeleteFunc(slices.Clone(all), func(one *hearer) bool { return one == h })
}

// give puts a request of the server's to who can answer it: the newest call, or else a Listening. It answers false when there is nobody.
func (s *session) give(request *mcp.Reply) (bool, error) {
	s.mu.Lock()
	able := slices.DeleteFunc(slices.Concat(s.listeners, s.calls), func(h *hearer) bool { return h.ask == nil })
	s.mu.Unlock()
	for _, h := range slices.Backward(able) {
		if taken, err := h.take(request); taken {
			return true, err
		}
	}
	return false, nil
}

var (
	// errNobody says that nobody has come who could answer a question.
	errNobody = errors.New("there is nobody to answer")
	// errTaken says that somebody else answers a question.
	errTaken = errors.New("somebody else answers")
)

// lobby is where questions wait for a moment that come while there is nobody to answer: a server may ask as soon as a session is open.
func (s *session) lobby(u *upstream) *hearer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = &hearer{u: u, at: s, life: s.life, cancel: func(error) {}, ask: s.linger}
	}
	return s.waiting
}

func (s *session) linger(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
	timer := time.NewTimer(lingering)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if s.arrival == nil {
			s.arrival = make(chan struct{})
		}
		arrival := s.arrival
		s.mu.Unlock()
		if taken, err := s.give(request); taken || err != nil {
			return guard.Reply{}, errors.Join(errTaken, err)
		}
		select {
		case <-arrival:
		case <-timer.C:
			return guard.Reply{}, errNobody
		case <-ctx.Done():
			return guard.Reply{}, errNobody
		}
	}
}

// arrived wakes the questions that wait. The lock is held.
func (s *session) arrived() {
	if s.arrival != nil {
		close(s.arrival)
		s.arrival = nil
	}
}

// spread hands a notice on to whom it concerns in the session. It came by the stream of a call, or by the session's own, with no call.
func (s *session) spread(notice *mcp.Reply, of *hearer) {
	s.mu.Lock()
	calls, listeners, waiting := slices.Clone(s.calls), slices.Clone(s.listeners), s.waiting
	s.mu.Unlock()
	var to []*hearer
	switch notice.Method {
	case mcp.MethodProgress:
		token := mcp.Get(notice.Params, mcp.MetaProgressToken)
		for _, h := range slices.Backward(calls) {
			if mcp.SameID(h.token, token) {
				to = []*hearer{h}
				break
			}
		}
	case mcp.MethodLog:
		if to = calls; len(calls) == 0 {
			to = listeners
		}
	case mcp.MethodElicitationComplete:
		to = slices.Concat(calls, listeners)
	case mcp.MethodToolsListChanged, mcp.MethodPromptsListChanged, mcp.MethodResourcesListChanged, mcp.MethodResourceUpdated:
		to = listeners
	case mcp.MethodCancelled:
		id := mcp.Get(notice.Params, "requestId")
		for _, h := range append(slices.Concat(calls, listeners), waiting, of) {
			if h != nil {
				h.withdraw(id)
			}
		}
	}
	for _, h := range to {
		_ = h.notify(notice.Raw) // who cannot take it has ended
	}
}

// silent says that a server says nothing unasked.
func (u *upstream) silent() error {
	return fault.New(faultv1.Reason_REASON_METHOD, "The server %s says nothing unasked, so there is nothing to listen to.", u.name)
}
