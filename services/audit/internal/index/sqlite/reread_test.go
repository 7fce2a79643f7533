package sqlite

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
)

// older makes a database as versions before reread.sql left it: with an alert that they did not know as one, and without words.
func older(t *testing.T, path string, count int) {
	t.Helper()
	before := fstest.MapFS{}
	for _, name := range []string{"00200_index.sql", "00201_alerts.sql"} {
		data, err := fs.ReadFile(files, "migrations/"+name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = &fstest.MapFile{Data: data}
	}
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path}, before)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
		for i := range count {
			r := old(i)
			ev := r.Event
			if _, err := tx.Exec(t.Context(), "INSERT INTO events (id, time, tenant, person, agent, server, tool, effect, action, started, body) VALUES (?, ?, ?, ?, '', '', '', '', ?, false, ?)",
				ev.GetId(), ev.GetTime().AsTime().UnixNano(), ev.GetTenant(), ev.GetPrincipal().GetPerson(), ev.GetAction(), r.Bytes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func old(i int) index.Record {
	return indextest.Event(fmt.Sprint("old", i), "acme", "ana", i, func(ev *eventsv1.Event) {
		if i%1000 == 999 {
			ev.Action, ev.Alert = "kill", true
		}
	})
}

func find(t *testing.T, x *Index, set func(q *index.Query)) (ids []string, err error) {
	t.Helper()
	q := index.Query{Filter: ledger.Filter{Tenant: "acme", Until: time.Now().Add(365 * 24 * time.Hour)}, Started: true, Limit: 100}
	set(&q)
	page, err := x.Search(t.Context(), q)
	for _, ev := range page.Events {
		ids = append(ids, ev.GetId())
	}
	return ids, err
}

// Records of an older version are read again, whatever stops that in between; nobody is told meanwhile that there is nothing.
func TestOlderRecordsAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	older(t, path, 2500)
	word := func(q *index.Query) { q.Text = "old1234" }
	for round := range 4 { // each reads 1,000 and then ends
		x, err := Open(t.Context(), sqlstore.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if left := x.remaining(); left != max(0, 2500-int64(round)*rereadBatch) {
			t.Errorf("round %d: %d records are left", round, left)
		}
		if round < 3 {
			for name, set := range map[string]func(*index.Query){"a word": word, "alerts": func(q *index.Query) { q.Alerts = true }} {
				if ids, err := find(t, x, set); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), "are left") {
					t.Errorf("round %d, %s: found %v, %v", round, name, ids, err)
				}
			}
			if ids, err := find(t, x, func(q *index.Query) { q.Action, q.Limit = "kill", 10 }); err != nil || len(ids) != 2 {
				t.Errorf("round %d: found %v, %v", round, ids, err)
			}
			// What comes meanwhile is not touched, and what goes meanwhile may have no words yet.
			if err := x.Add(t.Context(), []index.Record{indextest.Event(fmt.Sprint("new", round), "acme", "ana", 9000+round)}); err != nil {
				t.Error(err)
			}
			if err := x.rereadSome(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	x, err := Open(t.Context(), sqlstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	for want, set := range map[string]func(*index.Query){
		"old1234": word, "new1": func(q *index.Query) { q.Text = "new1" }, "old1999 old999": func(q *index.Query) { q.Alerts = true },
	} {
		if ids, err := find(t, x, set); err != nil || strings.Join(ids, " ") != want {
			t.Errorf("found %v, %v, want %s", ids, err, want)
		}
	}
}

// Records that retention drops before they were read again leave nothing behind in the words.
func TestOlderRecordsMayBeDroppedBeforeTheyAreReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	older(t, path, 1500)
	x, err := Open(t.Context(), sqlstore.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	if err := x.rereadSome(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := x.Drop(t.Context(), "acme", old(1400).Event.GetTime().AsTime(), indextest.Freely); err != nil || n != 1400 {
		t.Fatalf("dropped %d, %v", n, err)
	}
	if err := x.Reread(t.Context()); err != nil {
		t.Fatal(err)
	}
	var words int
	if err := x.db.QueryRow(t.Context(), "SELECT count(*) FROM words WHERE words MATCH 'ana'").Scan(&words); err != nil || words != 100 {
		t.Errorf("%d records have words, %v", words, err)
	}
	if _, err := x.db.Exec(t.Context(), "INSERT INTO words (words) VALUES ('integrity-check')"); err != nil {
		t.Error(err)
	}
}

// An index of another version's words is made again as a whole.
func TestAnotherDerivationBeginsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	for round := range 2 {
		x, err := Open(t.Context(), sqlstore.Config{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			err = x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)})
			if err == nil {
				_, err = x.db.Exec(t.Context(), "UPDATE reread SET version = 0")
			}
			if err != nil {
				t.Fatal(err)
			}
		} else {
			stopped, stop := context.WithCancel(t.Context())
			stop()
			if err := x.Reread(stopped); err != nil || x.remaining() != 1 {
				t.Errorf("a context that ended: %d, %v", x.remaining(), err)
			}
			if err := x.Reread(t.Context()); err != nil {
				t.Error(err)
			}
			if ids, err := find(t, x, func(q *index.Query) { q.Text = "ana" }); err != nil || len(ids) != 1 {
				t.Errorf("found %v, %v", ids, err)
			}
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
