package back

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// listen passes on what the server says unasked until ctx ends. A stream that breaks, or that the server ends, is opened again.
func (u *upstream) listen(ctx context.Context, l guard.Listening) error {
	bound, stop := u.crew.bound(ctx)
	defer stop()
	for pause := retryAfter; ; {
		began := u.now()
		err := u.hear(bound, &l)
		refused, unheard := errors.AsType[unheeded](err)
		switch {
		case ctx.Err() != nil:
			return nil
		case bound.Err() != nil:
			return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The server %s is not listened to any more, because it was changed or the edge stops.", u.name)
		case unheard:
			return refused.cause
		case fault.Is(err, faultv1.Reason_REASON_METHOD), fault.Is(err, faultv1.Reason_REASON_CREDENTIAL):
			return err
		case u.now().Sub(began) > retryMost:
			pause = retryAfter
		}
		if clock.Sleep(bound, pause) {
			pause = min(2*pause, retryMost)
		}
	}
}

// hear listens in the client's era where the server has both: who has a session is of the older one. It answers when the stream is over.
func (u *upstream) hear(ctx context.Context, l *guard.Listening) error {
	speaks, err := u.known(ctx, l.Lease, aboutLimit)
	switch {
	case err != nil:
		return err
	case speaks.elder:
		return u.mistaken(u.elder.listen(ctx, *l))
	case speaks.modern && (l.Session == "" || !speaks.legacy):
		return u.subscribe(ctx, l, speaks.about.Capabilities)
	}
	return u.attend(ctx, l)
}

// promises reports whether a server's capabilities say that it does something.
func promises(capabilities json.RawMessage, of, what string) bool {
	return string(mcp.Get(capabilities, of, what)) == "true"
}

// filter is what to ask a server of 2026-07-28 for, as far as it says that it has it; nil for nothing.
func filter(l *guard.Listening, capabilities json.RawMessage) json.RawMessage {
	var wanted [][]byte
	for _, one := range []struct{ of, as string }{{"prompts", `"promptsListChanged":true`}, {"resources", `"resourcesListChanged":true`}} {
		if l.Lists && promises(capabilities, one.of, "listChanged") {
			wanted = append(wanted, []byte(one.as))
		}
	}
	if len(l.Resources) > 0 && promises(capabilities, "resources", "subscribe") {
		uris := make([][]byte, 0, len(l.Resources))
		for _, uri := range l.Resources {
			uris = append(uris, mcp.Quote(uri))
		}
		wanted = append(wanted, slices.Concat([]byte(`"resourceSubscriptions":[`), join(uris), []byte(`]`)))
	}
	if len(l.Tasks) > 0 && mcp.Get(capabilities, "extensions", mcp.ExtensionTasks) != nil {
		ids := make([][]byte, 0, len(l.Tasks))
		for _, id := range l.Tasks {
			ids = append(ids, mcp.Quote(id))
		}
		wanted = append(wanted, slices.Concat([]byte(`"taskIds":[`), join(ids), []byte(`]`)))
	}
	if wanted == nil {
		return nil
	}
	return slices.Concat([]byte(`{"notifications":{`), join(wanted), []byte(`}}`))
}

func join(parts [][]byte) []byte {
	var out []byte
	for i, part := range parts {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, part...)
	}
	return out
}

// subscribe opens a subscription of 2026-07-28 and passes on what comes by it (2026-07-28, basic/patterns/subscriptions).
func (u *upstream) subscribe(ctx context.Context, l *guard.Listening, capabilities json.RawMessage) error {
	wanted := filter(l, capabilities)
	if wanted == nil {
		return u.silent()
	}
	if u.streams.Add(1) > maxStreams {
		u.streams.Add(-1)
		return u.crowded()
	}
	defer u.streams.Add(-1)
	speaker := u.speaker(mcp.V20260728)
	speaker.Capabilities = l.Offer
	params, err := speaker.Params(wanted)
	if err != nil {
		return u.unwritten(err)
	}
	id := mcp.NewID(u.ids.Add(1))
	m := message{body: mcp.NewRequest(id, mcp.MethodListen, params), headers: speaker.Headers(mcp.MethodListen, ""), lease: l.Lease}
	r, err := u.send(ctx, m, u.now().Add(u.limit))
	if err != nil {
		return err
	}
	if r.events == nil {
		return u.unsubscribed(r, id)
	}
	return u.hearSubscription(ctx, l, r, id)
}

// crowded says that no more is listened to.
func (u *upstream) crowded() error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s is listened to by too many clients. Try again later.", u.name)
}

// unsubscribed says why the server opened no stream.
func (u *upstream) unsubscribed(r *response, id json.RawMessage) error {
	reply, err := u.single(r, id)
	switch {
	case string(mcp.Get(reply.Error, "code")) == strconv.Itoa(mcp.CodeMethodNotFound), err != nil && (r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed):
		return u.silent()
	case err != nil:
		return err
	}
	return u.outside(nil, "it opened no stream for a subscription")
}

// hearSubscription passes on the notices of a subscription, without its id, which is the edge's.
func (u *upstream) hearSubscription(ctx context.Context, l *guard.Listening, r *response, id json.RawMessage) error {
	defer r.finish(false)
	for acknowledged := false; ; {
		event, err := r.events.Next()
		if err != nil {
			return u.failed(ctx, err)
		}
		if !event.Message() {
			continue
		}
		said, err := mcp.ReadReply(event.Data, u.limits)
		switch {
		case err != nil:
			return u.outside(err, "an event of its subscription is not one strict JSON-RPC message")
		case said.Kind == mcp.Response && mcp.SameID(said.ID, id):
			if said.ErrorCode == mcp.CodeMethodNotFound {
				return u.silent()
			}
			return nil // the server ends it in an orderly way
		case said.Kind != mcp.Notification:
			return u.outside(nil, "its subscription brought what belongs to no subscription")
		}
		if of := mcp.Subscribed(said.Params); of != nil && !mcp.SameID(of, id) {
			return u.outside(nil, "its subscription brought a notice of another one")
		}
		switch {
		case !acknowledged && said.Method == mcp.MethodAcknowledged:
			if !honoured(said.Params) {
				return u.silent()
			}
			acknowledged = true
			if err := r.conn.SetDeadline(time.Time{}); err != nil { // it may be silent for as long as it likes
				return u.failed(ctx, err)
			}
		case !acknowledged:
			return u.outside(nil, "it sent a notice before it acknowledged the subscription")
		case subscribable(l, said.Method):
			if err := l.Notify(mcp.WithoutSubscription(event.Data)); err != nil {
				return unheeded{err}
			}
		}
	}
}

// honoured reports whether a server agreed to send anything at all.
func honoured(params json.RawMessage) bool {
	agreed := mcp.Get(params, "notifications")
	return promises(params, "notifications", "promptsListChanged") || promises(params, "notifications", "resourcesListChanged") ||
		len(mcp.Elements(mcp.Get(agreed, "resourceSubscriptions"))) > 0 || len(mcp.Elements(mcp.Get(agreed, "taskIds"))) > 0
}

// subscribable reports whether a notice is of what was asked for.
func subscribable(l *guard.Listening, method string) bool {
	switch method {
	case mcp.MethodPromptsListChanged, mcp.MethodResourcesListChanged:
		return l.Lists
	case mcp.MethodResourceUpdated:
		return len(l.Resources) > 0
	case mcp.MethodTasks:
		return len(l.Tasks) > 0
	}
	return false
}

// attend listens to a session's own stream, in the same session as the client's calls.
func (u *upstream) attend(ctx context.Context, l *guard.Listening) error {
	if len(l.Tasks) > 0 {
		return u.silent() // no session has tasks that are told of
	}
	s, err := u.enter(ctx, holderOf(l.Caller, l.Session), mcp.Offer(l.Offer), l.Lease)
	if err != nil {
		return err
	}
	defer u.leave(s)
	if !speaksUp(s) {
		return u.silent()
	}
	h := u.listener(ctx, s, l)
	s.attach(h)
	defer s.detach(h)
	st := u.stand(s)
	if st == nil {
		return u.crowded()
	}
	u.await(ctx, st)
	if promises(s.about.Capabilities, "resources", "subscribe") {
		uris := s.follow(l.Resources)
		defer u.forgo(s, l)
		if err := u.follows(ctx, s, uris, l.Lease); err != nil {
			return err
		}
	}
	select {
	case <-st.done:
		if errors.Is(st.err, errSilent) {
			return u.silent()
		}
		return st.err
	case <-h.life.Done():
		if cause := context.Cause(h.life); ctx.Err() == nil {
			return unheeded{cause}
		}
	case <-s.life.Done():
	}
	return nil
}

// speaksUp reports whether a server may have anything to say unasked in a session: changes, logs, or questions that it was offered to ask.
func speaksUp(s *session) bool {
	said := s.about.Capabilities
	for _, one := range []struct{ of, what string }{
		{"tools", "listChanged"}, {"prompts", "listChanged"}, {"resources", "listChanged"}, {"resources", "subscribe"},
	} {
		if promises(said, one.of, one.what) {
			return true
		}
	}
	return s.offer != nil || mcp.Get(said, "logging") != nil
}

// follows subscribes in a session to the resources of a Listening, whoever else has: only then it is sure. That the server does not know one is its
// answer, and no failure.
func (u *upstream) follows(ctx context.Context, s *session, uris []string, lease *guard.Lease) error {
	for _, uri := range uris {
		lost := false
		err := s.alone(ctx, func() (err error) {
			lost, err = u.set(ctx, s, mcp.MethodSubscribe, aboutResource(uri), lease)
			return err
		})
		if lost {
			u.lose(s)
		}
		if err != nil || lost {
			return err
		}
	}
	return nil
}

// forgo ends the subscriptions of a Listening that nobody else needs, without waiting for the server.
func (u *upstream) forgo(s *session, l *guard.Listening) {
	s.unfollow(l.Resources)
	uris, lease := slices.DeleteFunc(slices.Clone(l.Resources), func(uri string) bool { return !s.free(uri) }), l.Lease
	if len(uris) == 0 {
		return
	}
	u.crew.start(func(context.Context) {
		for _, uri := range uris {
			err := s.alone(s.life, func() error {
				if !s.free(uri) {
					return nil // somebody came
				}
				_, err := u.set(s.life, s, mcp.MethodUnsubscribe, aboutResource(uri), lease)
				return err
			})
			if err != nil {
				return // whatever still comes has no hearer
			}
		}
	})
}

// alone makes one change of a session's subscriptions after the other.
func (s *session) alone(ctx context.Context, change func() error) error {
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
		return change()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func aboutResource(uri string) json.RawMessage {
	return slices.Concat([]byte(`{"uri":`), mcp.Quote(uri), []byte(`}`))
}
