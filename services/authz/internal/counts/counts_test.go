package counts_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/authz/internal/counts"
)

func share(t *testing.T, l *counts.Ledger, source, epoch string, cursor int64, totals ...*authzv1.Count) *authzv1.ShareCountsResponse {
	t.Helper()
	out, err := l.Share(&authzv1.ShareCountsRequest{Source: source, Epoch: epoch, Cursor: cursor, Totals: totals})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEdgesHearOfEachOtherAndNotOfThemselves(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	now := at
	l := counts.New("e1", func() time.Time { return now })
	slot := at.UnixNano() / int64(time.Minute)
	one := func(total float64) *authzv1.Count {
		return &authzv1.Count{Bucket: "b", WindowSeconds: 3600, Slot: slot, Total: total}
	}
	a := share(t, l, "edge-a", "", 0, one(3))
	if a.GetEpoch() != "e1" || len(a.GetTotals()) != 0 {
		t.Errorf("%v", a)
	}
	b := share(t, l, "edge-b", "", 0, one(4))
	if len(b.GetTotals()) != 1 || b.GetTotals()[0].GetSource() != "edge-a" || b.GetTotals()[0].GetTotal() != 3 {
		t.Errorf("%v", b)
	}
	a = share(t, l, "edge-a", "e1", a.GetCursor(), one(5))
	if len(a.GetTotals()) != 1 || a.GetTotals()[0].GetTotal() != 4 {
		t.Errorf("%v", a)
	}
	share(t, l, "edge-a", "e1", a.GetCursor(), one(5)) // said again
	if got := l.Sum("b", time.Hour, at); got != 9 {
		t.Errorf("the sum of all is %v", got)
	}
	b = share(t, l, "edge-b", "e1", b.GetCursor())
	if len(b.GetTotals()) != 1 || b.GetTotals()[0].GetTotal() != 5 {
		t.Errorf("%v", b)
	}
	if b = share(t, l, "edge-b", "e1", b.GetCursor()); len(b.GetTotals()) != 0 {
		t.Errorf("what was heard is heard again: %v", b)
	}
	if b = share(t, l, "edge-b", "another epoch", b.GetCursor()); len(b.GetTotals()) != 1 {
		t.Errorf("who comes from another epoch does not hear all: %v", b)
	}
	now = at.Add(3 * time.Hour)
	share(t, l, "edge-c", "", 0, one(7))
	if got := l.Sum("b", time.Hour, now); got != 0 {
		t.Errorf("a window that ended holds %v", got)
	}
	for _, bad := range []float64{-1, math.NaN()} {
		if _, err := l.Share(&authzv1.ShareCountsRequest{Source: "edge-a", Totals: []*authzv1.Count{{Bucket: "b", WindowSeconds: 36000, Slot: slot, Total: bad}}}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestMuchIsSaidInPages(t *testing.T) {
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	l := counts.New("e1", func() time.Time { return at })
	var all []*authzv1.Count
	for i := range 12_000 {
		all = append(all, &authzv1.Count{Bucket: fmt.Sprint(i), WindowSeconds: 60, Slot: at.UnixNano() / int64(time.Second), Total: 1})
	}
	share(t, l, "edge-a", "", 0, all...)
	first := share(t, l, "edge-b", "e1", 0)
	rest := share(t, l, "edge-b", "e1", first.GetCursor())
	if !first.GetMore() || rest.GetMore() || len(first.GetTotals())+len(rest.GetTotals()) != 12_000 {
		t.Errorf("%d and %d", len(first.GetTotals()), len(rest.GetTotals()))
	}
}

func TestEdgesKnowWhichOthersThereAre(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	l := counts.New("e1", func() time.Time { return now })
	edges := func(source, url string) []string {
		t.Helper()
		out, err := l.Share(&authzv1.ShareCountsRequest{Source: source, Edge: url})
		if err != nil {
			t.Fatal(err)
		}
		return out.GetEdges()
	}
	edges("edge-b", "https://b")
	if got := edges("edge-alone", ""); !slices.Equal(got, []string{"https://b"}) {
		t.Errorf("%v", got)
	}
	now = now.Add(3 * time.Second)
	if got := edges("edge-a", "https://a"); !slices.Equal(got, []string{"https://a", "https://b"}) {
		t.Errorf("%v", got)
	}
	now = now.Add(3 * time.Second)
	if got := edges("edge-a", "https://a"); !slices.Equal(got, []string{"https://a"}) {
		t.Errorf("one that is not heard any more is there: %v", got)
	}
	for i := range 1000 {
		edges("edge-many", fmt.Sprintf("https://many-%d", i))
	}
	if got := edges("edge-a", "https://a"); len(got) > 256 || !slices.Contains(got, "https://a") {
		t.Errorf("%d edges", len(got))
	}
}
