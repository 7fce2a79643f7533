package sqltext

import (
	"reflect"
	"slices"
	"strings"

	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree"
	"github.com/rqlite/sql"
)

// anyColumn stands among columns for all that a table has.
const anyColumn = "*"

// columns collects the names of columns. Whether a name alone is a column or a table's whole row is known when all tables are.
type columns struct {
	named map[string]bool
	rows  map[string]bool // the names and aliases of tables
}

func newColumns() columns { return columns{named: map[string]bool{}, rows: map[string]bool{}} }

// column notes a name as it is written, from its schema to its last part, and the last part alone.
func (c *columns) column(parts ...string) {
	full := strings.ToLower(strings.Join(parts, "."))
	last := strings.ToLower(parts[len(parts)-1])
	c.named[full], c.named[last] = true, true
	if len(parts) > 1 && takesRow(last) {
		c.named[anyColumn] = true
	}
}

func (c *columns) star() { c.named[anyColumn] = true }

// takesRow says that u.name may be what PostgreSQL also writes name(u): the function of the whole row.
func takesRow(name string) bool {
	switch name {
	case "row_to_json", "to_json", "to_jsonb", "json_agg", "jsonb_agg", "array_agg", "json_build_array", "jsonb_build_array", "json_build_object", "jsonb_build_object",
		"concat", "concat_ws", "format", "max", "min", "mode", "first_value", "last_value", "any_value", "hstore", "xmlforest", "text", "varchar",
		"quote_literal", "quote_nullable", "json_agg_strict", "jsonb_agg_strict", "json_object_agg_strict", "jsonb_object_agg_strict":
		return true
	}
	return false
}

func (c *columns) sorted() []string {
	for name := range c.named {
		if c.rows[name] {
			c.named[anyColumn] = true
		}
	}
	out := make([]string, 0, len(c.named))
	for name := range c.named {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// statementColumns notes that statements which are no SELECT, INSERT, UPDATE or DELETE do not say which columns they touch.
func (w *walker) statementColumns(s tree.Statement) {
	switch s.(type) {
	case *tree.Insert, *tree.Update, *tree.Delete:
		return
	}
	if _, known := nodes[reflect.TypeOf(s).Elem()]; !known {
		w.star()
	}
}

// columnsOf notes what a node says of columns besides its parts.
func (w *walker) columnsOf(node any) {
	switch node := node.(type) {
	case *tree.UnresolvedName:
		if node.Star || node.NumParts < 1 || node.NumParts > len(node.Parts) {
			w.star()
			return
		}
		parts := slices.Clone(node.Parts[:node.NumParts])
		slices.Reverse(parts)
		w.column(parts...)
	case *tree.ColumnItem:
		w.column(string(node.ColumnName))
	case *tree.ColumnAccessExpr:
		if node.ByIndex {
			w.star()
			return
		}
		w.column(string(node.ColName))
	case *tree.AliasedTableExpr:
		w.aliased(node)
	case *tree.Insert:
		if len(node.Columns) == 0 {
			w.star()
		}
	case *tree.TableRef, *tree.AllColumnsSelector, *tree.TupleStar:
		w.star()
	}
}

// aliased notes the name of a table; other names for its columns hide them.
func (w *walker) aliased(t *tree.AliasedTableExpr) {
	switch t.Expr.(type) {
	case *tree.Subquery, *tree.RowsFromExpr:
		return
	}
	if t.As.Alias != "" {
		w.rows[strings.ToLower(string(t.As.Alias))] = true
	}
	if len(t.As.Cols) > 0 {
		w.star()
	}
}

// countsRows says that a function is count(*), which reads no column.
func countsRows(f *tree.FuncExpr) bool {
	name := functionName(f.Func.FunctionReference)
	if len(name) == 0 || name[len(name)-1] != "count" || len(f.Exprs) != 1 {
		return false
	}
	_, star := f.Exprs[0].(tree.UnqualifiedStar)
	return star
}

// sqliteColumnsOf is columnsOf for SQLite.
func (w *sqliteWalker) sqliteColumnsOf(node any) {
	switch n := node.(type) {
	case *sql.QualifiedTableName:
		if n.Alias != nil {
			w.rows[strings.ToLower(n.Alias.Name)] = true
		}
	case *sql.QualifiedRef:
		if n.Star.IsValid() || n.Column == nil {
			w.star()
			return
		}
		w.column(sql.IdentName(n.Table), sql.IdentName(n.Column))
	case *sql.ResultColumn:
		if n.Star.IsValid() {
			w.star()
		}
	case *sql.Call:
		if n.Star.IsValid() && !strings.EqualFold(sql.IdentName(n.Name), "count") {
			w.star()
		}
	case *sql.JoinOperator:
		if n.Natural.IsValid() {
			w.star()
		}
	case *sql.UsingConstraint:
		w.identifiers(n.Columns)
	case *sql.Assignment:
		w.identifiers(n.Columns)
	case *sql.InsertStatement:
		w.identifiers(n.Columns)
		if len(n.Columns) == 0 {
			w.star()
		}
	}
}

func (w *sqliteWalker) identifiers(names []*sql.Ident) {
	for _, name := range names {
		w.column(sql.IdentName(name))
	}
}
