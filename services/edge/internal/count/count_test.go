package count_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/count"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledger passes the word between edges as authz does.
type ledger struct {
	mu     sync.Mutex
	epoch  string
	totals []*authzv1.Count
	down   bool
}

func (l *ledger) ShareCounts(_ context.Context, r *connect.Request[authzv1.ShareCountsRequest]) (*connect.Response[authzv1.ShareCountsResponse], error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("down"))
	}
	cursor := r.Msg.GetCursor()
	if r.Msg.GetEpoch() != l.epoch {
		cursor = 0
	}
	for _, one := range r.Msg.GetTotals() {
		one.Source = r.Msg.GetSource()
		l.totals = append(l.totals, one)
	}
	out := &authzv1.ShareCountsResponse{Epoch: l.epoch, Cursor: int64(len(l.totals))}
	for _, one := range l.totals[cursor:] {
		if one.GetSource() != r.Msg.GetSource() {
			out.Totals = append(out.Totals, one)
		}
	}
	return connect.NewResponse(out), nil
}

func (l *ledger) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

func run(t *testing.T, l *ledger) *count.Counter {
	t.Helper()
	c := count.New(l, "", time.Now, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		done.Wait()
	})
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.Ready(ready); err != nil {
		t.Fatal(err)
	}
	return c
}

func need(amount float64) []policy.CountNeed {
	return []policy.CountNeed{{Key: "p/n", Bucket: "b", Window: 24 * time.Hour, Amount: amount}}
}

func sum(t *testing.T, c *count.Counter) float64 {
	t.Helper()
	sums, _, err := c.Add(need(0), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return sums["p/n"]
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal(what)
}

func TestEdgesCountTogetherAlsoAfterAuthzLostIt(t *testing.T) {
	l := &ledger{epoch: "one"}
	a, b := run(t, l), run(t, l)
	if _, _, err := a.Add(need(3), time.Now()); err != nil {
		t.Fatal(err)
	}
	_, undo, err := b.Add(need(4), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "both know of both", func() bool { return sum(t, a) == 7 && sum(t, b) == 7 })
	undo()
	eventually(t, "what did not pass is taken back everywhere", func() bool { return sum(t, a) == 3 && sum(t, b) == 3 })
	l.set(func() { l.epoch, l.totals = "two", nil })
	c := run(t, l)
	eventually(t, "who comes later hears it all", func() bool { return sum(t, c) == 3 })
	if got := sum(t, b); got != 3 {
		t.Errorf("after it was said again: %v", got)
	}
}

func TestT26NothingIsCountedBeforeOthersAreHeardOf(t *testing.T) {
	c := count.New(&ledger{epoch: "one"}, "", time.Now, slog.New(slog.DiscardHandler))
	if _, _, err := c.Add(need(1), time.Now()); !fault.Is(err, faultv1.Reason_REASON_STALE) {
		t.Fatal(err)
	}
	l := &ledger{epoch: "one"}
	c = run(t, l)
	l.set(func() { l.down = true })
	eventually(t, "the sums are stale", func() bool {
		_, _, err := c.Add(need(1), time.Now())
		return fault.Is(err, faultv1.Reason_REASON_STALE)
	})
}
