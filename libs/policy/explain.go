package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Explain decides like Evaluate and says of every rule that was looked at what it says and which of its conditions held. It is for
// people who ask why and not for every call.
func (b *Bundle) Explain(req *Request) (Decision, []*authzv1.ExplainedRule) {
	decision := b.Evaluate(req)
	if !req.Relation.Call || b == nil {
		return decision, nil
	}
	decision.Near = b.Near(req, decision)
	matching := b.matching(req.Server.Name, req.Tool.Name)
	e := evaluation{req: req, matching: matching, call: newCall(req)}
	var rules []*authzv1.ExplainedRule
	for _, c := range matching {
		missing := e.gather(c)
		e.sums(c)
		for i := range c.rules {
			r := &c.rules[i]
			declared := c.source.GetSpec().GetRules()[i]
			out := &authzv1.ExplainedRule{When: declared.GetWhen(), Reason: declared.GetReason()}
			at := slices.IndexFunc(decision.Rules, func(o RuleOutcome) bool { return o.Rule == r.id })
			if at >= 0 {
				o := decision.Rules[at]
				out.Outcome = &authzv1.RuleOutcome{Rule: o.Rule, Effect: o.Effect, Matched: o.Matched, Shadow: o.Shadow, Error: o.Error}
			}
			parts, any := r.conditions.of(c, declared.GetWhen())
			out.Conditions, out.AnyOf = e.conditions(parts, missing), any
			rules = append(rules, out)
		}
	}
	return decision, rules
}

// conditions judges each part of a rule by itself; none when the rule is one condition.
func (e *evaluation) conditions(parts []part, missing map[string]error) []*authzv1.Condition {
	var out []*authzv1.Condition
	for _, p := range parts {
		condition := &authzv1.Condition{Text: p.text}
		switch held, err := e.holds(p.rule, missing); {
		case err != nil:
			condition.Error = err.Error()
		default:
			condition.Held = held
		}
		out = append(out, condition)
	}
	return out
}

func (e *evaluation) holds(r *rule, missing map[string]error) (bool, error) {
	if err := r.lacks(missing); err != nil {
		return false, err
	}
	v, err := run(r.program, e.call)
	if err != nil {
		return false, err
	}
	return v == types.True, nil
}

// parts cuts an expression at its outermost || or, when it has none, at its &&. One with ? at that level is one part.
func parts(when string) (cut []string, any bool) {
	var ands, ors []int
	depth := 0
	for i := 0; i < len(when); i++ {
		switch c := when[i]; c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '"', '\'':
			i = endOfText(when, i)
		case '?':
			if depth == 0 {
				return []string{when}, false
			}
		case '/':
			if strings.HasPrefix(when[i:], "//") { // a comment to the end of the line
				return []string{when}, false
			}
		case '&', '|':
			if depth == 0 && i+1 < len(when) && when[i+1] == c {
				if c == '&' {
					ands = append(ands, i)
				} else {
					ors = append(ors, i)
				}
				i++
			}
		}
	}
	at := ands
	if len(ors) > 0 { // && binds more closely: the parts of || may be conjunctions
		at, any = ors, true
	}
	from := 0
	for _, i := range at {
		cut = append(cut, when[from:i])
		from = i + 2
	}
	return append(cut, when[from:]), any
}

// endOfText is where a text in quotes ends: raw, and in three quotes, as CEL has them.
func endOfText(s string, start int) int {
	quote := s[start : start+1]
	raw := start > 0 && (s[start-1] == 'r' || s[start-1] == 'R')
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s[start:], triple) {
		quote = triple
	}
	for i := start + len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote) - 1
		}
	}
	return len(s)
}
