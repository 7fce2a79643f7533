package sqlite

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"headgate.dev/libs/ledger"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
)

// TestCommonWordsFindWhatOneByOneWouldFind holds pages of common words against a plain look at everything: records come in no order of their times, and one of 40 lacks
// a word.
func TestCommonWordsFindWhatOneByOneWouldFind(t *testing.T) {
	x, err := Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	r := rand.New(rand.NewPCG(3, 4))
	type kept struct {
		id     string
		second int
		seq    int
	}
	const all = 6000
	records, want := make([]index.Record, 0, all), []kept{}
	for i := range all {
		one := kept{id: fmt.Sprint("record", i), second: r.IntN(500), seq: i}
		tenant, lacks := "acme", r.IntN(40) == 0
		if r.IntN(3) == 0 {
			tenant = "globex"
		}
		records = append(records, indextest.Event(one.id, tenant, "ana", one.second, func(ev *eventsv1.Event) {
			if lacks {
				ev.Target.Tool = "another"
			}
		}))
		if tenant == "acme" && !lacks {
			want = append(want, one)
		}
	}
	for part := range slices.Chunk(records, 500) {
		if err := x.Add(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(want, func(a, b kept) int { return cmp.Or(cmp.Compare(b.second, a.second), cmp.Compare(b.seq, a.seq)) })
	q := index.Query{Filter: ledger.Filter{Tenant: "acme", Text: "CLOSE_ticket ana", Until: indextest.All().Until}, Started: true, Limit: 317}
	if l, err := x.lookup(t.Context(), q); err != nil || !l.common {
		t.Fatalf("the words are not common: %v, %v", l, err)
	}
	var got []string
	for {
		page, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			got = append(got, ev.GetId())
		}
		if q.After = page.Next; q.After == "" {
			break
		}
		if len(page.Events) != q.Limit {
			t.Fatalf("a page of %d records", len(page.Events))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("found %d records, want %d", len(got), len(want))
	}
	for i, w := range want {
		if got[i] != w.id {
			t.Fatalf("record %d is %s, want %s", i, got[i], w.id)
		}
	}
}
