package sqltext_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/sqltext"
)

func TestColumnsThatAreNamed(t *testing.T) {
	both := []sqltext.Dialect{sqltext.PostgreSQL, sqltext.SQLite, sqltext.Generic}
	postgres, sqlite := both[:1], both[1:2]
	for _, c := range []struct {
		text     string
		columns  string
		dialects []sqltext.Dialect
	}{
		{"SELECT Ssn FROM users", "ssn", both},
		{"SELECT u.ssn FROM users u", "ssn u.ssn", both},
		{`SELECT "ssn" FROM users`, "ssn", both},
		{"SELECT public.users.ssn FROM public.users", "public.users.ssn ssn", postgres},
		{"SELECT name FROM users WHERE ssn = 'x'", "name ssn", both},
		{"SELECT name FROM users ORDER BY ssn", "name ssn", both},
		{"SELECT count(*) FROM users GROUP BY ssn HAVING max(age) > 1", "age ssn", both},
		{"SELECT name FROM users u JOIN taxes x ON x.ssn = u.ssn", "name ssn u.ssn x.ssn", both},
		{"SELECT name FROM users JOIN taxes USING (ssn)", "name ssn", both},
		{"SELECT name FROM users NATURAL JOIN taxes", "* name", both},
		{"SELECT lower(substr(ssn, 1, 3)) AS name FROM users", "ssn", both},
		{"SELECT CASE WHEN ssn > 'a' THEN 1 ELSE age END FROM users", "age ssn", both},
		{"SELECT name FROM users WHERE id IN (SELECT id FROM x WHERE ssn LIKE 'a')", "id name ssn", both},
		{"WITH s AS (SELECT ssn AS n FROM users) SELECT n FROM s", "n ssn", both},
		{"WITH s(n) AS (SELECT ssn FROM users) SELECT n FROM s", "n ssn", both},
		{"SELECT name FROM a UNION SELECT ssn FROM b", "name ssn", both},
		{"SELECT sum(a) OVER (PARTITION BY ssn) FROM users", "a ssn", both},
		{"SELECT count(*) FROM users", "", both},
		{"SELECT count(users) FROM users", "* users", both},
		{"SELECT 'ssn'", "", both},
		{"SELECT * FROM users", "*", both},
		{"SELECT u.* FROM users u", "*", both},
		{"SELECT name FROM (SELECT * FROM users) AS x", "* name", both},
		{"SELECT users FROM users", "* users", both},
		{"SELECT u FROM users u", "* u", both},
		{"SELECT name FROM users WHERE EXISTS (SELECT u FROM x u)", "* name u", both[:2]},
		{"SELECT row_to_json(u) FROM users u", "* u", postgres},
		{"SELECT to_jsonb(u)->>'ssn' FROM users u", "* u", postgres},
		{"SELECT u.to_jsonb FROM users u", "* to_jsonb u.to_jsonb", postgres},
		{"SELECT u.quote_literal FROM users u", "* quote_literal u.quote_literal", postgres},
		{"SELECT (u).ssn FROM users u", "* ssn u", postgres},
		{"SELECT (u.*) FROM users u", "*", postgres},
		{"SELECT u::text FROM users u", "* u", postgres},
		{"SELECT b FROM users AS u(a, b)", "* b", postgres},
		{"SELECT z FROM (users a JOIN taxes b ON a.id = b.id) AS j(x, y, z)", "* a.id b.id id z", postgres},
		{"TABLE users", "*", postgres},
		{"SELECT n FROM generate_series(1, 2) AS g(n)", "n", postgres},
		{"SELECT sum(a) FILTER (WHERE ssn > 'a') FROM users", "a ssn", both},
		{"SELECT DISTINCT ON (ssn) name FROM users", "name ssn", postgres},
		{"UPDATE users SET ssn = 'x' WHERE id = 1", "id ssn", both},
		{"UPDATE users SET (a, ssn) = (1, 2) WHERE id = 1", "a id ssn", both},
		{"INSERT INTO users (name, ssn) VALUES ('a', 'b')", "name ssn", both},
		{"INSERT INTO users VALUES ('a', 'b')", "*", both},
		{"DELETE FROM users WHERE ssn = 'a' RETURNING name", "name ssn", both},
		{"COPY users (name) TO STDOUT", "* name", postgres},
		{"CREATE TABLE x AS SELECT name FROM users", "* name", postgres},
		{"ALTER TABLE users DROP COLUMN ssn", "*", postgres},
		{"EXPLAIN SELECT ssn FROM users", "ssn", both},
		{"PRAGMA table_info(users)", "", sqlite},
	} {
		for _, dialect := range c.dialects {
			if s := sqltext.ReadAs(c.text, dialect); !s.Understood || strings.Join(s.Columns, " ") != c.columns || !slices.IsSorted(s.Columns) {
				t.Errorf("%s: %q: %q %s", dialect, c.text, s.Columns, s.Why)
			}
		}
	}
}
