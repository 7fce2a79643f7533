package sqltext_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/sqltext"
)

// conditionsOfBoth are read alike by PostgreSQL and SQLite.
func conditionsOfBoth() map[string]bool {
	return map[string]bool{
		"id = 1": true, "t.id = 1": true, "1 = id": true, "name LIKE 'a%'": true, "id IN (1, 2)": true, "id BETWEEN 1 AND 2": true, "id IS NULL": true, "a = b": true,
		"id IS NOT NULL": true, "id = 1 AND 1 = 1": true, "true AND id = 1": true, "id = 1 OR name = 'a'": true, "id = 1 OR id = 2": true, "id <> 1": true,
		"id <> 1 AND id <> 2": true, "id < 1 OR id = 7": true, "id <> 1 OR id IS NULL": true, "NOT id = 1": true, "NOT (id = 1 OR name = 'a')": true, "NOT (id = 1 AND name = 'a')": true,
		"id = 1 OR false": true, "id = 1 AND false": true, "lower(name) = 'a'": true, "id % 10 = 3": true, "price * amount > 3": true, "active": true, "NOT active": true,
		"id IN (SELECT id FROM u WHERE x = 1)": true, "id = (SELECT max(id) FROM u)": true, "coalesce(active, false)": true, "active = true": true, "active IS TRUE": true,
		"(id = 1 AND name = 'a') OR (id = 2 AND name = 'b')": true, "(id = 1 AND name = 'a') OR (id <> 1 AND name = 'b')": true, "id BETWEEN 1 AND 2 AND name = 'a'": true,
		"id = 1 OR name = 'a' AND price > 2": true, "id = 1 AND id <> 1": true, "CASE WHEN id = 1 THEN name = 'a' ELSE price = 2 END": true, "(id, name) = (1, 'a')": true,
		"id NOT IN (1, 2)": true, "id NOT BETWEEN 1 AND 2": true, "(id = 1) = true": true, "(id = 1) = false": true,

		"1 = 1": false, "true": false, "false": false, "1 = 2 OR true": false, "id = id": false, "t.id = id": false, "id = t.id": false, "id >= id": false, "id LIKE id": false, "'a' = 'a'": false,
		"id = 1 OR true": false, "id = 1 OR 1 = 1": false, "1 = 1 OR id = 1": false, "id = 1 OR 'a' = 'a'": false, "id = 1 OR id = id": false, "id = 1 OR NOT false": false,
		"id IS NULL OR id IS NOT NULL": false, "NOT (id = 1 AND false)": false, "NOT (false)": false, "id = 1 OR id <> 1": false, "id <> 1 OR t.id = 1": false, "id <> 1 OR id <> 2": false,
		"id < 5 OR id >= 5": false, "id > 0 OR id <= 0": false, "5 > id OR id >= 5": false, "a < b OR b <= a": false, "id = 1 OR NOT id = 1": false, "NOT (id = 1 AND id <> 1)": false,
		"id IN (1) OR id NOT IN (1)": false, "name LIKE 'a' OR name NOT LIKE 'a'": false, "(id BETWEEN 1 AND 2) OR (id < 1 OR id > 2)": false, "active OR NOT active": false,
		"(id = 1 AND 1 = 1) OR id <> 1": false, "(id = 1 OR true) AND true": false, "name = 'x' OR (id IS NULL OR id IS NOT NULL)": false, "NOT (NOT (id = 1 OR true))": false,
		"coalesce(true)": false, "coalesce(active, true)": false, "coalesce(id = id, true)": false, "NOT coalesce(id = 1, false)": false, "name LIKE '%'": false, "name LIKE '%%' OR id = 1": false,
		"id * 0 = 0": false, "id - id = 0": false, "0 * id = 0": false, "id IN (id)": false, "id IN (1, id)": false, "1 IN (1, id)": false, "id BETWEEN id AND id": false, "id BETWEEN 1 AND id": false,
		"(id = 1) IS NOT NULL": false, "(id = 1) IN (true, false)": false, "(id = 1) = (id = 1)": false, "(id = 1 OR true) = true": false, "(id = 1 AND false) = false": false,
		"CASE WHEN id = 1 THEN true ELSE true END": false, "CASE WHEN id = 1 THEN 1 ELSE 1 END = 1": false, "EXISTS (SELECT 1)": false, "EXISTS (SELECT 1 FROM u WHERE x = 1)": false,
		"id IN (SELECT id FROM t)": false, "id IN (SELECT id FROM t WHERE 1 = 1)": false, "id IN (SELECT id FROM t UNION SELECT 2)": false, "id NOT IN (SELECT id FROM u WHERE false)": false,
		"id = (SELECT id)": false, "id = (SELECT t.id FROM u)": false, "(id, 1) = (id, 1)": false, "lower(name) = 'a' OR lower(name) <> 'a'": false, "id = 1 OR id + 0 <> 1": false,
		"id = 1 OR coalesce(id <> 1, false)": false, "id = 1 OR (name = 'a' OR (price = 1 OR true))": false,
	}
}

func TestAWhereThatMayHoldForAllRowsIsNone(t *testing.T) {
	check := func(where string, want bool, dialects ...sqltext.Dialect) {
		for _, dialect := range dialects {
			for _, text := range []string{"SELECT name FROM t WHERE %s", "DELETE FROM t WHERE %s", "UPDATE t SET name = 'b' WHERE %s", "DELETE FROM t WHERE (1 = 1 AND (%s))"} {
				if s := sqltext.ReadAs(strings.Replace(text, "%s", where, 1), dialect); !s.Understood || s.HasWhere != want {
					t.Errorf("%s: %s in %s: %v %s", dialect, where, text, s.HasWhere, s.Why)
				}
			}
		}
	}
	for where, want := range conditionsOfBoth() {
		check(where, want, sqltext.PostgreSQL, sqltext.SQLite, sqltext.Generic)
	}
	for where, want := range map[string]bool{
		"id = ANY(ARRAY[1, 2])": true, "id = ANY(SELECT id FROM u WHERE x = 1)": true, "name ~ '^a'": true, "name ILIKE 'a%'": true, "id IS NOT DISTINCT FROM 1": true, "data @> '{}'": true,
		"id IS DISTINCT FROM NULL": true, "id <> ANY(ARRAY[1, 2])": false, "id = ALL(ARRAY[1])": false, "id = ANY(ARRAY[id])": false, "id = ANY(SELECT id FROM t)": false,
		"name ~ '.*'": false, "name SIMILAR TO '%'": false, "id IS NOT DISTINCT FROM id": false, "(true)::bool": false, "(id = 1 OR true)::bool": false, "nullif(true, id = 1)": false,
		"id = 1 OR id IS DISTINCT FROM 1": false, "id IS NULL OR id IS DISTINCT FROM NULL": false, "'t'": false, "id = 1 OR 't'": false,
	} {
		check(where, want, sqltext.PostgreSQL)
	}
	for where, want := range map[string]bool{
		"id = 1 OR 0": true, "iif(id = 1, name = 'a', 0)": true, "ifnull(active, 0)": true, "name GLOB 'a*'": true, "id IS 1": true, "id NOTNULL": true, `"id" = price`: true,
		"1": false, "id = 1 OR 1": false, "iif(id = 1, 1, 1)": false, "ifnull(id = 1, 1)": false, "name GLOB '*'": false, "id IS id": false, "id ISNULL OR id NOTNULL": false, `"id" = id`: false,
		"id IS 1 OR id IS NOT 1": false, "NOT id ISNULL OR id ISNULL": false, "'1'": false, "id = 1 OR '1'": false,
	} {
		check(where, want, sqltext.SQLite)
	}
}

// A database says of conditions that are made at random whether they hold for all rows: of those, none has a WHERE.
func TestADatabaseFindsNoWhereThatHoldsForAllRows(t *testing.T) {
	values := []string{"-9", "0", "1", "2", "9"}
	t.Run("values", func(t *testing.T) { tryConditions(t, values) })
	t.Run("values and NULL", func(t *testing.T) {
		tryConditions(t, append(values, "NULL"), "%s IS NULL", "%s IS NOT NULL", "NOT %s IS NULL")
	})
}

func tryConditions(t *testing.T, values []string, more ...string) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	statements := []string{"CREATE TABLE t (a INTEGER, b INTEGER)"}
	for _, a := range values {
		for _, b := range values {
			statements = append(statements, fmt.Sprintf("INSERT INTO t VALUES (%s, %s)", a, b))
		}
	}
	if _, err := db.Exec(strings.Join(statements, ";")); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	restricting, covering := 0, 0
	for range 4000 {
		where := randomCondition(random, 3, more)
		text := "SELECT count(*) FROM t WHERE " + where
		var count int
		if err := db.QueryRow(text).Scan(&count); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		all := count == len(values)*len(values)
		postgres, sqlite := sqltext.ReadAs(text, sqltext.PostgreSQL), sqltext.ReadAs(text, sqltext.SQLite)
		if !postgres.Understood || !sqlite.Understood {
			t.Errorf("%s: PostgreSQL %+v, SQLite %+v", text, postgres, sqlite)
		}
		if all && (sqlite.HasWhere || postgres.HasWhere) {
			t.Errorf("%s holds for all rows: PostgreSQL %v, SQLite %v", text, postgres.HasWhere, sqlite.HasWhere)
		}
		if all {
			covering++
		} else if sqlite.HasWhere {
			restricting++
		}
	}
	t.Logf("of 4,000 conditions, %d hold for all rows, %d do not and are seen to", covering, restricting)
	if covering < 300 || restricting < 300 {
		t.Error("too few of one kind")
	}
}

func randomCondition(random *rand.Rand, depth int, more []string) string {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	if depth > 0 && random.IntN(4) > 0 {
		left, right := randomCondition(random, depth-1, more), randomCondition(random, depth-1, more)
		return pick("("+left+" AND "+right+")", "("+left+" OR "+right+")", "("+left+" OR "+right+")", "NOT ("+left+")", "NOT "+left, "coalesce("+left+", "+right+")",
			"CASE WHEN "+left+" THEN "+right+" ELSE "+left+" END", "("+left+") = true", "("+left+") = false")
	}
	column, value := pick("a", "b", "t.a", "t.b"), pick("0", "1", "2")
	op := pick("=", "<>", "<", ">", "<=", ">=")
	plain := []string{
		column + " " + op + " " + value, value + " " + op + " " + column, column + " " + op + " " + pick("a", "b"), value + " " + op + " " + value, column + " IN (0, " + value + ")",
		column + " NOT IN (" + value + ")", "(" + column + " BETWEEN 0 AND " + value + ")", "(" + column + " NOT BETWEEN 0 AND " + value + ")", column + " * " + value + " = 0", pick("true", "false"),
	}
	for _, form := range more {
		plain = append(plain, fmt.Sprintf(form, column))
	}
	return pick(plain...)
}

// Whatever is asked, with OR true behind it, it holds for all rows.
func FuzzWhere(f *testing.F) {
	for where := range conditionsOfBoth() {
		f.Add(where)
	}
	f.Fuzz(func(t *testing.T, where string) {
		if strings.ContainsAny(where, "()'\"-/;[]") || slices.Contains(strings.Fields(strings.ToLower(where)), "returning") {
			return
		}
		for _, dialect := range []sqltext.Dialect{sqltext.PostgreSQL, sqltext.SQLite, sqltext.Generic} {
			for _, more := range []string{" OR true", " OR 1 = 1", " OR k IS NULL OR k IS NOT NULL"} {
				if s := sqltext.ReadAs("DELETE FROM t WHERE "+where+more, dialect); s.HasWhere {
					t.Errorf("%s: %q: %+v", dialect, where+more, s)
				}
			}
		}
	})
}
