package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// expression is one compiled CEL expression.
type expression struct {
	program cel.Program
	facts   []string // read by it, in order of name
	tracked bool     // its cost is counted while it runs
}

// placed is what is wrong with an expression, and where.
type placed struct {
	line, column int // from 1
	problem      string
}

func (p *placed) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", p.line, p.column, p.problem)
}

// compileExpression checks text, requires its type and bounds its cost. Types that are only known when it runs pass for any wanted type but
// bool: a rule must say by itself that it gives one.
func compileExpression(env *cel.Env, text string, want *cel.Type, facts []string) (*expression, error) {
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, explain(env, text, issues)
	}
	if want != cel.DynType && checked.OutputType() != want {
		return nil, &placed{1, 1, fmt.Sprintf("the expression gives a %s, it must give a %s", typeName(checked.OutputType()), typeName(want))}
	}
	used, err := inspect(checked.NativeRep(), facts)
	if err != nil {
		return nil, err
	}
	tracked, err := needsTracking(env, checked)
	if err != nil {
		return nil, err
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if tracked {
		options = append(options, cel.CostTracking(callCosts{}), cel.CostLimit(costLimit))
	}
	program, err := env.Program(checked, options...)
	if err != nil {
		return nil, &placed{1, 1, err.Error()}
	}
	return &expression{program: program, facts: used, tracked: tracked}, nil
}

func typeName(t *cel.Type) string {
	if t == cel.DynType {
		return "value whose type is only known when it runs (compare it, as in args.force == true)"
	}
	return strings.TrimPrefix(t.String(), "headgate.")
}

// maxInserted is the longest text that replace and join may put in many places: with a longer one, one step could fill the memory.
const maxInserted = 64

// inspect walks a checked expression: it collects the facts that it reads and refuses what cannot be judged or bounded.
func inspect(checked *ast.AST, facts []string) ([]string, error) {
	i := inspector{info: checked.SourceInfo(), known: facts, used: map[string]bool{}, named: map[int64]bool{}}
	ast.PreOrderVisit(checked.Expr(), ast.NewExprVisitor(i.visit))
	if i.problem != nil {
		return nil, i.problem
	}
	used := make([]string, 0, len(i.used))
	for name := range i.used {
		used = append(used, name)
	}
	slices.Sort(used)
	return used, nil
}

type inspector struct {
	info    *ast.SourceInfo
	known   []string
	used    map[string]bool
	named   map[int64]bool // identifiers that a select has read a field of
	problem *placed
}

func (i *inspector) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.SelectKind:
		i.selects(e)
	case ast.IdentKind:
		if e.AsIdent() == varFacts && !i.named[e.ID()] {
			i.fail(e, "facts are read by name, as in facts.ticket")
		}
	case ast.CallKind:
		i.calls(e)
	case ast.StructKind:
		if _, ours := shapes()[e.AsStruct().TypeName()]; ours {
			i.fail(e, "a rule cannot make a "+strings.TrimPrefix(e.AsStruct().TypeName(), "headgate."))
		}
	}
}

func (i *inspector) selects(e ast.Expr) {
	of := e.AsSelect().Operand()
	if of.Kind() != ast.IdentKind || of.AsIdent() != varFacts {
		return
	}
	i.named[of.ID()] = true
	name := e.AsSelect().FieldName()
	if !slices.Contains(i.known, name) {
		i.fail(e, unknownName("fact", name, i.known))
		return
	}
	i.used[name] = true
}

func (i *inspector) calls(e ast.Expr) {
	call := e.AsCall()
	at := -1
	switch {
	case call.FunctionName() == "replace" && call.IsMemberFunction():
		at = 1
	case call.FunctionName() == "join" && call.IsMemberFunction() && len(call.Args()) > 0:
		at = 0
	}
	if at < 0 || at >= len(call.Args()) {
		return
	}
	arg := call.Args()[at]
	if arg.Kind() == ast.LiteralKind {
		if text, ok := arg.AsLiteral().(types.String); ok && len(text) <= maxInserted {
			return
		}
	}
	i.fail(arg, fmt.Sprintf("what %s inserts must be a text of at most %d bytes that stands in the rule", call.FunctionName(), maxInserted))
}

func (i *inspector) fail(e ast.Expr, problem string) {
	if i.problem != nil {
		return
	}
	at := i.info.GetStartLocation(e.ID())
	i.problem = &placed{at.Line(), at.Column() + 1, problem}
}

// explain turns CEL's first complaint into a place and a sentence, with the nearest name where one is not known.
func explain(env *cel.Env, text string, issues *cel.Issues) *placed {
	first := issues.Errors()[0]
	at := &placed{max(first.Location.Line(), 1), max(first.Location.Column()+1, 1), oneLine(first.Message)}
	if name, ok := between(first.Message, "undeclared reference to '", "'"); ok {
		at.problem = unknownName("name", name, slices.Concat(variableNames(), functionNames(env)))
	}
	if name, ok := between(first.Message, "undefined field '", "'"); ok {
		at.problem = unknownName("field", name, fieldsOf(env, text, first.ExprID))
	}
	if strings.HasPrefix(first.Message, "found no matching overload for") {
		at.problem = strings.ReplaceAll(strings.ReplaceAll(at.problem, hiddenSQL, functionSQL), ", "+memoType, "")
		at.problem = strings.ReplaceAll(at.problem, "headgate.", "")
	}
	return at
}

func between(s, before, after string) (string, bool) {
	_, rest, ok := strings.Cut(s, before)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, after)
	return name, ok
}

const maxProblem = 300

// oneLine keeps a message of CEL readable: the parser lists every token that it would have taken.
func oneLine(s string) string {
	s, _, _ = strings.Cut(s, " expecting {")
	s = strings.TrimSuffix(strings.Join(strings.Fields(s), " "), ".")
	if len(s) > maxProblem {
		s = strings.ToValidUTF8(s[:maxProblem], "") + "…"
	}
	return s
}

func functionNames(env *cel.Env) []string {
	var names []string
	for name := range env.Functions() {
		if name[0] >= 'a' && name[0] <= 'z' || name[0] >= 'A' && name[0] <= 'Z' {
			names = append(names, name)
		}
	}
	for _, macro := range env.Macros() {
		names = append(names, macro.Function())
	}
	return names
}

// fieldsOf names the fields that could have stood in a select which the checker refused.
func fieldsOf(env *cel.Env, text string, id int64) []string {
	all := shapes()
	object := map[string]string{
		varPrincipal: principalType, varAgent: agentType, varServer: serverType, varTool: toolType, varRequest: requestType,
	}
	var names []string
	add := func(of string) {
		for name := range all[of] {
			names = append(names, name)
		}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() == nil {
		ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			if e.ID() != id || e.Kind() != ast.SelectKind {
				return
			}
			of := e.AsSelect().Operand()
			switch {
			case of.Kind() == ast.IdentKind:
				add(object[of.AsIdent()])
			case of.Kind() == ast.CallKind && of.AsCall().FunctionName() == hiddenSQL:
				add(sqlType)
			}
		}))
	}
	if len(names) == 0 {
		for of := range all {
			add(of)
		}
	}
	slices.Sort(names)
	return names
}
