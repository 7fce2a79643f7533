package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// expression is one compiled CEL expression.
type expression struct {
	program cel.Program
	facts   []string // read by it, in order of name
	// counters that it reads, in order of name.
	counters []string
	// calendars that it names, in order of name.
	calendars []string
	relates   bool // it asks for relations
	locates   bool // it reads the country, or request as a whole
	tracked   bool // its cost is counted while it runs
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
func compileExpression(env *cel.Env, text string, want *cel.Type, known names) (*expression, error) {
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, explain(env, text, issues)
	}
	if want != cel.DynType && checked.OutputType() != want {
		return nil, &placed{1, 1, fmt.Sprintf("the expression gives a %s, it must give a %s", typeName(checked.OutputType()), typeName(want))}
	}
	found, err := inspect(checked.NativeRep(), known)
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
	found.program, found.tracked = program, tracked
	return &found, nil
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
func inspect(checked *ast.AST, known names) (expression, error) {
	i := inspector{info: checked.SourceInfo(), overloads: checked.GetOverloadIDs, known: known, used: map[string]bool{}, sums: map[string]bool{}, named: map[int64]bool{}, days: map[string]bool{}}
	ast.PreOrderVisit(checked.Expr(), ast.NewExprVisitor(i.visit))
	if i.problem != nil {
		return expression{}, i.problem
	}
	return expression{
		facts: slices.Sorted(maps.Keys(i.used)), counters: slices.Sorted(maps.Keys(i.sums)), calendars: slices.Sorted(maps.Keys(i.days)),
		relates: i.relates, locates: i.locates,
	}, nil
}

type inspector struct {
	info      *ast.SourceInfo
	overloads func(id int64) []string
	known     names
	used      map[string]bool // facts
	sums      map[string]bool // counters
	days      map[string]bool // calendars
	named     map[int64]bool  // identifiers that a select has read a field of
	relates   bool
	locates   bool
	problem   *placed
}

func (i *inspector) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.SelectKind:
		i.selects(e)
	case ast.IdentKind:
		if e.AsIdent() == varRequest && !i.named[e.ID()] {
			i.locates = true
		}
		if e.AsIdent() == varFacts && !i.named[e.ID()] {
			i.fail(e, "facts are read by name, as in facts.ticket")
		}
		if e.AsIdent() == varCounters && !i.named[e.ID()] {
			i.fail(e, "counters are read by name, as in counters.sent")
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
	if of.Kind() == ast.IdentKind && of.AsIdent() == varRequest {
		i.named[of.ID()] = true
		i.locates = i.locates || e.AsSelect().FieldName() == "country"
	}
	if of.Kind() != ast.IdentKind || of.AsIdent() != varFacts && of.AsIdent() != varCounters {
		return
	}
	i.named[of.ID()] = true
	name := e.AsSelect().FieldName()
	if of.AsIdent() == varCounters {
		if !slices.Contains(i.known.counters, name) {
			i.fail(e, unknownName("counter", name, i.known.counters))
			return
		}
		i.sums[name] = true
		return
	}
	if !slices.Contains(i.known.facts, name) {
		i.fail(e, unknownName("fact", name, i.known.facts))
		return
	}
	i.used[name] = true
}

func (i *inspector) calls(e ast.Expr) {
	i.constants(e)
	call := e.AsCall()
	if call.FunctionName() == hiddenRelated {
		i.relates = true
		if !i.known.relations {
			i.fail(e, "only a rule's expression can ask for relations")
		}
	}
	if name := call.FunctionName(); (name == operators.In || name == operators.Equals || name == operators.NotEquals) && len(call.Args()) == 2 {
		i.oneOf(call.Args()[0], call.Args()[1])
		i.oneOf(call.Args()[1], call.Args()[0])
	}
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
		at.problem = plainNames(at.problem)
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
		varSession: sessionType, varDevice: deviceType,
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
			case of.Kind() == ast.CallKind:
				add(map[string]string{
					hiddenSQL: sqlType, functionURL: urlType, functionHost: hostType, functionPath: pathType, functionMoney: moneyType,
				}[of.AsCall().FunctionName()])
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
