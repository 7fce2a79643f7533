package guard

import (
	"cmp"
	"net/http"
	"sync"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Limits bound what callers keep open on one edge; 0 is the default of each.
type Limits struct {
	// Streams is how many streams stay open at once, 20,000 by default. StreamsOfOne is how many of them may be those of one person with one agent, 1,000
	// by default: each costs a connection, so one token could take them all.
	Streams, StreamsOfOne int
}

const (
	maxStreams, maxStreamsOfOne = 20_000, 1_000
	// whenStreamsEnd is when a client is told to try again where all streams are taken: nobody knows when others end theirs.
	whenStreamsEnd = 10 * time.Second
)

// streams count those that stay open at this edge, whichever edge holds what they tell.
type streams struct {
	limits Limits

	mu  sync.Mutex
	all int
	of  map[principal]int
}

// principal is who streams are counted for. A caller's OAuth clients count together: a person can have any number of them.
type principal struct{ tenant, person, agent string }

func newStreams(l Limits) *streams {
	limits := Limits{Streams: cmp.Or(l.Streams, maxStreams), StreamsOfOne: cmp.Or(l.StreamsOfOne, maxStreamsOfOne)}
	return &streams{limits: limits, of: map[principal]int{}}
}

// hold counts a stream until its client is gone. One that there is no room for is let go.
func (s *streams) hold(c *Caller, stream Stream) (*counted, error) {
	who := principal{c.Tenant, c.Person, c.Agent}
	if err := s.enter(who); err != nil {
		stream.Gone()
		return nil, err
	}
	return &counted{Stream: stream, leave: sync.OnceFunc(func() { s.leave(who) })}, nil
}

// count makes the stream of an answer one that is counted. Where it is refused here, it is recorded here, wherever it would have been held.
func (g *Guard) count(e *Entry, answer *Answer) error {
	stream, err := g.streams.hold(e.caller, answer.Stream)
	if err != nil {
		*answer, e.relayed = Answer{}, false
		return err
	}
	answer.Stream = stream
	return nil
}

func (s *streams) enter(who principal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[who] >= s.limits.StreamsOfOne:
		return AtHTTP(http.StatusTooManyRequests, faultv1.Reason_REASON_RATE_LIMITED,
			"This caller has %d streams open, which is all that one may have. End one of them before you open another.", s.limits.StreamsOfOne)
	case s.all >= s.limits.Streams:
		full := AtHTTP(http.StatusServiceUnavailable, faultv1.Reason_REASON_UNAVAILABLE,
			"This edge has %d streams open, which is all that it may have. Try again later.", s.limits.Streams)
		full.RetryAfter = whenStreamsEnd
		return full
	}
	s.all++
	s.of[who]++
	return nil
}

func (s *streams) leave(who principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[who]--; s.of[who] == 0 {
		delete(s.of, who)
	}
}

// counted is a stream that is counted.
type counted struct {
	Stream
	leave func()
}

// Gone implements Stream.
func (c *counted) Gone() {
	c.leave()
	c.Stream.Gone()
}
