package back

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// callInSession makes one request of the revisions that have sessions. Only when the server has lost the session it is sent again, in another one,
// because then nothing ran.
func (u *upstream) callInSession(ctx context.Context, ex *guard.Exchange, deadline time.Time) (guard.Reply, error) {
	id := mcp.NewID(u.ids.Add(1))
	for range 2 {
		at, err := u.enter(ctx, holderOf(ex.Caller, ex.Session), mcp.Offer(ex.Offer), ex.Lease)
		if err != nil {
			return guard.Reply{}, err
		}
		reply, lost, err := u.callIn(ctx, at, ex, id, deadline)
		if reply.Result != nil {
			at.remember(ex.Method, ex.Params)
		}
		u.leave(at)
		if !lost {
			return reply, err
		}
	}
	return guard.Reply{}, u.outside(nil, "it knows none of the sessions that it opens")
}

// callIn makes one request within a session. It reports when the server does not know the session, and nothing ran.
func (u *upstream) callIn(ctx context.Context, at *session, ex *guard.Exchange, id json.RawMessage, deadline time.Time) (guard.Reply, bool, error) {
	speaker := u.speaker(at.version)
	params, err := speaker.Params(ex.Params)
	if err != nil {
		return guard.Reply{}, false, u.unwritten(err)
	}
	m := message{
		body: mcp.NewRequest(id, ex.Method, params), headers: speaker.Headers(ex.Method, ex.Name), lease: ex.Lease, session: at.id,
	}
	if at.offer != nil {
		u.stand(at) // where it ended for a credential, there is a newer one now
	}
	if err := u.speakUp(ctx, at, ex); err != nil {
		return guard.Reply{}, false, err
	}
	if at.heard.Load() { // what belongs to this call can come by the session's own stream
		m.hearer = u.caller(ctx, at, ex, deadline)
		at.join(m.hearer)
		defer at.part(m.hearer)
	}
	var reply guard.Reply
	r, err := u.send(ctx, m, deadline)
	if err == nil && r.events == nil {
		err = u.unbatch(at, ex, m.hearer, r)
	}
	switch {
	case err != nil:
	case r.events == nil:
		if lost, nothingRan := r.lost(id, u.limits); lost && at.id != "" {
			u.lose(at)
			if nothingRan {
				return guard.Reply{}, true, nil
			}
		}
		reply, err = u.single(r, id)
	default:
		reply, err = u.follow(ctx, at, ex, id, r, deadline)
	}
	if err != nil && (ctx.Err() != nil || fault.Is(err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT) || errors.As(err, new(unheeded))) {
		u.abandon(at, slices.Clone(id), ex.Lease)
	}
	if refused, ok := errors.AsType[unheeded](err); ok {
		err = refused.cause
	}
	return reply, false, err
}

// abandon tells the server that an answer is not wanted any more: in these revisions a closed connection does not say so (2025-11-25, transports).
func (u *upstream) abandon(at *session, id json.RawMessage, lease *guard.Lease) {
	u.crew.start(func(context.Context) {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = u.tell(ctx, at, u.speaker(at.version).Cancelled(id).Body, lease) // best effort: the call may have ended by itself
	})
}

// unheeded is why a notice could not be handed on.
type unheeded struct{ cause error }

func (e unheeded) Error() string { return e.cause.Error() }
func (e unheeded) Unwrap() error { return e.cause }

// follow reads a call's stream until its answer. What the server asks meanwhile goes to the client, and the stream is read on.
func (u *upstream) follow(
	ctx context.Context, at *session, ex *guard.Exchange, id json.RawMessage, r *response, deadline time.Time,
) (guard.Reply, error) {
	var way trail
	h := r.hearer
	if h == nil {
		defer func() {
			if h != nil {
				h.end()
			}
		}()
	}
	hear := func(one *mcp.Reply) error {
		if one.Kind == mcp.Notification {
			return u.heed(at, ex, h, one)
		}
		if h == nil {
			h = u.caller(ctx, at, ex, deadline)
			r.hearer = h
			h.follow(r.conn)
		}
		_, err := h.take(one)
		return err
	}
	for {
		event, err := r.events.Next()
		if err != nil {
			if r, err = u.resume(ctx, at, ex, r, &way, deadline, r.late(err)); err != nil {
				return guard.Reply{}, err
			}
			continue
		}
		if !event.Message() {
			continue // it only says where the stream is, or keeps it open
		}
		answer, err := u.heard(event.Data, at.version, hear)
		switch {
		case err != nil:
			r.finish(false)
			return guard.Reply{}, err
		case answer != nil:
			return u.last(r, answer, id)
		}
	}
}

// heed hands on a notice that came by a call's own stream.
func (u *upstream) heed(at *session, ex *guard.Exchange, h *hearer, notice *mcp.Reply) error {
	var err error
	switch {
	case !ofCall(notice.Method):
		at.spread(notice, h) // what is not about this call is not this client's alone
	case h != nil:
		err = h.notify(notice.Raw)
	case ex.Notify != nil:
		err = ex.Notify(notice.Raw)
	}
	if err != nil {
		return unheeded{err}
	}
	return nil
}
