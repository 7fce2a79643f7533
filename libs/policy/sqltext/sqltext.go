// Package sqltext reads SQL that somebody else will run and says what it would do, for rules such as sql(args.query).readOnly.
//
// A rule may name the dialect of the database that will run the text; otherwise it is read as PostgreSQL would. In every dialect, what PostgreSQL,
// SQLite, MySQL or SQL Server disagree about before any grammar (where a text or a comment ends) counts as not understood. Only what is understood whole, of parts that are known to read, is read-only: a syntax error, a
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
	// Columns names, in lower case and in order, every column that is read, written or compared, with what is written before it and without. It has * where
	// more may be meant than is named: a star, NATURAL JOIN, a whole row, an INSERT without columns, columns that get other names, other statements.
	Columns []string
	// HasWhere is true when every UPDATE and DELETE has a WHERE that speaks of a column or, where there is none of them, every SELECT at the top. A
	// condition that may hold for all rows by its form, as id = id or id = 1 OR true, is no WHERE.
	HasWhere bool
	// Why says in a few words why ReadOnly is false.
	Why string
}

// Read is ReadAs with the dialect PostgreSQL. It never fails and never panics: what it does not understand is not read-only.
func Read(text string) *Statement { return ReadAs(text, PostgreSQL) }

func readPostgreSQL(text string, seen *lexed) *Statement {
	out := &Statement{Count: seen.statements, Why: seen.ambiguous}
	if out.Why != "" {
		return out
	}
	parsed, err := parse(text)
	if err != nil {
		out.Why = unparsed(text, firstLine(err.Error()))
		return out
	}
	out.Count = len(parsed)
	w := newWalker()
	if err := w.statements(parsed); err != nil {
		out.Why = err.Error()
		return out
	}
	return out.filled(w, seen.verb)
}

// filled is a statement that was walked whole.
func (s *Statement) filled(w *walker, verb string) *Statement {
	s.Understood = true
	s.Tables = slices.Sorted(maps.Keys(w.tables))
	s.Functions = slices.Sorted(maps.Keys(w.functions))
	s.Columns = w.sorted()
	s.HasWhere = w.hasWhere()
	s.Why = judge(s, w, verb)
	s.ReadOnly = s.Why == ""
	return s
}

// judge says why a text that was understood is not read-only; empty when it is.
func judge(s *Statement, w *walker, verb string) string {
	switch {
	case s.Count == 0:
		return "there is no statement"
	case s.Count > 1:
		return fmt.Sprintf("there are %d statements", s.Count)
	case w.refused != "":
		return w.refused
	case slices.ContainsFunc(s.Tables, rawStorage):
		return "it reads " + s.Tables[slices.IndexFunc(s.Tables, rawStorage)] + ", which holds rows of other tables as they are stored"
	case verb != "":
		return "the word " + verb + " starts another statement for some databases"
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

// unparsed says at which word the reading stopped, but for one that may come out of a text in quotes: what people search for is nobody else's business.
func unparsed(text, problem string) string {
	const why = "it cannot be parsed as PostgreSQL"
	_, rest, ok := strings.Cut(problem, `at or near "`)
	word, _, ended := strings.Cut(rest, `"`)
	quoted := strings.ContainsFunc(word, func(r rune) bool { return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }) &&
		!slices.Contains(strings.FieldsFunc(outsideQuotes(strings.ToLower(text)), func(r rune) bool { return !isLetter(byte(min(r, 0x80))) }), strings.ToLower(word))
	if !ok || !ended || word == "" || strings.ContainsAny(word, "0123456789") || quoted {
		return why
	}
	return why + ": it stops at " + word
}

// outsideQuotes is a text without what stands in single or double quotes.
func outsideQuotes(text string) string {
	var out strings.Builder
	var quote byte
	for i := range len(text) {
		switch c := text[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == c:
			quote = 0
		case quote == 0:
			out.WriteByte(c)
			continue
		}
		out.WriteByte(' ')
	}
	return out.String()
}

const maxWhy = 120

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > maxWhy {
		s = strings.ToValidUTF8(s[:maxWhy], "") + "…"
	}
	return s
}
