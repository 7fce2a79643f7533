package sqlite_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
	"headgate.dev/services/audit/internal/index/sqlite"
)

func open(tb testing.TB, path string) *sqlite.Index {
	tb.Helper()
	x, err := sqlite.Open(tb.Context(), sqlstore.Config{Path: path})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := x.Close(); err != nil {
			tb.Error(err)
		}
	})
	return x
}

func TestContract(t *testing.T) {
	indextest.Contract(t, func(t *testing.T) index.Index { return open(t, filepath.Join(t.TempDir(), "index.db")) })
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for i := range 3 {
		x, err := sqlite.Open(t.Context(), sqlstore.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Add(t.Context(), []index.Record{indextest.Event(fmt.Sprint(i), "acme", "ana", i), indextest.Event("0", "acme", "ana", 0)}); err != nil {
			t.Fatal(err)
		}
		page, err := x.Search(t.Context(), indextest.All())
		if err != nil || len(page.Events) != i+1 {
			t.Errorf("round %d: %v, %v", i, page, err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherDatabasesAreRefused(t *testing.T) {
	_, err := sqlite.Open(t.Context(), sqlstore.Config{Driver: sqlstore.Postgres, URL: secret.New("postgres://x")})
	if !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("opened: %v", err)
	}
}

// Whatever a user types, it is either refused as text or means words only: it never finds a record that lacks one of them.
func FuzzText(f *testing.F) {
	x := open(f, filepath.Join(f.TempDir(), "index.db"))
	if err := x.Add(f.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
		f.Fatal(err)
	}
	f.Add("ana")
	f.Add(`ana" OR "bob`)
	f.Fuzz(func(t *testing.T, text string) {
		q := indextest.All()
		q.Text = text + " zzzzmissing"
		page, err := x.Search(t.Context(), q)
		if err != nil && !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Fatalf("%q: %v", text, err)
		}
		if len(page.Events) > 0 {
			t.Fatalf("%q found %v", text, page.Events)
		}
	})
}

// BenchmarkAdd stores batches of 2,000 as they come under load; the figure is for one record.
func BenchmarkAdd(b *testing.B) {
	x := open(b, filepath.Join(b.TempDir(), "index.db"))
	b.ResetTimer()
	for done := 0; done < b.N; done += 2000 {
		var batch []index.Record
		for i := range min(2000, b.N-done) {
			r := indextest.Event(fmt.Sprintf("0197a3c4-%04x-7000-8000-%012x", done/2000, i*7919%10007), "acme", "ana", i%1000)
			r.Event.CallId = fmt.Sprintf("call_%d", done+i)
			r.Event.Decision.Via = "ana → role support → server tickets"
			r.Bytes, _ = proto.Marshal(r.Event)
			batch = append(batch, r)
		}
		if err := x.Add(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
