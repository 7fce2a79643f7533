package guard

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	sealStream = "stream"
	// Bounds of what is kept of streams so that a client can take them up again: of one stream, of all, and how long after its end.
	maxLogged    = 1 << 20
	maxLoggedAll = 64 << 20
	loggedFor    = 2 * time.Minute
	// logCost is what a stream costs besides its events.
	logCost = 512
)

// replays keep what was sent on streams of the revisions whose clients can take a stream up again with Last-Event-ID.
type replays struct {
	mu    sync.Mutex
	logs  map[string]*eventLog
	of    map[string]*share
	bytes int
}

// share is what is kept for one owner, in the order in which the streams began.
type share struct {
	logs  []*eventLog
	bytes int
}

func newReplays() *replays {
	return &replays{logs: map[string]*eventLog{}, of: map[string]*share{}}
}

// eventLog is what was sent on one stream. The lock of replays is its own.
type eventLog struct {
	of     *replays
	id     string
	owner  string
	token  string // what event ids begin with
	first  int    // number of the first event that is still there
	events [][]byte
	bytes  int
	ended  time.Time
	gone   bool // forgotten: nothing is kept any more
	sink   Sink // who took it up again
	may    func() error
}

func (r *replays) begin(owner string, token func(id string) string) *eventLog {
	l := &eventLog{of: r, id: rand.Text(), owner: owner, first: 1}
	l.token = token(l.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs[l.id] = l
	if r.of[owner] == nil {
		r.of[owner] = &share{}
	}
	mine := r.of[owner]
	mine.logs = append(mine.logs, l)
	r.count(l, logCost)
	return l
}

// count adds to what is kept, or takes away from it. The lock is held.
func (r *replays) count(l *eventLog, bytes int) {
	r.bytes += bytes
	if mine := r.of[l.owner]; mine != nil {
		mine.bytes += bytes
	}
}

// add keeps one message and answers its event id. Where the client took the stream up again, the message goes there.
func (l *eventLog) add(message []byte) (id string) {
	r := l.of
	r.mu.Lock()
	defer r.mu.Unlock()
	id = l.token + "." + strconv.Itoa(l.first+len(l.events))
	l.events = append(l.events, message)
	l.bytes += len(message)
	r.count(l, len(message))
	for len(l.events) > 0 && (l.gone || l.bytes > maxLogged && len(l.events) > 1) {
		l.drop()
	}
	for r.bytes > maxLoggedAll && r.evict() {
	}
	l.pass(id, message)
	return id
}

// pass hands a message on to who took the stream up again, as long as that caller may have it.
func (l *eventLog) pass(id string, message []byte) {
	switch {
	case l.sink == nil:
	case l.may() != nil:
		l.sink.End()
		l.sink = nil
	case l.sink.Send(id, message) != nil:
		l.sink = nil
	}
}

func (l *eventLog) drop() {
	l.bytes -= len(l.events[0])
	l.of.count(l, -len(l.events[0]))
	l.events[0] = nil
	l.events = l.events[1:]
	l.first++
}

// end says that nothing more comes.
func (l *eventLog) end(now time.Time) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	l.ended = now
	if l.sink != nil {
		l.sink.End()
		l.sink = nil
	}
}

// forget keeps nothing of a stream any more. Who took it up again hears it to its end. The lock is held, and its owner's share is tidied after.
func (r *replays) forget(l *eventLog) {
	for len(l.events) > 0 {
		l.drop()
	}
	l.gone = true
	delete(r.logs, l.id)
	r.count(l, -logCost)
}

// tidy takes what was forgotten out of an owner's share. The lock is held.
func (r *replays) tidy(owner string) {
	mine := r.of[owner]
	if mine == nil {
		return
	}
	if mine.logs = slices.DeleteFunc(mine.logs, func(l *eventLog) bool { return l.gone }); len(mine.logs) == 0 {
		delete(r.of, owner)
	}
}

// evict makes room where most is kept for one owner: half of it goes, of streams that ended first, and the oldest before others. The lock is held.
func (r *replays) evict() bool {
	owner := ""
	for one, kept := range r.of {
		if owner == "" || kept.bytes > r.of[owner].bytes {
			owner = one
		}
	}
	most := r.of[owner]
	if most == nil {
		return false
	}
	before, half := len(most.logs), most.bytes/2
	for _, ended := range [...]bool{true, false} {
		for _, l := range most.logs {
			if most.bytes > half && !l.gone && (!ended || !l.ended.IsZero()) {
				r.forget(l)
			}
		}
	}
	r.tidy(owner)
	return len(most.logs) < before
}

// sweep forgets streams that ended a while ago.
func (r *replays) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	touched := map[string]bool{}
	for _, l := range r.logs {
		if !l.ended.IsZero() && now.Sub(l.ended) >= loggedFor {
			r.forget(l)
			touched[l.owner] = true
		}
	}
	for owner := range touched {
		r.tidy(owner)
	}
}

// resumed is a stream that a client takes up again after an event. It is a Stream.
type resumed struct {
	log   *eventLog
	after int
	may   func() error // refuses whose caller may not have the stream any more
}

// from finds the stream of an event id; nil when it is not there any more, or another caller's.
func (r *replays) from(id, owner string, after int, may func() error) *resumed {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.logs[id]
	if l == nil || l.owner != owner || after+1 < l.first {
		return nil
	}
	return &resumed{log: l, after: after, may: may}
}

// Attach implements Stream.
func (s *resumed) Attach(to Sink) {
	l := s.log
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	for i, message := range l.events {
		if number := l.first + i; number > s.after && to.Send(l.token+"."+strconv.Itoa(number), message) != nil {
			return
		}
	}
	if !l.ended.IsZero() {
		to.End()
		return
	}
	if l.sink != nil {
		l.sink.End()
	}
	l.sink, l.may = to, s.may
}

// Gone implements Stream.
func (s *resumed) Gone() {}

// eventID takes an event id apart.
func eventID(id string) (token string, number int, ok bool) {
	token, text, ok := strings.Cut(id, ".")
	if !ok {
		return "", 0, false
	}
	number, err := strconv.Atoi(text)
	return token, number, err == nil && number > 0
}
