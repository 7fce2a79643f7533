package policy

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy/hours"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

const (
	defaultExpiry = "4h"
	defaultQuorum = 1
)

// Compiled is a policy that is ready to decide. It never changes and is safe to share.
type Compiled struct {
	source  *authzv1.Policy
	name    string
	version int64
	rules   []rule
	facts   []fact // by name
	// calendars of holidays, by name: the policy's own, and those of the tenant that it names, which shared has as well.
	calendars map[string]*hours.Calendar
	shared    Calendars
	offered   Calendars // the tenant's, while the policy is compiled
	relates   bool      // a rule asks for relations
	locates   bool      // an expression reads the country, or request as a whole
	counters  []counter // by name
	counting  bool      // a rule is judged by a sum
	allows    bool      // the default
	// allowed is the sentence of a default that allows.
	allowed string
}

// Name is the policy's name.
func (c *Compiled) Name() string { return c.name }

// Version is the version that its decisions carry.
func (c *Compiled) Version() int64 { return c.version }

// Tenant is the tenant that the policy belongs to.
func (c *Compiled) Tenant() string { return c.source.GetMetadata().GetTenant() }

// Source is the policy that was compiled; it must not be changed.
func (c *Compiled) Source() *authzv1.Policy { return c.source }

// rule is a rule that is ready to run.
type rule struct {
	id, name, effect string
	reason           string
	shadow, alert    bool
	program          cel.Program
	facts            []string // that it reads, by name
	counters         []string
	redact           []string
	redactIfThere    []string
	sql              bool     // it reads statements
	relates          bool     // it asks for relations
	limit            *counter // with effect limit
	stepUp           *stepUp  // with effect step-up
	calls            int64    // that the limit lets pass
	approval         *authzv1.Approval
	modify           []modification
	allowed          string // the sentence when it allows
	conditions       *conditions
}

// Compile checks a policy whole and makes it ready. What is wrong is a fault INVALID whose sentence names policy, rule, line and column and
// whose About carries rule, line and column.
func Compile(p *authzv1.Policy) (*Compiled, error) { return CompileWith(p, nil) }

// CompileWith is Compile for a policy whose rules may also name the calendars of its tenant. A calendar of the policy itself hides one of that name.
func CompileWith(p *authzv1.Policy, shared Calendars) (*Compiled, error) {
	if p.GetSpec().GetMatch() == nil {
		return nil, fault.Invalid("Policy %s does not say which tools it matches. Give spec.match.server.", p.GetMetadata().GetName())
	}
	p = proto.CloneOf(p)
	c := &Compiled{source: p, name: p.GetMetadata().GetName(), version: p.GetMetadata().GetVersion(), offered: shared}
	c.allowed = "allowed by the default of policy " + c.name
	switch p.GetSpec().GetDefault() {
	case Allow:
		c.allows = true
	case "", Block:
	default:
		return nil, fault.Invalid("Policy %s has the default %q; it must be block or allow.", c.name, p.GetSpec().GetDefault())
	}
	env, err := environment()
	if err != nil {
		return nil, fault.From(err)
	}
	if err := c.readCalendars(); err != nil {
		return nil, err
	}
	if err := c.compileFacts(env); err != nil {
		return nil, err
	}
	if err := c.compileCounters(env); err != nil {
		return nil, err
	}
	if err := c.compileRules(env); err != nil {
		return nil, err
	}
	c.use()
	c.offered = nil // it holds no more than it names
	return c, nil
}

// use notes what rules read: what none of them does is not asked for.
func (c *Compiled) use() {
	for i := range c.facts {
		for _, r := range c.rules {
			if slices.Contains(r.facts, c.facts[i].name) {
				c.facts[i].used = true
				c.facts[i].enforced = c.facts[i].enforced || !r.shadow
			}
		}
	}
	for i := range c.counters {
		for _, r := range c.rules {
			c.counters[i].used = c.counters[i].used || slices.Contains(r.counters, c.counters[i].name)
		}
		c.counting = c.counting || c.counters[i].used
	}
	for _, r := range c.rules {
		c.counting = c.counting || r.limit != nil
	}
}

func (c *Compiled) compileRules(env *cel.Env) error {
	names := map[string]bool{}
	for _, r := range c.source.GetSpec().GetRules() {
		if names[r.GetName()] {
			return c.invalid(r.GetName(), 0, 0, "the name is used by two rules of the policy; give each its own")
		}
		names[r.GetName()] = true
		compiled, err := c.compileRule(env, r)
		if err != nil {
			return err
		}
		c.rules = append(c.rules, compiled)
	}
	return nil
}

func (c *Compiled) compileRule(env *cel.Env, r *authzv1.Rule) (rule, error) {
	out := rule{
		id: c.name + "/" + r.GetName(), name: r.GetName(), effect: r.GetEffect(), reason: r.GetReason(),
		conditions: &conditions{}, shadow: r.GetShadow(), alert: r.GetAlert(), sql: strings.Contains(r.GetWhen(), functionSQL+"("),
	}
	out.allowed = "allowed by " + out.id
	if problem := c.checkEffect(r); problem != "" {
		return rule{}, c.invalid(r.GetName(), 0, 0, problem)
	}
	if r.GetEffect() == Escalate {
		out.approval = withDefaults(r.GetApproval())
	}
	var err error
	if out.modify, err = compileModifications(r.GetModify()); err != nil {
		return rule{}, c.invalid(r.GetName(), 0, 0, err.Error())
	}
	if err = checkRedactions(r); err != nil {
		return rule{}, c.invalid(r.GetName(), 0, 0, err.Error())
	}
	out.redact, out.redactIfThere = r.GetRedact(), r.GetRedactIfThere()
	if out.limit, err = compileLimit(c, r); err != nil {
		return rule{}, c.invalid(r.GetName(), 0, 0, err.Error())
	}
	if out.stepUp, err = compileStepUp(r); err != nil {
		return rule{}, c.invalid(r.GetName(), 0, 0, err.Error())
	}
	out.calls = r.GetLimit().GetCalls()
	expr, err := compileExpression(env, r.GetWhen(), cel.BoolType, c.known())
	if err != nil {
		return rule{}, c.refused(r.GetName(), err)
	}
	if out.limit != nil && len(expr.counters) > 0 {
		return rule{}, c.invalid(r.GetName(), 0, 0, "a limit counts by itself and cannot read counters; block above a counter instead")
	}
	c.share(expr.calendars)
	out.program, out.facts, out.counters, out.relates = expr.program, expr.facts, expr.counters, expr.relates
	c.relates, c.locates = c.relates || out.relates, c.locates || expr.locates
	return out, nil
}

func effects() []string {
	return []string{Allow, Block, Escalate, Modify, Redact, Limit, Alert, StepUp}
}

// checkEffect refuses what an author would believe to be enforced and is not.
func (c *Compiled) checkEffect(r *authzv1.Rule) string {
	switch {
	case !slices.Contains(effects(), r.GetEffect()):
		return "the effect " + strconv.Quote(r.GetEffect()) + " is none of " + strings.Join(effects(), ", ")
	case r.GetEffect() == Modify && len(r.GetModify()) == 0:
		return "the effect modify needs at least one entry under modify"
	case r.GetEffect() != Modify && len(r.GetModify()) > 0:
		return "modify is given, but the effect is " + r.GetEffect() + "; only a rule with effect modify changes arguments"
	case r.GetEffect() != Escalate && r.GetApproval() != nil:
		return "approval is given, but the effect is " + r.GetEffect() + "; only a rule with effect escalate asks for one"
	}
	if expires := r.GetApproval().GetExpires(); expires != "" {
		if d, err := time.ParseDuration(expires); err != nil || d <= 0 {
			return "approval.expires " + strconv.Quote(expires) + " is not a duration such as 4h or 30m"
		}
	}
	return ""
}

func withDefaults(a *authzv1.Approval) *authzv1.Approval {
	if a == nil {
		a = &authzv1.Approval{}
	}
	if a.GetQuorum() == 0 {
		a.Quorum = defaultQuorum
	}
	if a.GetExpires() == "" {
		a.Expires = defaultExpiry
	}
	return a
}

// invalid is the fault of a rule; line 0 means that it is not about a place in the expression.
func (c *Compiled) invalid(name string, line, column int, problem string) error {
	f := fault.Invalid("Policy %s: rule %s: %s.", c.name, name, problem)
	if line > 0 {
		f = fault.Invalid("Policy %s: rule %s, line %d, column %d: %s.", c.name, name, line, column, problem)
		f = f.With("line", strconv.Itoa(line)).With("column", strconv.Itoa(column))
	}
	return f.With("policy", c.name).With("rule", name)
}

func (c *Compiled) refused(name string, err error) error {
	if at, ok := errors.AsType[*placed](err); ok {
		return c.invalid(name, at.line, at.column, at.problem)
	}
	return c.invalid(name, 0, 0, err.Error())
}
