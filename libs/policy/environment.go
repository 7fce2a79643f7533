package policy

import (
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"headgate.dev/libs/policy/hours"
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
	varCounters  = "counters"
	varRequest   = "request"
	varTrust     = "trust"
	varTaint     = "taint"
	varSession   = "session"
	varDevice    = "device"
	varPurpose   = "purpose"
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
	return []string{varPrincipal, varAgent, varServer, varTool, varArgs, varFacts, varCounters, varRequest, varTrust, varTaint, varSession, varDevice, varPurpose}
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
	options := slices.Concat(
		addressFunctions(object[urlType], object[hostType]), valueFunctions(object[pathType], object[moneyType]), timeFunctions(newParsed(), memory),
		relatedFunction(memory),
	)
	return cel.NewEnv(append(options,
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
		cel.Variable(varCounters, anything),
		cel.Variable(varRequest, object[requestType]),
		cel.Variable(varSession, object[sessionType]),
		cel.Variable(varDevice, object[deviceType]),
		cel.Variable(varPurpose, cel.NullableType(cel.StringType)),
		cel.Variable(varTrust, anything),
		cel.Variable(varTaint, cel.ListType(cel.StringType)),
		cel.Variable(varMemo, memory),
		cel.Macros(cel.GlobalMacro(functionSQL, 1, withMemory(hiddenSQL)), cel.GlobalMacro(functionSQL, 2, withMemory(hiddenSQL))),
		cel.Function(hiddenSQL, cel.Overload("headgate_sql_string", []*cel.Type{cel.StringType, memory}, object[sqlType],
			cel.BinaryBinding(func(text, memory ref.Val) ref.Val { return callSQL(text, types.String(sqltext.PostgreSQL), memory) })),
			cel.Overload("headgate_sql_dialect", []*cel.Type{cel.StringType, cel.StringType, memory}, object[sqlType],
				cel.FunctionBinding(func(args ...ref.Val) ref.Val { return callSQL(args[0], args[1], args[2]) }))),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ParserExpressionSizeLimit(maxRuleRunes),
		cel.ParserRecursionLimit(maxRuleDepth),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
	)...)
}

func callSQL(text, dialect, memory ref.Val) ref.Val {
	m, ok := memory.Value().(*memo)
	if !ok {
		return types.NewErr("sql has no memory to work with")
	}
	s, ok := text.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(text)
	}
	as, ok := dialect.Value().(string)
	if !ok {
		return types.MaybeNoSuchOverloadErr(dialect)
	}
	if err := dialectName(as); err != nil {
		return types.NewErr("%s", err.Error())
	}
	return object{name: sqlType, value: m.sql(statementKey{s, sqltext.Dialect(as)})}
}

// memo remembers within one evaluation what statements say: one is parsed once for all rules. The calendars are those of the policy whose
// rule runs.
type memo struct {
	req        *Request
	wanted     []Relationship // that related asked for and nobody has looked up
	unrelated  string         // why the last of them could not be judged
	calendars  map[string]*hours.Calendar
	statements map[statementKey]*sqltext.Statement
	notReading string // why the first statement that is not read-only is none
}

// statementKey is a text, and the dialect that it is read as.
type statementKey struct {
	text    string
	dialect sqltext.Dialect
}

func (m *memo) sql(key statementKey) *sqltext.Statement {
	if s, ok := m.statements[key]; ok {
		return s
	}
	if m.statements == nil {
		m.statements = map[statementKey]*sqltext.Statement{}
	}
	s := sqltext.ReadAs(key.text, key.dialect)
	m.statements[key] = s
	if !s.ReadOnly && m.notReading == "" {
		m.notReading = s.Why
	}
	return s
}
