package stdio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headgate.dev/libs/mcp"
)

// take sends one line of the client where it belongs.
func (b *Bridge) take(ctx context.Context, l line) {
	if l.long != nil {
		b.tooLong(ctx, l.long)
		return
	}
	if bytes.HasPrefix(bytes.TrimSpace(l.text), []byte{'['}) {
		b.batch(ctx, l.text)
		return
	}
	m, err := mcp.Read(l.text, mcp.Limits{Bytes: b.cfg.MaxLine})
	switch {
	case err != nil:
		b.unreadable(ctx, l.text, err)
	case m.Kind == mcp.Response:
		b.answers(ctx, m)
	case m.Kind == mcp.Notification && m.Method == mcp.MethodCancelled:
		b.cancelled(ctx, m)
	case m.Kind == mcp.Notification:
		b.notify(ctx, m)
	case m.Method == mcp.MethodInitialize:
		b.initialize(ctx, m)
	default:
		b.launch(ctx, flightOf(m))
	}
}

// modern reports whether a message carries its own metadata: it is of 2026-07-28, or of a revision that the gateway will name its own to.
func modern(m *mcp.Message) bool {
	v := m.ProtocolVersion
	return m.Method != mcp.MethodInitialize && v != "" && !mcp.Legacy(v) && v != mcp.V20241105
}

// headers are those that a modern message is mirrored in (2026-07-28, streamable-http, "Request Metadata").
func headers(m *mcp.Message) []mcp.Field {
	fields := []mcp.Field{
		{Name: mcp.HeaderProtocolVersion, Value: mcp.EncodeHeader(m.ProtocolVersion)}, {Name: mcp.HeaderMethod, Value: mcp.EncodeHeader(m.Method)},
	}
	name := m.Name
	if strings.HasPrefix(m.Method, "tasks/") {
		name, _ = mcp.Text(m.Params, "taskId")
	}
	if name != "" {
		fields = append(fields, mcp.Field{Name: mcp.HeaderName, Value: mcp.EncodeHeader(name)})
	}
	return fields
}

// launch carries a request in its own goroutine, when it is its turn. A stream that stays open takes no turn.
func (b *Bridge) launch(ctx context.Context, f *flight) {
	if full := b.flights.add(f); full != nil {
		b.turnedAway(f, full)
		return
	}
	ctx, f.cancel = context.WithCancel(ctx)
	run := func() {
		defer f.cancel()
		defer b.flights.landed(f)
		if !f.long {
			select {
			case b.turns <- struct{}{}:
				defer func() { <-b.turns }()
			case <-ctx.Done():
			}
		}
		var failed *mcp.Error
		if b.flights.begin(f) {
			failed = b.carry(ctx, f)
		}
		b.conclude(ctx, f, failed)
	}
	if !f.long {
		b.short.Add(1)
		whole := run
		run = func() {
			defer b.short.Done()
			whole()
		}
	}
	b.group.Go(run)
}

// turnedAway refuses a flight that was not let in. Another request waits under an id that is taken: an answer with that id would be taken for its own.
func (b *Bridge) turnedAway(f *flight, why *mcp.Error) {
	if why.Code == mcp.CodeInvalidRequest {
		b.out.line(why.Reply(nil))
		return
	}
	for _, id := range f.open {
		b.out.line(why.Reply(id))
	}
}

// conclude answers what the gateway has not answered.
func (b *Bridge) conclude(ctx context.Context, f *flight, failed *mcp.Error) {
	for _, id := range b.flights.rest(f) {
		if b.life.Err() != nil {
			failed = &mcp.Error{Code: mcp.CodeInternal, Message: "Headgate ended before the answer came. Look whether the call took effect before you call again."}
		}
		if failed == nil {
			failed = b.door.failed(errNoAnswer, true)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			failed = &mcp.Error{Code: mcp.CodeInternal, Message: "The gateway did not answer in time. Try again."}
		}
		b.out.line(failed.Reply(id))
	}
}

var errNoAnswer = errors.New("it ended without an answer")

// notify delivers a notification of the client.
func (b *Bridge) notify(ctx context.Context, m *mcp.Message) {
	s, fields := b.current(), []mcp.Field(nil)
	if modern(m) {
		s, fields = nil, headers(m)
	}
	s, failed := b.tell(ctx, s, m.Raw, fields, m.Method)
	if failed != nil {
		b.log.Warn("a notification was not delivered", "method", m.Method, "error", failed.Message)
		return
	}
	if m.Method == mcp.MethodInitialized && s != nil {
		b.begin(s)
	}
}

// tell posts what wants no answer, and once more to the session that took the place of one that is gone. It answers the session that took it.
func (b *Bridge) tell(ctx context.Context, s *session, body []byte, fields []mcp.Field, method string) (*session, *mcp.Error) {
	ctx, cancel := context.WithTimeout(ctx, noticeWait)
	defer cancel()
	for again := false; ; again = true {
		a, failed := b.door.do(ctx, call{verb: http.MethodPost, body: body, fields: append(s.fields(method), fields...)})
		if failed != nil {
			return s, failed
		}
		a.done()
		switch {
		case a.status < 300:
			return s, nil
		case again || !s.ended(a):
			return s, b.door.refusal(a)
		}
		if s, failed = b.renew(ctx, s); failed != nil {
			return s, failed
		}
	}
}

// answers delivers the client's answer to a request of the server, to the session that asked.
func (b *Bridge) answers(ctx context.Context, m *mcp.Message) {
	q, ok := b.asked.answer(m.ID)
	switch {
	case !ok:
		b.log.Warn("the client answered a request that nobody made; the answer was dropped")
		return
	case q.session != b.current():
		b.log.Warn("the client answered a request of a session that is gone; the answer was dropped")
		return
	}
	body := m.Raw
	if keyOf(q.id) != keyOf(m.ID) {
		var err error
		if body, err = mcp.Set(m.Raw, q.id, "id"); err != nil {
			b.log.Warn("the client's answer was dropped", "error", err)
			return
		}
	}
	b.reply(ctx, q.session, body)
}

// reply posts an answer to the server. It is never given to another session than the one that asked.
func (b *Bridge) reply(ctx context.Context, s *session, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, noticeWait)
	defer cancel()
	a, failed := b.door.do(ctx, call{verb: http.MethodPost, body: body, fields: s.fields("")})
	if failed == nil {
		a.done()
		if a.status >= 300 {
			failed = b.door.refusal(a)
		}
	}
	if failed != nil {
		b.log.Warn("the client's answer was not delivered", "error", failed.Message)
	}
}

// cancelled passes on that the client waits for an answer no more: in a session as the notification that it is, otherwise by closing the stream
// (2026-07-28, basic/patterns/cancellation).
func (b *Bridge) cancelled(ctx context.Context, m *mcp.Message) {
	f, begun := b.flights.find(mcp.Get(m.Params, "requestId"))
	switch {
	case f == nil && modern(m), f == nil && b.current() == nil, f != nil && f.own:
		return
	case f != nil && (f.modern || !begun):
		b.flights.drop(f)
		f.cancel()
		return
	case f != nil:
		// It must not overtake the request.
		timer := time.NewTimer(noticeWait)
		defer timer.Stop()
		select {
		case <-f.sent:
		case <-f.done:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	b.notify(ctx, m)
	if f == nil || f.message == nil {
		return
	}
	// A server that obeys answers nothing and may leave the stream open.
	b.group.Go(func() {
		limit, stop := context.WithTimeout(ctx, b.cfg.Grace)
		defer stop()
		select {
		case <-f.done:
		case <-limit.Done():
			b.flights.drop(f)
			f.cancel()
		}
	})
}

// tooLong refuses a message that is longer than is taken.
func (b *Bridge) tooLong(ctx context.Context, o *outline) {
	refused := &mcp.Error{Code: mcp.CodeInvalidRequest}
	refused.Message = "The message has more than " + strconv.Itoa(b.cfg.MaxLine) + " bytes" + ", so it was not sent. Send less."
	m := o.message()
	switch {
	case m == nil:
		refused.Code = mcp.CodeParse
		b.out.line(refused.Reply(nil))
	case m.Kind == mcp.Request:
		b.out.line(refused.Reply(m.ID))
	default:
		b.unanswerable(ctx, m.ID, "The client's answer has more than "+strconv.Itoa(b.cfg.MaxLine)+" bytes"+".")
	}
}

// unreadable refuses a message that is not strict JSON-RPC. Only a request is answered under its id: the id of an answer is of another request.
func (b *Bridge) unreadable(ctx context.Context, text []byte, err error) {
	refused, ok := errors.AsType[*mcp.Error](err)
	if !ok {
		refused = &mcp.Error{Code: mcp.CodeParse, Message: err.Error()}
	}
	id := refused.ID
	if !mcp.Valid(text) {
		b.out.line(mcp.ErrorReply(mcp.Intended(text, mcp.Limits{Bytes: b.cfg.MaxLine}), refused.Code, refused.Message, refused.Data))
		return
	}
	method := mcp.Get(text, "method") != nil
	switch {
	case id != nil && !method:
		b.unanswerable(ctx, id, "The client's answer is not a JSON-RPC response.")
		id = nil
	case id == nil && method && mcp.Get(text, "id") == nil:
		b.log.Warn("a notification was not sent", "error", refused.Message)
		return
	}
	b.out.line(mcp.ErrorReply(id, refused.Code, refused.Message, refused.Data))
}

// unanswerable tells the server that its request gets no answer, so that it does not wait.
func (b *Bridge) unanswerable(ctx context.Context, id json.RawMessage, why string) {
	b.log.Warn("the client's answer was not sent", "error", why)
	if q, ok := b.asked.answer(id); ok && q.session == b.current() {
		b.reply(ctx, q.session, mcp.ErrorReply(q.id, mcp.CodeInternal, why, nil))
	}
}

// batch passes an array of messages on as it is: revision 2025-03-26 has them. What is in it must be messages.
func (b *Bridge) batch(ctx context.Context, text []byte) {
	var parts []json.RawMessage
	if !mcp.Valid(text) || json.Unmarshal(text, &parts) != nil || len(parts) == 0 {
		b.out.line(mcp.ErrorReply(nil, mcp.CodeParse, "The line is not an array of messages in strict JSON.", nil))
		return
	}
	var ids []json.RawMessage
	var refused error
	s := b.current()
	for _, part := range parts {
		m, err := mcp.Read(part, mcp.Limits{Bytes: b.cfg.MaxLine})
		switch {
		case err != nil:
			refused = err
		case m.Kind == mcp.Request:
			ids = append(ids, m.ID)
		case m.Kind == mcp.Response && !b.asked.unchanged(s, m.ID):
			refused = &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "The batch answers a request that nobody made."}
		}
	}
	switch {
	case refused != nil && len(ids) == 0:
		b.out.line(mcp.ErrorReply(nil, mcp.CodeInvalidRequest, "The batch was not sent: "+refused.Error(), nil))
		return
	case refused != nil:
		for _, id := range ids {
			b.out.line(mcp.ErrorReply(id, mcp.CodeInvalidRequest, "The batch was not sent: "+refused.Error(), nil))
		}
		return
	}
	for _, part := range parts {
		if mcp.Get(part, "method") == nil {
			b.asked.answer(mcp.Get(part, "id"))
		}
	}
	if len(ids) > 0 {
		b.launch(ctx, newFlight(text, ids...))
		return
	}
	if _, failed := b.tell(ctx, s, text, nil, ""); failed != nil {
		b.log.Warn("a batch was not delivered", "error", failed.Message)
	}
}
