// Package window sums up amounts over sliding windows, for the counters and limits of policies. What this process adds and what it hears from
// others are kept apart. What is told are totals, which may be told again without counting twice.
package window

import (
	"errors"
	"sync"
	"time"
)

const (
	// slots is how many parts a window has. An amount leaves the sum up to one part late and never early.
	slots = 60
	// maxBuckets bounds the sums that are kept at once.
	maxBuckets = 200_000
	// sweepEvery is after how many new buckets, and half of those that there are, the ones that ended are looked for.
	sweepEvery = 1000
)

// ErrFull says that no further sum can be kept.
var ErrFull = errors.New("too many sums are kept at once")

// Slot is a part of one bucket's window.
type Slot struct {
	Bucket string
	Window time.Duration
	// At numbers the parts of all windows of this length since 1970.
	At int64
}

// End is when the slot has left the window.
func (s Slot) End() time.Time {
	part := s.Window / slots
	return time.Unix(0, 0).Add(time.Duration(s.At+1)*part + s.Window)
}

// Sums is safe for concurrent use.
type Sums struct {
	mu      sync.Mutex
	buckets map[bucket]map[int64]*amount
	changed map[Slot]bool
	fresh   int       // buckets since they were swept
	swept   time.Time // when they were
}

type bucket struct {
	name   string
	window time.Duration
}

// amount is what one slot holds: this process's own total, and those of others by their names.
type amount struct {
	own    float64
	others map[string]float64
}

func (a *amount) sum() float64 {
	total := a.own
	for _, n := range a.others {
		total += n
	}
	return total
}

// New has no sums.
func New() *Sums {
	return &Sums{buckets: map[bucket]map[int64]*amount{}, changed: map[Slot]bool{}}
}

func slotOf(name string, window time.Duration, at time.Time) Slot {
	return Slot{name, window, at.UnixNano() / int64(window/slots)}
}

// Add adds an amount of this process and answers the sum with it and the slot to take it out of again.
func (s *Sums) Add(name string, window time.Duration, add float64, at time.Time) (float64, Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := slotOf(name, window, at)
	one, err := s.at(slot, at)
	if err != nil {
		return 0, slot, err
	}
	one.own += add
	s.changed[slot] = true
	return s.sum(slot, at), slot, nil
}

// Undo takes an amount out again.
func (s *Sums) Undo(slot Slot, add float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.buckets[bucket{slot.Bucket, slot.Window}][slot.At]; one != nil {
		one.own = max(0, one.own-add)
		s.changed[slot] = true
	}
}

// Sum is what is in the window now.
func (s *Sums) Sum(name string, window time.Duration, at time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum(slotOf(name, window, at), at)
}

// sum counts what lies ahead as well: a clock that was set back forgets nothing.
func (s *Sums) sum(slot Slot, at time.Time) float64 {
	all := s.buckets[bucket{slot.Bucket, slot.Window}]
	total := 0.0
	for n, one := range all {
		if n < slot.At-slots {
			delete(all, n)
			continue
		}
		total += one.sum()
	}
	return total
}

func (s *Sums) at(slot Slot, now time.Time) (*amount, error) {
	key := bucket{slot.Bucket, slot.Window}
	all := s.buckets[key]
	if all == nil {
		full := len(s.buckets) >= maxBuckets && now.Sub(s.swept).Abs() >= time.Second
		if s.fresh++; full || s.fresh >= sweepEvery+len(s.buckets)/2 {
			s.sweep(now)
		}
		if len(s.buckets) >= maxBuckets {
			return nil, ErrFull
		}
		all = map[int64]*amount{}
		s.buckets[key] = all
	}
	one := all[slot.At]
	if one == nil {
		one = &amount{}
		all[slot.At] = one
	}
	return one, nil
}

// sweep forgets the buckets that have ended.
func (s *Sums) sweep(now time.Time) {
	s.fresh, s.swept = 0, now
	for key, all := range s.buckets {
		for n := range all {
			if (Slot{key.name, key.window, n}).End().Before(now) {
				delete(all, n)
			}
		}
		if len(all) == 0 {
			delete(s.buckets, key)
		}
	}
}

// Changed takes the own totals that changed since they were last asked for.
func (s *Sums) Changed() map[Slot]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[Slot]float64, len(s.changed))
	for slot := range s.changed {
		out[slot] = 0
		if one := s.buckets[bucket{slot.Bucket, slot.Window}][slot.At]; one != nil {
			out[slot] = one.own
		}
	}
	clear(s.changed)
	return out
}

// Again marks totals as changed, because they were not told after all.
func (s *Sums) Again(slots map[Slot]float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for slot := range slots {
		s.changed[slot] = true
	}
}

// AgainAll marks everything of this process as changed: for somebody who has lost it.
func (s *Sums) AgainAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, all := range s.buckets {
		for n, one := range all {
			if one.own != 0 {
				s.changed[Slot{key.name, key.window, n}] = true
			}
		}
	}
}

// Hear takes the total that another process has in a slot.
func (s *Sums) Hear(from string, slot Slot, total float64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slot.End().Before(now) {
		return nil
	}
	one, err := s.at(slot, now)
	if err != nil {
		return err
	}
	if one.others == nil {
		one.others = map[string]float64{}
	}
	one.others[from] = max(0, total)
	return nil
}
