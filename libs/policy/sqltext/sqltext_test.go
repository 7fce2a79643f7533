package sqltext_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/sqltext"
)

var reads = []string{
	"SELECT 1",
	"select 1;",
	"SELECT * FROM users",
	"SELECT id, name AS n FROM users u WHERE u.id = $1 AND name LIKE 'a%' ORDER BY name DESC LIMIT 10 OFFSET 5",
	"SELECT count(*), sum(total) FROM orders GROUP BY customer HAVING count(*) > 3",
	"SELECT * FROM a JOIN b ON a.id = b.id LEFT JOIN c USING (id) NATURAL JOIN d CROSS JOIN e",
	"SELECT * FROM (SELECT * FROM a) AS x, LATERAL (SELECT * FROM b WHERE b.id = x.id) AS y",
	"SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT 4",
	"(SELECT 1) UNION (SELECT 2)",
	"VALUES (1, 'a'), (2, 'b')",
	"TABLE users",
	"WITH x AS (SELECT * FROM a) SELECT * FROM x",
	"WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
	"SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END, coalesce(a, b), nullif(a, b) FROM t",
	"SELECT CAST(a AS text), a::int8, date '2020-01-01', interval '1 day' FROM t",
	"SELECT a BETWEEN 1 AND 2, a IN (1, 2), a IS NULL, a IS NOT DISTINCT FROM b, NOT a, -a, ARRAY[1, 2], (1, 2) FROM t",
	"SELECT * FROM t WHERE id IN (SELECT id FROM u) AND EXISTS (SELECT 1 FROM v WHERE v.id = t.id)",
	"SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
	"SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY b)",
	"SELECT sum(a) FILTER (WHERE b > 1) FROM t",
	"SELECT string_agg(a, ',' ORDER BY b) FROM t",
	"SELECT DISTINCT ON (a) a, b FROM t",
	"SELECT extract(year FROM d), date_trunc('month', d), now(), current_date FROM t",
	"SELECT substring(a FROM 1 FOR 2), trim(both ' ' from a), position('a' in b), overlay(a placing 'x' from 1) FROM t",
	"SELECT pg_catalog.lower(a) FROM t",
	"SELECT data->'a'->>'b' FROM t",
	"SELECT * FROM generate_series(1, 10)",
	"SELECT * FROM unnest(ARRAY['a', 'b']) AS x",
	"SELECT a[1] FROM t",
	"SELECT 'it''s; DELETE FROM t'",
	"SELECT \"delete\" FROM t",
	"-- the count\nSELECT count(*) FROM t /* all */",
	"/*+ hint */ SELECT 1",
	"EXPLAIN SELECT * FROM t",
	"EXPLAIN ANALYZE SELECT * FROM t",
	"SHOW TABLES",
	"SELECT * FROM information_schema.tables",
	"SELECT name FROM \"users\" WHERE created_at > '2020-01-01'",
	"SELECT last_update, deleted FROM t",
	"SELECT strftime('%Y', d), julianday(d), ifnull(a, 0), json_extract(a, '$.b') FROM t",
	"SELECT 'caf\u00e9', '\u65e5\u672c' FROM t",
	"SELECT regexp_replace(a, '\\d+', '') FROM t",
	"SELECT 1 -- end",
	"\r\nSELECT\t1\r\n",
}

func TestReads(t *testing.T) {
	for _, text := range reads {
		if s := sqltext.Read(text); !s.ReadOnly || !s.Understood || s.Why != "" {
			t.Errorf("%q: %s", text, s.Why)
		}
	}
}

var notReads = []string{
	// nothing, or not SQL
	"", ";", "  -- only words", "hello", "SELECT * FROM", "SELECT 'a", "SELECT \"a", "SELECT 1 /* open", "\x00", "SELECT 1\x00",
	"SELECT '\xff'",
	// writes
	"INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DELETE FROM t", "UPSERT INTO t VALUES (1)", "TRUNCATE t", "REPLACE INTO t VALUES (1)",
	"MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE",
	// writes within
	"WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
	"WITH d AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM d",
	"WITH a AS (SELECT 1), d AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM a, d",
	"SELECT * FROM (WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d) AS x",
	"SELECT * FROM [DELETE FROM t RETURNING *]",
	"SELECT * FROM [INSERT INTO t VALUES (1) RETURNING *] AS x",
	"WITH x AS (SELECT 1) DELETE FROM t",
	"SELECT (WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d)",
	// definitions, rights, sessions
	"CREATE TABLE t (a int)", "CREATE TABLE t AS SELECT 1", "CREATE INDEX ON t (a)",
	"CREATE FUNCTION f() RETURNS int LANGUAGE SQL AS 'SELECT 1'",
	"DROP TABLE t", "ALTER TABLE t ADD COLUMN a int", "GRANT ALL ON t TO x", "REVOKE ALL ON t FROM x", "CREATE ROLE x",
	"COMMENT ON TABLE t IS 'x'",
	"SET a = 1", "SET search_path TO evil", "RESET ALL", "SET ROLE admin", "DISCARD ALL", "LOCK TABLE t", "VACUUM", "ANALYZE t",
	"REINDEX TABLE t",
	"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "DECLARE c CURSOR FOR SELECT 1",
	"FETCH 1 FROM c",
	"LISTEN a", "NOTIFY a", "UNLISTEN *", "CALL p()", "DO $$ BEGIN DELETE FROM t; END $$", "DO 'BEGIN END'", "CANCEL QUERY 'x'",
	"REFRESH MATERIALIZED VIEW v",
	"IMPORT INTO t CSV DATA ('x')", "BACKUP INTO 'x'", "RESTORE FROM 'x'", "EXPORT INTO CSV 'x' FROM SELECT 1",
	// locks
	"SELECT * FROM t FOR UPDATE", "SELECT * FROM t FOR SHARE", "SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED",
	"SELECT * FROM (SELECT * FROM t FOR UPDATE) AS x",
	"SELECT * FROM t LOCK IN SHARE MODE",
	// into, copy, files
	"SELECT * INTO u FROM t", "SELECT * INTO TEMP u FROM t", "SELECT * FROM t INTO OUTFILE '/tmp/x'",
	"SELECT a INTO DUMPFILE '/x' FROM t", "SELECT a INTO @x FROM t",
	"COPY t FROM STDIN", "COPY t TO STDOUT", "COPY t TO '/tmp/x'", "COPY t FROM PROGRAM 'id'", "COPY (SELECT 1) TO STDOUT",
	"COPY (DELETE FROM t RETURNING *) TO STDOUT",
	"LOAD DATA INFILE 'x' INTO TABLE t", "LOAD 'x.so'",
	// SQLite
	"PRAGMA journal_mode = DELETE", "PRAGMA table_info(t)", "ATTACH DATABASE 'x' AS y", "ATTACH 'x' AS y", "DETACH y", "VACUUM INTO 'x'",
	"SELECT load_extension('x')", "SELECT writefile('x', 'y')", "SELECT fts3_tokenizer('x')", "SELECT edit(a) FROM t",
	"SELECT readfile('/etc/passwd')",
	// functions that act
	"SELECT nextval('s')", "SELECT setval('s', 1)", "SELECT pg_read_file('/etc/passwd')", "SELECT lo_import('/etc/passwd')",
	"SELECT lo_export(1, 'x')",
	"SELECT pg_terminate_backend(1)", "SELECT pg_cancel_backend(1)", "SELECT dblink_exec('x')",
	"SELECT * FROM dblink('x', 'y') AS t(a int)", "SELECT pg_sleep(10)",
	"SELECT set_config('a', 'b', false)", "SELECT query_to_xml('delete from t', true, true, '')", "SELECT pg_advisory_lock(1)",
	"SELECT pg_notify('a', 'b')",
	"SELECT sleep(10)", "SELECT benchmark(1000000, md5('a'))", "SELECT load_file('/etc/passwd')", "SELECT get_lock('a', 1)",
	"SELECT xp_cmdshell('x')",
	"SELECT pg_ls_dir('/')", "SELECT * FROM pg_ls_dir('/')", "SELECT * FROM ROWS FROM (nextval('s'))", "SELECT evil.lower(a) FROM t",
	"SELECT my_function(a) FROM t",
	"SELECT 1 FROM t WHERE nextval('s') > 1", "SELECT 1 FROM t ORDER BY nextval('s')", "SELECT 1 FROM t LIMIT nextval('s')",
	"SELECT 1 FROM t GROUP BY nextval('s')",
	"SELECT 1 FROM t OFFSET nextval('s')", "SELECT 1 FROM a JOIN b ON nextval('s') = 1", "SELECT sum(nextval('s')) FROM t",
	"SELECT sum(a) FILTER (WHERE nextval('s') > 0) FROM t",
	"SELECT row_number() OVER (ORDER BY nextval('s')) FROM t", "SELECT row_number() OVER (PARTITION BY nextval('s')) FROM t",
	"SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY nextval('s'))",
	"SELECT string_agg(a, ',' ORDER BY nextval('s')) FROM t", "SELECT CASE nextval('s') WHEN 1 THEN 2 END",
	"SELECT CASE 1 WHEN nextval('s') THEN 2 END", "SELECT ARRAY[nextval('s')]",
	"SELECT a[nextval('s')] FROM t", "SELECT (nextval('s'), 1)", "SELECT nextval('s')::text", "SELECT -nextval('s')",
	"SELECT 1 + nextval('s')", "SELECT NOT nextval('s')",
	"SELECT nextval('s') BETWEEN 1 AND 2", "SELECT coalesce(nextval('s'), 1)", "SELECT nextval('s') IS NULL", "VALUES (nextval('s'))",
	"SELECT DISTINCT ON (nextval('s')) 1",
	"SELECT 1 HAVING nextval('s') > 1", "SELECT ARRAY(SELECT nextval('s'))", "SELECT EXISTS (SELECT nextval('s'))",
	"SELECT if(true, nextval('s'), 1)", "SELECT nullif(1, nextval('s'))",
	"SELECT 'a' COLLATE \"C\" || nextval('s')::text", "SELECT (ROW(nextval('s'))).*", "SELECT 1 UNION SELECT nextval('s')",
	"EXPLAIN ANALYZE SELECT nextval('s')",
	// explain
	"EXPLAIN ANALYZE DELETE FROM t", "EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "EXPLAIN (ANALYZE) UPDATE t SET a = 1",
	"EXPLAIN DELETE FROM t",
	// several
	"SELECT 1; SELECT 2", "SELECT 1; DELETE FROM t", "SELECT 1;; DROP TABLE t", "SELECT 1 /* ; */ ; DROP TABLE t -- x",
	// what databases read differently
	"SELECT 1 /*! ; DELETE FROM t */", "SELECT 1 /*!50000 INTO OUTFILE '/x' */", "SELECT 1 /* /* */ ; DELETE FROM t -- */ */",
	"SELECT 'a\\''; DELETE FROM t; -- '",
	"SELECT E'a\\'; DELETE FROM t; --'", "SELECT 1 # '\n; DELETE FROM t -- '", "SELECT 1--1\n", "SELECT 1 --1; DELETE FROM t",
	"SELECT $$ ; DELETE FROM t; $$", "SELECT $a$ x $a$",
	"SELECT a['] ; DELETE FROM t; --'] FROM t", "SELECT [a'] ; DELETE FROM t; --']", "SELECT `a` FROM t", "SELECT 1 -- x\rDELETE FROM t",
	"SELECT 1 delete FROM t", "SELECT 1 AS exec FROM t",
	"SELECT * FROM t shutdown", "SELECT a\\\" FROM t",
	// strange names
	"SELECT * FROM [123 AS t]", "SELECT [FUNCTION 123](1)", "SELECT @a := 1", "HANDLER t OPEN", "SELECT 1 PROCEDURE ANALYSE()",
}

func TestNotReads(t *testing.T) {
	for _, text := range notReads {
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
