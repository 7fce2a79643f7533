package back

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/bytebufferpool"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

const (
	clientName    = "headgate"
	clientVersion = "1"
	// probeLimit bounds one question that finds out how a server speaks, or opens a session.
	probeLimit = 10 * time.Second
	// farewell bounds what is said to a server that is not waited for: that a call is not wanted any more, that a session ends.
	farewell = 2 * time.Second
)

// upstream is one server over Streamable HTTP with its connections, its era and its sessions.
type upstream struct {
	name    string
	at      *url.URL
	heads   heads
	pool    *pool
	limits  mcp.Limits
	limit   time.Duration // of a question of the edge's own
	idle    time.Duration // of a session
	now     clock.Now
	ids     atomic.Uint64
	buffers bytebufferpool.Pool
	crew    *crew

	// elder takes over when the server only speaks HTTP+SSE of 2024-11-05; nil where that is not spoken.
	elder *channels

	probing  flight.Group[*guard.Lease, probed] // nil is the attempt that all share, another that of one credential
	speaks   atomic.Pointer[eras]
	opening  flight.Group[opens, *session]
	sessions sessions
	partings chan struct{} // has room for who ends a session with the server
	streams  atomic.Int64
}

func newUpstream(s *guard.Server, cfg Config, now clock.Now) (*upstream, error) {
	pool, err := newPool(s, cfg.Identities)
	if err != nil {
		return nil, err
	}
	parsed, err := url.Parse(s.URL)
	if err != nil || strings.ContainsAny(parsed.RequestURI()+parsed.Host, "\r\n ") {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has a URL that cannot be used.", s.Name)
	}
	u := &upstream{
		name: s.Name, at: parsed, heads: headsOf(parsed), pool: pool, limits: mcp.ReplyLimits(), limit: probeLimit, idle: cfg.Idle, now: now,
		crew: newCrew(), partings: make(chan struct{}, maxPartings),
	}
	u.limits.Bytes = cfg.MaxResult
	u.ids.Store(duplex.Anywhere())
	if s.Timeout > 0 {
		u.limit = min(u.limit, s.Timeout)
	}
	return u, nil
}

func (u *upstream) speaker(version string) mcp.Speaker {
	return mcp.Speaker{Version: version, ClientName: clientName, ClientVersion: clientVersion}
}

// call makes one request in the client's era where the server has both.
func (u *upstream) call(ctx context.Context, ex guard.Exchange, deadline time.Time) (guard.Reply, error) {
	speaks, err := u.known(ctx, ex.Lease, 0)
	switch {
	case err != nil:
		return guard.Reply{}, err
	case speaks.elder:
		reply, err := u.elder.call(ctx, ex, deadline)
		return reply, u.mistaken(err)
	}
	speak := u.callInSession
	if speaks.modern && (ex.Modern || !speaks.legacy) {
		speak = u.callModern
	}
	reply, err := speak(ctx, &ex, deadline)
	if errors.Is(err, errDoubt) {
		u.reconsider(ctx, speaks, ex.Lease)
	}
	return reply, err
}

// callModern makes one request of 2026-07-28: it is complete in itself.
func (u *upstream) callModern(ctx context.Context, ex *guard.Exchange, deadline time.Time) (guard.Reply, error) {
	if withdrawn(ex.Method) {
		return guard.Reply{}, fault.New(faultv1.Reason_REASON_METHOD, "The server %s speaks %s, which has no %s.", u.name, mcp.V20260728, ex.Method)
	}
	id := mcp.NewID(u.ids.Add(1))
	speaker := u.speaker(mcp.V20260728)
	speaker.Capabilities = ex.Offer
	params, err := speaker.Params(ex.Params)
	if err != nil {
		return guard.Reply{}, u.unwritten(err)
	}
	m := message{body: mcp.NewRequest(id, ex.Method, params), headers: speaker.Headers(ex.Method, headerName(ex)), lease: ex.Lease}
	mirrored, err := mcp.ParamHeaders(ex.Bindings, ex.Arguments)
	if err != nil {
		return guard.Reply{}, fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: %s.", ex.Name, err.Error())
	}
	m.headers = append(m.headers, mirrored...)
	r, err := u.send(ctx, m, deadline)
	if err != nil {
		return guard.Reply{}, err
	}
	reply, err := u.answer(ctx, r, id, ex.Notify)
	reply.Modern = err == nil
	return reply, err
}

// withdrawn reports whether 2026-07-28 took a method away (changelog, "Stateless core").
func withdrawn(method string) bool {
	switch method {
	case mcp.MethodInitialize, mcp.MethodPing, mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		return true
	}
	return false
}

// headerName is what Mcp-Name says: of a task it is the id (SEP-2663).
func headerName(ex *guard.Exchange) string {
	if ex.Name == "" && strings.HasPrefix(ex.Method, "tasks/") {
		id, _ := mcp.Text(ex.Params, "taskId")
		return id
	}
	return ex.Name
}

// unwritten says that a request could not be put into the server's terms. Nothing was sent.
func (u *upstream) unwritten(cause error) error {
	return fault.New(faultv1.Reason_REASON_ARGUMENTS,
		"The request could not be written for the server %s: its _meta is not an object. Correct it and call again.", u.name).Because(cause)
}

// answer reads the answer to a request outside sessions. Notices that come before it in a stream go on as they come.
func (u *upstream) answer(ctx context.Context, r *response, id json.RawMessage, notify func([]byte) error) (guard.Reply, error) {
	if r.events == nil {
		return u.single(r, id)
	}
	for {
		event, err := r.events.Next()
		if err != nil {
			err = r.late(err)
			r.finish(false)
			return guard.Reply{}, u.failed(ctx, err)
		}
		if !event.Message() {
			continue // a stream may begin with an empty event that only has an id
		}
		reply, err := mcp.ReadReply(event.Data, u.limits)
		if err != nil {
			r.finish(false)
			return guard.Reply{}, u.outside(err, "an event of its stream is not one strict JSON-RPC message")
		}
		switch reply.Kind {
		case mcp.Response:
			return u.last(r, reply, id)
		case mcp.Notification:
			if notify == nil || !ofCall(reply.Method) {
				continue // what is not about this request is not this client's
			}
			if err := notify(event.Data); err != nil {
				r.finish(false)
				return guard.Reply{}, err
			}
		case mcp.Request:
			if reply.Method == mcp.MethodPing {
				continue
			}
			r.finish(false)
			return guard.Reply{}, u.outside(nil, "it asked the client for something that was not offered")
		}
	}
}

// ofCall reports whether a notice can belong to a call under way.
func ofCall(method string) bool {
	switch method {
	case mcp.MethodProgress, mcp.MethodLog, mcp.MethodElicitationComplete, mcp.MethodTaskStatus:
		return true
	}
	return false
}

// last takes the response that a stream brought. What may follow it in the stream does not count.
func (u *upstream) last(r *response, reply *mcp.Reply, id json.RawMessage) (guard.Reply, error) {
	if !mcp.SameID(reply.ID, id) {
		r.finish(false)
		return guard.Reply{}, u.outside(nil, "it answered another request than the one it was sent")
	}
	u.leaveOver(r)
	return guard.Reply{Result: reply.Result, Error: reply.Error}, nil
}

// single reads an answer that is one body.
func (u *upstream) single(r *response, id json.RawMessage) (guard.Reply, error) {
	reply, err := mcp.ReadReply(r.body, u.limits)
	switch {
	case err != nil && (r.status == 401 || r.status == 403):
		return guard.Reply{}, u.unauthorized(r.status) // which says nothing of the revision
	case err != nil && (r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable):
		return guard.Reply{}, u.busy(r)
	case err != nil && egress.Redirects(r.status):
		return guard.Reply{}, u.redirected(r, errors.Join(errDoubt, err))
	case err != nil && r.status != 200:
		return guard.Reply{}, u.unclear(r, errors.Join(errDoubt, err))
	case err != nil:
		return guard.Reply{}, u.outside(err, "its answer is not one strict JSON-RPC message")
	case reply.Kind != mcp.Response, reply.Error == nil && r.status != 200:
		return guard.Reply{}, u.outside(nil, "its answer is no answer")
	case reply.ID == nil && reply.Error != nil && r.status >= 400: // an error about a request that it could not read
	case !mcp.SameID(reply.ID, id):
		return guard.Reply{}, u.outside(nil, "it answered another request than the one it was sent")
	}
	if reply.ErrorCode == mcp.CodeUnsupportedVersion {
		u.speaks.Store(nil)
	}
	return guard.Reply{Result: reply.Result, Error: reply.Error}, nil
}

// unclear says that the server answered with an HTTP status alone. It says nothing about the call itself.
func (u *upstream) unclear(r *response, cause error) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s answered outside the protocol: HTTP status %d without a JSON-RPC answer. Whether the call took effect is not known: look before you "+
			"call again, and tell its owner.", u.name, r.status).Because(cause)
}

// redirected says where the server is instead, as many say it of an address that lacks its last slash. What answers so has not executed the request; only
// 303 tells of one that it did (RFC 9110, 15.4.4).
func (u *upstream) redirected(r *response, cause error) error {
	effect := "Nothing was executed."
	if r.status == http.StatusSeeOther {
		effect = "Whether the call took effect is not known: look before you call again."
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s answered with a redirect (%d) to %s. Redirects are not followed: an administrator must set spec.url to the address that it really has. %s",
		u.name, r.status, egress.RedirectedTo(u.at, r.location), effect).Because(cause)
}

// busy says that the server turned the request away for now, and until when where it says so (RFC 9110, 10.2.3).
func (u *upstream) busy(r *response) error {
	seconds := int64((waits(r.later, u.now()) + time.Second - 1) / time.Second)
	why, when := "gets too many requests", "Wait before you call again."
	switch {
	case r.status == http.StatusServiceUnavailable:
		why, when = "is not available now", "Whether the call took effect is not known: look before you call again."
		if seconds > 0 {
			when += fmt.Sprintf(" It asks for %d s until then.", seconds)
		}
	case seconds > 0:
		when = fmt.Sprintf("Call again in %d s.", seconds)
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s %s (HTTP %d). %s", u.name, why, r.status, when)
}

// unauthorized says that the server did not take the credential.
func (u *upstream) unauthorized(status int) error {
	return fault.New(faultv1.Reason_REASON_CREDENTIAL,
		"The server %s refused the credential that it was called with (HTTP %d). An administrator must look at its connection.", u.name, status)
}

// sweep ends idle sessions and connections.
func (u *upstream) sweep(now time.Time) {
	for _, s := range u.sessions.idle(now.Add(-u.idle)) {
		u.end(s)
	}
	u.pool.prune(now)
	if u.elder != nil {
		u.elder.sweep(now)
	}
}

// release ends a holder's sessions.
func (u *upstream) release(h holder) {
	for _, s := range u.sessions.drop(h) {
		u.end(s)
	}
	if u.elder != nil {
		u.elder.release(h)
	}
}

// close ends all sessions and connections.
func (u *upstream) close() {
	u.probing.Close()
	u.opening.Close()
	u.endAll(u.sessions.close())
	u.crew.close()
	if u.elder != nil {
		u.elder.close()
	}
	u.pool.close()
}

// mistaken forgets that a server speaks HTTP+SSE when it turns out not to.
func (u *upstream) mistaken(err error) error {
	if errors.Is(err, errNotOlder) {
		u.speaks.Store(nil)
	}
	return err
}

// prune closes connections that have been idle for too long.
func (p *pool) prune(now time.Time) {
	p.mu.Lock()
	var old []*conn
	kept := p.idle[:0]
	for _, c := range p.idle {
		if now.Sub(c.idle) < idleLimit {
			kept = append(kept, c)
		} else {
			old = append(old, c)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}
