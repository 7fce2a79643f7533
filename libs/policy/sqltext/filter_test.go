package sqltext_test

import (
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"headgate.dev/libs/policy/sqltext"
)

// A database answers the filtered statements: no row of another region comes out, however the statement is written.
func TestAFilteredStatementSeesOnlyItsRows(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range []string{
		"CREATE TABLE orders (id INTEGER, region TEXT, cents INTEGER)", "CREATE TABLE people (id INTEGER, name TEXT)",
		"INSERT INTO orders VALUES (1,'eu',10),(2,'eu',20),(3,'us',1000)", "INSERT INTO people VALUES (1,'ana')",
	} {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"SELECT sum(cents) FROM orders":                                                        "30",
		"select sum(o.cents) from ORDERS o where o.region = 'us' or 1=1":                       "30",
		`SELECT count(*) FROM "orders"`:                                                        "2",
		"WITH a AS (SELECT * FROM orders) SELECT sum(cents) FROM a":                            "30",
		"SELECT max(cents) FROM (SELECT cents FROM orders UNION ALL SELECT cents FROM orders)": "20",
		"SELECT count(*) FROM people WHERE id IN (SELECT id FROM orders WHERE cents > 100)":    "0",
		"SELECT count(*) FROM people":                                                          "1",
		"SELECT count(*) FROM orders a JOIN orders b ON a.id = b.id":                           "2",
		"SELECT (SELECT max(cents) FROM orders)":                                               "20",
	} {
		filtered, err := sqltext.Filter(text, "orders", "main.orders", "region = 'eu'", []string{"people", "shop.items"})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got string
		if err := db.QueryRow(filtered).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %s: %q, %v", text, filtered, got, err)
		}
	}
}

func TestAFilterNamesWhatElseIsRead(t *testing.T) {
	for _, text := range []string{"SELECT * FROM orders JOIN shop.items USING (id)", "SELECT * FROM people", "WITH x AS (SELECT * FROM orders) SELECT * FROM x, items"} {
		if _, err := sqltext.Filter(text, "orders", "main.orders", "region = 'eu'", []string{"people", "shop.items"}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if out, err := sqltext.Filter("SELECT * FROM people", "orders", "main.orders", "region = 'eu'", nil); err == nil {
		t.Errorf("a table that nobody named is read: %s", out)
	}
}

func TestWhatCannotBeFilteredIsRefused(t *testing.T) {
	for text, says := range map[string]string{
		"SELECT * FROM main.orders":                              "named with its schema",
		"SELECT * FROM public.orders, orders":                    "named with its schema",
		"WITH orders AS (SELECT 1) SELECT * FROM orders":         "defines orders itself",
		"WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a, orders": "recursive",
		"SELECT * FROM orders; SELECT * FROM orders":             "2 statements",
		"DELETE FROM orders":                                     "does not only read",
		"EXPLAIN SELECT * FROM orders":                           "",
		"SELECT * FROM `orders`":                                 "not understood",
		`SELECT * FROM "Orders"`:                                 "other letters",
		"/* x */ WITH a AS (SELECT 1) SELECT * FROM a, orders":   "before its WITH",
		"": "",
		"SELECT info FROM information_schema.processlist":                   "does not only read",
		"SELECT sql_text FROM performance_schema.events_statements_history": "does not only read",
		"SELECT substr(data, instr(data, 'Chen'), 200) FROM sqlite_dbpage":  "does not only read",
		"SELECT * FROM orders, dbstat":                                      "does not only read",
		"SELECT * FROM orders_fts_content":                                  "the statement reads orders_fts_content",
		"SELECT name FROM sqlite_master":                                    "the statement reads sqlite_master",
		"SELECT * FROM other.people":                                        "the statement reads other.people",
		"SELECT * FROM people WHERE id IN (SELECT id FROM secrets)":         "the statement reads secrets",
	} {
		out, err := sqltext.Filter(text, "orders", "main.orders", "region = 'eu'", []string{"people", "shop.items"})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %q %v", text, out, err)
		}
	}
	for where, ok := range map[string]bool{
		"region = 'eu'": true, "region IN ('eu','uk') AND cents < 100": true, "1=1) OR (1=1": false, "true; DROP TABLE orders": false, "true -- x": false, "": false,
		"pg_sleep(10) IS NULL": false, "true UNION SELECT 1 FROM people": false, "true LIMIT 1": false,
	} {
		if err := sqltext.CheckFilter("orders", "public.orders", where); (err == nil) != ok {
			t.Errorf("%s: %v", where, err)
		}
	}
	if sqltext.CheckFilter("orders", "public.other", "true") == nil || sqltext.CheckFilter("orders", "orders", "true") == nil {
		t.Error("a source that is another table is taken")
	}
}
