package sqltext

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// Dialect is the language of the database that will run a text.
type Dialect string

// The dialects. Generic is for a database that is not known: a text must say the same in all of the others.
const (
	PostgreSQL Dialect = "postgresql"
	SQLite     Dialect = "sqlite"
	Generic    Dialect = "generic"
)

// Dialects names all.
func Dialects() []string { return []string{string(PostgreSQL), string(SQLite), string(Generic)} }

// ReadAs is Read for a text that a database of the dialect will run.
func ReadAs(text string, dialect Dialect) *Statement {
	switch {
	case len(text) > MaxBytes:
		return &Statement{Why: fmt.Sprintf("it is longer than %d bytes", MaxBytes)}
	case !utf8.ValidString(text):
		return &Statement{Why: "it is not valid UTF-8"}
	}
	seen := look(text)
	switch dialect {
	case PostgreSQL:
		return readPostgreSQL(text, seen)
	case SQLite:
		return readSQLite(text, seen)
	case Generic:
		return agreed(readPostgreSQL(text, seen), readSQLite(text, seen))
	}
	return &Statement{Count: seen.statements, Why: fmt.Sprintf("there is no dialect %.40q", string(dialect))}
}

// agreed is what two readings of one text both say. What only one of them understands, or what they say differently of tables, is not understood.
func agreed(one, other *Statement) *Statement {
	disagreed := &Statement{Count: max(one.Count, other.Count)}
	switch {
	case !one.Understood:
		disagreed.Why = one.Why
	case !other.Understood:
		disagreed.Why = other.Why
	case one.Count != other.Count || one.HasWhere != other.HasWhere || !slices.Equal(one.Tables, other.Tables):
		disagreed.Why = "databases read it differently"
	default:
		both := *one
		both.Functions = union(one.Functions, other.Functions)
		both.Columns = union(one.Columns, other.Columns)
		if both.Why == "" {
			both.Why = other.Why
		}
		both.ReadOnly = one.ReadOnly && other.ReadOnly
		return &both
	}
	return disagreed
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
