// Package counts lets edges know what the others have counted for policies' counters and limits. It keeps totals in memory: edges hold them as
// well and say them again when they are lost here.
package counts

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy/window"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// page is how many totals one answer has at most.
	page = 10_000
	// kept bounds the totals that are remembered.
	kept = 1_000_000
	// sweepEvery is after how many new totals, and half of those that there are, the ones whose window ended are looked for.
	sweepEvery = 5_000
	// heardFor is how long an edge is there that is not heard any more, mostEdges how many there are at most.
	heardFor  = 5 * time.Second
	mostEdges = 256
)

// Ledger is safe for concurrent use.
type Ledger struct {
	epoch string
	now   clock.Now
	sums  *window.Sums

	mu      sync.Mutex
	edges   map[string]time.Time // when they were heard last, by URL
	last    int64
	totals  map[place]*total
	ordered []*total  // by sequence; those that were said again are there twice, the first time with an old number
	fresh   int       // totals since they were swept
	swept   time.Time // when they were
}

type place struct {
	source string
	slot   window.Slot
}

type total struct {
	place
	amount   float64
	sequence int64
}

// New is a ledger without totals. The epoch differs from that of every other.
func New(epoch string, now clock.Now) *Ledger {
	return &Ledger{epoch: epoch, now: now, sums: window.New(), totals: map[place]*total{}, edges: map[string]time.Time{}}
}

// Sum is what all edges together have in a window.
func (l *Ledger) Sum(bucket string, span time.Duration, at time.Time) float64 {
	return l.sums.Sum(bucket, span, at)
}

// Share takes what one edge says and answers what the others have said since its cursor.
func (l *Ledger) Share(r *authzv1.ShareCountsRequest) (*authzv1.ShareCountsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, said := range r.GetTotals() {
		slot := window.Slot{Bucket: said.GetBucket(), Window: time.Duration(said.GetWindowSeconds()) * time.Second, At: said.GetSlot()}
		if err := l.take(place{r.GetSource(), slot}, said.GetTotal(), now); err != nil {
			return nil, err
		}
	}
	cursor := r.GetCursor()
	if r.GetEpoch() != l.epoch {
		cursor = 0
	}
	out := l.since(r.GetSource(), cursor)
	out.Edges = l.hear(r.GetEdge(), now)
	return out, nil
}

// hear notes that an edge is there, and answers those that are. The lock is held.
func (l *Ledger) hear(edge string, now time.Time) []string {
	maps.DeleteFunc(l.edges, func(_ string, at time.Time) bool { return now.Sub(at).Abs() > heardFor })
	if _, known := l.edges[edge]; edge != "" && (known || len(l.edges) < mostEdges) {
		l.edges[edge] = now
	}
	return slices.Sorted(maps.Keys(l.edges))
}

func (l *Ledger) take(at place, amount float64, now time.Time) error {
	if amount != amount || amount < 0 { // NaN differs from itself
		return fault.Invalid("A total of counter %.100q is not a number of at least 0.", at.slot.Bucket)
	}
	if at.slot.End().Before(now) {
		return nil
	}
	if known := l.totals[at]; known != nil && known.amount == amount {
		return nil
	} else if known == nil {
		full := len(l.totals) >= kept && now.Sub(l.swept).Abs() >= time.Second
		if l.fresh++; full || l.fresh >= sweepEvery+len(l.totals)/2 {
			l.sweep(now)
		}
		if len(l.totals) >= kept {
			return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The sums of counters are too many to be kept; use fewer or shorter windows.")
		}
	}
	if err := l.sums.Hear(at.source, at.slot, amount, now); err != nil {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The sums of counters are too many to be kept; use fewer or shorter windows.").Because(err)
	}
	l.last++
	one := &total{at, amount, l.last}
	l.totals[at] = one
	l.ordered = append(l.ordered, one)
	if len(l.ordered) > 2*len(l.totals)+sweepEvery {
		l.compact()
	}
	return nil
}

// compact leaves out what was said again since.
func (l *Ledger) compact() {
	l.ordered = slices.DeleteFunc(l.ordered, func(t *total) bool { return l.totals[t.place] != t })
}

func (l *Ledger) sweep(now time.Time) {
	l.fresh, l.swept = 0, now
	for at := range l.totals {
		if at.slot.End().Before(now) {
			delete(l.totals, at)
		}
	}
	l.compact()
}

func (l *Ledger) since(source string, cursor int64) *authzv1.ShareCountsResponse {
	out := &authzv1.ShareCountsResponse{Epoch: l.epoch, Cursor: cursor}
	from, _ := slices.BinarySearchFunc(l.ordered, cursor+1, func(t *total, n int64) int { return cmp.Compare(t.sequence, n) })
	for _, one := range l.ordered[from:] {
		if len(out.Totals) == page {
			out.More = true
			return out
		}
		out.Cursor = one.sequence
		if one.source == source || l.totals[one.place] != one {
			continue
		}
		out.Totals = append(out.Totals, &authzv1.Count{
			Source: one.source, Bucket: one.slot.Bucket, WindowSeconds: int64(one.slot.Window / time.Second), Slot: one.slot.At, Total: one.amount,
		})
	}
	return out
}
