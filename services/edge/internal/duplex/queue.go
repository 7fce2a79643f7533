package duplex

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"headgate.dev/libs/mcp"
)

const (
	// mostWaiting is how many bytes of notices wait for the client of one call before the server is read no further; noticeCost is what one takes besides
	// its own bytes.
	mostWaiting = 1 << 20
	noticeCost  = 64
	// mostStall is how long the reading of a server stands still for a client that does not take what waits. For a while after somebody was given up it is
	// hastyStall: calls of many slow clients together must not stop the server for everybody.
	mostStall  = time.Second
	hastyStall = 100 * time.Millisecond
	hasty      = 10 * time.Second
)

// queue is what the client of one call has not taken yet, in its order. One goroutine puts, one takes.
type queue struct {
	server string
	some   chan struct{} // holds a value while something waits
	room   chan struct{} // holds a value when a full queue has become half empty

	mu      sync.Mutex
	waiting [][]byte
	bytes   int
	// cut says that the client was given up until it has taken what waits: of progress the newest is kept, of the rest how much is missing.
	cut     bool
	newest  []byte
	missing int
}

func newQueue(server string) *queue {
	return &queue{server: server, some: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// put keeps a notice. It answers false when the queue is full: then there is room again when room says so.
func (q *queue) put(notice []byte, progress bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.cut && progress:
		q.newest = notice
	case q.cut:
		q.missing++
	case q.bytes >= mostWaiting:
		taken(q.room)
		return false
	default:
		q.add(notice)
	}
	return true
}

// add keeps one more notice. The caller holds mu.
func (q *queue) add(notice []byte) {
	q.waiting = append(q.waiting, notice)
	q.bytes += len(notice) + noticeCost
	give(q.some)
}

// giveUp begins a gap, unless the client has just made room. Only behind what waits a gap has an end.
func (q *queue) giveUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cut = q.bytes > mostWaiting/2
	return q.cut
}

// next takes the oldest notice; nil when there is none. Behind the last one before a gap comes a word on what is missing, then the newest progress.
func (q *queue) next() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	notice := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	q.bytes -= len(notice) + noticeCost
	if len(q.waiting) == 0 && q.cut {
		q.close()
	}
	if q.bytes <= mostWaiting/2 {
		give(q.room)
	}
	if len(q.waiting) > 0 {
		give(q.some)
	}
	return notice
}

// close ends a gap. That progress was left out nobody need be told: each notice of it stands for those before. The caller holds mu.
func (q *queue) close() {
	if q.missing > 0 {
		q.add(gap(q.server, q.missing))
	}
	if q.newest != nil {
		q.add(q.newest)
	}
	q.cut, q.newest, q.missing = false, nil, 0
}

// gap is the word on notices that are missing.
func gap(server string, missing int) []byte {
	said := fmt.Sprintf("%d notices of the server %s were left out here, because they were not read as fast as it sent them.", missing, server)
	params := append(append([]byte(`{"level":"warning","logger":"headgate","data":`), mcp.Quote(said)...), '}')
	return mcp.Notice(mcp.MethodLog, json.RawMessage(params))
}

// give leaves a sign where none is.
func give(sign chan<- struct{}) {
	select {
	case sign <- struct{}{}:
	default:
	}
}

// taken takes a sign away.
func taken(sign <-chan struct{}) {
	select {
	case <-sign:
	default:
	}
}

// hand keeps a notice for a call. While its client does not take what waits, nothing more is read of the server, for a moment: whoever reads gets
// everything, and who does not holds nobody up. It is the reader's own.
func (c *Conversation) hand(r *request, notice []byte, progress bool) {
	if r.notices.put(notice, progress) {
		return
	}
	limit, late := mostStall, time.Since(c.gaveUp) < hasty
	if late {
		limit = hastyStall
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.notices.room:
	case <-r.ctx.Done(): // nobody takes anything any more
		return
	case <-timer.C:
		if !r.notices.giveUp() {
			break
		}
		c.gaveUp = time.Now()
		if !late && c.cfg.Log != nil {
			c.cfg.Log.Warn("a client does not take the notices of its call; only the newest progress is kept for it, and how many others are missing")
		}
	}
	r.notices.put(notice, progress)
}
