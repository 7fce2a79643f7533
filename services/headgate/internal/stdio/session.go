package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"headgate.dev/libs/mcp"
)

// session is what initialize began: the revisions before 2026-07-28 have one, with an id or without.
type session struct {
	id, version string
	params      json.RawMessage // of the client's initialize, to begin again with
	life        context.Context // of its stream
	end         context.CancelFunc
	begun       bool // the client has said that it is initialized; guarded by Bridge.mu
}

// fields are the headers of the session's messages.
func (s *session) fields(method string) []mcp.Field {
	if s == nil || method == mcp.MethodInitialize {
		return nil
	}
	fields := mcp.Speaker{Version: s.version}.Headers(method, "")
	if s.id != "" {
		fields = append(fields, mcp.Field{Name: mcp.HeaderSessionID, Value: s.id})
	}
	return fields
}

// ended reports whether an answer says that the session is gone (2025-11-25, basic/transports, "Session Management"), and not just that a method is unknown.
func (s *session) ended(a *answer) bool {
	return s != nil && s.id != "" && a.status == http.StatusNotFound && errorCode(a.body) != mcp.CodeMethodNotFound
}

func (b *Bridge) current() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.session
}

// initialize begins a session. It is waited for: what the client sends behind it belongs to the session.
func (b *Bridge) initialize(ctx context.Context, m *mcp.Message) {
	ctx, cancel := context.WithTimeout(ctx, initWait)
	defer cancel()
	f := flightOf(m)
	if full := b.flights.add(f); full != nil {
		b.turnedAway(f, full)
		return
	}
	defer b.flights.landed(f)
	if failed := b.greeting(ctx); failed != nil {
		b.conclude(ctx, f, failed)
		return
	}
	defer func() { <-b.greets }()
	a, failed := b.door.do(ctx, call{verb: http.MethodPost, body: f.body, sent: f.onWay})
	if failed == nil && !visible(a.session) {
		a.done()
		failed = b.door.outside("its session id is not visible ASCII text")
	}
	if failed == nil {
		failed = b.settle(ctx, f, nil, a)
	}
	b.conclude(ctx, f, failed)
	reply := b.flights.answered(f)
	if reply == nil || reply.Result == nil {
		return
	}
	old := b.current()
	b.mu.Lock()
	b.kept = kept{}
	b.mu.Unlock()
	b.replace(old, b.newSession(a.session, reply.Result, m.Params))
	b.group.Go(func() { b.leave(old) })
}

// greeting waits until no other handshake is under way: the last one must be the one that counts.
func (b *Bridge) greeting(ctx context.Context) *mcp.Error {
	select {
	case b.greets <- struct{}{}:
		return nil
	case <-ctx.Done():
		return b.door.failed(ctx.Err(), false)
	}
}

func (b *Bridge) newSession(id string, result, params json.RawMessage) *session {
	version, _ := mcp.Text(result, "protocolVersion")
	if len(version) > 64 || mcp.EncodeHeader(version) != version {
		b.log.Warn("the gateway named a revision that no header can carry")
		version = ""
	}
	s := &session{id: id, version: version, params: params}
	s.life, s.end = context.WithCancel(b.life)
	return s
}

// visible reports whether a session id is one that may be sent back.
func visible(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// replace lets a session take the place of another, whose questions to the client nobody waits for any more.
func (b *Bridge) replace(old, fresh *session) {
	b.mu.Lock()
	b.session = fresh
	b.mu.Unlock()
	if old == nil {
		return
	}
	old.end()
	for _, id := range b.asked.lost(old) {
		b.out.line(mcp.Notice(mcp.MethodCancelled, slices.Concat([]byte(`{"requestId":`), id, []byte(`,"reason":"The session that asked has ended."}`))))
	}
}

// begin marks a session as initialized and opens the stream on which the server speaks by itself.
func (b *Bridge) begin(s *session) {
	b.mu.Lock()
	again := s.begun
	s.begun = true
	b.mu.Unlock()
	if !again {
		b.group.Go(func() { b.listen(s) })
	}
}

// renew begins a session in place of one that the server ended, once for all who notice. The client learns nothing of it.
func (b *Bridge) renew(ctx context.Context, old *session) (*session, *mcp.Error) {
	if failed := b.greeting(ctx); failed != nil {
		return nil, failed
	}
	defer func() { <-b.greets }()
	if now := b.current(); now != old {
		return now, nil
	}
	ctx, cancel := context.WithTimeout(b.life, initWait) // not of one request: others wait for the session too
	defer cancel()
	fresh, begun, failed := b.handshake(ctx, old)
	if failed != nil {
		failed.Message = "The gateway ended the session and no new one could be begun. " + failed.Message
		return nil, failed
	}
	b.log.Info("the gateway ended the session; a new one took its place")
	b.replace(old, fresh)
	if begun {
		b.begin(fresh)
		b.restore(ctx, fresh)
	}
	return fresh, nil
}

// handshake begins a session with what the client said when it began the old one.
func (b *Bridge) handshake(ctx context.Context, old *session) (fresh *session, begun bool, failed *mcp.Error) {
	id := b.newID()
	reply, name, failed := b.inquire(ctx, nil, id, mcp.MethodInitialize, mcp.Outgoing{Body: mcp.NewRequest(id, mcp.MethodInitialize, old.params)})
	switch {
	case failed != nil:
		return nil, false, failed
	case reply.Result == nil:
		return nil, false, &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "It said: " + reply.ErrorMessage}
	case !visible(name):
		return nil, false, b.door.outside("its session id is not visible ASCII text")
	}
	fresh = b.newSession(name, reply.Result, old.params)
	if fresh.version != old.version {
		fresh.end()
		return nil, false, &mcp.Error{Code: mcp.CodeInvalidRequest, Message: fmt.Sprintf(
			"It now speaks %s where it spoke %s. Let your client start headgate again.", fresh.version, old.version)}
	}
	b.mu.Lock()
	begun = old.begun
	b.mu.Unlock()
	if !begun {
		return fresh, false, nil
	}
	a, failed := b.door.do(ctx, call{verb: http.MethodPost, body: mcp.Notice(mcp.MethodInitialized, nil), fields: fresh.fields(mcp.MethodInitialized)})
	if failed == nil {
		a.done()
		if a.status >= 300 {
			failed = b.door.refusal(a)
		}
	}
	if failed != nil {
		fresh.end()
	}
	return fresh, true, failed
}

// kept is what a client told the server for the rest of the session: a new session must be told again.
type kept struct {
	level   json.RawMessage            // params of the last logging/setLevel
	watched map[string]json.RawMessage // params of resources/subscribe, by URI
}

// keep remembers what the server has accepted.
func (b *Bridge) keep(m *mcp.Message) {
	uri, _ := mcp.Text(m.Params, "uri")
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m.Method {
	case mcp.MethodSetLevel:
		b.kept.level = m.Params
	case mcp.MethodSubscribe:
		if b.kept.watched == nil {
			b.kept.watched = map[string]json.RawMessage{}
		}
		b.kept.watched[uri] = m.Params
	case mcp.MethodUnsubscribe:
		delete(b.kept.watched, uri)
	}
}

// restore tells a new session what the client told the old one.
func (b *Bridge) restore(ctx context.Context, s *session) {
	type said struct {
		method string
		params json.RawMessage
	}
	var all []said
	b.mu.Lock()
	if b.kept.level != nil {
		all = append(all, said{mcp.MethodSetLevel, b.kept.level})
	}
	for _, params := range b.kept.watched {
		all = append(all, said{mcp.MethodSubscribe, params})
	}
	b.mu.Unlock()
	for _, one := range all {
		id := b.newID()
		o := mcp.Outgoing{Body: mcp.NewRequest(id, one.method, one.params), Headers: s.fields(one.method)}
		reply, _, failed := b.inquire(ctx, s, id, one.method, o)
		if failed != nil || reply.Result == nil {
			b.log.Warn("the new session did not take what the client told the old one", "method", one.method)
		}
	}
}

// listen keeps the stream open on which the server speaks by itself, for servers that have one.
func (b *Bridge) listen(s *session) {
	last, wait := "", b.cfg.Reconnect
	for s.life.Err() == nil {
		a, failed := b.door.do(s.life, call{verb: http.MethodGet, fields: resuming(s, last)})
		switch {
		case s.life.Err() != nil:
		case failed != nil:
			b.log.Warn("the stream of the gateway's own messages is not open", "error", failed.Message)
			wait = min(2*wait, maxReconnect)
		case a.stream != nil:
			events := mcp.NewEventReader(a.stream, b.door.limits.Bytes)
			heard := b.hear(s, a, events)
			if id := events.LastID(); id != "" {
				last = id
			}
			retry, _ := events.Retry()
			wait = pace(wait, b.cfg.Reconnect, retry, heard)
		case s.ended(a):
			if _, failed := b.renew(s.life, s); failed == nil {
				return // the new session has a stream of its own
			}
			wait = min(2*wait, maxReconnect)
		case passing(a.status):
			b.log.Warn("the stream of the gateway's own messages is not open", "error", b.door.refusal(a).Message)
			wait = min(2*wait, maxReconnect)
		default:
			return // there is no such stream here: 405, or what other servers say instead
		}
		if a != nil {
			a.done()
		}
		if pause(s.life, wait) != nil {
			return
		}
	}
}

// pace is how long to wait before the stream is opened again: as the server asks, else longer each time that it brought nothing.
func pace(before, first, asked time.Duration, heard bool) time.Duration {
	switch {
	case asked > 0:
		return asked
	case heard:
		return first
	}
	return min(2*before, maxReconnect)
}

// passing reports whether an HTTP status may be another one soon.
func passing(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusUnauthorized || status == http.StatusRequestTimeout
}

// resuming are the headers of a GET behind the last event of a stream.
func resuming(s *session, last string) []mcp.Field {
	fields := s.fields("")
	if last != "" {
		fields = append(fields, mcp.Field{Name: "Last-Event-ID", Value: last})
	}
	return fields
}

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave ends a session on the server, which may not allow that.
func (b *Bridge) leave(s *session) {
	if s == nil || s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.life), lastWait)
	defer cancel()
	a, failed := b.door.do(ctx, call{verb: http.MethodDelete, fields: s.fields("")})
	if failed != nil {
		b.log.Info("the session was not ended", "error", errors.New(failed.Message))
		return
	}
	a.done()
}
