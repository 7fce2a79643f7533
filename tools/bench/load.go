package main

import (
	"context"
	"math/rand/v2"
	"net/url"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// outcome is what a load saw.
type outcome struct {
	calls, failures int64
	perSecond       float64
	latencies       *hdrhistogram.Histogram // in µs
}

func (o outcome) at(quantile float64) time.Duration {
	return time.Duration(o.latencies.ValueAtQuantile(quantile)) * time.Microsecond
}

// pack is callers that share the connections to one address.
type pack struct {
	client *fasthttp.HostClient
	of     request

	mu   sync.Mutex
	seen outcome
}

func newPack(of request, callers int) (*pack, error) {
	to, err := url.Parse(of.url)
	if err != nil {
		return nil, err
	}
	client := &fasthttp.HostClient{Addr: to.Host, MaxConns: callers, MaxIdemponentCallAttempts: 1, NoDefaultUserAgentHeader: true}
	return &pack{client: client, of: of, seen: outcome{latencies: histogram()}}, nil
}

func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
}

// caller is one of a pack. It is used by one goroutine.
type caller struct {
	of              *pack
	in              *fasthttp.Request
	out             *fasthttp.Response
	calls, failures int64
	latencies       *hdrhistogram.Histogram
}

func (p *pack) caller() *caller {
	c := &caller{of: p, in: fasthttp.AcquireRequest(), out: fasthttp.AcquireResponse(), latencies: histogram()}
	p.of.into(c.in)
	return c
}

// call makes one call; its latency counts from since. One that failed counts as none.
func (c *caller) call(since time.Time) {
	err := c.of.client.Do(c.in, c.out)
	if err != nil || c.out.StatusCode() != fasthttp.StatusOK || !c.of.of.good(c.out.Body()) {
		c.failures++
		return
	}
	if c.latencies.RecordValue(max(1, time.Since(since).Microseconds())) != nil {
		c.failures++
		return
	}
	c.calls++
}

// done adds what a caller saw to what the pack saw.
func (c *caller) done() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.seen.calls += c.calls
	c.of.seen.failures += c.failures
	c.of.seen.latencies.Merge(c.latencies)
}

// closedLoop has each caller send its next call when the last was answered.
func closedLoop(of request, callers int, length time.Duration) (outcome, error) {
	p, err := newPack(of, callers)
	if err != nil {
		return outcome{}, err
	}
	defer p.client.CloseIdleConnections()
	var group sync.WaitGroup
	start := time.Now()
	end := start.Add(length)
	for range callers {
		group.Go(func() {
			c := p.caller()
			defer c.done()
			for now := time.Now(); now.Before(end); now = time.Now() {
				c.call(now)
			}
		})
	}
	group.Wait()
	p.seen.perSecond = float64(p.seen.calls) / time.Since(start).Seconds()
	return p.seen, nil
}

// crowd is how many calls of an open loop may be under way at once; what comes while all are waits, and its latency with it.
const crowd = 256

// openLoop sends calls at a rate, at times that do not depend on answers: those of a Poisson process. Each latency counts from when its call was due.
func openLoop(ctx context.Context, of request, rate float64, length time.Duration) (outcome, error) {
	p, err := newPack(of, crowd)
	if err != nil {
		return outcome{}, err
	}
	defer p.client.CloseIdleConnections()
	due := make(chan time.Time, int(rate*length.Seconds())*2+crowd)
	var group sync.WaitGroup
	for range crowd {
		group.Go(func() {
			c := p.caller()
			defer c.done()
			for at := range due {
				c.call(at)
			}
		})
	}
	start := time.Now()
	err = pace(ctx, rate, start.Add(length), func(at time.Time) { due <- at })
	close(due)
	group.Wait()
	p.seen.perSecond = float64(p.seen.calls) / time.Since(start).Seconds()
	return p.seen, err
}

// pace calls send when calls are due. It has a thread of its own and the kernel's own clock: Go's timers are a millisecond wide.
func pace(ctx context.Context, rate float64, end time.Time, send func(time.Time)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	gaps := rand.New(rand.NewPCG(1, 2)) // the same times for all
	for at := time.Now(); ctx.Err() == nil; {
		at = at.Add(time.Duration(gaps.ExpFloat64() / rate * float64(time.Second)))
		if at.After(end) {
			return nil
		}
		if wait := time.Until(at); wait > 0 {
			nap := unix.NsecToTimespec(int64(wait))
			_ = unix.Nanosleep(&nap, nil) // woken early, it only comes early
		}
		send(at)
	}
	return ctx.Err()
}
