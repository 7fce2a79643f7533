package front

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// connections are the open connections of a front, each with a goroutine that Serve waits for.
type connections struct {
	mu      sync.Mutex
	all     map[*patient]bool
	closing atomic.Bool
	running sync.WaitGroup
}

// Serve answers requests until ctx ends, then lets those under way finish for at most grace.
func (f *Front) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	err := f.accept(ln)
	if ctx.Err() != nil {
		err = nil
	}
	f.open.close(false)
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.open.running.Wait()
	}()
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-over:
	case <-patience.C:
		f.log.Warn("requests were cut off at shutdown")
		f.open.close(true)
		f.guard.CutOff()
		<-over
	}
	return err
}

func (f *Front) accept(ln net.Listener) error {
	for {
		raw, err := ln.Accept()
		if err != nil {
			var passing net.Error
			if errors.As(err, &passing) && passing.Timeout() {
				continue
			}
			return errors.Join(err, ignoreClosed(ln.Close()))
		}
		c := &patient{Conn: raw}
		if !f.open.add(c) {
			_ = c.Close()
			continue
		}
		f.open.running.Go(func() {
			defer f.open.remove(c)
			_ = f.server.ServeConn(c) // what went wrong on a client's connection was said to the client
		})
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (o *connections) add(c *patient) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing.Load() {
		return false
	}
	if o.all == nil {
		o.all = map[*patient]bool{}
	}
	c.idle.Store(true)
	o.all[c] = true
	return true
}

func (o *connections) remove(c *patient) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, c)
}

// state follows the library's view of a connection.
func (o *connections) state(c net.Conn, s fasthttp.ConnState) {
	mine, ok := c.(*patient)
	if !ok {
		return
	}
	idle := s == fasthttp.StateIdle || s == fasthttp.StateNew
	mine.idle.Store(idle)
	if idle && o.closing.Load() { // who closes marks first and looks then, who becomes idle the other way round: one of them sees it
		_ = c.Close()
	}
}

// close ends idle connections, or all of them, and takes no more.
func (o *connections) close(all bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing.Store(true)
	for c := range o.all {
		if all || c.idle.Load() {
			_ = c.Close()
		}
	}
}
