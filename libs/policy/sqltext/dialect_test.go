package sqltext_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/sqltext"
	"headgate.dev/libs/policy/sqltext/sqltexttest"
)

func TestSQLiteReads(t *testing.T) {
	for _, text := range sqltexttest.SQLiteReads() {
		if s := sqltext.ReadAs(text, sqltext.SQLite); !s.ReadOnly || !s.Understood || s.Why != "" || s.Count != 1 {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestWhatIsNoReadingIsNoneInAnyDialect(t *testing.T) {
	both := slices.Concat(sqltexttest.SQLiteAttacks(), sqltexttest.Attacks())
	t.Logf("%d statements that read SQLite, %d others", len(sqltexttest.SQLiteReads()), len(both))
	for _, dialect := range []sqltext.Dialect{sqltext.SQLite, sqltext.Generic, "oracle", ""} {
		for _, text := range both {
			if dialect == sqltext.SQLite && slices.Contains(sqltexttest.HarmlessInSQLite(), text) {
				continue
			}
			if s := sqltext.ReadAs(text, dialect); s.ReadOnly || s.Why == "" || strings.ContainsAny(s.Why, "\n\r") {
				t.Errorf("%s: %q: %+v", dialect, text, s)
			}
		}
	}
}

// TestGenericIsWhatAllUnderstand holds the generic dialect against the two others.
func TestGenericIsWhatAllUnderstand(t *testing.T) {
	passed := 0
	for _, text := range slices.Concat(sqltexttest.Reads(), sqltexttest.SQLiteReads()) {
		generic, postgres, sqlite := sqltext.ReadAs(text, sqltext.Generic), sqltext.ReadAs(text, sqltext.PostgreSQL), sqltext.ReadAs(text, sqltext.SQLite)
		if generic.ReadOnly && (!postgres.ReadOnly || !sqlite.ReadOnly || !slices.Equal(postgres.Tables, sqlite.Tables)) {
			t.Errorf("%q is a reading and is none of PostgreSQL or SQLite", text)
		}
		if generic.ReadOnly {
			passed++
		}
	}
	if passed < 20 {
		t.Errorf("only %d readings are readings everywhere", passed)
	}
	for text, readOnly := range map[string]bool{
		"SELECT * FROM users WHERE id = 1":                  true,
		"SELECT country, count(*) FROM c GROUP BY country":  true,
		"WITH x AS (SELECT a FROM t) SELECT * FROM x":       true,
		"SELECT a::text FROM t":                             false, // no SQLite
		"SELECT a GLOB 'x*' FROM t":                         false, // no PostgreSQL
		"PRAGMA table_info(t)":                              false,
		"SHOW TABLES":                                       false,
		"WITH t AS (SELECT * FROM t) SELECT * FROM t":       false, // PostgreSQL reads the table, SQLite a circle
		"SELECT 1 FROM t WHERE \"id\" = 'a'":                false, // a column for PostgreSQL, and perhaps a text for SQLite
		"SELECT DISTINCT name FROM a JOIN b ON a.id = b.id": true,
	} {
		if s := sqltext.ReadAs(text, sqltext.Generic); s.ReadOnly != readOnly {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestWhatSQLiteReads(t *testing.T) {
	for _, c := range []struct {
		text      string
		count     int
		tables    string
		functions string
		where     bool
	}{
		{"SELECT * FROM Users WHERE id = 1", 1, "users", "", true},
		{"SELECT * FROM users WHERE 1", 1, "users", "", false},
		{"SELECT * FROM users WHERE \"x\"", 1, "users", "", false},
		{"SELECT * FROM users WHERE lower('x')", 1, "users", "lower", false},
		{"SELECT * FROM users WHERE u.id", 1, "users", "", true},
		{"SELECT lower(a) FROM main.users u, \"Orders\"", 1, "main.users orders users", "lower", false},
		{"WITH x AS (SELECT * FROM a) SELECT * FROM x, b WHERE x.id = 1", 1, "a b", "", true},
		{"WITH x AS (SELECT 1) SELECT * FROM main.x", 1, "main.x x", "", false},
		{"SELECT a FROM t WHERE a = 1 UNION SELECT b FROM u", 1, "t u", "", false},
		{"SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE c = (SELECT max(d) FROM v))", 1, "t u v", "max", true},
		{"DELETE FROM t", 1, "t", "", false},
		{"DELETE FROM t WHERE id = 1", 1, "t", "", true},
		{"UPDATE t SET a = upper(b) WHERE true", 1, "t", "upper", false},
		{"INSERT INTO t SELECT * FROM u", 1, "t u", "", false},
		{"SELECT 1; DELETE FROM t WHERE a = 1;", 2, "t", "", true},
		{"PRAGMA table_info(Users)", 1, "users", "", false},
		{"SELECT * FROM json_each('[]')", 1, "", "json_each", false},
	} {
		s := sqltext.ReadAs(c.text, sqltext.SQLite)
		if !s.Understood || s.Count != c.count || strings.Join(s.Tables, " ") != c.tables || strings.Join(s.Functions, " ") != c.functions || s.HasWhere != c.where {
			t.Errorf("%q: %+v", c.text, s)
		}
	}
}

func TestLargeAndDeepSQLiteTextsEnd(t *testing.T) {
	const n = 15_000
	for name, text := range map[string]string{
		"parentheses": "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"deep enough": "SELECT " + strings.Repeat("(", 900) + "1" + strings.Repeat(")", 900),
		"minus":       "SELECT " + strings.Repeat("- ", 2*n) + "1",
		"not":         "SELECT " + strings.Repeat("NOT ", n) + "true",
		"and":         "SELECT * FROM t WHERE a" + strings.Repeat(" AND a", n/2),
		"union":       "SELECT 1" + strings.Repeat(" UNION SELECT 1", n/4),
		"joins":       "SELECT * FROM t" + strings.Repeat(",t", 2*n),
		"case":        "SELECT " + strings.Repeat("CASE WHEN a THEN ", n/5) + "1" + strings.Repeat(" END", n/5),
		"list":        "SELECT 1 IN (1" + strings.Repeat(",1", n) + ")",
		"statements":  strings.Repeat("SELECT 1;", n/3),
		"explain":     strings.Repeat("EXPLAIN ", n/3) + "SELECT 1",
		"between":     "SELECT 1" + strings.Repeat(" BETWEEN 1 AND 1", n/4),
		"too long":    "SELECT '" + strings.Repeat("a", sqltext.MaxBytes) + "'",
	} {
		s := sqltext.ReadAs(text, sqltext.SQLite)
		t.Logf("%s: read-only %v %s", name, s.ReadOnly, s.Why)
		if name == "too long" && s.ReadOnly {
			t.Error("a text that is too long is taken for a reading")
		}
	}
}

func FuzzReadSQLite(f *testing.F) {
	for _, seed := range slices.Concat(sqltexttest.SQLiteReads()[:12], sqltexttest.SQLiteAttacks()[:40]) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sqlite, generic, postgres := sqltext.ReadAs(text, sqltext.SQLite), sqltext.ReadAs(text, sqltext.Generic), sqltext.ReadAs(text, sqltext.PostgreSQL)
		for _, s := range []*sqltext.Statement{sqlite, generic} {
			if s.ReadOnly != (s.Why == "") || (s.ReadOnly && (!s.Understood || s.Count != 1)) || !slices.IsSorted(s.Tables) {
				t.Errorf("%q: %+v", text, s)
			}
		}
		if generic.ReadOnly != (sqlite.ReadOnly && postgres.ReadOnly && slices.Equal(sqlite.Tables, postgres.Tables) && sqlite.HasWhere == postgres.HasWhere) {
			t.Errorf("%q: generic %+v, PostgreSQL %+v, SQLite %+v", text, generic, postgres, sqlite)
		}
	})
}

func BenchmarkReadSQLite(b *testing.B) {
	const text = "SELECT u.id, u.name, count(*) FROM users u JOIN orders o ON o.user_id = u.id " +
		"WHERE o.created_at > now() AND u.team = 'care' GROUP BY u.id, u.name LIMIT 50"
	if s := sqltext.ReadAs(text, sqltext.SQLite); !s.ReadOnly {
		b.Fatal(s.Why)
	}
	b.ReportAllocs()
	for b.Loop() {
		sqltext.ReadAs(text, sqltext.SQLite)
	}
}
