package sqltext

import (
	"go/constant"
	"reflect"
	"strings"

	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree/treebin"
	"github.com/cockroachdb/cockroachdb-parser/pkg/sql/sem/tree/treecmp"
)

// restricts says whether a WHERE speaks of a column and may leave out rows: WHERE true and WHERE id = id restrict nothing.
func restricts(where *tree.Where) bool {
	c := conditionOfWhere(where)
	return c.restricts()
}

func conditionOfWhere(where *tree.Where) condition {
	if where == nil {
		return condition{op: holds}
	}
	return conditionOf(where.Expr)
}

func conditionOf(e tree.Expr) condition {
	switch e := e.(type) {
	case *tree.ParenExpr:
		return conditionOf(e.Expr)
	case *tree.CastExpr:
		return conditionOf(e.Expr)
	case *tree.AnnotateTypeExpr:
		return conditionOf(e.Expr)
	case *tree.AndExpr:
		return conditions(all, conditionOf(e.Left), conditionOf(e.Right))
	case *tree.OrExpr:
		return conditions(either, conditionOf(e.Left), conditionOf(e.Right))
	case *tree.NotExpr:
		return negation(conditionOf(e.Expr))
	case *tree.DBool:
		return truthOf(bool(*e))
	case *tree.IsNullExpr:
		return compared(null, operandOf(e.Expr), operand{})
	case *tree.IsNotNullExpr:
		return compared(notNull, operandOf(e.Expr), operand{})
	case *tree.ComparisonExpr:
		return comparison(e)
	case *tree.RangeCond:
		k := narrow
		if e.Not {
			k = wide
		}
		return compared(k, operandOf(e.Left), operandOf(e.From, e.To))
	case *tree.CoalesceExpr:
		return anyResult(conditionsOf(e.Exprs...)...)
	case *tree.CaseExpr:
		return caseOf(e)
	case *tree.UnresolvedName, *tree.FuncExpr, *tree.BinaryExpr, *tree.ColumnAccessExpr, *tree.IndirectionExpr:
		return compared(narrow, operandOf(e), operand{})
	}
	return condition{}
}

func conditionsOf(all ...tree.Expr) []condition {
	out := make([]condition, len(all))
	for i, e := range all {
		out[i] = conditionOf(e)
	}
	return out
}

func caseOf(e *tree.CaseExpr) condition {
	results := []condition{}
	for _, when := range e.Whens {
		results = append(results, conditionOf(when.Val))
	}
	if e.Else != nil {
		results = append(results, conditionOf(e.Else))
	}
	return anyResult(results...)
}

// conditionInside is that of the WHERE of a SELECT inside of another.
func conditionInside(sub *tree.Subquery) condition {
	s := sub.Select
	for {
		switch inner := s.(type) {
		case *tree.ParenSelect:
			s = inner.Select.Select
			continue
		case *tree.SelectClause:
			return conditionOfWhere(inner.Where)
		}
		return condition{}
	}
}

// comparisons are those that are told apart; others may hold for all rows.
var comparisons = map[treecmp.ComparisonOperatorSymbol]kind{
	treecmp.EQ: narrow, treecmp.In: narrow, treecmp.Like: narrow, treecmp.ILike: narrow, treecmp.SimilarTo: narrow, treecmp.RegMatch: narrow, treecmp.RegIMatch: narrow,
	treecmp.IsNotDistinctFrom: narrow, treecmp.Contains: narrow, treecmp.ContainedBy: narrow, treecmp.JSONExists: narrow, treecmp.Overlaps: narrow, treecmp.TSMatches: narrow,
	treecmp.NE: wide, treecmp.NotIn: wide, treecmp.NotLike: wide, treecmp.NotILike: wide, treecmp.NotSimilarTo: wide, treecmp.NotRegMatch: wide,
	treecmp.NotRegIMatch: wide, treecmp.IsDistinctFrom: wide, treecmp.LT: low, treecmp.LE: low, treecmp.GT: high, treecmp.GE: high,
}

func comparison(e *tree.ComparisonExpr) condition {
	op := e.Operator.Symbol
	k, known := comparisons[op]
	in := op == treecmp.In || op == treecmp.NotIn
	if op == treecmp.Any || op == treecmp.Some {
		k, known, in = narrow, e.SubOperator.Symbol == treecmp.EQ, true
	}
	of, isTruth := truthBeside(e)
	inside, isQuery := e.Right.(*tree.Subquery)
	pattern, isText := e.Right.(*tree.StrVal)
	left, right := operandOf(e.Left), operandOf(e.Right)
	switch {
	case !known, in && !left.speaks, isText && patterned(op) && matchesAll(pattern.RawString()):
		return condition{}
	case isTruth && k == narrow:
		return of
	case isTruth && k == wide:
		return negation(of)
	case in && isQuery:
		return membership(k, left, conditionInside(inside))
	case e.Right == tree.DNull && op == treecmp.IsNotDistinctFrom:
		return compared(null, left, operand{})
	case e.Right == tree.DNull && op == treecmp.IsDistinctFrom:
		return compared(notNull, left, operand{})
	}
	return compared(k, left, right)
}

func patterned(op treecmp.ComparisonOperatorSymbol) bool {
	return op >= treecmp.Like && op <= treecmp.NotRegIMatch
}

// truthBeside is what is compared with true or false, turned round for false.
func truthBeside(e *tree.ComparisonExpr) (c condition, ok bool) {
	of, truth := e.Left, e.Right
	if _, first := of.(*tree.DBool); first {
		of, truth = truth, of
	}
	is, ok := truth.(*tree.DBool)
	if !ok {
		return condition{}, false
	}
	c = conditionOf(of)
	if !bool(*is) {
		c = negation(c)
	}
	return c, true
}

func operandOf(all ...tree.Expr) operand {
	var f operandFinder
	for _, e := range all {
		tree.WalkExprConst(&f, e)
	}
	return f.operand
}

type operandFinder struct{ operand }

func (f *operandFinder) VisitPre(e tree.Expr) (bool, tree.Expr) {
	switch e := e.(type) {
	case *tree.UnresolvedName:
		f.speaks = true
		f.columns = append(f.columns, written(e))
	case *tree.Subquery:
		f.inside(e)
		return false, e
	case *tree.BinaryExpr:
		f.unsure = f.unsure || absorbs(e.Operator.Symbol) && (isZero(e.Left) || isZero(e.Right))
	case *tree.AndExpr, *tree.OrExpr, *tree.NotExpr, *tree.IsNullExpr, *tree.IsNotNullExpr, *tree.ComparisonExpr, *tree.RangeCond, *tree.DBool, *tree.CaseExpr,
		*tree.IfExpr, *tree.IfErrExpr, *tree.NullIfExpr, *tree.IsOfTypeExpr:
		f.unsure = true
	}
	return !f.unsure, e
}

func (f *operandFinder) VisitPost(e tree.Expr) tree.Expr { return e }

// inside notes what a SELECT inside of an expression may name of the statement around it.
func (f *operandFinder) inside(sub *tree.Subquery) {
	w := newWalker()
	w.walk(reflect.ValueOf(&sub.Select).Elem())
	f.columns = append(f.columns, w.outer()...)
}

func written(name *tree.UnresolvedName) string {
	parts := make([]string, 0, len(name.Parts))
	for i := min(name.NumParts, len(name.Parts)) - 1; i >= 0; i-- {
		parts = append(parts, strings.ToLower(name.Parts[i]))
	}
	return strings.Join(parts, ".")
}

// absorbs says that with a zero, the other side does not matter.
func absorbs(op treebin.BinaryOperatorSymbol) bool {
	return op == treebin.Mult || op == treebin.Bitand || op == treebin.Pow || op == treebin.Div || op == treebin.FloorDiv
}

func isZero(e tree.Expr) bool {
	n, ok := e.(*tree.NumVal)
	return ok && constant.Sign(n.AsConstantValue()) == 0
}
