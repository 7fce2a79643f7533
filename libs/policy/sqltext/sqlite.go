package sqltext

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/rqlite/sql"
)

// maxSQLiteDepth bounds how deep parentheses may stand in each other: SQLite itself refuses a tree that is deeper than 1,000.
const maxSQLiteDepth = 1000

// readSQLite reads a text by SQLite's grammar. Where its words end is settled before: what databases disagree about counts as not understood here, too.
func readSQLite(text string, seen *lexed) *Statement {
	out := &Statement{Count: seen.statements, Why: seen.ambiguous}
	switch {
	case out.Why != "":
		return out
	case strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII && unicode.IsSpace(r) }):
		out.Why = "it has a space that is none for SQLite"
		return out
	case seen.unclosed:
		out.Why = "its parentheses do not pair"
		return out
	case seen.nesting > maxSQLiteDepth:
		out.Why = errTooDeep.Error()
		return out
	}
	parsed, err := parseSQLite(text)
	if err != nil {
		out.Why = "it cannot be parsed as SQLite"
		return out
	}
	out.Count = len(parsed)
	w := &sqliteWalker{walker: newWalker(), understood: true}
	if err := w.all(parsed); err != nil {
		out.Why = err.Error()
		return out
	}
	if !w.understood {
		out.Why = w.refused
		return out
	}
	return out.filled(w.walker, "")
}

// parseSQLite shields from the parser's panics.
func parseSQLite(text string) (out []sql.Statement, err error) {
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, errors.New("the parser does not know this statement")
		}
	}()
	p := sql.NewParser(strings.NewReader(text))
	for {
		statement, err := p.ParseStatement()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%w", err)
		}
		out = append(out, statement)
	}
}

// sqliteWalker goes through a syntax tree of SQLite's. A kind of node that it does not know makes the statement one that is not understood.
type sqliteWalker struct {
	*walker

	understood bool
}

// unknown makes the statement one of which nothing more is said.
func (w *sqliteWalker) unknown(why string) {
	w.refuse("%s", why)
	w.understood = false
}

func (w *sqliteWalker) all(statements []sql.Statement) (err error) {
	defer rescue(&err)
	for _, s := range statements {
		w.topSQLite(s)
	}
	return nil
}

// topSQLite judges a statement by its kind, then all that is in it.
func (w *sqliteWalker) topSQLite(s sql.Statement) {
	switch s := s.(type) {
	case *sql.ExplainStatement: // explains and never runs
		w.topSQLite(s.Stmt)
		return
	case *sql.PragmaStatement:
		w.pragma(s)
		return
	case *sql.SelectStatement:
		for part := s; part != nil; part = part.Compound {
			if part.Select.IsValid() {
				w.selects++
				if restrictsSQLite(part.WhereExpr) {
					w.selectsWhere++
				}
			}
		}
	case *sql.DeleteStatement:
		w.refuse("it is a DELETE")
		w.write(s.WhereExpr)
	case *sql.UpdateStatement:
		w.refuse("it is an UPDATE")
		w.write(s.WhereExpr)
	case *sql.InsertStatement:
		w.refuse("it is an INSERT")
		w.table("", sql.IdentName(s.Table))
	default:
		w.unknown("it is no statement that reads")
		return
	}
	w.visit(reflect.ValueOf(s))
}

func (w *sqliteWalker) write(where sql.Expr) {
	w.writes++
	if restrictsSQLite(where) {
		w.writesWhere++
	}
}

func (w *sqliteWalker) table(schema, name string) {
	schema, name = strings.ToLower(schema), strings.ToLower(name)
	if schema == "" && slices.Contains(w.defined, name) {
		return
	}
	w.tables[name], w.rows[name] = true, true
	if schema != "" {
		w.tables[schema+"."+name] = true
	}
}

func (w *sqliteWalker) function(name string) {
	name = strings.ToLower(name)
	w.functions[name] = true
	if !onlyComputes(name) {
		w.refuse("the function %.60s is not known to only compute", name)
	}
}

// visit goes through a value of the tree and all below it.
func (w *sqliteWalker) visit(v reflect.Value) {
	if w.depth++; w.depth > maxDepth {
		panic(errTooDeep)
	}
	defer func() { w.depth-- }()
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if v.Kind() == reflect.Interface && v.CanInterface() { // a name that stands for a value; tables have fields of their own
			if name, ok := reflect.TypeAssert[*sql.Ident](v); ok {
				w.column(name.Name)
			}
		}
		if v.Kind() == reflect.Pointer && v.CanInterface() {
			if leave := w.enter(v.Interface()); leave != nil {
				defer leave()
			}
		}
		w.visit(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			w.visit(v.Index(i))
		}
	case reflect.Struct:
		for field, value := range v.Fields() {
			if field.IsExported() {
				w.visit(value)
			}
		}
	}
}

// enter judges one node; what it returns is called when all below was visited.
func (w *sqliteWalker) enter(node any) (leave func()) {
	w.sqliteColumnsOf(node)
	switch n := node.(type) {
	case *sql.SelectStatement:
		return w.defining(n.WithClause)
	case *sql.DeleteStatement:
		return w.defining(n.WithClause)
	case *sql.UpdateStatement:
		return w.defining(n.WithClause)
	case *sql.InsertStatement:
		return w.defining(n.WithClause)
	case *sql.QualifiedTableName:
		w.table(sql.IdentName(n.Schema), sql.IdentName(n.Name))
	case *sql.QualifiedTableFunctionName:
		w.function(sql.IdentName(n.Name))
	case *sql.Call:
		w.function(sql.IdentName(n.Name))
	case *sql.WithClause, *sql.CTE, *sql.ResultColumn, *sql.Ident, *sql.QualifiedRef, *sql.StringLit, *sql.BlobLit, *sql.NumberLit, *sql.NullLit, *sql.BoolLit,
		*sql.TimestampLit, *sql.BindExpr, *sql.UnaryExpr, *sql.BinaryExpr, *sql.CastExpr, *sql.Type, *sql.CaseExpr, *sql.CaseBlock, *sql.Exists, *sql.Null, *sql.ExprList,
		*sql.Range, *sql.FilterClause, *sql.OverClause, *sql.WindowDefinition, *sql.Window, *sql.FrameSpec, *sql.OrderingTerm, *sql.CollationClause, *sql.ParenSource,
		*sql.JoinClause, *sql.JoinOperator, *sql.OnConstraint, *sql.UsingConstraint, *sql.ParenExpr, *sql.Assignment, *sql.ReturningClause, *sql.UpsertClause,
		*sql.IndexedColumn:
	default:
		w.unknown("it has a part that is not known")
	}
	return nil
}

// defining makes the names that WITH gives no tables, for as long as the statement lasts.
func (w *sqliteWalker) defining(with *sql.WithClause) (leave func()) {
	before := len(w.defined)
	if with != nil {
		for _, cte := range with.CTEs {
			w.defined = append(w.defined, strings.ToLower(sql.IdentName(cte.TableName)))
		}
	}
	return func() { w.defined = w.defined[:before] }
}

// pragma lets through what tells of tables, and what tells a setting. With a value, a setting is changed.
func (w *sqliteWalker) pragma(s *sql.PragmaStatement) {
	switch e := s.Expr.(type) {
	case *sql.Ident:
		switch name := strings.ToLower(e.Name); name {
		case "table_list", "user_version", "schema_version", "application_id", "data_version", "encoding", "page_count", "page_size", "freelist_count",
			"compile_options", "collation_list":
		default:
			w.unknown(fmt.Sprintf("PRAGMA %.40s is not known to only tell something", name))
		}
	case *sql.Call:
		name := strings.ToLower(sql.IdentName(e.Name))
		about, isName := pragmaArgument(e)
		if !isName || !slices.Contains([]string{"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list"}, name) {
			w.unknown(fmt.Sprintf("PRAGMA %.40s with a value is not known to only tell something", name))
			return
		}
		w.table(sql.IdentName(s.Schema), about)
	default:
		w.unknown("it is a PRAGMA that sets something")
	}
}

func pragmaArgument(e *sql.Call) (name string, ok bool) {
	if len(e.Args) != 1 {
		return "", false
	}
	switch arg := e.Args[0].(type) {
	case *sql.Ident:
		return arg.Name, true
	case *sql.StringLit:
		return arg.Value, true
	}
	return "", false
}
