package retention

import (
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// skew is what the clock may be off the time that passed since the start; creep is what it may go wrong by itself, of that time.
	skew  = time.Hour
	creep = 1000
	// absence is how long audit may have been away without anybody asking for more evidence that so much time passed.
	absence = 48 * time.Hour
	// trial is how long the clock must run evenly after a longer absence until it is believed.
	trial = 7 * 24 * time.Hour
)

// Evidence tells a clock that was set forward from time that passed, since the one would have records dropped years early. What it knows besides the clock: the
// time that passed since the start, whatever the clock says, and when the ledger was last signed before. Safe for concurrent use.
type Evidence struct {
	now    clock.Now
	steady func() time.Duration
	began  time.Time
	at     time.Duration
	last   time.Time
}

// NewEvidence begins to compare. Last is when the ledger was signed last before the start; zero when it never was.
func NewEvidence(now clock.Now, steady func() time.Duration, last time.Time) *Evidence {
	return &Evidence{now: now, steady: steady, began: now(), at: steady(), last: last}
}

// Check refuses while it is not believed that it is as late as the clock says.
func (e *Evidence) Check() error {
	passed := e.steady() - e.at
	if off := e.now().Sub(e.began) - passed; off > skew+passed/creep {
		return fault.New(faultv1.Reason_REASON_CLOCK, "Nothing is dropped: the clock of audit's machine was set forward by %s since audit started. "+
			"Set the clock right; if it is right now and was wrong before, restart audit.", off.Round(time.Second))
	}
	if passed >= trial {
		return nil
	}
	switch away := e.began.Sub(e.last); {
	case e.last.IsZero():
		return fault.New(faultv1.Reason_REASON_CLOCK, "Nothing is dropped: the ledger was never signed before audit started, so nothing shows that the clock is right. "+
			"It is believed once audit ran for %d days.", int(trial/(24*time.Hour)))
	case away > absence:
		return fault.New(faultv1.Reason_REASON_CLOCK, "Nothing is dropped: the ledger was last signed %s before audit started, by the clock of its machine. Either audit was away for so long, or "+
			"the clock was set forward. Look at the clock; it is believed once audit ran for %d days.", away.Round(time.Hour), int(trial/(24*time.Hour)))
	default:
		return nil
	}
}
