// Package flight lets callers who need the same thing at the same time share one attempt to get it.
package flight

import (
	"context"
	"sync"
	"time"
)

// Group shares attempts by key. The zero value is ready. Safe for concurrent use.
type Group[K comparable, V any] struct {
	mu      sync.Mutex
	running map[K]*attempt[V]
}

type attempt[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// Do runs get for the first caller of a key, and gives its outcome to those who come while it runs. The attempt does not end when the first
// caller goes away, but after limit at the latest; who waits stops waiting when ctx ends.
func (g *Group[K, V]) Do(ctx context.Context, key K, limit time.Duration, get func(ctx context.Context) (V, error)) (V, error) {
	g.mu.Lock()
	if shared := g.running[key]; shared != nil {
		g.mu.Unlock()
		select {
		case <-shared.done:
			return shared.value, shared.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	mine := &attempt[V]{done: make(chan struct{})}
	if g.running == nil {
		g.running = map[K]*attempt[V]{}
	}
	g.running[key] = mine
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.running, key)
		g.mu.Unlock()
		close(mine.done)
	}()
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	mine.value, mine.err = get(lasting)
	return mine.value, mine.err
}
