// Package count keeps the sums that policies' counters and limits are judged by: what this edge let pass, and what others did as authz tells.
package count

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/policy/window"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// every is how often edges tell each other.
	every = 250 * time.Millisecond
	// patience bounds one exchange.
	patience = 2 * time.Second
	// staleAfter is for how long sums are good without word of the others.
	staleAfter = 5 * time.Second
	// most totals are said at once.
	most = 10_000
)

// Authz is what passes the word.
type Authz interface {
	ShareCounts(ctx context.Context, r *connect.Request[authzv1.ShareCountsRequest]) (*connect.Response[authzv1.ShareCountsResponse], error)
}

// Counter is safe for concurrent use.
type Counter struct {
	authz  Authz
	now    clock.Now
	log    *slog.Logger
	source string
	self   string
	sums   *window.Sums

	epoch  string // of the goroutine of Run alone
	cursor int64
	heard  atomic.Pointer[time.Time]
	edges  atomic.Pointer[[]string]
	first  chan struct{} // closed when authz was heard once
}

// New has counted nothing. Self is the URL by which other edges reach this one; empty for one that is alone.
func New(authz Authz, self string, now clock.Now, log *slog.Logger) *Counter {
	return &Counter{authz: authz, self: self, now: now, log: log, source: ids.Prefixed("edge"), sums: window.New(), first: make(chan struct{})}
}

// Add adds a call's amounts and answers the sums with them, by their keys, and what takes them out again when the call is not let pass.
func (c *Counter) Add(needs []policy.CountNeed, at time.Time) (sums map[string]float64, undo func(), err error) {
	if heard := c.heard.Load(); heard == nil || time.Since(*heard) > staleAfter {
		return nil, nil, fault.New(faultv1.Reason_REASON_STALE,
			"What other gateways have counted for a limit of this call is not known now, so the call was refused. Try again in a moment.")
	}
	slots := make([]window.Slot, 0, len(needs))
	undo = func() {
		for i, slot := range slots {
			c.sums.Undo(slot, needs[i].Amount)
		}
	}
	sums = make(map[string]float64, len(needs))
	for _, need := range needs {
		sum, slot, err := c.sums.Add(need.Bucket, need.Window, need.Amount, at)
		if err != nil {
			undo()
			return nil, nil, fault.New(faultv1.Reason_REASON_RULE_ERROR,
				"The call cannot be counted as policy %s wants, so it was refused. Tell your administrator.", need.Key).Because(err)
		}
		sums[need.Key] = sum
		slots = append(slots, slot)
	}
	return sums, undo, nil
}

// Edges are the URLs of the edges that there are, in order, as they were heard last; none while that is too long ago.
func (c *Counter) Edges() []string {
	heard, edges := c.heard.Load(), c.edges.Load()
	if heard == nil || edges == nil || time.Since(*heard) > staleAfter {
		return nil
	}
	return *edges
}

// Ready waits until it was heard once what other edges have counted.
func (c *Counter) Ready(ctx context.Context) error {
	select {
	case <-c.first:
		return nil
	case <-ctx.Done():
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "What other gateways have counted is not known yet.")
	}
}

// Run tells authz what was counted here and hears what was elsewhere, until ctx ends.
func (c *Counter) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		more, err := c.exchange(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			c.log.Warn("counts of other edges cannot be heard", "error", err)
		}
		failing = err != nil
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Counter) exchange(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := c.sums.Changed()
	request := &authzv1.ShareCountsRequest{Source: c.source, Epoch: c.epoch, Cursor: c.cursor, Edge: c.self}
	left := map[window.Slot]float64{}
	for slot, total := range said {
		if len(request.Totals) == most {
			left[slot] = total
			continue
		}
		request.Totals = append(request.Totals, &authzv1.Count{
			Bucket: slot.Bucket, WindowSeconds: int64(slot.Window / time.Second), Slot: slot.At, Total: total,
		})
	}
	c.sums.Again(left)
	began := time.Now()
	answer, err := c.authz.ShareCounts(ctx, connect.NewRequest(request))
	if err != nil {
		c.sums.Again(said)
		return false, err
	}
	m := answer.Msg
	if m.GetEpoch() != c.epoch {
		if c.epoch != "" {
			c.sums.AgainAll()
			left = said // something is left to be said
		}
		c.epoch = m.GetEpoch()
	}
	c.cursor = m.GetCursor()
	edges := m.GetEdges()
	c.edges.Store(&edges)
	for _, one := range m.GetTotals() {
		slot := window.Slot{Bucket: one.GetBucket(), Window: time.Duration(one.GetWindowSeconds()) * time.Second, At: one.GetSlot()}
		if err := c.sums.Hear(one.GetSource(), slot, one.GetTotal(), c.now()); err != nil {
			return false, err
		}
	}
	if c.heard.Swap(&began) == nil {
		close(c.first)
	}
	return m.GetMore() || len(left) > 0, nil
}
