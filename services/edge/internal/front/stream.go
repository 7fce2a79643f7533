package front

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/services/edge/internal/guard"
)

const (
	// unwatched is how old a call must be before its client's connection is looked at; most are over by then.
	unwatched = 50 * time.Millisecond
	// glance is how often it is looked at after that.
	glance = 20 * time.Millisecond
)

// stream writes Server-Sent Events on the request's own connection. It begins with the first notice, so that an answer without notices
// stays one plain body.
//
// Whoever asks or notifies may do so from another goroutine, and after the answer: nothing is written then, because the connection may be another
// request's.
type stream struct {
	ctx  *fasthttp.RequestCtx
	conn net.Conn
	// shared is the origin whose page may read the answer; empty for none.
	shared string

	every, after time.Duration // 0 for never
	began        time.Time
	answers      func() bool // whether the answer may go down a stream, whatever it is
	opening      *guard.Opening

	mu    sync.Mutex
	begun bool
	over  bool
	last  time.Time // when something was written
	err   error
}

var errOver = errors.New("the request was answered")

// seal ends the use of the connection by everyone but who answers, and reports whether the answer goes down a stream.
func (s *stream) seal() (begun bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return s.begun
}

// message streams one message before the answer.
func (s *stream) message(id string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errOver
	}
	if s.err != nil {
		return s.err
	}
	s.err = s.send(s.head(), id, data, "")
	return s.err
}

// head begins the stream with what is sent first.
func (s *stream) head() string {
	if s.begun {
		return ""
	}
	s.begun = true
	conn := s.conn
	s.ctx.HijackSetNoResponse(true)
	s.ctx.Hijack(func(net.Conn) { _ = conn.Close() }) // the connection ends with the stream
	return streamHead(s.shared)
}

var errPaused = errors.New("the stream was ended before its answer")

// pause ends the stream with an event that only says where and when it can be taken up again.
func (s *stream) pause(id string, retry time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.over {
		return
	}
	event := "id: " + id + "\nretry: " + strconv.FormatInt(retry.Milliseconds(), 10) + "\ndata: \n\n"
	s.err = errors.Join(errPaused, s.write([]byte(s.head()+strconv.FormatInt(int64(len(event)), 16)+"\r\n"+event+"\r\n"+streamTail)))
}

// tend writes a comment where nothing was written for long, and begins the stream where there is none yet: what stands between closes
// connections on which nothing happens, and in 2026-07-28 a closed connection ends the call. False when the client does not take it.
func (s *stream) tend(now time.Time) bool {
	if !s.mu.TryLock() {
		return true // something is being written
	}
	defer s.mu.Unlock()
	switch {
	case s.over || s.err != nil:
	case s.begun && s.every > 0 && now.Sub(s.last) >= s.every:
		s.err = s.write([]byte(comment))
	case !s.begun && s.after > 0 && now.Sub(s.began) >= s.after:
		if s.after = 0; s.answers() {
			s.err = s.write(s.first())
		}
	}
	return s.err == nil || s.over
}

// first begins the stream where there is nothing to say: with an event by which the client can take it up again, or else with a comment.
func (s *stream) first() []byte {
	head := s.head()
	if id := s.opening.ID(); id != "" {
		return appendEvent([]byte(head), id, nil)
	}
	return []byte(head + comment)
}

// end writes the answer as the last event.
func (s *stream) end(a guard.Answer) {
	if s.err == nil {
		s.err = s.send("", a.EventID, a.Message(), streamTail)
	}
}

func (s *stream) send(head, id string, data []byte, tail string) error {
	event := make([]byte, 0, len(head)+len(id)+len(data)+len(tail)+48)
	return s.write(append(appendEvent(append(event, head...), id, data), tail...))
}

func (s *stream) write(event []byte) error {
	s.last = time.Now()
	_, err := s.conn.Write(event)
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
	tend   func(now time.Time) bool
	timer  *time.Timer
	looker sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	quit    chan struct{} // there once somebody looks
}

// watch begins a watch. A connection has one call at a time, so its last watcher is used again, unless that has begun to look.
func watch(c net.Conn, gone func(), tend func(now time.Time) bool) *watcher {
	mine, ok := c.(*patient)
	if ok && mine.watcher != nil {
		w := mine.watcher
		w.gone, w.tend = gone, tend
		w.timer.Reset(unwatched)
		return w
	}
	w := &watcher{conn: c, gone: gone, tend: tend}
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
		case now := <-tick.C:
			if !w.tend(now) {
				w.gone()
				return
			}
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
