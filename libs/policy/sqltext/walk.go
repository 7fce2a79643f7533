package sqltext

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/parser/statements"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree/treebin"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree/treecmp"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/types"
)

// maxDepth is how deep a statement may be built. A chain of n ANDs is n deep.
const maxDepth = 20_000

// walker goes through a whole syntax tree by reflection, so that no part of it can be forgotten: what it meets and does not know makes the
// statement not read-only.
type walker struct {
	columns

	tables, functions map[string]bool
	// defined are the names that WITH gives to parts of the statement, innermost last.
	defined []string
	refused string
	depth   int

	writes, writesWhere   int // UPDATE and DELETE, and those with a WHERE
	selects, selectsWhere int // SELECT at the top, and those with a WHERE
}

func newWalker() *walker {
	return &walker{columns: newColumns(), tables: map[string]bool{}, functions: map[string]bool{}}
}

func (w *walker) refuse(format string, args ...any) {
	if w.refused == "" {
		w.refused = fmt.Sprintf(format, args...)
	}
}

var errTooDeep = errors.New("it is nested too deeply")

// rescue makes an error of a tree that could not be walked. It is deferred.
func rescue(err *error) {
	if r := recover(); r != nil {
		*err = errors.New("its syntax tree is not one that is known")
		if cause, ok := r.(error); ok && errors.Is(cause, errTooDeep) {
			*err = errTooDeep
		}
	}
}

// statements walks all of them; an error means that the tree could not be walked whole.
func (w *walker) statements(all statements.Statements) (err error) {
	defer rescue(&err)
	for _, s := range all {
		w.top(s.AST)
		w.statementColumns(s.AST)
		w.walk(reflect.ValueOf(s.AST))
	}
	return nil
}

func (w *walker) hasWhere() bool {
	if w.writes > 0 {
		return w.writes == w.writesWhere
	}
	return w.selects > 0 && w.selects == w.selectsWhere
}

// top counts the SELECTs of a statement that are not inside another.
func (w *walker) top(s tree.Statement) {
	switch s := s.(type) {
	case *tree.Explain:
		w.top(s.Statement)
	case *tree.ExplainAnalyze:
		w.top(s.Statement)
	case *tree.Select:
		w.top(s.Select)
	case *tree.ParenSelect:
		w.top(s.Select)
	case *tree.UnionClause:
		w.top(s.Left)
		w.top(s.Right)
	case *tree.SelectClause:
		w.selects++
		if restricts(s.Where) {
			w.selectsWhere++
		}
	}
}

// walk visits a value of the tree and all below it.
func (w *walker) walk(v reflect.Value) {
	if w.depth++; w.depth > maxDepth {
		panic(errTooDeep)
	}
	defer func() { w.depth-- }()
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if node := v; v.Kind() == reflect.Pointer && node.CanInterface() && w.special(node.Interface()) {
			return
		}
		w.walk(v.Elem())
	case reflect.Slice, reflect.Array:
		if names, ok := nameList(v); ok {
			for _, name := range names {
				w.column(string(name))
			}
			return
		}
		for i := range v.Len() {
			w.element(v.Index(i))
		}
	case reflect.Struct:
		w.node(v)
	}
}

// nameList is a list of names of columns, as of USING, INSERT and SET.
func nameList(v reflect.Value) (names tree.NameList, ok bool) {
	if !v.CanInterface() {
		return nil, false
	}
	return reflect.TypeAssert[tree.NameList](v)
}

// element walks one of a list; a list of names holds them by value.
func (w *walker) element(v reflect.Value) {
	if v.Kind() == reflect.Struct && v.CanAddr() && v.Addr().CanInterface() && w.special(v.Addr().Interface()) {
		return
	}
	w.walk(v)
}

// special visits the nodes that say more than their parts.
func (w *walker) special(node any) bool {
	w.columnsOf(node)
	switch node := node.(type) {
	case *tree.FuncExpr:
		w.function(node)
		if !countsRows(node) {
			w.walk(reflect.ValueOf(node.Exprs))
		}
		w.walk(reflect.ValueOf(node.Filter))
		w.walk(reflect.ValueOf(node.WindowDef))
		w.walk(reflect.ValueOf(node.OrderBy))
	case *tree.TableName:
		w.table(node.CatalogName, node.SchemaName, node.ObjectName)
	case *tree.UnresolvedObjectName:
		w.table(tree.Name(node.Parts[2]), tree.Name(node.Parts[1]), tree.Name(node.Parts[0]))
	case *tree.Order:
		w.walk(reflect.ValueOf(node.Expr))
		if node.OrderType != tree.OrderByColumn {
			w.refuse("it orders by an index")
		}
	case *tree.Select:
		w.with(node.With, node)
	case *tree.Insert:
		w.refuse("it has an INSERT")
		w.with(node.With, node)
	case *tree.Update:
		w.refuse("it has an UPDATE")
		w.write(node.Where)
		w.with(node.With, node)
	case *tree.Delete:
		w.refuse("it has a DELETE")
		w.write(node.Where)
		w.with(node.With, node)
	default:
		return false
	}
	return true
}

func (w *walker) write(where *tree.Where) {
	w.writes++
	if restricts(where) {
		w.writesWhere++
	}
}

// with walks the parts that a WITH names, each seeing the names before it and, when recursive, its own, and then the statement.
func (w *walker) with(names *tree.With, statement any) {
	before := len(w.defined)
	if names != nil {
		for _, part := range names.CTEList {
			name := strings.ToLower(string(part.Name.Alias))
			if names.Recursive {
				w.defined = append(w.defined, name)
			}
			w.walk(reflect.ValueOf(part.Stmt))
			if !names.Recursive {
				w.defined = append(w.defined, name)
			}
		}
	}
	w.node(reflect.ValueOf(statement).Elem())
	w.defined = w.defined[:before]
}

func (w *walker) table(catalog, schema, name tree.Name) {
	if name == "" {
		return
	}
	short := strings.ToLower(string(name))
	if schema == "" && slices.Contains(w.defined, short) {
		return
	}
	w.tables[short], w.rows[short] = true, true
	if schema != "" {
		w.tables[strings.ToLower(string(schema))+"."+short] = true
	}
	if catalog != "" {
		w.tables[strings.ToLower(string(catalog)+"."+string(schema))+"."+short] = true
	}
}

func (w *walker) function(f *tree.FuncExpr) {
	parts := functionName(f.Func.FunctionReference)
	if len(parts) == 0 {
		w.refuse("it calls a function by something else than its name")
		return
	}
	short, full := parts[len(parts)-1], strings.Join(parts, ".")
	w.functions[short] = true
	w.functions[full] = true
	if (full != short && full != "pg_catalog."+short) || !onlyComputes(short) {
		w.refuse("the function %s is not on the list of those that only compute", full)
	}
}

// functionName is a function's name with its schema before it, in lower case. Functions with a syntax of their own, as in
// extract(year FROM a), come resolved.
func functionName(ref tree.FunctionReference) []string {
	switch ref := ref.(type) {
	case *tree.ResolvedFunctionDefinition:
		return []string{strings.ToLower(ref.Name)}
	case *tree.FunctionDefinition:
		return []string{strings.ToLower(ref.Name)}
	case *tree.UnresolvedName:
		if ref.Star || ref.NumParts < 1 || ref.NumParts > len(ref.Parts) {
			return nil
		}
		var parts []string
		for i := ref.NumParts - 1; i >= 0; i-- {
			parts = append(parts, strings.ToLower(ref.Parts[i]))
		}
		return parts
	}
	return nil
}

// node walks the fields of a struct of the tree.
func (w *walker) node(v reflect.Value) {
	t := v.Type()
	if t == typeOf[tree.UnqualifiedStar]() || t == typeOf[tree.NaturalJoinCond]() {
		w.star()
	}
	switch kind, known := nodes[t]; {
	case known && kind == leaf:
		return
	case !known:
		w.refuse("it has a %s", strings.TrimPrefix(t.String(), "tree."))
		if t.PkgPath() != treePackage {
			return
		}
	}
	for i := range t.NumField() {
		field := t.Field(i)
		if skipped[field.Type] || field.Type == withType {
			continue
		}
		w.element(v.Field(i))
	}
}

type nodeKind int

const (
	branch nodeKind = iota // its parts are walked
	leaf                   // it has no parts that matter
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

var treePackage = typeOf[tree.Select]().PkgPath()

// withType is walked by with, in the order in which its names are seen.
var withType = typeOf[*tree.With]()

// skipped are fields that say of which type something is, or what it was resolved to, which a parser leaves empty.
var skipped = map[reflect.Type]bool{
	typeOf[tree.ResolvableTypeReference]():   true,
	typeOf[[]tree.ResolvableTypeReference](): true,
	typeOf[*types.T]():                       true,
	typeOf[tree.IndexFlags]():                true,
	typeOf[tree.AnnotatedNode]():             true,
	annotation():                             true,
}

// annotation is the unexported type of the field in which a type checker would leave an expression's type.
func annotation() reflect.Type {
	field, ok := typeOf[tree.AndExpr]().FieldByName("typeAnnotation")
	if !ok {
		return typeOf[tree.AnnotatedNode]()
	}
	return field.Type
}

// nodes are the parts of a statement that read and do nothing else. Everything that is not here makes a statement not read-only.
var nodes = map[reflect.Type]nodeKind{
	typeOf[tree.Select]():                branch,
	typeOf[tree.ParenSelect]():           branch,
	typeOf[tree.SelectClause]():          branch,
	typeOf[tree.UnionClause]():           branch,
	typeOf[tree.ValuesClause]():          branch,
	typeOf[tree.SelectExpr]():            branch,
	typeOf[tree.From]():                  branch,
	typeOf[tree.Where]():                 branch,
	typeOf[tree.Limit]():                 branch,
	typeOf[tree.Order]():                 branch,
	typeOf[tree.WindowDef]():             branch,
	typeOf[tree.WindowFrame]():           branch,
	typeOf[tree.WindowFrameBounds]():     branch,
	typeOf[tree.WindowFrameBound]():      branch,
	typeOf[tree.AliasedTableExpr]():      branch,
	typeOf[tree.ParenTableExpr]():        branch,
	typeOf[tree.JoinTableExpr]():         branch,
	typeOf[tree.OnJoinCond]():            branch,
	typeOf[tree.UsingJoinCond]():         branch,
	typeOf[tree.NaturalJoinCond]():       leaf,
	typeOf[tree.RowsFromExpr]():          branch,
	typeOf[tree.AliasClause]():           leaf,
	typeOf[tree.Explain]():               branch,
	typeOf[tree.ExplainAnalyze]():        branch,
	typeOf[tree.ExplainOptions]():        leaf,
	typeOf[tree.ShowVar]():               leaf,
	typeOf[tree.ShowTables]():            leaf,
	typeOf[tree.ShowColumns]():           branch,
	typeOf[tree.ShowDatabases]():         leaf,
	typeOf[tree.ShowSchemas]():           leaf,
	typeOf[tree.ShowIndexes]():           branch,
	typeOf[tree.ShowCreate]():            branch,
	typeOf[tree.AsOfClause]():            branch,
	typeOf[tree.AndExpr]():               branch,
	typeOf[tree.OrExpr]():                branch,
	typeOf[tree.NotExpr]():               branch,
	typeOf[tree.IsNullExpr]():            branch,
	typeOf[tree.IsNotNullExpr]():         branch,
	typeOf[tree.ParenExpr]():             branch,
	typeOf[tree.ComparisonExpr]():        branch,
	typeOf[tree.RangeCond]():             branch,
	typeOf[tree.IsOfTypeExpr]():          branch,
	typeOf[tree.IfExpr]():                branch,
	typeOf[tree.IfErrExpr]():             branch,
	typeOf[tree.NullIfExpr]():            branch,
	typeOf[tree.CoalesceExpr]():          branch,
	typeOf[tree.Tuple]():                 branch,
	typeOf[tree.Array]():                 branch,
	typeOf[tree.ArrayFlatten]():          branch,
	typeOf[tree.ArraySubscript]():        branch,
	typeOf[tree.Subquery]():              branch,
	typeOf[tree.BinaryExpr]():            branch,
	typeOf[tree.UnaryExpr]():             branch,
	typeOf[tree.CaseExpr]():              branch,
	typeOf[tree.When]():                  branch,
	typeOf[tree.CastExpr]():              branch,
	typeOf[tree.IndirectionExpr]():       branch,
	typeOf[tree.AnnotateTypeExpr]():      branch,
	typeOf[tree.CollateExpr]():           branch,
	typeOf[tree.TupleStar]():             branch,
	typeOf[tree.ColumnAccessExpr]():      branch,
	typeOf[treebin.BinaryOperator]():     leaf,
	typeOf[treecmp.ComparisonOperator](): leaf,
	typeOf[tree.UnaryOperator]():         leaf,
	typeOf[tree.UnresolvedName]():        leaf,
	typeOf[tree.UnqualifiedStar]():       leaf,
	typeOf[tree.AllColumnsSelector]():    leaf,
	typeOf[tree.ColumnItem]():            leaf,
	typeOf[tree.Placeholder]():           leaf,
	typeOf[tree.NumVal]():                leaf,
	typeOf[tree.StrVal]():                leaf,
	reflect.TypeOf(tree.DNull):           leaf,
}
