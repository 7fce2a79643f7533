package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// condition is an expression as far as one can be held against another without a call: what is joined by && and ||, what holds always or never, and what is
// said of one value by constants. Everything else is an atom, which is equal to another of the same text alone.
type condition struct {
	kind  conditionKind
	parts []condition // of all and any
	text  string      // of an atom; the same text is the same question
	// of and values are what an atom says of one value: that it lies among these.
	of     string
	values *domain
	not    ref.Val // what an atom says that the value of is not
}

type conditionKind int

const (
	atom conditionKind = iota
	holdsAlways
	holdsNever
	all
	anyOf
)

// domain is where a value lies: between two numbers or, when texts is not nil, among these.
type domain struct {
	low, high         float64
	lowOpen, highOpen bool
	texts             []string
}

func readCondition(env *cel.Env, when string) condition {
	parsed, issues := env.Parse(when)
	if issues.Err() != nil {
		return condition{text: when}
	}
	return conditionOf(parsed.NativeRep().Expr(), false)
}

func conditionOf(e ast.Expr, negated bool) condition {
	if value, ok := fold(e); ok {
		if truth, ok := value.(types.Bool); ok {
			return condition{kind: map[bool]conditionKind{true: holdsAlways, false: holdsNever}[bool(truth) != negated]}
		}
	}
	if e.Kind() != ast.CallKind {
		return plainAtom(e, negated)
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalNot:
		return conditionOf(call.Args()[0], !negated)
	case operators.LogicalAnd, operators.LogicalOr:
		kind := map[bool]conditionKind{true: all, false: anyOf}[(call.FunctionName() == operators.LogicalAnd) != negated]
		return joined(kind, conditionOf(call.Args()[0], negated), conditionOf(call.Args()[1], negated))
	}
	if found, ok := saysOfOne(call, negated); ok {
		found.text = plainAtom(e, negated).text
		return found
	}
	return plainAtom(e, negated)
}

// joined is flat, without what does not count.
func joined(kind conditionKind, parts ...condition) condition {
	decides, idle := holdsNever, holdsAlways
	if kind == anyOf {
		decides, idle = holdsAlways, holdsNever
	}
	out := condition{kind: kind}
	for _, p := range parts {
		switch p.kind {
		case decides:
			return p
		case idle:
		case kind:
			out.parts = append(out.parts, p.parts...)
		default:
			out.parts = append(out.parts, p)
		}
	}
	switch len(out.parts) {
	case 0:
		return condition{kind: idle}
	case 1:
		return out.parts[0]
	}
	return out
}

func plainAtom(e ast.Expr, negated bool) condition {
	text := textOf(e)
	if negated {
		text = "!(" + text + ")"
	}
	return condition{text: text}
}

// saysOfOne reads comparisons of one value with a constant: args.n > 5, 5 < args.n, args.to == "x", args.to in ["x", "y"].
func saysOfOne(call ast.CallExpr, negated bool) (condition, bool) {
	if len(call.Args()) != 2 {
		return condition{}, false
	}
	left, right, op := call.Args()[0], call.Args()[1], call.FunctionName()
	if op == operators.In {
		return among(left, right, negated)
	}
	if _, ok := inverse(op); !ok {
		return condition{}, false
	}
	value, ok := fold(right)
	if !ok {
		if value, ok = fold(left); !ok {
			return condition{}, false
		}
		left, op = right, mirrored(op)
	}
	if negated {
		op, _ = inverse(op)
	}
	of := textOf(left)
	if op == operators.NotEquals {
		return condition{of: of, not: value}, true
	}
	if text, ok := value.(types.String); ok && op == operators.Equals {
		return condition{of: of, values: &domain{texts: []string{string(text)}}}, true
	}
	number, ok := asNumber(value)
	if !ok {
		return condition{}, false
	}
	d := domain{low: math.Inf(-1), high: math.Inf(1)}
	switch op {
	case operators.Equals:
		d.low, d.high = number, number
	case operators.Less, operators.LessEquals:
		d.high, d.highOpen = number, op == operators.Less
	default:
		d.low, d.lowOpen = number, op == operators.Greater
	}
	return condition{of: of, values: &d}, true
}

func among(left, right ast.Expr, negated bool) (condition, bool) {
	if negated || right.Kind() != ast.ListKind {
		return condition{}, false
	}
	texts := []string{}
	for _, one := range right.AsList().Elements() {
		text, ok := constant(one)
		if !ok {
			return condition{}, false
		}
		texts = append(texts, text)
	}
	return condition{of: textOf(left), values: &domain{texts: texts}}, true
}

func inverse(op string) (string, bool) {
	other, ok := map[string]string{
		operators.Less: operators.GreaterEquals, operators.LessEquals: operators.Greater, operators.Greater: operators.LessEquals,
		operators.GreaterEquals: operators.Less, operators.Equals: operators.NotEquals, operators.NotEquals: operators.Equals,
	}[op]
	return other, ok
}

func mirrored(op string) string {
	return cmp.Or(map[string]string{
		operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals, operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
	}[op], op)
}

// asNumber is exact or not there: whole numbers beyond 2^53 are left alone.
func asNumber(v ref.Val) (float64, bool) {
	const exactUpTo = 1 << 53
	switch v := v.(type) {
	case types.Double:
		return float64(v), !math.IsNaN(float64(v))
	case types.Int:
		return float64(v), v <= exactUpTo && v >= -exactUpTo
	case types.Uint:
		return float64(v), v <= exactUpTo
	}
	return 0, false
}

// within says whether a value of a lies in b wherever it lies in a.
func (a *domain) within(b *domain) bool {
	if (a.texts == nil) != (b.texts == nil) {
		return false
	}
	if a.texts != nil {
		return !slices.ContainsFunc(a.texts, func(text string) bool { return !slices.Contains(b.texts, text) })
	}
	above := a.low > b.low || a.low == b.low && (a.lowOpen || !b.lowOpen)
	below := a.high < b.high || a.high == b.high && (a.highOpen || !b.highOpen)
	return above && below
}

func (a *domain) empty() bool {
	if a.texts != nil {
		return len(a.texts) == 0
	}
	return a.low > a.high || a.low == a.high && (a.lowOpen || a.highOpen)
}

// single says that the value is known.
func (a *domain) single() bool {
	if a.texts != nil {
		return len(a.texts) == 1
	}
	return a.low == a.high
}

// both is where a value lies that lies in each.
func (a *domain) both(b *domain) *domain {
	if (a.texts == nil) != (b.texts == nil) {
		return &domain{texts: []string{}} // no value is a number and a text
	}
	out := *a
	if a.texts != nil {
		out.texts = slices.DeleteFunc(slices.Clone(a.texts), func(text string) bool { return !slices.Contains(b.texts, text) })
		return &out
	}
	if b.low > out.low || b.low == out.low && b.lowOpen {
		out.low, out.lowOpen = b.low, b.lowOpen
	}
	if b.high < out.high || b.high == out.high && b.highOpen {
		out.high, out.highOpen = b.high, b.highOpen
	}
	return &out
}

// excludes says whether a value that lies there is never this one.
func (a *domain) excludes(v ref.Val) bool {
	if text, ok := v.(types.String); ok {
		return a.texts == nil || !slices.Contains(a.texts, string(text))
	}
	number, ok := asNumber(v)
	return ok && (a.texts != nil || a.both(&domain{low: number, high: number}).empty())
}

// textOf is an expression as a text that only the same expression has.
func textOf(e ast.Expr) string {
	var b strings.Builder
	write(&b, e)
	return b.String()
}

func write(b *strings.Builder, e ast.Expr) {
	list := func(open string, items ...ast.Expr) {
		b.WriteString(open)
		for _, one := range items {
			write(b, one)
			b.WriteByte(',')
		}
		b.WriteByte(')')
	}
	switch e.Kind() {
	case ast.IdentKind:
		b.WriteString(e.AsIdent())
	case ast.LiteralKind:
		fmt.Fprintf(b, "%s:%q", e.AsLiteral().Type().TypeName(), fmt.Sprint(e.AsLiteral().Value()))
	case ast.SelectKind:
		write(b, e.AsSelect().Operand())
		fmt.Fprintf(b, ".%s?%v", e.AsSelect().FieldName(), e.AsSelect().IsTestOnly())
	case ast.CallKind:
		list(e.AsCall().FunctionName()+"(", e.AsCall().Args()...)
		if e.AsCall().IsMemberFunction() {
			list(" on (", e.AsCall().Target())
		}
	case ast.ListKind:
		list("list(", e.AsList().Elements()...)
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			list("entry(", entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		list("for("+c.IterVar()+","+c.IterVar2()+","+c.AccuVar()+",", c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result())
	default:
		fmt.Fprintf(b, "other %d", e.ID()) // equal to nothing else in a rule
	}
}
