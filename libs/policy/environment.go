package policy

import (
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"headgate.dev/libs/policy/sqltext"
)

// The variables of a rule.
const (
	varPrincipal = "principal"
	varAgent     = "agent"
	varServer    = "server"
	varTool      = "tool"
	varArgs      = "args"
	varFacts     = "facts"
	varRequest   = "request"
	varTrust     = "trust"
	varTaint     = "taint"
	varMemo      = "@memo" // no rule can write this name
)

const (
	memoType     = "headgate.memo"
	functionSQL  = "sql"
	hiddenSQL    = "@sql"
	maxRuleRunes = 16384
	// A rule of the largest size may be one long chain; deeper nesting than this is refused when it is parsed.
	maxRuleDepth = 250
)

// variableNames are suggested where a rule names one that is not there.
func variableNames() []string {
	return []string{varPrincipal, varAgent, varServer, varTool, varArgs, varFacts, varRequest, varTrust, varTaint}
}

// environment is built once: it costs more than the compilation of many rules and never changes.
var environment = sync.OnceValues(newEnvironment)

func newEnvironment() (*cel.Env, error) {
	known := shapes()
	object := map[string]*cel.Type{}
	for name := range known {
		object[name] = cel.ObjectType(name)
	}
	memory := cel.OpaqueType(memoType)
	anything := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		ext.Strings(),
		ext.Math(),
		ext.Network(),
		func(e *cel.Env) (*cel.Env, error) {
			return cel.CustomTypeAdapter(&adapter{e.CELTypeAdapter()})(e)
		},
		func(e *cel.Env) (*cel.Env, error) {
			return cel.CustomTypeProvider(&provider{e.CELTypeProvider(), known})(e)
		},
		cel.Variable(varPrincipal, object[principalType]),
		cel.Variable(varAgent, object[agentType]),
		cel.Variable(varServer, object[serverType]),
		cel.Variable(varTool, object[toolType]),
		cel.Variable(varArgs, anything),
		cel.Variable(varFacts, anything),
		cel.Variable(varRequest, object[requestType]),
		cel.Variable(varTrust, anything),
		cel.Variable(varTaint, cel.ListType(cel.StringType)),
		cel.Variable(varMemo, memory),
		cel.Macros(cel.GlobalMacro(functionSQL, 1, expandSQL)),
		cel.Function(hiddenSQL, cel.Overload("headgate_sql_string", []*cel.Type{cel.StringType, memory}, object[sqlType],
			cel.BinaryBinding(callSQL))),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ParserExpressionSizeLimit(maxRuleRunes),
		cel.ParserRecursionLimit(maxRuleDepth),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
	)
}

// expandSQL rewrites sql(text) so that the function reaches the memory of the running evaluation: one statement is parsed once for all rules.
func expandSQL(helper cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	return helper.NewCall(hiddenSQL, args[0], helper.NewIdent(varMemo)), nil
}

func callSQL(text, memory ref.Val) ref.Val {
	m, ok := memory.Value().(*memo)
	if !ok {
		return types.NewErr("sql has no memory to work with")
	}
	s, ok := text.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(text)
	}
	return object{name: sqlType, value: m.sql(s)}
}

// memo remembers within one evaluation what statements say.
type memo struct {
	statements map[string]*sqltext.Statement
}

func (m *memo) sql(text string) *sqltext.Statement {
	if s, ok := m.statements[text]; ok {
		return s
	}
	if m.statements == nil {
		m.statements = map[string]*sqltext.Statement{}
	}
	s := sqltext.Read(text)
	m.statements[text] = s
	return s
}
