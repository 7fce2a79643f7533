package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
	"headgate.dev/services/audit/internal/index/sqlite"
)

// span is the time that the records of BenchmarkQuestions are spread over.
const span = 90 * 24 * time.Hour

// fill adds count records of some 2,000 people, 30 servers and 300 tools, most of one tenant. Few are denied, very few are alerts; one in a million names Zanzibar.
func fill(b *testing.B, x *sqlite.Index, count int) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	step := span / time.Duration(count)
	from := indextest.All().Until.Add(-span)
	const batch = 5000
	for first := 0; first < count; first += batch {
		records := make([]index.Record, 0, batch)
		for i := first; i < min(first+batch, count); i++ {
			tenant := "acme"
			if i%10 == 0 {
				tenant = "globex"
			}
			id := fmt.Sprintf("%08x-%04x-7%03x-8%03x-%012x", i>>8, i&0xff, r.IntN(0xfff), r.IntN(0xfff), r.Int64N(1<<48))
			records = append(records, indextest.Event(id, tenant, fmt.Sprint("person", min(r.IntN(2000), r.IntN(2000))), 0, func(ev *eventsv1.Event) {
				shape(r, i, ev)
				ev.Time = timestamppb.New(from.Add(time.Duration(i) * step))
			}))
		}
		if err := x.Add(b.Context(), records); err != nil {
			b.Fatal(err)
		}
	}
}

func shape(r *rand.Rand, i int, ev *eventsv1.Event) {
	server := min(r.IntN(30), r.IntN(30))
	ev.Target.Server, ev.Target.Tool = fmt.Sprint("server", server), fmt.Sprintf("tool%d_%d", server, min(r.IntN(10), r.IntN(10)))
	ev.Principal.Agent, ev.CallId = fmt.Sprint("client:agent", min(r.IntN(20), r.IntN(20))), fmt.Sprint("call", i)
	ev.Source = &eventsv1.Source{Ip: fmt.Sprintf("10.1.%d.%d", r.IntN(20), r.IntN(250)), UserAgent: "desk/1.2 (linux)"}
	ev.Arguments = &eventsv1.Payload{Hmac: fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()), Bytes: 71}
	switch {
	case r.IntN(20_000) == 0:
		ev.Action, ev.Alert = "kill", true
	case r.IntN(5_000) == 0:
		ev.Action = "sign-in"
	case r.IntN(50) == 0:
		ev.Decision.Effect, ev.Decision.Rule = "deny", "default-deny"
	}
	if i%1_000_000 == 77 {
		ev.Decision.Via = "ana → role zanzibar"
	}
}

// BenchmarkQuestions asks each kind of question of an index of HEADGATE_TEST_RECORDS records (50,000 without it) and tells, beside the time of one of many, that of the
// first, when the system has none of the file in memory.
func BenchmarkQuestions(b *testing.B) {
	count := 50_000
	if text := os.Getenv("HEADGATE_TEST_RECORDS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil || count < 1000 {
			b.Fatalf("HEADGATE_TEST_RECORDS must be a number of at least 1000, is %q", text)
		}
	}
	path := filepath.Join(b.TempDir(), "index.db")
	begun := time.Now()
	x := filled(b, path, count)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d records in %v, %d bytes each", count, time.Since(begun).Round(time.Second), info.Size()/int64(count))
	until := indextest.All().Until
	for _, question := range []struct {
		name string
		set  func(q *index.Query)
	}{
		{"newest", func(*index.Query) {}},
		{"person", func(q *index.Query) { q.Person = "person7" }},
		{"person-of-a-day", func(q *index.Query) {
			q.Person, q.Since, q.Until = "person7", until.Add(-span/2), until.Add(-span/2+24*time.Hour)
		}},
		{"server", func(q *index.Query) { q.Server = "server29" }},
		{"tool", func(q *index.Query) { q.Tool = "tool29_9" }},
		{"tool-of-others", func(q *index.Query) { q.Tenant, q.Tool = "globex", "tool29_9" }},
		{"tool-denied", func(q *index.Query) { q.Tool, q.Effect = "tool20_9", "deny" }},
		{"agent", func(q *index.Query) { q.Agent = "client:agent19" }},
		{"denied", func(q *index.Query) { q.Effect = "deny" }},
		{"denied-of-person", func(q *index.Query) { q.Person, q.Effect = "person1999", "deny" }},
		{"action", func(q *index.Query) { q.Action = "sign-in" }},
		{"no-such-tool", func(q *index.Query) { q.Tool = "nothing" }},
		{"alerts", func(q *index.Query) { q.Alerts = true }},
		{"alerts-of-person", func(q *index.Query) { q.Alerts, q.Person = true, "person7" }},
		{"rare-word", func(q *index.Query) { q.Text = "zanzibar" }},
		{"address", func(q *index.Query) { q.Text = "10.1.7.77" }},
		{"common-words", func(q *index.Query) { q.Text = "tickets allow" }},
		{"words-rare-together", func(q *index.Query) { q.Text = "sign-in client:agent19" }},
		{"deny-of-a-day", func(q *index.Query) {
			q.Effect, q.Since, q.Until = "deny", until.Add(-span+time.Hour), until.Add(-span+25*time.Hour)
		}},
		{"deep-page", func(q *index.Query) { q.After = fmt.Sprintf("%d.%d", until.Add(-span/2).UnixNano(), count/2) }},
	} {
		q := indextest.All()
		q.Tenant, q.Limit = "acme", 100
		question.set(&q)
		cold := forget(b, path, q)
		b.Run(question.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := x.Search(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cold.Microseconds())/1000, "cold-ms")
		})
	}
}

func filled(b *testing.B, path string, count int) *sqlite.Index {
	b.Helper()
	x := open(b, path)
	fill(b, x, count)
	return x
}

// forget asks an index whose file the system has forgotten, and tells how long that took.
func forget(b *testing.B, path string, q index.Query) time.Duration {
	b.Helper()
	for _, name := range []string{path, path + "-wal"} {
		file, err := os.Open(name)
		if err != nil {
			continue // there is no log when all is in the file
		}
		err = file.Sync()
		if err == nil {
			err = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		if err != nil {
			b.Fatal(err)
		}
		if err := file.Close(); err != nil {
			b.Fatal(err)
		}
	}
	x, err := sqlite.Open(b.Context(), sqlstore.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	_, err = x.Search(b.Context(), q)
	took := time.Since(begun)
	if err != nil {
		b.Fatal(err)
	}
	if err := x.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}
