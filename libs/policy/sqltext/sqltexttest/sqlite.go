package sqltexttest

// SQLiteReads only read in SQLite. Some of them are no PostgreSQL.
func SQLiteReads() []string {
	return []string{
		"SELECT 1", "select * from users;", "SELECT u.id, count(*) FROM users u JOIN orders AS o ON o.user_id = u.id WHERE u.team = ?1 GROUP BY u.id HAVING count(*) > 2 LIMIT 5",
		"SELECT country, count(*) AS n FROM customers GROUP BY country ORDER BY country", "SELECT a || b, a IS NOT b, a GLOB 'x*', a NOTNULL, ~a, a == b FROM t",
		"SELECT name, sql FROM sqlite_master WHERE type = 'table'", "SELECT * FROM main.users AS u LEFT JOIN main.orders USING (id)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n", "VALUES (1, 'a'), (2, 'b')",
		"SELECT CASE WHEN a > 1 THEN 'x' ELSE 'y' END, CAST(a AS INTEGER), ifnull(a, 0), iif(a, 1, 2) FROM t", "SELECT a FROM t ORDER BY a COLLATE NOCASE DESC NULLS LAST",
		"SELECT strftime('%Y', at), julianday(at), json_extract(doc, '$.a'), doc -> 'a', doc ->> 'b' FROM t", "SELECT * FROM t INDEXED BY i WHERE a = 1",
		"SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t", "SELECT sum(a) FILTER (WHERE b > 1) OVER w FROM t WINDOW w AS (ORDER BY c)",
		"SELECT * FROM t WHERE id IN (SELECT id FROM u) AND NOT EXISTS (SELECT 1 FROM v WHERE v.id = t.id)", "SELECT 1 UNION SELECT 2 EXCEPT SELECT 3",
		"SELECT value FROM json_each('[1,2]')", "SELECT \"delete\" FROM t -- a column", "SELECT 'DELETE FROM t; DROP TABLE t'", "EXPLAIN QUERY PLAN SELECT * FROM t WHERE a = 1", "EXPLAIN SELECT 1",
		"PRAGMA table_info(users)", "PRAGMA table_info('users');", "PRAGMA main.table_xinfo(users)", "PRAGMA index_list(users)", "PRAGMA foreign_key_list(users)",
		"PRAGMA table_list", "PRAGMA user_version", "pragma ENCODING", "PRAGMA page_count",
	}
}

// HarmlessInSQLite are those of Attacks that read in SQLite: it needs a semicolon between statements, which SQL Server does not.
func HarmlessInSQLite() []string {
	return []string{"SELECT 1 AS exec FROM t", "SELECT * FROM t shutdown", "PRAGMA table_info(t)"}
}

// SQLiteAttacks write, may write, reach other files or are not understood, in SQLite.
func SQLiteAttacks() []string {
	return []string{
		"DELETE FROM t", "UPDATE t SET a = 1", "INSERT INTO t VALUES (1)", "INSERT OR REPLACE INTO t VALUES (1)", "REPLACE INTO t VALUES (1)", "INSERT INTO t DEFAULT VALUES",
		"INSERT INTO t SELECT * FROM u ON CONFLICT DO NOTHING", "DELETE FROM t RETURNING *", "WITH x AS (SELECT 1) DELETE FROM t", "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
		"WITH x AS (SELECT 1) UPDATE t SET a = 1", "WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "EXPLAIN DELETE FROM t",
		"PRAGMA journal_mode = DELETE", "PRAGMA journal_mode(DELETE)", "PRAGMA user_version = 5", "PRAGMA user_version(5)", "PRAGMA main.user_version = 5", "PRAGMA writable_schema = 1",
		"PRAGMA writable_schema(ON)", "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA optimize", "PRAGMA incremental_vacuum", "PRAGMA shrink_memory",
		"PRAGMA temp_store_directory = '/tmp'", "PRAGMA key = 'x'", "PRAGMA rekey = 'x'", "PRAGMA trusted_schema = 1", "PRAGMA foreign_keys = OFF", "PRAGMA query_only = 0",
		"PRAGMA database_list", "PRAGMA table_info", "PRAGMA table_info(a, b)", "PRAGMA table_info(load_extension('x'))", "PRAGMA", "PRAGMA user_version; PRAGMA user_version = 5",
		"ATTACH DATABASE 'x' AS y", "ATTACH 'x' AS y", "DETACH y", "DETACH DATABASE y", "VACUUM", "VACUUM INTO 'x'", "VACUUM main INTO 'x'", "REINDEX", "REINDEX t", "ANALYZE", "ANALYZE t",
		"BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "BEGIN; DELETE FROM t; COMMIT",
		"CREATE TABLE t (a)", "CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t (a)", "CREATE VIEW v AS SELECT 1", "CREATE INDEX i ON t (a)", "CREATE VIRTUAL TABLE t USING fts5(a)",
		"CREATE TRIGGER t AFTER INSERT ON t BEGIN DELETE FROM t; END", "DROP TABLE t", "DROP VIEW v", "DROP INDEX i", "DROP TRIGGER t", "ALTER TABLE t RENAME TO u", "ALTER TABLE t DROP COLUMN a",
		"SELECT load_extension('x')", "SELECT writefile('x', 'y')", "SELECT readfile('/etc/passwd')", "SELECT edit(a) FROM t", "SELECT fts3_tokenizer('x')", "SELECT sqlite_compileoption_get(1)",
		"SELECT zeroblob(1000000000)", "SELECT randomblob(1000000000)", "SELECT * FROM pragma_user_version", "SELECT * FROM pragma_table_info('t')", "SELECT * FROM sqlite_dbpage",
		"SELECT * FROM dbstat", "SELECT * FROM sqlite_stat1", "SELECT * FROM fsdir('/')", "SELECT * FROM (SELECT load_extension('x'))", "SELECT 1 WHERE load_extension('x')",
		"SELECT 1 ORDER BY writefile('x', 'y')", "SELECT 1 LIMIT writefile('x', 'y')", "WITH x AS (SELECT writefile('a', 'b')) SELECT * FROM x", "SELECT sum(a) OVER (ORDER BY writefile('a', 'b')) FROM t",
		"SELECT CASE WHEN 1 THEN load_extension('x') END", "SELECT count(*) FILTER (WHERE load_extension('x')) FROM t", "SELECT * FROM a JOIN b ON load_extension('x')",
		"SELECT 1; DELETE FROM t", "SELECT 1;;DROP TABLE t", "SELECT 1 DELETE FROM t", "SELECT 1 /* */; DELETE FROM t", "SELECT 1 --\n; DELETE FROM t", "/* SELECT */ DELETE FROM t",
		"-- SELECT\nDELETE FROM t", "SELECT 1 /* /* */ ; DELETE FROM t -- */", "SELECT '\\'; DELETE FROM t; --'", "SELECT [a; DELETE FROM t; --]", "SELECT `a`; DELETE FROM t",
		"SELECT `a` FROM t", "SELECT $$; DELETE FROM t; --$$", "SELECT 1\x00; DELETE FROM t", "SELECT 1 --\r; DELETE FROM t", "\ufeffDELETE FROM t", "DELETE\u00a0FROM\u00a0t",
		"SELECT\u00a01", "SELECT 1 FROM t\u2028x", "ＤＥＬＥＴＥ FROM t", "SELECT * INTO u FROM t", "SELECT * FROM t FOR UPDATE", "COPY t TO 'x'", "TRUNCATE t", "SET a = 1", "CALL p()",
		".shell rm x", ".import x t", "SELECT a FROM t WHERE b IN u", "SELECT", "", ";", "hello", "please delete everything", "SELECT 'a", "SELECT (1", "SELECT 1)", "SELECT RAISE(ABORT, 'x')",
	}
}
