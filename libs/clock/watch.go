package clock

import (
	"sync"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// tolerance is what a clock may be moved at once: what time services correct in small steps. drift is what one may go wrong by itself, of the time passed.
	tolerance = 5 * time.Second
	drift     = 1000
	// settling is how long a clock must run evenly after a jump until it is believed again.
	settling = time.Minute
	// anchored is how long the comparison goes back.
	anchored = 10 * time.Second
)

// Watch notices that a machine's clock jumps. What depends on the time (grants that end, hours, windows, the age of a sign-in) would be judged
// wrongly then: forward it ends waits and empties windows, back it wakes up what has ended. Safe for concurrent use.
type Watch struct {
	now    Now
	steady func() time.Duration

	mu    sync.Mutex
	wall  time.Time
	at    time.Duration // steady, when it was wall
	until time.Duration // steady, until when it is not believed
	by    time.Duration
}

// NewWatch compares a clock with the time that passes.
func NewWatch(now Now, steady func() time.Duration) *Watch {
	return &Watch{now: now, steady: steady, wall: now(), at: steady()}
}

// Check refuses with REASON_CLOCK for a minute after the clock jumped.
func (w *Watch) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, at := w.now(), w.steady()
	passed := at - w.at
	off := now.Sub(w.wall) - passed
	if limit := tolerance + passed/drift; off > limit || off < -limit {
		w.by, w.until = off, at+settling
		w.wall, w.at = now, at
	} else if passed > anchored {
		w.wall, w.at = now, at
	}
	if at >= w.until {
		return nil
	}
	way := "forward"
	if w.by < 0 {
		way = "back"
	}
	return fault.New(faultv1.Reason_REASON_CLOCK, "The call was refused because the clock of this gateway's machine jumped %s by %s, and nothing is decided "+
		"by a clock that jumps. It is believed again after it ran evenly for %s; tell an administrator.", way, w.by.Abs().Round(time.Second), settling)
}
