package guard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// askWithin bounds what one server may delay what several are asked for. leastWithin is what it may take however quick it usually is, because this machine
	// and its own have busy moments, and slowWithin what it may once it was late.
	askWithin   = 2 * time.Second
	leastWithin = 500 * time.Millisecond
	slowWithin  = 100 * time.Millisecond
	// usualTimes is how many times what it usually takes a server may take.
	usualTimes = 8
	// maxPaces is how many servers' paces are known at most, each for one caller.
	maxPaces = 16_384
	// maxLingering is how much may go on at once of what nobody waits for any more.
	maxLingering = 256
)

// Delay is what one server may delay whatever several are asked for: a few times of what it usually takes, and hardly at all from when it was late until it
// answered again. A server's own is for what it is asked in nobody's name, so that no caller makes it look slow to others. Safe for concurrent use; nil is
// of a server that delays no other.
type Delay struct {
	usual   atomic.Int64 // nanoseconds; zero while nothing is known
	slow    atomic.Bool
	lingers atomic.Bool // something that it was asked goes on, and will show when it is quick again
}

// limit is how long the server may take now.
func (d *Delay) limit() time.Duration {
	if d == nil {
		return askWithin
	}
	usual := time.Duration(d.usual.Load())
	switch {
	case d.slow.Load():
		return slowWithin
	case usual == 0:
		return askWithin
	}
	return min(askWithin, max(leastWithin, usualTimes*usual))
}

// known reports whether anything is known of how long the server takes.
func (d *Delay) known() bool { return d.slow.Load() || d.usual.Load() != 0 }

// Answered notes how long an answer took. What is usual goes up with it at once and down by and by, so that a busy moment takes nobody out of a list. An answer
// that took longer than anybody waits shows nothing good.
func (d *Delay) Answered(took time.Duration) {
	if d == nil || took >= askWithin {
		return
	}
	usual := time.Duration(d.usual.Load())
	d.usual.Store(int64(max(took, usual-(usual-took)/8, 1)))
	d.slow.Store(false)
}

func (d *Delay) late() {
	if d != nil {
		d.slow.Store(true)
	}
}

// Bound is ctx for as long as the server may take for something that goes on by itself and says when it is Answered. Done takes what came of it.
func (d *Delay) Bound(ctx context.Context) (bounded context.Context, done func(failure error)) {
	bounded, cancel := context.WithTimeout(ctx, d.limit())
	return bounded, func(failure error) {
		if late(ctx, bounded, failure) {
			d.late()
		}
		cancel()
	}
}

// late reports whether something failed for want of time. A client that went away says nothing of the server.
func late(asked, bounded context.Context, failure error) bool {
	return failure != nil && asked.Err() == nil && errors.Is(bounded.Err(), context.DeadlineExceeded)
}

// patience is what servers may delay in one caller's name: one that is slow for a caller, with the caller's own credential, may be quick for others.
type patience struct {
	mu    sync.Mutex
	paces map[patient]*Delay
	// lingering holds a value for each thing that goes on without being waited for, until over is closed.
	lingering chan struct{}
	over      chan struct{}
}

type patient struct{ owner, server string }

func newPatience() *patience {
	return &patience{paces: map[patient]*Delay{}, lingering: make(chan struct{}, maxLingering), over: make(chan struct{})}
}

// with is the pace of a server for a caller. Without room, any other is forgotten.
func (p *patience) with(c *Caller, s *Server) *Delay {
	at := patient{ownerOf(c), s.Name}
	p.mu.Lock()
	defer p.mu.Unlock()
	pace := p.paces[at]
	if pace != nil {
		return pace
	}
	for other := range p.paces {
		if len(p.paces) < maxPaces {
			break
		}
		delete(p.paces, other)
	}
	pace = &Delay{}
	p.paces[at] = pace
	return pace
}

// linger reports whether something may go on without being waited for: one thing of each pace. Who goes on calls left at its end.
func (p *patience) linger(d *Delay) (left func(), may bool) {
	if !d.lingers.CompareAndSwap(false, true) {
		return nil, false
	}
	select {
	case p.lingering <- struct{}{}:
		return func() {
			d.lingers.Store(false)
			<-p.lingering
		}, true
	default:
		d.lingers.Store(false)
		return nil, false
	}
}

// close ends what goes on, and returns when it has ended. It is for after the last request.
func (p *patience) close() {
	close(p.over)
	for range cap(p.lingering) {
		p.lingering <- struct{}{}
	}
}

type came[T any] struct {
	value T
	err   error
}

// bide does something with a server and waits for it as long as limit. What takes longer goes on up to askWithin, so that it is found out when the server is
// quick again, and must therefore touch nothing of the request but what does not change.
func bide[T any](ctx context.Context, p *patience, s *Server, d *Delay, limit time.Duration, do func(ctx context.Context) (T, error)) (T, error) {
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	stop := context.AfterFunc(ctx, cancel)
	began, out := time.Now(), make(chan came[T], 1)
	go func() {
		value, err := do(lasting)
		if err == nil {
			d.Answered(time.Since(began))
		} else if late(ctx, lasting, err) {
			d.late()
		}
		cancel()
		out <- came[T]{value, err}
	}()
	var over <-chan time.Time
	if limit < askWithin {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case one := <-out:
		stop()
		return one.value, one.err
	case <-over:
	}
	d.late()
	left, may := p.linger(d)
	if !may {
		cancel()
		one := <-out
		return one.value, one.err
	}
	stop()
	go func() {
		defer left()
		select {
		case <-out:
		case <-p.over:
			cancel()
			<-out
		}
	}()
	var none T
	return none, fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT, "The server %s did not answer in time.", s.Name)
}

// inName does something with a server in a caller's name. A server that is the only one delays no other.
func inName[T any](ctx context.Context, g *Guard, c *Caller, s *Server, others bool, do func(ctx context.Context) (T, error)) (T, error) {
	pace := g.patience.with(c, s)
	limit := askWithin
	if others {
		limit = pace.limit()
		if !pace.known() {
			limit = min(limit, s.Delay.first())
		}
	}
	return bide(ctx, g.patience, s, pace, limit, do)
}

// first is how long the server may take for a caller of whom nothing is known.
func (d *Delay) first() time.Duration {
	if d != nil && d.slow.Load() {
		return slowWithin
	}
	return askWithin
}

// about asks what a server says of itself. One that had time to answer and did not is slow for all, because nobody in particular asked.
func (g *Guard) about(ctx context.Context, s *Server, lease *Lease) (About, error) {
	until, bounded := ctx.Deadline()
	had := bounded && time.Until(until) > askWithin/2
	_, known := g.Upstream.Known(s)
	began := time.Now()
	about, err := g.Upstream.About(ctx, s, lease)
	switch {
	case err != nil && had && errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.Delay.late()
	case err == nil && !known:
		s.Delay.Answered(time.Since(began))
	}
	return about, err
}

// each does something with servers, with all at once, in the time that one may delay the others.
func (g *Guard) each(ctx context.Context, c *Caller, servers []*Server, do func(ctx context.Context, s *Server) error) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() {
			_, _ = inName(ctx, g, c, s, len(servers) > 1, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx, s) })
		})
	}
	all.Wait()
}
