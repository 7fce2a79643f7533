package policy

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// comparisons is how many steps are taken to hold the conditions of policies against each other: looking for mistakes must not cost more than judging.
const comparisons = 200_000

// judge holds conditions against each other until its steps are used up; then nothing follows from anything.
type judge struct{ steps int }

func newJudge() *judge { return &judge{steps: comparisons} }

// tired says that something may have been left out.
func (j *judge) tired() bool { return j.steps <= 0 }

// implies says whether b is true for sure wherever a is. It may say no where that would take more than looking.
func (j *judge) implies(a, b condition) bool {
	j.steps--
	switch {
	case j.tired():
		return false
	case b.kind == holdsAlways || a.kind == holdsNever:
		return true
	case a.kind == anyOf:
		return j.each(a.parts, func(p condition) bool { return j.implies(p, b) })
	case b.kind == all:
		return j.each(b.parts, func(p condition) bool { return j.implies(a, p) })
	case b.kind == anyOf:
		if slices.ContainsFunc(b.parts, func(p condition) bool { return j.implies(a, p) }) {
			return true
		}
	}
	parts := []condition{a}
	if a.kind == all {
		parts = a.parts
	}
	if j.contradicts(parts) {
		return true
	}
	if b.kind != atom {
		return false
	}
	return j.answers(parts, b)
}

func (j *judge) each(parts []condition, holds func(condition) bool) bool {
	return !slices.ContainsFunc(parts, func(p condition) bool { return !holds(p) })
}

// answers says whether an atom follows from conditions that all hold.
func (j *judge) answers(parts []condition, b condition) bool {
	for _, p := range parts {
		j.steps--
		if p.kind == atom && p.text == b.text || p.kind == anyOf && j.implies(p, b) {
			return true
		}
	}
	lies := lying(parts, b.of)
	switch {
	case lies == nil:
		return false
	case b.values != nil:
		return lies.within(b.values)
	}
	return b.not != nil && lies.excludes(b.not)
}

// lying is where conditions that all hold say that a value lies; nil when they do not.
func lying(parts []condition, of string) *domain {
	var lies *domain
	for _, p := range parts {
		switch {
		case p.kind != atom || p.values == nil || p.of != of || of == "":
		case lies == nil:
			lies = p.values
		default:
			lies = lies.both(p.values)
		}
	}
	return lies
}

// contradicts says whether conditions can never all hold.
func (j *judge) contradicts(parts []condition) bool {
	for i, p := range parts {
		if p.kind != atom {
			continue
		}
		if lies := lying(parts, p.of); lies != nil && (lies.empty() || p.not != nil && lies.single() && !lies.excludes(p.not)) {
			return true
		}
		for _, other := range parts[:i] {
			j.steps--
			if other.kind == atom && (other.text == "!("+p.text+")" || p.text == "!("+other.text+")") {
				return true
			}
		}
	}
	return false
}

// impossible says whether a condition never holds.
func (j *judge) impossible(c condition) bool {
	switch c.kind {
	case holdsNever:
		return true
	case all:
		return j.contradicts(c.parts)
	case anyOf:
		return j.each(c.parts, j.impossible)
	}
	return false
}

// fold works out an expression of constants.
func fold(e ast.Expr) (ref.Val, bool) {
	if e.Kind() == ast.LiteralKind {
		return e.AsLiteral(), true
	}
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() {
		return nil, false
	}
	var args []ref.Val
	for _, arg := range e.AsCall().Args() {
		value, ok := fold(arg)
		if !ok {
			return nil, false
		}
		args = append(args, value)
	}
	var out ref.Val
	switch len(args) {
	case 1:
		out = foldOne(e.AsCall().FunctionName(), args[0])
	case 2:
		out = foldTwo(e.AsCall().FunctionName(), args[0], args[1])
	}
	return out, out != nil && !types.IsError(out) && !types.IsUnknown(out)
}

func foldOne(op string, v ref.Val) ref.Val {
	negater, ok := v.(traits.Negater)
	if !ok || op != operators.LogicalNot && op != operators.Negate {
		return nil
	}
	return negater.Negate()
}

func foldTwo(op string, a, b ref.Val) ref.Val {
	switch op {
	case operators.Equals:
		return a.Equal(b)
	case operators.NotEquals:
		if same, ok := a.Equal(b).(types.Bool); ok {
			return !same
		}
		return nil
	case operators.LogicalAnd, operators.LogicalOr:
		x, ok := a.(types.Bool)
		y, also := b.(types.Bool)
		switch {
		case !ok || !also:
			return nil
		case op == operators.LogicalAnd:
			return x && y
		}
		return x || y
	case operators.Add:
		if adder, ok := a.(traits.Adder); ok {
			return adder.Add(b)
		}
	case operators.Subtract:
		if subtractor, ok := a.(traits.Subtractor); ok {
			return subtractor.Subtract(b)
		}
	case operators.Multiply:
		if multiplier, ok := a.(traits.Multiplier); ok {
			return multiplier.Multiply(b)
		}
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return ordering(op, a, b)
	}
	return nil
}

func ordering(op string, a, b ref.Val) ref.Val {
	comparer, ok := a.(traits.Comparer)
	if !ok {
		return nil
	}
	order, ok := comparer.Compare(b).(types.Int)
	if !ok {
		return nil
	}
	return map[string]types.Bool{
		operators.Less: order < 0, operators.LessEquals: order <= 0, operators.Greater: order > 0, operators.GreaterEquals: order >= 0,
	}[op]
}
