package watch

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"headgate.dev/services/trust/internal/store"
)

// The pauses between looks at a server that has not answered yet. They grow from the first to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 3 * time.Second
)

// Watcher keeps one loop of looks for each server. Safe for concurrent use.
type Watcher struct {
	looker *Looker
	every  time.Duration
	log    *slog.Logger

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before it
	loops   map[store.Key]*loop
	running sync.WaitGroup
}

// loop is the watch over one server.
type loop struct {
	kick   chan struct{}
	cancel context.CancelFunc
}

// New makes a watcher that looks at each server every so often. It starts nothing.
func New(looker *Looker, every time.Duration, log *slog.Logger) *Watcher {
	return &Watcher{looker: looker, every: every, log: log, loops: map[store.Key]*loop{}}
}

// Run looks until ctx ends and every loop has ended.
func (w *Watcher) Run(ctx context.Context) {
	w.mu.Lock()
	w.ctx = ctx
	for key, l := range w.loops {
		w.start(key, l)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.stop()
	w.running.Wait()
}

// stop ends all loops. After it no loop starts: whoever holds mu next finds an ended context.
func (w *Watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.loops)
}

// Watch begins to watch a server, or looks at it now if it is watched already.
func (w *Watcher) Watch(key store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, found := w.loops[key]; found {
		select {
		case l.kick <- struct{}{}:
		default: // it will look anyway
		}
		return
	}
	l := &loop{kick: make(chan struct{}, 1)}
	w.loops[key] = l
	if w.ctx != nil {
		w.start(key, l)
	}
}

// Forget ends the watch over a server.
func (w *Watcher) Forget(key store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, found := w.loops[key]; found && l.cancel != nil {
		l.cancel()
	}
	delete(w.loops, key)
}

// start begins a loop. The caller holds mu.
func (w *Watcher) start(key store.Key, l *loop) {
	if w.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	l.cancel = cancel
	w.running.Go(func() {
		defer cancel()
		w.watch(ctx, key, l.kick)
	})
}

func (w *Watcher) watch(ctx context.Context, key store.Key, kick <-chan struct{}) {
	pause := firstPause
	failing := false
	for {
		err := w.looker.Look(ctx, key)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errElsewhere) {
			err = nil // nothing fails: an edge will report it
		}
		if (err != nil) != failing { // said once when it begins and once when it ends
			failing = err != nil
			w.report(key, err)
		}
		wait := w.every
		if !w.looker.registry.Looked(key) {
			wait, pause = min(pause, w.every), min(2*pause, lastPause)
		} else {
			pause = firstPause
		}
		timer := time.NewTimer(spread(wait))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (w *Watcher) report(key store.Key, err error) {
	if err != nil {
		w.log.Warn("server cannot be looked at", "tenant", key.Tenant, "server", key.Name, "cause", err)
		return
	}
	w.log.Info("server is looked at", "tenant", key.Tenant, "server", key.Name)
}

// spread keeps servers that were declared together from being looked at together: a tenth more or less.
func spread(d time.Duration) time.Duration {
	tenth := int64(d / 10)
	if tenth <= 0 {
		return d
	}
	return d - time.Duration(tenth) + time.Duration(rand.Int64N(2*tenth))
}
