// Package back speaks to upstream servers over Streamable HTTP in both eras of the protocol. A call is sent at most once, nothing of the caller's
// HTTP request goes upstream, and what comes back is read strictly.
//
// Back keeps one peer for each server. An upstream is the peer over Streamable HTTP: a request of 2026-07-28 is complete in itself, one of the
// revisions before is made in a session that belongs to one client and offers exactly what that client can do. In a session the server may speak
// besides answering, by the stream of a call or by the session's own, the standing one; a hearer is who it speaks to: the client of a call, or of a
// Listening.
package back

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/stdio"
)

// forgetAfter is how long a server is remembered that nobody uses.
const forgetAfter = time.Hour

// Config bounds what upstreams may do.
type Config struct {
	// MaxResult is the most bytes of one answer; 0 means 8 MiB.
	MaxResult int
	// MaxCalls is how many calls may run at one upstream at once; 0 means 1,024.
	MaxCalls int
	// MaxCallsOfOne is how many of them may be one principal's; 0 means an eighth.
	MaxCallsOfOne int
	// Idle is how long a session with a server is kept unused; 0 means 10 minutes.
	Idle time.Duration
	// Stdio is which programs the operator allows to be started, Lookup finds the variables that they may inherit.
	Stdio  stdio.Config
	Lookup stdio.Lookup
	// Log takes what programs say; nil discards it.
	Log *slog.Logger
	// Identities are the client certificates that servers can be shown.
	Identities egress.Identities
}

// Back implements guard.Upstream. Safe for concurrent use.
type Back struct {
	cfg  Config
	now  clock.Now
	crew *crew
	// launcher starts programs.
	launcher *stdio.Launcher

	mu      sync.RWMutex
	servers map[target]*place // nil when Run has ended
}

// target is a server as far as its connections are concerned: another URL, or somebody else to expect there or to be there, is another upstream.
type target struct {
	tenant, name, url, ca, pins, certificate, program string
	timeout                                           time.Duration
}

func targetOf(s *guard.Server) target {
	return target{s.Tenant, s.Name, s.URL, s.CA, strings.Join(s.Pins, " "), s.ClientCertificate, s.Stdio.Key(), s.Timeout}
}

// New makes a Back without connections.
func New(cfg Config, now clock.Now) *Back {
	if cfg.MaxResult <= 0 {
		cfg.MaxResult = mcp.ReplyLimits().Bytes
	}
	if cfg.MaxCalls <= 0 {
		cfg.MaxCalls = 1024
	}
	if cfg.MaxCallsOfOne <= 0 {
		cfg.MaxCallsOfOne = max(cfg.MaxCalls/8, 1)
	}
	if cfg.Idle <= 0 {
		cfg.Idle = 10 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Stdio.Shares() {
		cfg.Log.Warn("programs run as the edge's own user and can read its files, also those of its keys: set service.stdio.user")
	}
	launcher := stdio.NewLauncher(cfg.Stdio, stdio.Options{MaxLine: cfg.MaxResult, Lookup: cfg.Lookup}, cfg.Log)
	return &Back{cfg: cfg, now: now, crew: newCrew(), launcher: launcher, servers: map[target]*place{}}
}

// Run ends what is not used any more until ctx ends, and then everything: sessions are ended with their servers, connections closed. It returns
// when every goroutine has ended. What is asked of Back afterwards is refused.
func (b *Back) Run(ctx context.Context) error {
	ticker := time.NewTicker(min(max(b.cfg.Idle/8, time.Millisecond), 30*time.Second))
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			b.sweep(b.now())
		case <-ctx.Done():
		}
	}
	b.mu.Lock()
	for at, p := range b.servers {
		b.leave(at, p)
	}
	b.servers = nil
	b.mu.Unlock()
	b.crew.close()
	return nil
}

// sweep forgets servers that nobody uses, and ends idle sessions with the others.
func (b *Back) sweep(now time.Time) {
	b.mu.Lock()
	kept := make([]*place, 0, len(b.servers))
	for at, p := range b.servers {
		if p.calls() == 0 && p.heard.Load() == 0 && now.Sub(time.Unix(0, p.used.Load())) > forgetAfter {
			b.leave(at, p)
			continue
		}
		kept = append(kept, p)
	}
	b.mu.Unlock()
	for _, p := range kept {
		p.peer.sweep(now)
	}
}

// leave forgets a server and closes what is open to it, without waiting. The lock is held.
func (b *Back) leave(at target, p *place) {
	delete(b.servers, at)
	b.crew.start(func(context.Context) { p.peer.close() })
}

// of finds or makes the place of a server.
func (b *Back) of(s *guard.Server) (*place, error) {
	at := targetOf(s)
	b.mu.RLock()
	p := b.servers[at]
	b.mu.RUnlock()
	if p == nil {
		var err error
		if p, err = b.add(at, s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (b *Back) add(at target, s *guard.Server) (*place, error) {
	made, err := b.make(s)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.servers[at]; other != nil {
		made.close() // nothing is open yet
		return other, nil
	}
	if b.servers == nil {
		made.close()
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "This edge is shutting down. Try again, another one answers.")
	}
	for old, gone := range b.servers { // a changed server leaves its old connections behind
		if old.tenant == at.tenant && old.name == at.name {
			b.leave(old, gone)
		}
	}
	p := &place{peer: made, name: s.Name}
	p.used.Store(b.now().UnixNano())
	b.servers[at] = p
	return p, nil
}

// make is a peer for what the server is spoken to over. It opens nothing.
func (b *Back) make(s *guard.Server) (peer, error) {
	if s.Stdio != nil {
		return b.local(s)
	}
	u, err := newUpstream(s, b.cfg, b.now)
	if err != nil {
		return nil, err
	}
	elder, err := b.older(s)
	if err != nil {
		return nil, err
	}
	u.elder = elder
	return u, nil
}

// Retain closes what is open to servers that are not kept: deleted, quarantined or stopped ones. It waits for nothing.
func (b *Back) Retain(keep func(tenant, name string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at, p := range b.servers {
		if !keep(at.tenant, at.name) {
			b.leave(at, p)
		}
	}
}

// all are the peers there are now.
func (b *Back) all() []peer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]peer, 0, len(b.servers))
	for _, p := range b.servers {
		out = append(out, p.peer)
	}
	return out
}

// Forward implements guard.Upstream.
func (b *Back) Forward(ctx context.Context, ex guard.Exchange) (guard.Reply, error) {
	p, err := b.of(ex.Server)
	if err != nil {
		return guard.Reply{}, err
	}
	if err := p.enter(ex.Caller, &b.cfg); err != nil {
		return guard.Reply{}, err
	}
	defer p.leave(ex.Caller)
	now := b.now()
	p.used.Store(now.UnixNano())
	deadline := now.Add(ex.Server.Timeout)
	if until, ok := ctx.Deadline(); ok && until.Before(deadline) {
		deadline = until
	}
	return p.peer.call(ctx, ex, deadline)
}

// About implements guard.Upstream.
func (b *Back) About(ctx context.Context, s *guard.Server, lease *guard.Lease) (guard.About, error) {
	p, err := b.of(s)
	if err != nil {
		return guard.About{}, err
	}
	p.used.Store(b.now().UnixNano())
	return p.peer.about(ctx, lease)
}

// Known implements guard.Upstream.
func (b *Back) Known(s *guard.Server) (guard.About, bool) {
	b.mu.RLock()
	p := b.servers[targetOf(s)]
	b.mu.RUnlock()
	if p == nil {
		return guard.About{}, false
	}
	return p.peer.said()
}

// Definitions lists all tools that a server shows, page by page.
func (b *Back) Definitions(ctx context.Context, s *guard.Server, lease *guard.Lease) ([]mcp.Definition, error) {
	p, err := b.of(s)
	if err != nil {
		return nil, err
	}
	p.used.Store(b.now().UnixNano())
	return p.peer.definitions(ctx, lease)
}

// Listen implements guard.Upstream.
func (b *Back) Listen(ctx context.Context, l guard.Listening) error {
	p, err := b.of(l.Server)
	if err != nil {
		return err
	}
	p.heard.Add(1)
	defer p.heard.Add(-1)
	p.used.Store(b.now().UnixNano())
	return p.peer.listen(ctx, l)
}

// Release implements guard.Upstream.
func (b *Back) Release(c *guard.Caller, session string) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for at, p := range b.servers {
		if at.tenant == c.Tenant {
			p.peer.release(holderOf(c, session))
		}
	}
}
