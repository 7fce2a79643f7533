package back

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/stdio"
)

const (
	// startLimit is how long a program may take until it speaks: some fetch themselves first.
	startLimit = time.Minute
	// leavingEvery is how often it is looked whether a process has ended.
	leavingEvery = 5 * time.Millisecond
	// mostOwn is how many processes or connections of their own the callers of one server may have.
	mostOwn = 1000
)

// local makes the peer of a server that is a program of this machine, if the operator allows it.
func (b *Back) local(s *guard.Server) (*channels, error) {
	command := stdio.Command{Command: s.Stdio.Command, Env: s.Stdio.Env, Inherit: s.Stdio.Inherit, Directory: s.Stdio.Directory}
	program, err := b.launcher.Allowed(s.Name, command)
	if err != nil {
		return nil, err
	}
	c := b.channels(s)
	c.patience, c.pauses = startLimit, true
	c.config.Alone = s.Stdio.Person
	c.seat = func(whom party) seatKey {
		if !s.Stdio.Person || whom.caller == nil {
			return seatKey{}
		}
		return seatKey{person: whom.caller.Person, agent: whom.caller.Agent, client: whom.caller.ClientID, offer: string(whom.offer)}
	}
	c.dial = func(ctx context.Context, whom party) (duplex.Channel, error) {
		if whom.lease != nil && len(whom.lease.Headers) > 0 {
			return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL,
				"The server %s speaks on its standard input, where the credential of its connection cannot go. Delete the connection.", s.Name)
		}
		if b.launcher.Full() {
			c.awaitLeaving(ctx, b.launcher.Full)
		}
		if b.launcher.Full() {
			b.makeRoom()
		}
		process, err := b.launcher.Start(s.Tenant, s.Name, program)
		if err != nil {
			return nil, err
		}
		return pipe{process}, nil
	}
	return c.start(), nil
}

// channels are those of a server as far as transports do not differ.
func (b *Back) channels(s *guard.Server) *channels {
	limits := mcp.ReplyLimits()
	limits.Bytes = b.cfg.MaxResult
	log := b.cfg.Log.With("tenant", s.Tenant, "server", s.Name)
	return &channels{
		name: s.Name, config: duplex.Config{Server: s.Name, Limits: limits, Log: log}, limit: min(probeLimit, s.Timeout),
		mostSeats: mostOwn, idle: b.cfg.Idle, now: b.now, log: log,
	}
}

// awaitLeaving waits as long as there is no room and a process of the server ends anyway: no other has to go for that.
func (c *channels) awaitLeaving(ctx context.Context, full func() bool) {
	look := time.NewTicker(leavingEvery)
	defer look.Stop()
	for full() && c.leaving.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// makeRoom ends the process that was not used for longest, of those that belong to one principal and that nobody uses.
func (b *Back) makeRoom() {
	var all []*channels
	for _, p := range b.all() {
		if c, ok := p.(*channels); ok && c.pauses && c.config.Alone {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *channels) int { return cmp.Compare(a.longest(), b.longest()) })
	if len(all) > 0 {
		all[0].giveWay()
	}
}

// longest is when the channel that was not used for longest was used, of those that nobody uses, as a number that grows; the largest for none.
func (c *channels) longest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := int64(1<<63 - 1)
	for _, at := range c.seats {
		if at.free() && at.talk != nil {
			oldest = min(oldest, at.used.UnixNano())
		}
	}
	return oldest
}

// giveWay ends the channel that was not used for longest, and waits until it has ended.
func (c *channels) giveWay() {
	c.mu.Lock()
	var found *seat
	for _, at := range c.seats {
		if at.free() && at.talk != nil && (found == nil || at.used.Before(found.used)) {
			found = at
		}
	}
	if found == nil {
		c.mu.Unlock()
		return
	}
	talk := found.talk
	found.talk = nil
	c.mu.Unlock()
	talk.Close()
}

// pipe is a process as a channel.
type pipe struct{ *stdio.Process }

// Send implements duplex.Channel. There are no headers on standard input.
func (p pipe) Send(ctx context.Context, m duplex.Message) error {
	err := p.Process.Send(ctx, m.Body)
	if errors.Is(err, stdio.ErrEnded) {
		return errors.Join(duplex.ErrHungUp, err)
	}
	return err
}
