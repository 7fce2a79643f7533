package policy

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Lint names what is allowed in a policy and is probably a mistake, a sentence each. A policy that does not compile gets none: Compile says
// what is wrong with it.
func Lint(p *authzv1.Policy) []string {
	c, err := Compile(p)
	if err != nil {
		return nil
	}
	return c.Lint()
}

// Lint is Lint for a policy that is compiled already.
func (c *Compiled) Lint() []string {
	p := c.source
	env, err := environment()
	if err != nil {
		return nil
	}
	l := linter{compiled: c}
	for _, r := range p.GetSpec().GetRules() {
		l.rule(env, r)
		l.when = append(l.when, readCondition(env, r.GetWhen()))
	}
	l.reach()
	l.whole()
	return l.warnings
}

type linter struct {
	compiled *Compiled
	warnings []string
	when     []condition // of each rule
}

func (l *linter) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

func (l *linter) rule(env *cel.Env, r *authzv1.Rule) {
	if r.GetEffect() == Escalate && r.GetApproval().GetBy() == "" {
		l.warn("Rule %s asks for an approval and does not say by whom: give approval.by.", r.GetName())
	}
	if person, ok := strings.CutPrefix(r.GetApproval().GetBy(), "person:"); ok && r.GetApproval().GetQuorum() > 1 {
		l.warn("Rule %s is never approved: it wants %d approvals of person %s, who can give one.", r.GetName(), r.GetApproval().GetQuorum(), person)
	}
	parsed, issues := env.Parse(r.GetWhen())
	if issues.Err() != nil {
		return
	}
	root := parsed.NativeRep().Expr()
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		if pattern, ok := unanchored(e); ok {
			l.warn("Rule %s: matches(%q) also holds when the pattern is found in the middle of the text: write ^ and $ if the whole is meant.",
				r.GetName(), pattern)
		}
	}))
}

// unanchored says whether e is a matches with a constant pattern that has neither ^ nor $.
func unanchored(e ast.Expr) (string, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "matches" || len(e.AsCall().Args()) == 0 {
		return "", false
	}
	args := e.AsCall().Args()
	last := args[len(args)-1]
	if last.Kind() != ast.LiteralKind {
		return "", false
	}
	pattern, ok := last.AsLiteral().(types.String)
	return string(pattern), ok && !strings.ContainsAny(string(pattern), "^$")
}

// reach finds rules that can never decide: what they ask for contradicts itself, or a rule with a heavier effect matches whenever they do.
func (l *linter) reach() {
	j := newJudge()
	for i := range l.compiled.rules {
		r := &l.compiled.rules[i]
		switch {
		case l.when[i].kind == holdsNever:
			l.warn("Rule %s never matches: its expression is false.", r.name)
			continue
		case j.impossible(l.when[i]):
			l.warn("Rule %s never matches: what it asks for contradicts itself.", r.name)
			continue
		case r.shadow || r.effect == Alert || adds(r.effect): // these add to what others decide
			continue
		}
		for k := range l.compiled.rules {
			other := &l.compiled.rules[k]
			heavier := weigh(other.effect) > weigh(r.effect) || (other.effect == r.effect && r.effect != Modify && k < i)
			if i != k && !other.shadow && !adds(other.effect) && heavier && j.implies(l.when[i], l.when[k]) {
				l.warn("Rule %s never decides: rule %s (%s) matches whenever it does.", r.name, other.name, other.effect)
				break
			}
			if j.tired() {
				l.warn("The policy has too many rules to find every one that never decides: beyond rule %s none was looked at.", r.name)
				return
			}
		}
	}
}

// adds says that rules with this effect decide nothing by themselves whenever they match.
func adds(effect string) bool { return effect == Limit || effect == Redact || effect == StepUp }

// whole looks at the policy as one.
func (l *linter) whole() {
	c := l.compiled
	for _, f := range c.facts {
		if !f.used {
			l.warn("Fact %s is not read by any rule and will not be asked for.", f.name)
		}
	}
	enforced := func(r rule) bool { return !r.shadow }
	passes := func(r rule) bool {
		return !r.shadow && r.effect != Block && r.effect != Limit && r.effect != Alert && r.effect != Redact && r.effect != StepUp
	}
	switch {
	case c.allows:
	case !slices.ContainsFunc(c.rules, enforced):
		l.warn("Every rule is in shadow and the default blocks: all calls are blocked. Say default: allow to watch only.")
	case !slices.ContainsFunc(c.rules, passes):
		l.warn("No rule lets a call pass and the default blocks: all calls are blocked.")
	}
	if len(c.source.GetSpec().GetTests()) == 0 {
		l.warn("The policy has no tests.")
	}
}
