package sqltext

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/rqlite/sql"
)

// restrictsSQLite is restricts for SQLite. A name in quotes may be a text there, and counts as no column.
func restrictsSQLite(where sql.Expr) bool {
	c := whereOfSQLite(where)
	return c.restricts()
}

func whereOfSQLite(where sql.Expr) condition {
	if where == nil {
		return condition{op: holds}
	}
	return sqliteConditionOf(where)
}

func sqliteConditionOf(e sql.Expr) condition {
	switch e := e.(type) {
	case *sql.ParenExpr:
		return sqliteConditionOf(e.X)
	case *sql.CastExpr:
		return sqliteConditionOf(e.X)
	case *sql.BoolLit:
		return truthOf(e.Value)
	case *sql.NumberLit:
		if n, err := strconv.ParseFloat(e.Value, 64); err == nil {
			return truthOf(n != 0)
		}
	case *sql.UnaryExpr:
		if e.Op == sql.NOT {
			return negation(sqliteConditionOf(e.X))
		}
	case *sql.Null:
		return sqliteNull(e)
	case *sql.BinaryExpr:
		return sqliteBinary(e)
	case *sql.CaseExpr:
		results := []condition{}
		for _, block := range e.Blocks {
			results = append(results, sqliteConditionOf(block.Body))
		}
		if e.ElseExpr != nil {
			results = append(results, sqliteConditionOf(e.ElseExpr))
		}
		return anyResult(results...)
	case *sql.Call:
		return sqliteCall(e)
	case *sql.Ident, *sql.QualifiedRef:
		return compared(narrow, sqliteOperand(e), operand{})
	}
	return condition{}
}

func sqliteNull(e *sql.Null) condition {
	if turned, ok := e.X.(*sql.UnaryExpr); ok && turned.Op == sql.NOT { // the parser binds NOT to what follows it next
		return negation(sqliteNull(&sql.Null{X: turned.X, Op: e.Op}))
	}
	if e.Op == sql.NOTNULL {
		return compared(notNull, sqliteOperand(e.X), operand{})
	}
	return compared(null, sqliteOperand(e.X), operand{})
}

// sqliteCall takes functions that give one of their arguments for what they give.
func sqliteCall(e *sql.Call) condition {
	args := e.Args
	switch name := strings.ToLower(sql.IdentName(e.Name)); {
	case (name == "if" || name == "iif") && len(args) > 1:
		args = args[1:]
	case name == "coalesce", name == "ifnull":
	default:
		return compared(narrow, sqliteOperand(e), operand{})
	}
	results := []condition{}
	for _, arg := range args {
		results = append(results, sqliteConditionOf(arg))
	}
	return anyResult(results...)
}

// sqliteKind is how an operator compares; others compute.
func sqliteKind(op sql.Token) (kind, bool) {
	switch op {
	case sql.EQ, sql.IS, sql.IN, sql.LIKE, sql.GLOB, sql.MATCH, sql.REGEXP, sql.BETWEEN:
		return narrow, true
	case sql.NE, sql.ISNOT, sql.NOTIN, sql.NOTLIKE, sql.NOTGLOB, sql.NOTMATCH, sql.NOTREGEXP, sql.NOTBETWEEN:
		return wide, true
	case sql.LT, sql.LE:
		return low, true
	case sql.GT, sql.GE:
		return high, true
	}
	return 0, false
}

func sqliteBinary(e *sql.BinaryExpr) condition {
	switch e.Op {
	case sql.AND:
		return conditions(all, sqliteConditionOf(e.X), sqliteConditionOf(e.Y))
	case sql.OR:
		return conditions(either, sqliteConditionOf(e.X), sqliteConditionOf(e.Y))
	}
	k, compares := sqliteKind(e.Op)
	if !compares {
		return compared(narrow, sqliteOperand(e), operand{})
	}
	if turned, ok := e.X.(*sql.UnaryExpr); ok && turned.Op == sql.NOT { // the parser binds NOT to what follows it next
		return negation(sqliteBinary(&sql.BinaryExpr{X: turned.X, Op: e.Op, Y: e.Y}))
	}
	if between, ok := e.Y.(*sql.Range); ok {
		return sqliteRange(k, e.X, between.X, between.Y)
	}
	return sqliteComparison(e, k)
}

// sqliteRange takes apart a BETWEEN a AND b AND more, which the parser reads as one between a AND b, and more.
func sqliteRange(k kind, of, from, to sql.Expr) condition {
	if and, ok := from.(*sql.BinaryExpr); ok && and.Op == sql.AND {
		return conditions(all, sqliteRange(k, of, and.X, and.Y), sqliteConditionOf(to))
	}
	return compared(k, sqliteOperand(of), sqliteOperand(&sql.ExprList{Exprs: []sql.Expr{from, to}}))
}

func sqliteComparison(e *sql.BinaryExpr, k kind) condition {
	in := e.Op == sql.IN || e.Op == sql.NOTIN
	left := sqliteOperand(e.X)
	switch right := e.Y.(type) {
	case *sql.StringLit:
		if !slices.Contains([]sql.Token{sql.EQ, sql.NE, sql.IS, sql.ISNOT}, e.Op) && (k == narrow || k == wide) && matchesAll(right.Value) {
			return condition{}
		}
	case *sql.NullLit:
		switch e.Op {
		case sql.IS:
			return compared(null, left, operand{})
		case sql.ISNOT:
			return compared(notNull, left, operand{})
		}
	case *sql.BoolLit:
		if k == narrow && right.Value || k == wide && !right.Value {
			return sqliteConditionOf(e.X)
		}
		if k == narrow || k == wide {
			return negation(sqliteConditionOf(e.X))
		}
	case *sql.ExprList:
		if in && !left.speaks {
			return condition{}
		}
		if inside, ok := onlySelect(right.Exprs); ok && in {
			return membership(k, left, inside)
		}
	}
	return compared(k, left, sqliteOperand(e.Y))
}

// onlySelect is what IN (SELECT …) asks inside.
func onlySelect(list []sql.Expr) (condition, bool) {
	if len(list) != 1 {
		return condition{}, false
	}
	s, ok := list[0].(sql.SelectExpr)
	if !ok {
		return condition{}, false
	}
	if s.SelectStatement == nil || !s.Select.IsValid() || s.Compound != nil {
		return condition{}, true
	}
	return whereOfSQLite(s.WhereExpr), true
}

func sqliteOperand(e sql.Expr) operand {
	var o operand
	o.sqlite(e)
	return o
}

func (o *operand) sqlite(e sql.Expr) {
	switch e := e.(type) {
	case *sql.Ident:
		o.speaks = o.speaks || !e.Quoted
		o.columns = append(o.columns, strings.ToLower(e.Name))
	case *sql.QualifiedRef:
		o.speaks = true
		o.columns = append(o.columns, strings.ToLower(sql.IdentName(e.Table)+"."+sql.IdentName(e.Column)))
	case *sql.ParenExpr:
		o.sqlite(e.X)
	case *sql.CastExpr:
		o.sqlite(e.X)
	case *sql.UnaryExpr:
		o.unsure = o.unsure || e.Op == sql.NOT
		o.sqlite(e.X)
	case *sql.BinaryExpr:
		_, compares := sqliteKind(e.Op)
		zero := (e.Op == sql.STAR || e.Op == sql.BITAND || e.Op == sql.SLASH) && (sqliteZero(e.X) || sqliteZero(e.Y))
		o.unsure = o.unsure || compares || zero || e.Op == sql.AND || e.Op == sql.OR
		o.sqlite(e.X)
		o.sqlite(e.Y)
	case *sql.Call:
		for _, arg := range e.Args {
			o.sqlite(arg)
		}
	case *sql.ExprList:
		for _, one := range e.Exprs {
			o.sqlite(one)
		}
	case sql.SelectExpr:
		o.inside(e)
	case *sql.StringLit, *sql.NumberLit, *sql.BlobLit, *sql.NullLit, *sql.TimestampLit, *sql.BindExpr:
	default:
		o.unsure = true
	}
}

func sqliteZero(e sql.Expr) bool {
	n, ok := e.(*sql.NumberLit)
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	return err != nil || f == 0
}

// inside notes what a SELECT inside of an expression may name of the statement around it.
func (o *operand) inside(e sql.SelectExpr) {
	w := &sqliteWalker{walker: newWalker()}
	w.visit(reflect.ValueOf(e.SelectStatement))
	o.columns = append(o.columns, w.outer()...)
}
