package front

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/services/edge/internal/guard"
)

const (
	// writeLimit bounds how long a client may take to take one event.
	writeLimit = 30 * time.Second
	// unwatched is how old a call must be before its client's connection is looked at; most are over by then.
	unwatched = 50 * time.Millisecond
	// glance is how often it is looked at after that.
	glance = 20 * time.Millisecond
)

// stream writes Server-Sent Events on the request's own connection. It begins with the first notice, so that an answer without notices
// stays one plain body.
type stream struct {
	ctx   *fasthttp.RequestCtx
	begun bool
	err   error
}

func (s *stream) notify(notice []byte) error {
	if s.err != nil {
		return nil // the client is gone; the call may go on without it
	}
	head := ""
	if !s.begun {
		s.begun = true
		head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: " +
			"chunked\r\nConnection: close\r\n\r\n"
		s.ctx.HijackSetNoResponse(true)
		s.ctx.Hijack(func(net.Conn) {}) // the connection ends with the stream
	}
	s.err = s.send(head, notice, "")
	return nil
}

// end writes the answer as the last event.
func (s *stream) end(a guard.Answer) {
	if s.err == nil {
		s.err = s.send("", a.Body, "0\r\n\r\n")
	}
}

func (s *stream) send(head string, data []byte, tail string) error {
	event := make([]byte, 0, len(head)+len(data)+len(tail)+48)
	event = append(event, head...)
	event = fmt.Appendf(event, "%x\r\ndata: ", len("data: ")+len(data)+2)
	event = append(append(append(event, oneLine(data)...), "\n\n\r\n"...), tail...)
	conn := s.ctx.Conn()
	if err := conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := conn.Write(event)
	return err
}

// oneLine takes the line breaks out of a JSON document; in strict JSON they only stand between values.
func oneLine(data []byte) []byte {
	for i, c := range data {
		if c == '\n' || c == '\r' {
			out := append([]byte(nil), data...)
			for ; i < len(out); i++ {
				if out[i] == '\n' || out[i] == '\r' {
					out[i] = ' '
				}
			}
			return out
		}
	}
	return data
}

// watcher finds out that a client went away while its call runs. Nothing runs for calls that are over soon.
type watcher struct {
	conn   net.Conn
	gone   func()
	timer  *time.Timer
	looker sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	quit    chan struct{} // there once somebody looks
}

// watch begins a watch. A connection has one call at a time, so its last watcher is used again, unless that has begun to look.
func watch(c net.Conn, gone func()) *watcher {
	mine, ok := c.(*patient)
	if ok && mine.watcher != nil {
		w := mine.watcher
		w.gone = gone
		w.timer.Reset(unwatched)
		return w
	}
	w := &watcher{conn: c, gone: gone}
	w.timer = time.AfterFunc(unwatched, w.begin)
	if ok {
		mine.watcher = w
	}
	return w
}

// begin looks until the call is over, unless it is already.
func (w *watcher) begin() {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return
	}
	w.quit = make(chan struct{})
	w.looker.Add(1)
	w.mu.Unlock()
	defer w.looker.Done()
	raw := rawOf(w.conn)
	if raw == nil {
		return
	}
	if w.conn.SetReadDeadline(time.Time{}) != nil { // the request's own limit would end the looking
		w.gone()
		return
	}
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		if closed(raw) {
			w.gone()
			return
		}
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
	}
}

// stop ends the watch and waits for it.
func (w *watcher) stop() {
	if w.timer.Stop() {
		return // it will not begin
	}
	if mine, ok := w.conn.(*patient); ok {
		mine.watcher = nil
	}
	w.mu.Lock()
	w.stopped = true
	if w.quit != nil {
		close(w.quit)
	}
	w.mu.Unlock()
	w.looker.Wait()
}

// rawOf finds the socket under a connection, below TLS.
func rawOf(c net.Conn) syscall.RawConn {
	if under, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = under.NetConn()
	}
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// closed looks at the socket without taking from it.
func closed(raw syscall.RawConn) bool {
	gone := false
	err := raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true
	})
	return gone || err != nil
}
