package sqltext_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/sqltext"
	"headgate.dev/libs/policy/sqltext/sqltexttest"
)

func TestReads(t *testing.T) {
	for _, text := range sqltexttest.Reads() {
		if s := sqltext.Read(text); !s.ReadOnly || !s.Understood || s.Why != "" {
			t.Errorf("%q: %s", text, s.Why)
		}
	}
}

func TestNotReads(t *testing.T) {
	all := slices.Compact(slices.Sorted(slices.Values(sqltexttest.Attacks())))
	t.Logf("%d statements that read, %d others", len(sqltexttest.Reads()), len(all))
	if len(all) < 150 {
		t.Errorf("only %d statements", len(all))
	}
	for _, text := range all {
		s := sqltext.Read(text)
		if s.ReadOnly {
			t.Errorf("%q is taken for a reading", text)
		}
		if s.Why == "" {
			t.Errorf("%q: no reason", text)
		}
		if strings.ContainsAny(s.Why, "\n\r") {
			t.Errorf("%q: the reason has lines: %q", text, s.Why)
		}
	}
}

func TestWhatIsRead(t *testing.T) {
	for _, c := range []struct {
		text      string
		count     int
		tables    string
		functions string
		where     bool
	}{
		{"SELECT * FROM Users WHERE id = 1", 1, "users", "", true},
		{"SELECT * FROM users", 1, "users", "", false},
		{"SELECT * FROM users WHERE true", 1, "users", "", false},
		{"SELECT lower(a) FROM public.users u JOIN shop.main.orders o ON u.id = o.id", 1, "main.orders orders public.users shop.main.orders users", "lower", false},
		{"SELECT * FROM \"USERS\"", 1, "users", "", false},
		{"WITH x AS (SELECT * FROM a) SELECT * FROM x, b WHERE x.id = 1", 1, "a b", "", true},
		{"WITH users AS (SELECT * FROM users) SELECT * FROM users", 1, "users", "", false},
		{"WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t", 1, "", "", false},
		{"SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y, x", 1, "x", "", false},
		{"WITH x AS (SELECT 1) SELECT * FROM public.x", 1, "public.x x", "", false},
		{"DELETE FROM t", 1, "t", "", false},
		{"DELETE FROM t WHERE id = 1", 1, "t", "", true},
		{"DELETE FROM t WHERE 1 = 1", 1, "t", "", false},
		{"UPDATE t SET a = upper(b) FROM u WHERE t.id = u.id", 1, "t u", "upper", true},
		{"WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d WHERE id = 1", 1, "t", "", false},
		{"INSERT INTO t SELECT * FROM u WHERE a = 1", 1, "t u", "", false},
		{"DROP TABLE a, b", 1, "a b", "", false},
		{"TRUNCATE a", 1, "a", "", false},
		{"SELECT 1; DELETE FROM t WHERE a = 1;", 2, "t", "", true},
		{"SELECT a FROM t WHERE a = 1 UNION SELECT b FROM u", 1, "t u", "", false},
		{"EXPLAIN ANALYZE SELECT * FROM t WHERE a = 1", 1, "t", "", true},
		{"SELECT * FROM t WHERE id IN (SELECT id FROM v) AND x = (SELECT max(y) FROM w)", 1, "t v w", "max", true},
		{"SELECT evil.f(1)", 1, "", "evil.f f", false},
		{"SHOW COLUMNS FROM t", 1, "t", "", false},
		{"SELECT 'a'::mood, b::other.kind FROM t", 1, "t", "", false},
	} {
		s := sqltext.Read(c.text)
		if !s.Understood || s.Count != c.count || strings.Join(s.Tables, " ") != c.tables || strings.Join(s.Functions, " ") != c.functions ||
			s.HasWhere != c.where {
			t.Errorf("%q: %+v", c.text, s)
		}
	}
}

func TestWhatCannotBeParsedIsStillCounted(t *testing.T) {
	for text, count := range map[string]int{
		"PRAGMA a; DELETE FROM t": 2, "PRAGMA a": 1, "PRAGMA ';'": 1, "": 0, ";;": 0, "-- a; b": 0, "PRAGMA a; ": 1, "PRAGMA a /* ; */": 1,
	} {
		if s := sqltext.Read(text); s.Count != count || s.ReadOnly {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestLargeAndDeepTextsEnd(t *testing.T) {
	const n = 15_000
	for name, text := range map[string]string{
		"parentheses": "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n),
		"open":        "SELECT " + strings.Repeat("(", n),
		"minus":       "SELECT " + strings.Repeat("- ", n) + "1",
		"not":         "SELECT " + strings.Repeat("NOT ", n) + "true",
		"and":         "SELECT * FROM t WHERE a" + strings.Repeat(" AND a", n/2),
		"union":       "SELECT 1" + strings.Repeat(" UNION SELECT 1", n/4),
		"subqueries":  strings.Repeat("SELECT (", n/4) + "1" + strings.Repeat(")", n/4),
		"case":        "SELECT " + strings.Repeat("CASE WHEN a THEN ", n/5) + "1" + strings.Repeat(" END", n/5),
		"list":        "SELECT 1 IN (1" + strings.Repeat(",1", n) + ")",
		"statements":  strings.Repeat("SELECT 1;", n/3),
		"brackets":    "SELECT a" + strings.Repeat("[", n) + strings.Repeat("]", n),
		"quotes":      "SELECT " + strings.Repeat("[''", n),
		"too long":    "SELECT '" + strings.Repeat("a", sqltext.MaxBytes) + "'",
	} {
		s := sqltext.Read(text)
		t.Logf("%s: read-only %v %s", name, s.ReadOnly, s.Why)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1", "WITH d AS (DELETE FROM t) SELECT 1", "DO $$ BEGIN END $$", "SELECT a['] ; DELETE FROM t; --']", "SELECT E'\\''",
		"COPY t FROM PROGRAM 'x'",
		"CREATE FUNCTION f() RETURNS int LANGUAGE PLpgSQL AS $$ BEGIN RETURN 1; END $$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := sqltext.Read(text)
		if s.ReadOnly != (s.Why == "") || (s.ReadOnly && (!s.Understood || s.Count != 1)) || !slices.IsSorted(s.Tables) {
			t.Errorf("%q: %+v", text, s)
		}
		again := sqltext.Read(text)
		if s.ReadOnly != again.ReadOnly || s.Count != again.Count || !slices.Equal(s.Tables, again.Tables) {
			t.Errorf("%q: not the same twice", text)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const text = "SELECT u.id, u.name, count(*) FROM users u JOIN orders o ON o.user_id = u.id " +
		"WHERE o.created_at > now() AND u.team = 'care' GROUP BY u.id, u.name LIMIT 50"
	if s := sqltext.Read(text); !s.ReadOnly {
		b.Fatal(s.Why)
	}
	b.ReportAllocs()
	for b.Loop() {
		sqltext.Read(text)
	}
}
