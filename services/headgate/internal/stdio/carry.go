package stdio

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"headgate.dev/libs/mcp"
)

// carry sends a request of the client and brings what comes back. It is sent once, except where the gateway said that it did nothing with it: the session was
// gone, or headers that the tool's definition asks for were missing.
func (b *Bridge) carry(ctx context.Context, f *flight) *mcp.Error {
	var s *session
	var fields []mcp.Field
	if !f.modern {
		s = b.current()
	} else {
		mirrored, failed := b.mirrored(ctx, f)
		if failed != nil {
			return failed
		}
		fields = append(headers(f.message), mirrored...)
	}
	a, failed := b.post(ctx, f, s, fields)
	switch {
	case failed != nil:
		return failed
	case s.ended(a):
		if s, failed = b.renew(ctx, s); failed != nil {
			return failed
		}
		a, failed = b.post(ctx, f, s, nil)
	case f.modern && f.method == mcp.MethodToolsCall && mismatched(a):
		more, changed := b.relearned(ctx, f, fields)
		if changed {
			a, failed = b.post(ctx, f, nil, more)
		}
	}
	if failed != nil {
		return failed
	}
	return b.settle(ctx, f, s, a)
}

func (b *Bridge) post(ctx context.Context, f *flight, s *session, fields []mcp.Field) (*answer, *mcp.Error) {
	return b.door.do(ctx, call{verb: http.MethodPost, body: f.body, fields: append(s.fields(f.method), fields...), sent: f.onWay})
}

// inquire asks the server something of the bridge's own, and answers its reply and the session that it named.
func (b *Bridge) inquire(ctx context.Context, s *session, id json.RawMessage, method string, o mcp.Outgoing) (*mcp.Reply, string, *mcp.Error) {
	f := newFlight(o.Body, id)
	f.own, f.method = true, method
	if taken := b.flights.add(f); taken != nil {
		return nil, "", taken
	}
	defer b.flights.landed(f)
	a, failed := b.door.do(ctx, call{verb: http.MethodPost, body: o.Body, fields: o.Headers})
	if failed == nil {
		failed = b.settle(ctx, f, s, a)
	}
	b.flights.rest(f)
	reply := b.flights.answered(f)
	switch {
	case failed != nil:
		return nil, "", failed
	case reply == nil:
		return nil, "", b.door.failed(errNoAnswer, true)
	}
	return reply, a.session, nil
}

// settle brings an answer to the client, as far as it is one.
func (b *Bridge) settle(ctx context.Context, f *flight, s *session, a *answer) *mcp.Error {
	body := bytes.TrimSpace(a.body)
	switch {
	case a.stream != nil:
		return b.follow(ctx, f, s, a)
	case a.status == http.StatusUnauthorized:
		return b.door.refusal(a)
	case a.status < 300 && len(body) > 0:
		return b.deliver(f, s, body)
	}
	if reply, err := mcp.ReadReply(body, b.door.limits); err == nil && reply.Error != nil && (reply.ID == nil || b.flights.expects(f, reply.ID)) {
		return b.deliver(f, s, body)
	}
	if a.status < 300 && !b.flights.waits(f) {
		return nil
	}
	return b.door.refusal(a)
}

// follow reads the stream that answers a request until every answer has come. In a session a stream that breaks off is taken up again.
func (b *Bridge) follow(ctx context.Context, f *flight, s *session, a *answer) *mcp.Error {
	last, wait := "", b.cfg.Reconnect
	for {
		events := mcp.NewEventReader(a.stream, b.door.limits.Bytes)
		failed := b.read(f, s, a, events)
		a.done()
		if id := events.LastID(); id != "" {
			last = id
		}
		if retry, told := events.Retry(); told && retry > 0 {
			wait = retry
		}
		switch {
		case failed != nil:
			return failed
		case !b.flights.waits(f):
			return nil
		case f.modern || last == "":
			return b.door.failed(errNoAnswer, true)
		}
		if a, failed = b.resume(ctx, s, last, wait); failed != nil {
			return failed
		}
	}
}

// read delivers the messages of a stream until it ends. Behind the last answer a server ends it; one that does not is not waited for.
func (b *Bridge) read(f *flight, s *session, a *answer, events *mcp.EventReader) *mcp.Error {
	var over *time.Timer
	for {
		event, err := events.Next()
		if errors.Is(err, mcp.ErrEventTooLarge) {
			return b.door.tooLarge()
		}
		if err != nil {
			return nil
		}
		if event.Type != "" && event.Type != "message" || len(event.Data) == 0 {
			continue
		}
		if failed := b.deliver(f, s, event.Data); failed != nil {
			return failed
		}
		if over == nil && !b.flights.waits(f) {
			over = time.AfterFunc(lull, a.done)
			defer over.Stop()
		}
	}
}

// resume takes up a stream behind the last event that came (2025-11-25, basic/transports, "Resumability and Redelivery").
func (b *Bridge) resume(ctx context.Context, s *session, last string, wait time.Duration) (*answer, *mcp.Error) {
	for try := 1; ; try++ {
		if err := pause(ctx, wait); err != nil {
			return nil, b.door.failed(err, true)
		}
		a, failed := b.door.do(ctx, call{verb: http.MethodGet, fields: resuming(s, last)})
		switch {
		case failed == nil && a.stream != nil:
			return a, nil
		case failed == nil && !passing(a.status):
			return nil, b.door.failed(errors.New("it broke off and cannot be taken up again: HTTP "+strconv.Itoa(a.status)), true)
		case try == mostTries && failed == nil:
			return nil, b.door.refusal(a)
		case try == mostTries:
			return nil, failed
		}
		wait = min(2*wait, maxReconnect)
	}
}

// hear delivers what the server says by itself, and reports whether it said something.
func (b *Bridge) hear(s *session, a *answer, events *mcp.EventReader) bool {
	for heard := false; ; heard = true {
		event, err := events.Next()
		if err != nil {
			if errors.Is(err, mcp.ErrEventTooLarge) {
				b.log.Warn("a message of the gateway was dropped", "error", err)
			}
			return heard
		}
		if event.Type != "" && event.Type != "message" || len(event.Data) == 0 {
			continue
		}
		if failed := b.deliver(nil, s, event.Data); failed != nil {
			b.log.Warn("a message of the gateway was dropped", "error", failed.Message)
		}
	}
}

// deliver writes a message of the gateway, or a batch of them, as far as it is for the client. From is whose stream it came on, nil for one of the server's own.
func (b *Bridge) deliver(from *flight, s *session, document []byte) *mcp.Error {
	parts := []json.RawMessage{document}
	batch := document[0] == '['
	if batch {
		parts = nil
		if !mcp.Valid(document) || json.Unmarshal(document, &parts) != nil || len(parts) == 0 {
			return b.door.outside("an array that holds no messages")
		}
	}
	var lines [][]byte
	whole := true
	for _, part := range parts {
		reply, err := mcp.ReadReply(part, b.door.limits)
		if err != nil {
			return b.door.outside("%s", err)
		}
		judged := b.judge(from, s, reply)
		whole = whole && len(judged) == 1 && bytes.Equal(judged[0], part)
		lines = append(lines, judged...)
	}
	if batch && whole {
		lines = [][]byte{document}
	}
	for _, line := range lines {
		b.out.line(line)
	}
	return nil
}

// judge answers what the client gets of a message: nothing, the message, or for an error without an id one for each request that it can be about.
func (b *Bridge) judge(from *flight, s *session, r *mcp.Reply) [][]byte {
	switch {
	case r.Kind == mcp.Response && r.ID == nil:
		return b.anonymous(from, r)
	case r.Kind == mcp.Response:
		f := b.flights.take(r, from)
		if f == nil {
			b.log.Info("an answer that no request waits for was dropped")
			return nil
		}
		line := b.learn(f, r)
		b.empty(f, r)
		if f.own {
			return nil
		}
		return [][]byte{line}
	case r.Kind == mcp.Request && from != nil && from.modern:
		b.log.Warn("a request of the server was dropped: the client's revision has none", "method", r.Method)
		return nil
	case r.Kind == mcp.Request:
		if line := b.asked.note(s, r); line != nil {
			return [][]byte{line}
		}
		b.log.Warn("a request of the server was dropped: too many wait for the client", "method", r.Method)
		return nil
	case r.Method == mcp.MethodCancelled && from != nil && from.modern:
		b.flights.drop(from) // the server tore a subscription down: no answer follows
	case r.Method == mcp.MethodCancelled:
		return [][]byte{b.asked.withdraw(s, r.Raw)}
	}
	return [][]byte{r.Raw}
}

// anonymous gives an error without an id to the requests that it can be about.
func (b *Bridge) anonymous(from *flight, r *mcp.Reply) [][]byte {
	if from == nil {
		b.log.Warn("an error of the gateway that names no request was dropped", "error", r.ErrorMessage)
		return nil
	}
	var lines [][]byte
	for _, id := range b.flights.refuse(from, r) {
		if from.own {
			return nil
		}
		line, err := mcp.Set(r.Raw, id, "id")
		if err != nil {
			line = mcp.ErrorReply(id, r.ErrorCode, r.ErrorMessage, nil)
		}
		lines = append(lines, line)
	}
	return lines
}

// learn notes what a result means for later messages, and answers it as the client gets it.
func (b *Bridge) learn(f *flight, r *mcp.Reply) []byte {
	if r.Result == nil || f.message == nil {
		return r.Raw
	}
	switch f.method {
	case mcp.MethodToolsList:
		return b.listed(f, r)
	case mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		b.keep(f.message)
	}
	return r.Raw
}
