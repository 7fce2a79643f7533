package policy

import (
	"encoding/json"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// adviceOfRules is what to do where a rule reads a list as if it were one value.
const adviceOfRules = "read an element, as [0], or ask exists for all of them"

// checkComparisons looks for arguments that are compared with what they never are in any of the tools, by type or by the schema's list of values: such a comparison
// never holds, or fails in each call. What is negated holds then, and is left alone.
func (c *Compiled) checkComparisons(tools Tools, about []string) error {
	return c.eachExpression(func(parsed *ast.AST) *placed {
		return unlikeArgument(parsed, func(tokens []string, leaf func(schemaLeaf) string) string {
			return tools.unfit(about, tokens, adviceOfRules, leaf)
		})
	})
}

// unlikeArgument finds the first comparison that unfit has something to say about.
func unlikeArgument(parsed *ast.AST, unfit func(tokens []string, leaf func(schemaLeaf) string) string) *placed {
	if ownArgs(parsed) {
		return nil
	}
	i, negated := inspector{info: parsed.SourceInfo()}, map[int64]bool{}
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		if e.AsCall().FunctionName() == operators.LogicalNot && !negated[e.ID()] {
			ast.PreOrderVisit(e, ast.NewExprVisitor(func(below ast.Expr) { negated[below.ID()] = true }))
		}
		if negated[e.ID()] {
			return
		}
		compared(e.AsCall(), func(argument ast.Expr, leaf func(schemaLeaf) string) {
			tokens := argumentPath(argument)
			if len(tokens) == 0 {
				return
			}
			if problem := unfit(tokens, leaf); problem != "" {
				i.fail(argument, problem)
			}
		})
	}))
	return i.problem
}

// compared shows the two sides of a comparison with a constant, and texts that a function of texts is called on.
func compared(call ast.CallExpr, show func(side ast.Expr, leaf func(schemaLeaf) string)) {
	args := call.Args()
	switch call.FunctionName() {
	case operators.Equals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		judge := schemaLeaf.comparesWith
		if call.FunctionName() == operators.Equals {
			judge = schemaLeaf.is
		}
		for n := range args {
			if other := args[1-n]; other.Kind() == ast.LiteralKind {
				show(args[n], func(s schemaLeaf) string { return judge(s, other.AsLiteral()) })
			}
		}
	case operators.In:
		if args[1].Kind() == ast.ListKind {
			show(args[0], func(s schemaLeaf) string { return s.among(args[1].AsList().Elements()) })
		}
	case "startsWith", "endsWith", "matches":
		if call.IsMemberFunction() {
			show(call.Target(), func(s schemaLeaf) string { return s.comparesWith(types.String("")) })
		}
	}
}

// argumentPath reads args.a["b"][0] as the way to a place; nil for anything else.
func argumentPath(e ast.Expr) []string {
	var tokens []string
	for !isIdent(e, varArgs) {
		switch e.Kind() {
		case ast.SelectKind:
			if e.AsSelect().IsTestOnly() {
				return nil
			}
			tokens, e = append(tokens, e.AsSelect().FieldName()), e.AsSelect().Operand()
		case ast.CallKind:
			if e.AsCall().FunctionName() != operators.Index || e.AsCall().Args()[1].Kind() != ast.LiteralKind {
				return nil
			}
			switch key := e.AsCall().Args()[1].AsLiteral().(type) {
			case types.String:
				if key == every {
					return nil // a name like any other here
				}
				tokens = append(tokens, string(key))
			case types.Int:
				tokens = append(tokens, strconv.FormatInt(int64(key), 10))
			default:
				return nil
			}
			e = e.AsCall().Args()[0]
		default:
			return nil
		}
	}
	slices.Reverse(tokens)
	return tokens
}

// schemaLeaf is what a schema says of one value.
type schemaLeaf struct {
	kind   string            // the type, where it is one alone
	values []json.RawMessage // of its enum
}

// is says why the value is never the constant; empty when it may be.
func (s schemaLeaf) is(constant ref.Val) string {
	if problem := s.comparesWith(constant); problem != "" {
		return problem
	}
	text, isText := constant.(types.String)
	if !isText || len(s.values) == 0 {
		return ""
	}
	var known []string
	for _, raw := range s.values {
		var one any
		if json.Unmarshal(raw, &one) != nil {
			return ""
		}
		if written, ok := one.(string); ok {
			known = append(known, written)
		}
	}
	if slices.Contains(known, string(text)) {
		return ""
	}
	if len(known) == 0 {
		return "the tool has no text among its values there"
	}
	slices.Sort(known)
	return unknownName("value", string(text), known)
}

// among says why the value is none of the elements; empty when it may be one.
func (s schemaLeaf) among(elements []ast.Expr) string {
	problem := ""
	for _, one := range elements {
		if one.Kind() != ast.LiteralKind {
			return ""
		}
		if problem = s.is(one.AsLiteral()); problem == "" {
			return ""
		}
	}
	return problem
}

// comparesWith says why the value cannot be compared with the constant; empty when it may be.
func (s schemaLeaf) comparesWith(constant ref.Val) string {
	var what string
	var fit []string
	switch constant.(type) {
	case types.String:
		what, fit = "text", []string{"string"}
	case types.Bool:
		what, fit = "true or false", []string{"boolean"}
	case types.Int, types.Uint, types.Double:
		what, fit = "a number", []string{"integer", "number"}
	}
	if s.kind == "" || what == "" || slices.Contains(fit, s.kind) {
		return ""
	}
	return "the tool has a value of the type " + s.kind + " there, which is never " + what
}

// changes says why a modification for these types does not fit the value; empty when it may.
func (s schemaLeaf) changes(fit []string) string {
	if s.kind == "" || len(fit) == 0 || slices.Contains(fit, s.kind) {
		return ""
	}
	return "the tool has a value of the type " + s.kind + " there, which this does not change"
}
