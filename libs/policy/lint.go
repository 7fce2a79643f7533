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
	env, err := environment()
	if err != nil {
		return nil
	}
	l := linter{compiled: c}
	for i, r := range p.GetSpec().GetRules() {
		l.rule(env, r, &c.rules[i])
	}
	l.reach(p.GetSpec().GetRules())
	l.whole()
	return l.warnings
}

type linter struct {
	compiled *Compiled
	warnings []string
	always   map[string]bool // rules whose expression is the constant true
}

func (l *linter) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

func (l *linter) rule(env *cel.Env, r *authzv1.Rule, compiled *rule) {
	if r.GetEffect() == Escalate && r.GetApproval().GetBy() == "" {
		l.warn("Rule %s asks for an approval and does not say by whom: give approval.by.", r.GetName())
	}
	parsed, issues := env.Parse(r.GetWhen())
	if issues.Err() != nil {
		return
	}
	root := parsed.NativeRep().Expr()
	if root.Kind() == ast.LiteralKind {
		switch root.AsLiteral() {
		case types.True:
			if l.always == nil {
				l.always = map[string]bool{}
			}
			l.always[compiled.id] = true
		case types.False:
			l.warn("Rule %s never matches: its expression is false.", r.GetName())
		}
	}
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

// reach finds rules that can never decide, because a rule with a heavier effect matches whenever they do.
func (l *linter) reach(rules []*authzv1.Rule) {
	for i := range l.compiled.rules {
		r := &l.compiled.rules[i]
		if r.shadow {
			continue
		}
		for j := range l.compiled.rules {
			other := &l.compiled.rules[j]
			heavier := weigh(other.effect) > weigh(r.effect) || (other.effect == r.effect && r.effect != Modify && j < i)
			same := strings.Join(strings.Fields(rules[i].GetWhen()), " ") == strings.Join(strings.Fields(rules[j].GetWhen()), " ")
			if i != j && !other.shadow && heavier && (same || l.always[other.id]) {
				l.warn("Rule %s never decides: rule %s (%s) matches whenever it does.", r.name, other.name, other.effect)
				break
			}
		}
	}
}

// whole looks at the policy as one.
func (l *linter) whole() {
	c := l.compiled
	for _, f := range c.facts {
		if !f.used {
			l.warn("Fact %s is not read by any rule and will not be asked for.", f.name)
		}
	}
	enforced := func(r rule) bool { return !r.shadow }
	passes := func(r rule) bool { return !r.shadow && r.effect != Block }
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
