// Package sqltexttest has the statements that whoever judges SQL is tried with.
package sqltexttest

import "slices"

// Reads only read, in every database.
func Reads() []string {
	return []string{
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
}

// Attacks write, may write, or are read differently by two databases: none of them is a reading.
func Attacks() []string { return slices.Concat(writing(), acting(), tricks()) }

// writing is what is no statement, or changes something by what it is.
func writing() []string {
	return []string{
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
	}
}

// acting calls functions that do something, wherever a function can stand.
func acting() []string {
	return []string{
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
	}
}

// tricks hide a statement in another, or are read differently by two databases.
func tricks() []string {
	return []string{
		"SELECT substr(data, instr(data, 'Chen Castro'), 200) FROM sqlite_dbpage WHERE data LIKE '%Chen%'",
		"SELECT * FROM main.SQLITE_DBPAGE",
		"SELECT name FROM dbstat",
		"SELECT sample FROM sqlite_stat4",
		"SELECT * FROM pragma_database_list",
		"SELECT data FROM pg_largeobject",
		"SELECT most_common_vals FROM pg_stats",
		"SELECT * FROM pg_catalog.pg_statistic",
		"SELECT chunk_data FROM pg_toast.pg_toast_16384",
		"WITH x AS (SELECT rolpassword FROM pg_authid) SELECT * FROM x",
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
}
