// Package back speaks to upstream servers over Streamable HTTP in both eras of the protocol. A call is sent at most once, nothing of the caller's
// HTTP request goes upstream, and what comes back is read strictly.
package back

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/bytebufferpool"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

// Config bounds what upstreams may do.
type Config struct {
	// MaxResult is the most bytes of one answer; 0 means 8 MiB.
	MaxResult int
	// MaxCalls is how many calls may run at one upstream at once; 0 means 1,024.
	MaxCalls int
}

// Back implements guard.Upstream. Safe for concurrent use.
type Back struct {
	cfg Config
	now clock.Now

	mu      sync.RWMutex
	servers map[target]*upstream
}

// target is a server as far as its connections are concerned: another URL or authority is another upstream.
type target struct {
	tenant, name, url, ca string
	timeout               time.Duration
}

// upstream is one server with its connections, its era and its sessions.
type upstream struct {
	name    string
	head    []byte
	pool    *pool
	limits  mcp.Limits
	limit   time.Duration // of a question of the edge's own
	now     clock.Now
	ids     atomic.Uint64
	running atomic.Int64
	buffers bytebufferpool.Pool

	probing  flight.Group[struct{}, *eras]
	speaks   atomic.Pointer[eras]
	opening  flight.Group[whose, *session]
	mu       sync.Mutex
	sessions map[whose]*session
}

// New makes a Back without connections.
func New(cfg Config, now clock.Now) *Back {
	if cfg.MaxResult <= 0 {
		cfg.MaxResult = mcp.ReplyLimits().Bytes
	}
	if cfg.MaxCalls <= 0 {
		cfg.MaxCalls = 1024
	}
	return &Back{cfg: cfg, now: now, servers: map[target]*upstream{}}
}

// Run closes all connections when ctx ends, and until then those of servers that are not used any more.
func (b *Back) Run(ctx context.Context) error {
	<-ctx.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, u := range b.servers {
		u.pool.close()
		delete(b.servers, at)
	}
	return nil
}

// of finds or makes the upstream of a server.
func (b *Back) of(s *guard.Server) (*upstream, error) {
	at := target{s.Tenant, s.Name, s.URL, s.CA, s.Timeout}
	b.mu.RLock()
	u := b.servers[at]
	b.mu.RUnlock()
	if u != nil {
		return u, nil
	}
	pool, err := newPool(s)
	if err != nil {
		return nil, err
	}
	parsed, err := url.Parse(s.URL)
	if err != nil || strings.ContainsAny(parsed.RequestURI()+parsed.Host, "\r\n ") {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has a URL that cannot be used.", s.Name)
	}
	limits := mcp.ReplyLimits()
	limits.Bytes = b.cfg.MaxResult
	u = &upstream{name: s.Name, pool: pool, limits: limits, limit: min(probeLimit, s.Timeout), now: b.now, sessions: map[whose]*session{}}
	u.head = []byte("POST " + parsed.RequestURI() + " HTTP/1.1\r\nHost: " + parsed.Host +
		"\r\nUser-Agent: headgate\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n")
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.servers[at]; other != nil {
		return other, nil
	}
	for old, gone := range b.servers { // a changed server leaves its old connections behind
		if old.tenant == at.tenant && old.name == at.name {
			gone.pool.close()
			delete(b.servers, old)
		}
	}
	b.servers[at] = u
	return u, nil
}

// Forward implements guard.Upstream.
func (b *Back) Forward(ctx context.Context, ex guard.Exchange) (guard.Reply, error) {
	u, err := b.of(ex.Server)
	if err != nil {
		return guard.Reply{}, err
	}
	if u.running.Add(1) > int64(b.cfg.MaxCalls) {
		u.running.Add(-1)
		return guard.Reply{}, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has too many calls running. Try again in a moment.", u.name)
	}
	defer u.running.Add(-1)
	deadline := b.now().Add(ex.Server.Timeout)
	if until, ok := ctx.Deadline(); ok && until.Before(deadline) {
		deadline = until
	}
	return u.call(ctx, ex, deadline)
}

// call makes one tool call. Only a session that the server has lost is opened anew, because then nothing ran.
func (u *upstream) call(ctx context.Context, ex guard.Exchange, deadline time.Time) (guard.Reply, error) {
	way, err := u.way(ctx, ex.Lease, ex.Modern)
	if err != nil {
		return guard.Reply{}, err
	}
	id := mcp.NewID(u.ids.Add(1))
	for attempt := range 2 {
		m := message{lease: ex.Lease}
		speaker := mcp.Speaker{Version: way, ClientName: clientName, ClientVersion: clientVersion}
		var at *session
		if !mcp.Modern(way) {
			if at, err = u.session(ctx, whoseOf(ex.Caller), ex.Lease); err != nil {
				return guard.Reply{}, err
			}
			speaker.Version, m.session = at.version, at.id
		}
		if m.body, err = callBody(id, ex, speaker.Version); err != nil {
			return guard.Reply{}, u.outside(err, "its call could not be written")
		}
		m.headers = speaker.Headers(mcp.MethodToolsCall, ex.Tool)
		if mcp.Modern(way) {
			mirrored, err := mcp.ParamHeaders(ex.Bindings, ex.Arguments)
			if err != nil {
				return guard.Reply{}, fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: %s.", ex.Tool, err.Error())
			}
			m.headers = append(m.headers, mirrored...)
		}
		r, err := u.post(ctx, m, deadline)
		if err != nil {
			return guard.Reply{}, err
		}
		if r.status == 404 && at != nil && at.id != "" && attempt == 0 && r.events == nil {
			u.lose(whoseOf(ex.Caller), at)
			continue
		}
		return u.answer(ctx, r, id, ex.Notify)
	}
	return guard.Reply{}, u.outside(nil, "it knows none of the sessions that it opens")
}

// answer reads the answer to one request. Notices that come before it in a stream go on as they come.
func (u *upstream) answer(ctx context.Context, r *response, id json.RawMessage, notify func([]byte) error) (guard.Reply, error) {
	if r.events == nil {
		return u.single(r, id)
	}
	for {
		event, err := r.events.Next()
		if err != nil {
			r.finish(false)
			return guard.Reply{}, u.failed(ctx, err)
		}
		if len(event.Data) == 0 {
			continue // a stream may begin with an empty event that only has an id
		}
		reply, err := mcp.ReadReply(event.Data, u.limits)
		if err != nil {
			r.finish(false)
			return guard.Reply{}, u.outside(err, "an event of its stream is not one strict JSON-RPC message")
		}
		switch reply.Kind {
		case mcp.Response:
			if !mcp.SameID(reply.ID, id) {
				r.finish(false)
				return guard.Reply{}, u.outside(nil, "it answered another request than the one it was sent")
			}
			r.drain()
			return guard.Reply{Result: reply.Result, Error: reply.Error}, nil
		case mcp.Notification:
			if notify == nil || reply.Method != "notifications/progress" && reply.Method != "notifications/message" {
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

// single reads an answer that is one body.
func (u *upstream) single(r *response, id json.RawMessage) (guard.Reply, error) {
	reply, err := mcp.ReadReply(r.body, u.limits)
	switch {
	case err != nil && r.status == 401 || err != nil && r.status == 403:
		u.speaks.Store(nil)
		return guard.Reply{}, fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"The server %s refused the credential that it was called with (HTTP %d). An administrator must look at its connection.", u.name, r.status)
	case err != nil && r.status != 200:
		u.speaks.Store(nil) // perhaps it speaks another revision by now
		return guard.Reply{}, u.outside(err, "HTTP status %d without a JSON-RPC answer", r.status)
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
