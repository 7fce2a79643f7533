package sqltext

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree"
)

// Filter lets one SELECT see only some rows of a table: it defines the table's name as a selection of the table itself, in front of the
// statement, whose own text stays as it is. A statement that does not name the table stays as it is. What cannot be filtered surely is an
// error: a table besides it that is not among others, more than one statement, anything but a SELECT, a text that is not understood, the table by its schema, a definition of the same name.
func Filter(text, table, source, where string, others []string) (string, error) {
	s := Read(text)
	switch {
	case !s.Understood:
		return "", fmt.Errorf("the SQL is not understood: %s", s.Why)
	case s.Count != 1:
		return "", fmt.Errorf("there are %d statements; one can be filtered", s.Count)
	case !s.ReadOnly:
		return "", fmt.Errorf("the statement does not only read: %s", s.Why)
	case slices.ContainsFunc(s.Tables, func(name string) bool { return strings.HasSuffix(name, "."+table) }):
		return "", fmt.Errorf("the table %s is named with its schema, which a filter does not reach; name it alone", table)
	}
	if name := unnamed(s.Tables, table, others); name != "" {
		return "", fmt.Errorf("the statement reads %s; the filter lets it read %s and what its others name, for a view or an index may hold the same rows", name, table)
	}
	parsed, err := parse(text)
	if err != nil {
		return "", err
	}
	selected, ok := parsed[0].AST.(*tree.Select)
	if !ok {
		return "", errors.New("only a SELECT can be filtered")
	}
	if err := defines(selected.With, table); err != nil {
		return "", err
	}
	if !mentions(text, table) {
		return text, nil
	}
	if otherwiseQuoted(text, table) {
		return "", fmt.Errorf("the table %s is written in quotes and in other letters, which may be another table", table)
	}
	definition := table + " AS (SELECT * FROM " + source + " WHERE (" + where + "))"
	if selected.With == nil {
		return "WITH " + definition + " " + text, nil
	}
	rest := strings.TrimLeft(text, " \t\r\n")
	const with = "WITH"
	if len(rest) <= len(with) || !strings.EqualFold(rest[:len(with)], with) {
		return "", errors.New("the statement begins with a comment or a parenthesis before its WITH")
	}
	return with + " " + definition + "," + rest[len(with):], nil
}

// unnamed is a table that is neither the one that is filtered nor named in others. One that a statement names with its schema is named so there too.
func unnamed(tables []string, table string, others []string) string {
	for _, name := range tables {
		if name == table || slices.Contains(others, name) {
			continue
		}
		if strings.Contains(name, ".") || !slices.ContainsFunc(others, func(other string) bool { return strings.HasSuffix(other, "."+name) }) {
			return name
		}
	}
	return ""
}

// CheckFilter refuses a condition that is none. It must read as one condition by itself, so that it cannot end the selection that it is put into.
func CheckFilter(table, source, where string) error {
	if source == table || !strings.HasSuffix(source, "."+table) {
		return fmt.Errorf("source %q must be table %q with its schema, as public.%s", source, table, table)
	}
	if strings.ContainsAny(where, ";") || strings.Contains(where, "--") || strings.Contains(where, "/*") {
		return errors.New("where has a comment or a semicolon")
	}
	s := Read("SELECT 1 FROM " + source + " WHERE " + where)
	if !s.ReadOnly {
		return fmt.Errorf("where is not a condition that only reads: %s", s.Why)
	}
	if s = Read("SELECT 1 FROM " + source + " WHERE (" + where + ")"); !s.ReadOnly {
		return fmt.Errorf("where is not one condition: %s", s.Why)
	}
	return nil
}

// defines refuses a WITH that gives the name a meaning of its own, at the top or in any place below it, and one that is recursive.
func defines(with *tree.With, table string) error {
	if with == nil {
		return nil
	}
	if with.Recursive {
		return errors.New("the statement has a recursive WITH")
	}
	for _, cte := range with.CTEList {
		if strings.EqualFold(string(cte.Name.Alias), table) {
			return fmt.Errorf("the statement defines %s itself", table)
		}
	}
	return nil
}

// mentions says whether the name stands anywhere in the text, in whatever letters.
func mentions(text, table string) bool {
	return strings.Contains(strings.ToLower(text), table)
}

// otherwiseQuoted says whether the name stands in double quotes in other letters than those of the filter.
func otherwiseQuoted(text, table string) bool {
	quoted := `"` + table + `"`
	lower := strings.ToLower(text)
	for at := 0; ; {
		next := strings.Index(lower[at:], quoted)
		if next < 0 {
			return false
		}
		at += next
		if len(lower) != len(text) || text[at:at+len(quoted)] != quoted {
			return true
		}
		at += len(quoted)
	}
}
