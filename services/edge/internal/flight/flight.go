// Package flight lets callers who need the same thing at the same time share one attempt to get it.
package flight

import (
	"context"
	"errors"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Group shares attempts by key. The zero value is ready. Safe for concurrent use.
type Group[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*attempt[V]
	closed  bool
	all     sync.WaitGroup
}

type attempt[V any] struct {
	done   chan struct{}
	cancel context.CancelFunc
	value  V
	err    error
}

// Do runs get for the first caller of a key, and gives its outcome to those who come while it runs. The attempt does not end when a caller goes
// away, but after limit at the latest; who waits, the first as well, stops waiting when ctx ends.
func (g *Group[K, V]) Do(ctx context.Context, key K, limit time.Duration, get func(ctx context.Context) (V, error)) (V, error) {
	var none V
	g.mu.Lock()
	shared := g.running[key]
	if shared == nil {
		if g.closed {
			g.mu.Unlock()
			return none, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "This edge is shutting down. Try again, another one answers.")
		}
		shared = g.start(ctx, key, limit, get)
	}
	g.mu.Unlock()
	select {
	case <-shared.done:
		return shared.value, shared.err
	case <-ctx.Done():
		return none, late(ctx.Err())
	}
}

// start begins an attempt. The lock is held.
func (g *Group[K, V]) start(ctx context.Context, key K, limit time.Duration, get func(ctx context.Context) (V, error)) *attempt[V] {
	mine := &attempt[V]{done: make(chan struct{})}
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	mine.cancel = cancel
	if g.running == nil {
		g.running = map[K]*attempt[V]{}
	}
	g.running[key] = mine
	g.all.Go(func() {
		defer cancel()
		mine.value, mine.err = get(lasting)
		g.mu.Lock()
		delete(g.running, key)
		g.mu.Unlock()
		close(mine.done)
	})
	return mine
}

// late says why somebody does not wait any more.
func late(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return fault.New(faultv1.Reason_REASON_CANCELLED, "The request was given up before Headgate knew what it needs for it.").Because(cause)
	}
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "What Headgate needs for this request did not come in time. Try again in a moment.").Because(cause)
}

// Close ends the attempts under way and returns when they have ended. No more are begun.
func (g *Group[K, V]) Close() {
	g.mu.Lock()
	g.closed = true
	for _, one := range g.running {
		one.cancel()
	}
	g.mu.Unlock()
	g.all.Wait()
}
