package front

import (
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"headgate.dev/services/edge/internal/guard"
)

const (
	// maxQueued is how many bytes wait for one client at most; who is slower than that loses its stream.
	maxQueued = 1 << 20
	// remindEvery is how often a comment goes down every open stream, so that what stands between does not close it.
	remindEvery = 20 * time.Second
	// remindParts is in how many parts the streams are reminded, one after the other: all at once, and the probes that the kernel sends a time after them, are
	// more packets than its queue holds, and a connection whose probes were dropped often enough is cut.
	remindParts = 20
	// remindWithin bounds the writing of one comment, mostMissed is how many in a row a client may not take before its stream is closed.
	remindWithin = 50 * time.Millisecond
	mostMissed   = 2
	// coveredWithin is remindWithin over TLS.
	coveredWithin = time.Second

	streamTail = "0\r\n\r\n"
	comment    = "3\r\n:\n\n\r\n"
)

var errClosed = errors.New("the client's stream is closed")

// idles are the streams that stay open without a request: each is a connection and a queue, and no goroutine while nothing is said.
type idles struct {
	poll  *poll
	every time.Duration // remindEvery
	bound time.Duration // remindWithin

	mu      sync.Mutex
	all     map[*idle]int // → its part of those that are reminded together
	opened  int
	writers sync.WaitGroup
}

// idle is one of them. It implements guard.Sink.
type idle struct {
	of      *idles
	conn    *patient
	stream  guard.Stream
	watched int64
	missed  int // comments in a row that were not taken; whoever reminds has it

	mu      sync.Mutex
	queue   []byte
	backlog int // bytes of the queue that were there to be sent before the stream was taken up: they say nothing of a client's speed
	// attached says that whoever speaks has given what there was.
	attached bool
	writing  bool
	ended    bool
	closed   bool
}

func newIdles() (*idles, error) {
	p, err := newPoll()
	if err != nil {
		return nil, err
	}
	return &idles{poll: p, every: remindEvery, bound: remindWithin, all: map[*idle]int{}}, nil
}

// open begins a stream on a connection that is nobody else's any more.
func (i *idles) open(c *patient, stream guard.Stream, head string) {
	s := &idle{of: i, conn: c, stream: stream}
	c.watcher = nil
	i.mu.Lock()
	i.opened++
	i.all[s] = i.opened % remindParts
	i.mu.Unlock()
	_, err := c.Write([]byte(head))
	if errors.Join(err, c.SetReadDeadline(time.Time{})) != nil {
		s.close()
		return
	}
	_ = i.poll.add(s) // without it, a comment that cannot be written says that the client is gone
	stream.Attach(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached = true
}

// Send implements guard.Sink.
func (s *idle) Send(id string, message []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended {
		return errClosed
	}
	if waiting := len(s.queue) - s.backlog; s.attached && waiting > 0 && waiting+len(message) > maxQueued {
		s.of.writers.Go(s.close) // Send does not block, and whoever sends may hold a lock that the stream's end needs
		s.ended = true
		return errClosed
	}
	s.queue = appendEvent(s.queue, id, message)
	if !s.attached {
		s.backlog = len(s.queue)
	}
	s.writes()
	return nil
}

// End implements guard.Sink.
func (s *idle) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended {
		return
	}
	s.ended = true
	s.queue = append(s.queue, streamTail...)
	s.writes()
}

// writes starts a writer if none is there. The lock is held.
func (s *idle) writes() {
	if !s.writing {
		s.writing = true
		s.of.writers.Go(s.write)
	}
}

// write empties the queue and ends; a stream that has ended is closed then.
func (s *idle) write() {
	for {
		s.mu.Lock()
		out, over := s.queue, s.ended || s.closed
		s.queue, s.backlog = nil, 0
		if len(out) == 0 || s.closed {
			s.writing = false
			s.mu.Unlock()
			if over {
				s.close()
			}
			return
		}
		s.mu.Unlock()
		if _, err := s.conn.Write(out); err != nil {
			s.close()
		}
	}
}

// remind sends a comment, unless something is being said anyway.
func (s *idle) remind() {
	s.mu.Lock()
	if s.writing || s.closed || s.ended {
		s.mu.Unlock()
		return
	}
	s.writing = true
	s.mu.Unlock()
	bound, most := s.of.bound, mostMissed
	if _, covered := s.conn.Conn.(interface{ NetConn() net.Conn }); covered { // which takes nothing more once a write came too late
		bound, most = coveredWithin, 0
	}
	n, err := s.conn.within(bound, []byte(comment))
	switch late := n == 0 && errors.Is(err, os.ErrDeadlineExceeded); {
	case err == nil:
		s.missed = 0
	case late && s.missed < most: // this process, or the client, may just be busy
		s.missed++
	default:
		s.close()
	}
	s.mu.Lock()
	s.writing = false
	if len(s.queue) > 0 {
		s.writes()
	}
	s.mu.Unlock()
}

// close ends the connection and tells the stream, once.
func (s *idle) close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed, s.queue = true, nil
	s.mu.Unlock()
	s.of.mu.Lock()
	delete(s.of.all, s)
	s.of.mu.Unlock()
	s.of.poll.drop(s)
	_ = s.conn.Close()
	s.stream.Gone()
}

func (i *idles) list() []*idle {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := make([]*idle, 0, len(i.all))
	for s := range i.all {
		out = append(out, s)
	}
	return out
}

// part are the streams that are reminded together.
func (i *idles) part(of int) []*idle {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []*idle
	for s, part := range i.all {
		if part == of {
			out = append(out, s)
		}
	}
	return out
}

// run watches the streams until stop is closed.
func (i *idles) run(stop <-chan struct{}) {
	var watching sync.WaitGroup
	watching.Go(func() { i.poll.run((*idle).close) })
	tick := time.NewTicker(i.every / remindParts)
	defer tick.Stop()
	for going, turn := true, 0; going; turn++ {
		select {
		case <-stop:
			going = false
		case <-tick.C:
			for _, s := range i.part(turn % remindParts) {
				s.remind()
			}
		}
	}
	i.poll.close()
	watching.Wait()
}

// finish ends the streams that are still open in order, after what was queued: those that another edge holds, and those whose calls were cut off.
func (i *idles) finish() {
	for _, s := range i.list() {
		s.End()
	}
}

// end closes what is left after patience and waits for the writers.
func (i *idles) end(patience time.Duration) {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting && len(i.list()) > 0; {
		select {
		case <-tick.C:
		case <-limit.C:
			waiting = false
		}
	}
	for _, s := range i.list() {
		s.close()
	}
	i.writers.Wait()
}

// appendEvent adds one Server-Sent Event as one chunk of HTTP/1.1.
func appendEvent(out []byte, id string, data []byte) []byte {
	head := "data: "
	if id != "" {
		head = "id: " + id + "\ndata: "
	}
	data = oneLine(data)
	out = strconv.AppendInt(out, int64(len(head)+len(data)+2), 16)
	out = append(append(append(out, "\r\n"...), head...), data...)
	return append(out, "\n\n\r\n"...)
}
