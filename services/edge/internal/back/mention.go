package back

import (
	"context"
	"errors"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

// Mention implements guard.Upstream.
func (b *Back) Mention(ctx context.Context, ex guard.Exchange) error {
	p, err := b.of(ex.Server)
	if err != nil {
		return err
	}
	return p.peer.mention(ctx, ex)
}

// mention implements peer. A server of 2026-07-28 is told nothing: it asks anew in each request.
func (u *upstream) mention(ctx context.Context, ex guard.Exchange) error {
	speaks := u.speaks.Load()
	if speaks == nil {
		return nil // nobody has spoken to it
	}
	if speaks.elder {
		return u.elder.mention(ctx, ex)
	}
	var failed []error
	for _, s := range u.sessions.offering(holderOf(ex.Caller, ex.Session), "roots") {
		s.lease.Store(ex.Lease)
		failed = append(failed, u.tell(ctx, s, mcp.Notice(ex.Method, ex.Params), ex.Lease))
		u.leave(s)
	}
	return errors.Join(failed...)
}

// mention implements peer.
func (c *channels) mention(ctx context.Context, ex guard.Exchange) error {
	if !c.config.Alone {
		return nil // who shares a server is not known to it
	}
	key := c.seat(party{ex.Caller, ex.Session, ex.Offer, ex.Lease})
	c.mu.Lock()
	at := c.seats[key]
	var talk *duplex.Conversation
	if at != nil && at.talk != nil && !at.talk.Over() {
		talk = at.talk
		at.users++
	}
	c.mu.Unlock()
	if talk == nil {
		return nil
	}
	defer c.give(at)
	return talk.Mention(ctx, ex)
}
