package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/ledger"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/audit/internal/index"
)

// TestRareWordsAreLookedUp holds that a search for words that few records have does not walk all records of the tenant.
func TestRareWordsAreLookedUp(t *testing.T) {
	x, err := Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	for name, q := range map[string]index.Query{
		"a tenant": {Filter: ledger.Filter{Tenant: "acme"}}, "a person": {Filter: ledger.Filter{Tenant: "acme", Person: "ana"}}, "all": {},
		"a page": {Filter: ledger.Filter{Tenant: "acme"}, After: "5.5"},
	} {
		q.Text, q.Since, q.Until, q.Limit = "rare", time.Unix(0, 0), time.Unix(9, 0), 100
		if text := plan(t, x, q); !strings.Contains(text, "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestEveryFilterHasItsIndex holds that a search looks at as few records as it can: SQLite alone would walk a whole tenant for a person.
func TestEveryFilterHasItsIndex(t *testing.T) {
	x, err := Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	for name, test := range map[string]struct {
		q    index.Query
		want string
	}{
		"a tenant":          {index.Query{Filter: ledger.Filter{Tenant: "acme"}}, "events_tenant (tenant=? AND time>? AND time<?)"},
		"a person":          {index.Query{Filter: ledger.Filter{Tenant: "acme", Person: "ana"}}, "events_person (tenant=? AND person=? AND time>? AND time<?)"},
		"alerts":            {index.Query{Filter: ledger.Filter{Tenant: "acme"}, Alerts: true}, "events_alert (tenant=? AND time>? AND time<?)"},
		"a person's alerts": {index.Query{Filter: ledger.Filter{Tenant: "acme", Person: "ana"}, Alerts: true}, "events_alert (tenant=? AND time>? AND time<?)"},
		"all":               {index.Query{}, "events_time (time>? AND time<?)"},
		"all alerts":        {index.Query{Alerts: true}, "SCAN events USING INDEX events_alert"},
		"a rare tool":       {index.Query{Filter: ledger.Filter{Tenant: "acme", Tool: "close"}}, "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"},
		"a tool in symbols": {index.Query{Filter: ledger.Filter{Tenant: "acme", Tool: "→"}}, "events_tenant (tenant=? AND time>? AND time<?)"},
		"a person's page":   {index.Query{Filter: ledger.Filter{Tenant: "acme", Person: "ana"}, After: "5.5"}, "events_person (tenant=? AND person=? AND time>? AND time<?)"},
	} {
		test.q.Since, test.q.Until, test.q.Limit = time.Unix(0, 0), time.Unix(9, 0), 100
		if text := plan(t, x, test.q); !strings.Contains(text, test.want) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// plan is how SQLite goes about a search.
func plan(t *testing.T, x *Index, q index.Query) string {
	t.Helper()
	l, err := x.lookup(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	from, where, args, err := conditions(q, l)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := x.db.Query(t.Context(), "EXPLAIN QUERY PLAN SELECT seq, time, body FROM "+from+" WHERE "+where+" ORDER BY time DESC, seq DESC LIMIT 101", args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var steps []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "; ")
}
