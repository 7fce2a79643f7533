package back

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// firstPause and lastPause are how long after its end a server is not started again: longer each time, until it ran for steady.
	firstPause = time.Second
	lastPause  = time.Minute
	steady     = time.Minute
	// worthWaiting is how much of a pause a call waits for; with more of it left the call is refused.
	worthWaiting = 2 * time.Second
)

// channels is a server that is spoken to over two-way channels: all callers over one, or each over one of their own.
type channels struct {
	name   string
	config duplex.Config
	// dial opens a channel for a party. Opening, greeting included, may take at most patience.
	dial     func(ctx context.Context, whom party) (duplex.Channel, error)
	patience time.Duration
	// seat names the channel that a party uses.
	seat func(whom party) seatKey
	// limit bounds a question of the edge's own, mostSeats is how many channels there may be.
	limit     time.Duration
	mostSeats int
	// idle is how long an own channel that nobody uses stays open.
	idle time.Duration
	// pauses says that a server which ended is not started again at once. One that is only connected to may be.
	pauses bool
	// shut ends what all channels have in common, after them; nil for nothing.
	shut func()
	now  clock.Now
	log  *slog.Logger

	// leaving counts conversations that were dismissed and have not ended.
	leaving atomic.Int64

	era  atomic.Int32
	life context.Context
	end  context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	seats  map[seatKey]*seat
	closed bool
}

// seatKey names one channel of a server. The one that all share, and the edge's own, have no names.
type seatKey struct{ person, agent, client, session, offer string }

// seat is the place of one channel, whether it is open or not. All of it is guarded by the mutex of channels.
type seat struct {
	talk   *duplex.Conversation // nil while there is none
	trying chan struct{}        // closed when the attempt under way is over; nil when there is none
	failed error                // why the last attempt was in vain
	users  int
	used   time.Time
	opened time.Time
	pause  time.Duration
	again  time.Time // before which it is not tried again
}

// party is for whom a server is spoken to.
type party struct {
	caller  *guard.Caller // nil for the edge itself
	session string
	offer   json.RawMessage
	lease   *guard.Lease
}

// start makes it ready for use.
func (c *channels) start() *channels {
	c.life, c.end = context.WithCancel(context.Background())
	c.seats = map[seatKey]*seat{}
	return c
}

// with does something in the conversation of a party, which is opened where there is none.
func (c *channels) with(ctx context.Context, whom party, limit time.Duration, do func(*duplex.Conversation) error) error {
	waiting, stop := context.WithTimeout(ctx, limit)
	at, talk, err := c.take(waiting, whom)
	stop()
	if err != nil {
		return err
	}
	defer c.give(at)
	return do(talk)
}

// take answers the conversation of a party, and counts who uses it.
func (c *channels) take(ctx context.Context, whom party) (*seat, *duplex.Conversation, error) {
	key := c.seat(whom)
	for {
		at, talk, trying, err := c.sit(key, whom)
		if err != nil || talk != nil {
			return at, talk, err
		}
		select {
		case <-trying:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, nil, fault.New(faultv1.Reason_REASON_CANCELLED, "The call was cancelled before the server %s was ready.", c.name).Because(ctx.Err())
			}
			return nil, nil, fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT, "The server %s is still starting. Nothing was sent to it; try again in a moment.", c.name)
		}
		c.mu.Lock()
		err = at.failed
		c.mu.Unlock()
		if err != nil {
			return nil, nil, err
		}
	}
}

// sit finds the seat's conversation, or what to wait for until there is one.
func (c *channels) sit(key seatKey, whom party) (*seat, *duplex.Conversation, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, nil, c.gone()
	}
	at := c.seats[key]
	if at == nil {
		if c.offers(key) >= maxOffers && !c.dismissIdlest(key.samePrincipal) {
			return nil, nil, nil, fault.New(faultv1.Reason_REASON_UPSTREAM,
				"Your calls to the server %s offer %d different sets of capabilities at once, which is as many as there may be. Try again when some are over.", c.name, maxOffers)
		}
		if len(c.seats) >= c.mostSeats && !c.dismissIdlest(func(seatKey) bool { return true }) {
			return nil, nil, nil, fault.New(faultv1.Reason_REASON_UPSTREAM,
				"The server %s has %d connections of its own for callers, which is as many as there may be. Try again later.", c.name, c.mostSeats)
		}
		at = &seat{}
		c.seats[key] = at
	}
	if at.talk != nil && !at.talk.Over() {
		at.users++
		return at, at.talk, nil, nil
	}
	if at.trying == nil {
		wait := at.again.Sub(c.now())
		if wait > worthWaiting {
			return nil, nil, nil, c.paused(at, wait.Round(time.Second))
		}
		trying := make(chan struct{})
		at.trying, at.failed = trying, nil
		c.all.Go(func() { c.open(key, at, trying, whom, wait) })
	}
	return at, nil, at.trying, nil
}

// paused refuses a call while the server is not started again.
func (c *channels) paused(at *seat, wait time.Duration) error {
	if why := fault.From(at.failed); why != nil {
		return fault.New(why.Reason, "%s It is tried again in %s.", why.Sentence, wait).Because(at.failed)
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s ended by itself and is started again in %s at the earliest. If it does so again, tell its owner.", c.name, wait)
}

func (c *channels) give(at *seat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at.users--
	at.used = c.now()
}

// open tries to open the channel of a seat, and stays until it has ended.
func (c *channels) open(key seatKey, at *seat, trying chan struct{}, whom party, wait time.Duration) {
	talk, err := c.greet(whom, wait)
	c.mu.Lock()
	at.talk, at.failed, at.trying, at.opened, at.used = talk, err, nil, c.now(), c.now()
	if err != nil && c.pauses {
		at.fell(c.now())
	}
	if talk != nil && (c.closed || c.seats[key] != at) { // it was given up meanwhile
		defer talk.Close()
	}
	c.mu.Unlock()
	close(trying)
	if talk == nil {
		return
	}
	select {
	case <-talk.Done():
	case <-c.life.Done():
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.talk == talk { // it ended by itself
		at.talk = nil
		if c.pauses {
			at.fell(c.now())
		}
	}
}

// fell notes that a server ended or could not be started.
func (s *seat) fell(now time.Time) {
	switch {
	case s.pause == 0, now.Sub(s.opened) >= steady:
		s.pause = firstPause
	default:
		s.pause = min(2*s.pause, lastPause)
	}
	s.again = now.Add(s.pause)
}

// greet opens a channel and begins the conversation. Some servers of the older revisions end when they are asked for their era; they are tried once
// more without that question.
func (c *channels) greet(whom party, wait time.Duration) (*duplex.Conversation, error) {
	ctx, cancel := context.WithTimeout(c.life, max(wait, 0)+c.patience)
	defer cancel()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, c.gone()
		}
	}
	config := c.config
	config.Offer, config.Era = whom.offer, duplex.Era(c.era.Load())
	if whom.caller == nil && config.Alone {
		config.Offer = json.RawMessage(mcp.Everything) // a look sees also the tools that only capable clients are shown
	}
	talk, err := c.converse(ctx, whom, config)
	if errors.Is(err, duplex.ErrHungUp) && config.Era == duplex.Unknown && ctx.Err() == nil {
		config.Era = duplex.Legacy
		talk, err = c.converse(ctx, whom, config)
	}
	if err != nil {
		c.era.Store(int32(duplex.Unknown))
		return nil, err
	}
	c.era.Store(int32(talk.Era()))
	return talk, nil
}

func (c *channels) converse(ctx context.Context, whom party, config duplex.Config) (*duplex.Conversation, error) {
	channel, err := c.dial(ctx, whom)
	if err != nil {
		return nil, err
	}
	return duplex.Open(ctx, channel, config, whom.lease)
}

func (c *channels) gone() error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s is not used any more as it was. Try again.", c.name)
}

// offers are how many channels one session of a principal has: one for each set of capabilities. The caller holds mu.
func (c *channels) offers(of seatKey) (n int) {
	for key := range c.seats {
		if of.samePrincipal(key) {
			n++
		}
	}
	return n
}

// samePrincipal reports whether two channels differ in nothing but what their client offers.
func (k seatKey) samePrincipal(other seatKey) bool {
	other.offer = k.offer
	return k == other
}

// dismissIdlest ends the channel that was not used for longest, if there is one of these that nobody uses. The caller holds mu.
func (c *channels) dismissIdlest(among func(seatKey) bool) bool {
	var oldest seatKey
	var found *seat
	for key, at := range c.seats {
		if among(key) && at.free() && (found == nil || at.used.Before(found.used)) {
			oldest, found = key, at
		}
	}
	if found != nil {
		c.dismiss(oldest, found)
	}
	return found != nil
}

// free reports whether nobody uses the seat or is about to.
func (s *seat) free() bool { return s.users == 0 && s.trying == nil }

// dismiss gives a seat up and ends its conversation, while everyone else goes on. The caller holds mu.
func (c *channels) dismiss(key seatKey, at *seat) {
	delete(c.seats, key)
	if talk := at.talk; talk != nil {
		at.talk = nil
		c.leaving.Add(1)
		c.all.Go(func() {
			defer c.leaving.Add(-1)
			talk.Close()
		})
	}
}

// sweep implements peer.
func (c *channels) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for key, at := range c.seats {
		unused := at.free() && now.Sub(at.used) > c.idle
		if unused && c.config.Alone || at.free() && at.talk == nil && now.After(at.again.Add(lastPause)) {
			c.dismiss(key, at)
		}
	}
}

// close implements peer.
func (c *channels) close() {
	c.mu.Lock()
	c.closed = true
	for key, at := range c.seats {
		c.dismiss(key, at)
	}
	c.mu.Unlock()
	c.end()
	c.all.Wait()
	if c.shut != nil {
		c.shut()
	}
}

// release implements peer.
func (c *channels) release(h holder) {
	if h.session == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, at := range c.seats {
		if (holder{key.person, key.agent, key.client, key.session}) == h {
			c.dismiss(key, at)
		}
	}
}

// reach opens the channel of a party, if it is not open.
func (c *channels) reach(ctx context.Context, whom party) error {
	return c.with(ctx, whom, c.patience, func(*duplex.Conversation) error { return nil })
}

// call implements peer. The conversation keeps the server's own timeout, which stands still while a client is asked.
func (c *channels) call(ctx context.Context, ex guard.Exchange, _ time.Time) (reply guard.Reply, err error) {
	err = c.with(ctx, party{ex.Caller, ex.Session, ex.Offer, ex.Lease}, ex.Server.Timeout, func(talk *duplex.Conversation) error {
		reply, err = talk.Call(ctx, ex)
		return err
	})
	return reply, err
}

// about implements peer.
func (c *channels) about(ctx context.Context, lease *guard.Lease) (about guard.About, err error) {
	err = c.with(ctx, party{lease: lease}, c.patience, func(talk *duplex.Conversation) error {
		about, err = talk.About(ctx, lease, c.limit)
		return err
	})
	return about, err
}

// said implements peer.
func (c *channels) said() (guard.About, bool) {
	key := c.seat(party{})
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.seats[key]
	if at == nil || at.talk == nil || at.talk.Over() {
		return guard.About{}, false
	}
	return at.talk.Said()
}

// listen implements peer.
func (c *channels) listen(ctx context.Context, l guard.Listening) error {
	return c.with(ctx, party{l.Caller, l.Session, l.Offer, l.Lease}, c.patience, func(talk *duplex.Conversation) error {
		return talk.Listen(ctx, l, c.limit)
	})
}

// definitions implements peer.
func (c *channels) definitions(ctx context.Context, lease *guard.Lease) (tools []mcp.Definition, err error) {
	err = c.with(ctx, party{lease: lease}, c.patience, func(talk *duplex.Conversation) error {
		tools, err = talk.Definitions(ctx, lease, c.limit)
		return err
	})
	return tools, err
}
