// Package sqltext reads SQL that somebody else will run and says what it would do, for rules such as sql(args.query).readOnly.
//
// It does not know which database will run the text. It reads it as PostgreSQL would, and what PostgreSQL, SQLite, MySQL or SQL Server would
// read differently counts as not understood. Only what is understood whole, of parts that are known to read, is read-only: a syntax error, a
// statement of another kind, a lock, a function that is not on the list of functions that only compute, all make it not read-only.
//
// What it cannot see: views, triggers and operators of the database that write, and functions that the database's owner put in the place of
// built-in ones. A read-only account is the stronger fence; this is the one that explains itself.
package sqltext

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/parser"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/parser/statements"
)

// MaxBytes is the longest text that is read; a longer one is not understood.
const MaxBytes = 64 << 10

// Statement is what a text says. The zero value says that nothing is known, which is not read-only.
type Statement struct {
	// ReadOnly is true only when every part of the text is known to change nothing.
	ReadOnly bool
	// Understood is false when the text could not be read, or when databases read it differently. Then only Count is set, as well as it can be.
	Understood bool
	// Count is the number of statements.
	Count int
	// Tables names, in lower case and in order, every table that is read or written, but not what WITH defines. One with a schema is listed with
	// and without it, so that a rule about "users" also sees public.users.
	Tables []string
	// Functions names, in lower case and in order, every function that is called; one with a schema like a table.
	Functions []string
	// HasWhere is true when every UPDATE and DELETE has a WHERE that speaks of a column or, where there is none of them, every SELECT at the top.
	HasWhere bool
	// Why says in a few words why ReadOnly is false.
	Why string
}

// Read never fails and never panics: what it does not understand is not read-only.
func Read(text string) *Statement {
	if len(text) > MaxBytes {
		return &Statement{Why: fmt.Sprintf("it is longer than %d bytes", MaxBytes)}
	}
	if !utf8.ValidString(text) {
		return &Statement{Why: "it is not valid UTF-8"}
	}
	seen := look(text)
	out := &Statement{Count: seen.statements, Why: seen.ambiguous}
	if out.Why != "" {
		return out
	}
	parsed, err := parse(text)
	if err != nil {
		out.Why = "it cannot be parsed: " + firstLine(err.Error())
		return out
	}
	out.Count = len(parsed)
	w := newWalker()
	if err := w.statements(parsed); err != nil {
		out.Why = err.Error()
		return out
	}
	out.Understood = true
	out.Tables = slices.Sorted(maps.Keys(w.tables))
	out.Functions = slices.Sorted(maps.Keys(w.functions))
	out.HasWhere = w.hasWhere()
	out.Why = judge(out, w, seen)
	out.ReadOnly = out.Why == ""
	return out
}

// judge says why a text that was understood is not read-only; empty when it is.
func judge(s *Statement, w *walker, seen *lexed) string {
	switch {
	case s.Count == 0:
		return "there is no statement"
	case s.Count > 1:
		return fmt.Sprintf("there are %d statements", s.Count)
	case w.refused != "":
		return w.refused
	case seen.verb != "":
		return "the word " + seen.verb + " starts another statement for some databases"
	}
	return ""
}

// parse shields from the parser's panics, as on DO $$ … $$.
func parse(text string) (out statements.Statements, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("the parser does not know this statement")
		}
	}()
	out, err = parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return out, nil
}

const maxWhy = 120

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > maxWhy {
		s = strings.ToValidUTF8(s[:maxWhy], "") + "…"
	}
	return s
}
