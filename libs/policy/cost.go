package policy

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"headgate.dev/libs/policy/sqltext"
)

// The cost of a rule is bounded before it may run. A unit is about the work of one comparison.
const (
	costLimit = 400_000
	// What the edge lets in: strings, lists and members of objects in the arguments.
	maxString = 1 << 20
	maxList   = 10_000
	// Lists and texts about people, servers and tools.
	maxOwn = 1_000
	// Reading a statement: a start and one unit a byte.
	sqlBaseCost = 100
	// URLs, hosts and paths are refused when they are longer.
	maxReadText = 8 << 10
)

// needsTracking says whether the most that the expression can cost is over the limit, so that it must be counted while it runs. One whose
// least cost is over the limit is refused.
func needsTracking(env *cel.Env, checked *cel.Ast) (bool, error) {
	s := sizes{ranges: map[int64]bool{}}
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			s.ranges[e.AsComprehension().IterRange().ID()] = true
		}
	}))
	estimate, err := env.EstimateCost(checked, s)
	if err != nil {
		return false, &placed{1, 1, "the cost cannot be estimated: " + err.Error()}
	}
	if estimate.Min > costLimit {
		return false, &placed{1, 1, "the expression costs too much to be evaluated for every call; make it shorter"}
	}
	return estimate.Max > costLimit, nil
}

// sizes says how large the values of a rule can be.
type sizes struct{ ranges map[int64]bool }

// EstimateSize bounds a value by what it is used for and where it comes from.
func (s sizes) EstimateSize(node checker.AstNode) *checker.SizeEstimate {
	if path := node.Path(); len(path) > 0 && slices.Contains([]string{varPrincipal, varAgent, varServer, varTool, varRequest, varTaint, varSession, varDevice, varPurpose}, path[0]) {
		return &checker.SizeEstimate{Max: maxOwn}
	}
	if s.ranges[node.Expr().ID()] {
		return &checker.SizeEstimate{Max: maxList}
	}
	switch node.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &checker.SizeEstimate{Max: maxList}
	}
	return &checker.SizeEstimate{Max: maxString}
}

// work is what a function of ours costs: a start, and units for each byte up to a limit.
type work struct{ base, perByte, limit uint64 }

func workOf(function string) (work, bool) {
	switch function {
	case hiddenSQL:
		return work{sqlBaseCost, 1, sqltext.MaxBytes}, true
	case functionClasses:
		return work{100, 1, maxClassified}, true
	case functionURL, functionHost, functionPath:
		return work{20, 1, maxReadText}, true
	case functionIPClass, functionMoney, functionRegion, functionLocal, functionAbove, functionBelow, functionUnder, hiddenRelated:
		return work{20, 0, 0}, true
	case hiddenOpen, hiddenHoliday:
		return work{50, 0, 0}, true
	}
	return work{}, false
}

// EstimateCallCost bounds our own functions; CEL knows the rest.
func (s sizes) EstimateCallCost(function, _ string, _ *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	if len(args) == 0 {
		return nil
	}
	w, ours := workOf(function)
	if !ours {
		return nil
	}
	most := w.base
	if w.perByte > 0 {
		most += w.perByte * w.limit
	}
	return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: w.base, Max: most}}
}

// callCosts is EstimateCallCost for a rule that is counted while it runs.
type callCosts struct{}

// CallCost counts our own functions; nil leaves the rest to CEL.
func (callCosts) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if len(args) == 0 {
		return nil
	}
	w, ours := workOf(function)
	if !ours {
		return nil
	}
	cost := w.base
	if function == functionClasses { // the sizes of what is in a value are known when it was walked
		cost += w.perByte * w.limit
	} else if sized, ok := args[0].(traits.Sizer); ok {
		if n, ok := sized.Size().(types.Int); ok && n > 0 {
			cost += w.perByte * min(uint64(n), w.limit)
		}
	}
	return &cost
}
