package front

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// connections are the open connections of a front, each with a goroutine that Serve waits for.
type connections struct {
	mu      sync.Mutex
	all     map[*patient]bool
	closing atomic.Bool
	running sync.WaitGroup
	most    int
	refused atomic.Int64
}

// Refused counts the connections that were closed at once because there were too many.
func (f *Front) Refused() int64 { return f.open.refused.Load() }

// Serve answers requests until ctx ends, then lets those under way finish for at most grace.
func (f *Front) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	over, watching := make(chan struct{}), sync.WaitGroup{}
	watching.Go(func() { f.idles.run(over) })
	defer watching.Wait()
	defer close(over)
	err := f.accept(ln)
	if ctx.Err() != nil {
		err = nil
	}
	f.open.close(false)
	f.guard.EndStreams()
	f.drain(grace)
	f.idles.finish()
	f.idles.end(time.Second)
	return err
}

// lastWord is how long the calls that are cut off have for telling their clients.
const lastWord = time.Second

// drain waits for the requests under way and cuts them off after grace: first the calls, whose clients are told to look whether they took effect, and a
// little later the connections.
func (f *Front) drain(grace time.Duration) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.open.running.Wait()
	}()
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-over:
		return
	case <-patience.C:
		f.log.Warn("requests were cut off at shutdown")
		f.guard.CutOff()
	}
	patience.Reset(lastWord)
	select {
	case <-over:
	case <-patience.C:
		f.open.close(true)
		<-over
	}
}

// whenFull is how long an edge without room for a connection waits before it looks for the next.
const whenFull = 100 * time.Millisecond

// full reports whether a connection could not be taken for want of files or memory.
func full(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (f *Front) accept(ln net.Listener) error {
	for {
		raw, err := ln.Accept()
		if err != nil {
			var passing net.Error
			if errors.As(err, &passing) && passing.Timeout() {
				continue
			}
			if full(err) { // it passes when some connection ends
				f.log.Error("no connection can be taken: the process or the machine has no room for more files", "error", err)
				time.Sleep(whenFull)
				continue
			}
			return errors.Join(err, ignoreClosed(ln.Close()))
		}
		c := &patient{Conn: raw, limit: f.limit}
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
	if len(o.all) >= o.most {
		o.refused.Add(1)
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
	if idle {
		mine.pace = pace{} // the next answer is another
	}
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
