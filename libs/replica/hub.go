// Package replica keeps a copy of one service's state in another, and knows how fresh the copy is: a Hub serves a Watch RPC (a snapshot, then
// changes, then a heartbeat each second), a Follower keeps what it sends.
package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

const (
	// queued is how many changes a subscriber may be behind before it is cut off.
	queued = 1024
	// beat is the time between heartbeats.
	beat = time.Second
	// mostAhead is how many heartbeats in a row may speak of changes that were not sent before the stream is ended.
	mostAhead = 2
)

// HubConfig says what a hub serves.
type HubConfig[M any] struct {
	// Snapshot is the whole state of this moment and its revision. It holds at least every change that was published before it was asked for.
	Snapshot func(ctx context.Context) (M, error)
	// Heartbeat is the message that says that nothing changed, with the last revision; false: stay silent, the state is not to be trusted.
	Heartbeat func() (M, bool)
	// Revision counts changes. A later change has a higher revision.
	Revision func(M) int64
}

// Hub sends every published change to every subscriber. Safe for concurrent use.
type Hub[M any] struct {
	cfg HubConfig[M]

	mu          sync.Mutex
	subscribers map[*subscriber[M]]struct{}
}

type subscriber[M any] struct {
	changes chan M
	lost    chan struct{} // closed when a change did not fit
}

// NewHub makes a hub. It starts nothing.
func NewHub[M any](cfg HubConfig[M]) *Hub[M] {
	return &Hub[M]{cfg: cfg, subscribers: map[*subscriber[M]]struct{}{}}
}

// Publish sends a change to every subscriber. It never blocks: one that is 1,024 changes behind is cut off and must start again. Publish in the
// order of revisions, after the change holds.
func (h *Hub[M]) Publish(m M) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subscribers {
		select {
		case s.changes <- m:
		default:
			close(s.lost)
			delete(h.subscribers, s)
		}
	}
}

// Subscribers counts the open streams.
func (h *Hub[M]) Subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribers)
}

// Serve carries one subscriber until ctx ends, send fails or the subscriber is too slow. It subscribes first and takes the snapshot then, so no
// change falls in between; changes that the snapshot holds already are dropped.
func (h *Hub[M]) Serve(ctx context.Context, send func(M) error) error {
	s := h.subscribe()
	defer h.leave(s)
	snapshot, err := h.cfg.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := send(snapshot); err != nil {
		return err
	}
	out := &outbound[M]{hub: h, send: send, sent: h.cfg.Revision(snapshot)}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.lost:
			return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The stream fell %d changes behind and is ended. Watch again: it starts with a snapshot.", queued)
		case m := <-s.changes:
			err = out.change(m)
		case <-ticker.C:
			err = out.heartbeat(s)
		}
		if err != nil {
			return err
		}
	}
}

func (h *Hub[M]) subscribe() *subscriber[M] {
	s := &subscriber[M]{changes: make(chan M, queued), lost: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers[s] = struct{}{}
	return s
}

func (h *Hub[M]) leave(s *subscriber[M]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
}

// outbound is what one subscriber was sent.
type outbound[M any] struct {
	hub   *Hub[M]
	send  func(M) error
	sent  int64
	ahead int
}

func (o *outbound[M]) change(m M) error {
	revision := o.hub.cfg.Revision(m)
	if revision <= o.sent {
		return nil
	}
	o.sent = revision
	return o.send(m)
}

var errUnsent = errors.New("the state moved on without a published change")

// heartbeat is sent only when nothing waits, so that it never overtakes a change. One that speaks of a revision that was not sent yet is held
// back; when the change does not come, the stream ends, because a subscriber must not believe that it has what it was never sent.
func (o *outbound[M]) heartbeat(s *subscriber[M]) error {
	m, ok := o.hub.cfg.Heartbeat()
	if !ok || len(s.changes) > 0 {
		return nil
	}
	if o.hub.cfg.Revision(m) <= o.sent {
		o.ahead = 0
		return o.send(m)
	}
	if o.ahead++; o.ahead <= mostAhead {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The stream missed a change and is ended. Watch again: it starts with a snapshot.").Because(errUnsent)
}
