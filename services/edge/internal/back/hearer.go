package back

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// maxAsks is how many requests of a server's may wait for one client's answers. As many more may be under way that the client never sees.
	maxAsks = 16
	// askLimit is how much longer than its deadline a call may take while the client is asked.
	askLimit = 10 * time.Minute
)

// hearer is who hears what a server says within a session besides answers: the client of one call, or of a Listening. Safe for concurrent use.
type hearer struct {
	u      *upstream
	at     *session
	life   context.Context
	cancel context.CancelCauseFunc
	lease  *guard.Lease
	token  json.RawMessage // of the progress of a call; nil for none
	heed   func(notice []byte) error
	ask    func(ctx context.Context, request *mcp.Reply) (guard.Reply, error)

	speaking sync.Mutex // one notice at a time, and none after the end
	over     bool

	mu     sync.Mutex
	ended  bool
	open   []*question
	asking int // questions that the client has
	held   int // their bytes
	all    sync.WaitGroup

	// While the client is asked, the server is not what is waited for: the deadline of the call moves.
	conn             *conn
	deadline, latest time.Time
	since            time.Time
}

// question is one request of a server's that is not answered yet.
type question struct {
	request   *mcp.Reply
	client    bool // the client has it
	cancel    context.CancelFunc
	withdrawn bool
}

// listener makes the hearer of a Listening.
func (u *upstream) listener(ctx context.Context, at *session, l *guard.Listening) *hearer {
	h := &hearer{u: u, at: at, lease: l.Lease, heed: l.Notify, ask: l.Ask}
	h.life, h.cancel = context.WithCancelCause(ctx)
	return h
}

// caller makes the hearer of a call.
func (u *upstream) caller(ctx context.Context, at *session, ex *guard.Exchange, deadline time.Time) *hearer {
	h := &hearer{
		u: u, at: at, lease: ex.Lease, heed: ex.Notify, ask: ex.Ask, token: mcp.Get(ex.Params, "_meta", mcp.MetaProgressToken),
		deadline: deadline, latest: deadline.Add(askLimit),
	}
	h.life, h.cancel = context.WithCancelCause(ctx)
	return h
}

// end returns when nothing is asked or said any more. Questions that are open stay without an answer.
func (h *hearer) end() {
	h.mu.Lock()
	h.ended, h.conn = true, nil
	h.mu.Unlock()
	h.cancel(nil)
	h.all.Wait()
	h.speaking.Lock()
	h.over = true
	h.speaking.Unlock()
}

// notify hands one notice on. Who cannot take it hears nothing more.
func (h *hearer) notify(notice []byte) error {
	h.speaking.Lock()
	defer h.speaking.Unlock()
	if h.over || h.heed == nil {
		return nil
	}
	if err := h.heed(notice); err != nil {
		h.over = true
		h.cancel(err)
		return err
	}
	return nil
}

// take has a server's request answered, by the client or in its place, without waiting for it. It answers false when the hearer has ended, and an
// error when the server asks for more at once than anybody would.
func (h *hearer) take(request *mcp.Reply) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return false, nil
	case len(h.open) >= 2*maxAsks:
		return true, h.u.outside(nil, "it asks for more than %d things at once", 2*maxAsks)
	}
	ctx, cancel := context.WithCancel(h.life)
	q := &question{request: request, cancel: cancel}
	if q.client = h.asks(request.Method) && h.asking < maxAsks && h.held+len(request.Raw) <= h.u.limits.Bytes; !q.client {
		q.request = &mcp.Reply{ID: bytes.Clone(request.ID), Method: request.Method} // the rest is nobody's
	}
	h.all.Add(1)
	if !h.u.crew.start(func(life context.Context) { h.answer(ctx, life, q) }) {
		h.all.Done()
		cancel()
		return false, nil
	}
	h.open = append(h.open, q)
	if q.client {
		h.held += len(request.Raw)
		if h.asking++; h.asking == 1 {
			h.since = h.u.now()
			h.wait()
		}
	}
	return true, nil
}

// asks reports whether the client can be asked for what a method is about: it was offered, and there is a way to the client.
func (h *hearer) asks(method string) bool {
	capability := ""
	switch method {
	case mcp.MethodElicit:
		capability = "elicitation"
	case mcp.MethodSample:
		capability = "sampling"
	case mcp.MethodRoots:
		capability = "roots"
	}
	return h.ask != nil && capability != "" && mcp.Get(h.at.offer, capability) != nil
}

// answer finds the answer to a question and sends it to the server.
func (h *hearer) answer(ctx, life context.Context, q *question) {
	stop := context.AfterFunc(life, q.cancel)
	body, lease := h.find(ctx, q)
	stop()
	q.cancel()
	wanted := h.settle(q) && body != nil
	h.all.Done() // the client is not asked any more; that the server hears of it is not what a call waits for
	if wanted {
		if lease == nil {
			lease = h.lease
		}
		if lease == nil {
			lease = h.at.lease.Load()
		}
		_ = h.u.tell(life, h.at, body, lease) // a server that takes no answer goes without
	}
	h.mu.Lock()
	h.open = slices.DeleteFunc(h.open, func(one *question) bool { return one == q })
	h.mu.Unlock()
}

// find answers nil when another hearer has taken the question over. A lease is one to send it with, if the client brought one.
func (h *hearer) find(ctx context.Context, q *question) ([]byte, *guard.Lease) {
	id := q.request.ID
	switch {
	case q.request.Method == mcp.MethodPing:
		return mcp.Result(id, json.RawMessage(`{}`)), nil
	case !q.client && h.asks(q.request.Method):
		return mcp.ErrorReply(id, mcp.CodeInternal, "The client has too many questions to answer. Ask again later.", nil), nil
	case !q.client:
		return unasked(id), nil
	}
	reply, err := h.ask(ctx, q.request)
	switch {
	case errors.Is(err, errTaken):
		return nil, nil
	case errors.Is(err, errNobody):
		return unasked(id), nil
	case err != nil && h.lease != nil && ctx.Err() != nil:
		return nil, nil // the call is over: the server is told that, and does not go on with it because somebody said no
	case err != nil:
		return mcp.ErrorReply(id, mcp.CodeInternal, fault.From(err).Sentence, nil), nil
	case reply.Error != nil:
		return mcp.ErrorResult(id, reply.Error), reply.Lease
	case reply.Result != nil:
		return mcp.Result(id, reply.Result), reply.Lease
	}
	return mcp.ErrorReply(id, mcp.CodeInternal, "The client gave no answer.", nil), nil
}

// unasked refuses a question that the client never sees.
func unasked(id json.RawMessage) []byte {
	return mcp.ErrorReply(id, mcp.CodeMethodNotFound, "The client was not offered for this, or cannot be asked now.", nil)
}

// settle notes that a question has its answer. It reports whether the server still wants it.
func (h *hearer) settle(q *question) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q.client {
		h.held -= len(q.request.Raw)
		if h.asking--; h.asking == 0 {
			h.deadline = h.deadline.Add(h.u.now().Sub(h.since))
			if h.latest.Before(h.deadline) {
				h.deadline = h.latest
			}
			h.wait()
		}
	}
	return !h.ended && !q.withdrawn
}

// withdraw ends a question that the server does not want answered any more.
func (h *hearer) withdraw(id json.RawMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range h.open {
		if mcp.SameID(q.request.ID, id) {
			q.withdrawn = true
			q.cancel()
		}
	}
}

// follow names the connection that the call is read from; nil for none. From then on nothing else sets its deadline.
func (h *hearer) follow(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	h.conn = c
	h.wait()
}

// wait sets how long the server's answer is waited for. The lock is held.
func (h *hearer) wait() {
	if h.conn != nil {
		_ = h.conn.SetReadDeadline(h.limit()) // fails on a closed connection, of which its reader hears as well
	}
}

// limit is when the call is over. The lock is held.
func (h *hearer) limit() time.Time {
	if h.asking > 0 {
		return h.latest
	}
	return h.deadline
}

// until is when the call is over as things stand.
func (h *hearer) until() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.limit()
}
