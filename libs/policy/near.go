package policy

import (
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
)

const (
	// mostNear is how many rules that nearly matched are said, mostTried how many are looked at for that.
	mostNear, mostTried = 5, 50
	// mostParts is how many conditions such a rule may have, mostCondition how many bytes of one are said.
	mostParts, mostCondition = 16, 200
)

// part is one condition of a rule.
type part struct {
	text string
	rule *rule
}

// conditions are those of a rule. They are compiled when somebody first asks why, because the ordinary call does not need them.
type conditions struct {
	once  sync.Once
	parts []part
	any   bool
}

// of answers the rule's conditions, and whether one is enough; none when the rule is one condition.
func (k *conditions) of(c *Compiled, when string) ([]part, bool) {
	k.once.Do(func() {
		texts, any := parts(when)
		env, err := environment()
		if err != nil || len(texts) < 2 {
			return
		}
		known := c.known()
		found := make([]part, len(texts))
		for i, text := range texts {
			expr, err := compileExpression(env, text, cel.DynType, known)
			if err != nil {
				return // it was not cut where CEL would
			}
			found[i] = part{strings.Join(strings.Fields(text), " "), &rule{program: expr.program, facts: expr.facts}}
		}
		k.parts, k.any = found, any
	})
	return k.parts, k.any
}

// Near says, of a call that was refused, which rules did not match for one of their conditions alone, and that condition in the policy's own words. Rules that
// only refuse, those in shadow, those with alternatives and those of which something cannot be judged are left out. It is safe for concurrent use.
func (b *Bundle) Near(req *Request, d Decision) []string {
	if d.Effect != Block || !req.Relation.Call || b == nil {
		return nil
	}
	var near []string
	tried := 0
	said := d.Rules
	matching := b.matching(req.Server.Name, req.Tool.Name)
	e := evaluation{req: req, matching: matching, call: newCall(req)}
	for _, c := range matching {
		missing := e.gather(c)
		e.sums(c)
		for i := range c.rules {
			r := &c.rules[i]
			var o RuleOutcome
			if len(said) > 0 && said[0].Rule == r.id {
				o, said = said[0], said[1:]
			}
			if o.Rule == "" || o.Matched || o.Shadow || o.Error != "" || r.effect != Allow && r.effect != Modify && r.effect != Escalate {
				continue
			}
			if tried++; tried > mostTried {
				return near
			}
			if lacks := e.lacking(c, i, missing); lacks != "" {
				near = append(near, r.id+": "+lacks)
			}
			if len(near) == mostNear {
				return near
			}
		}
	}
	return near
}

// lacking is the only condition of a rule that does not hold; empty when there is no such.
func (e *evaluation) lacking(c *Compiled, i int, missing map[string]error) string {
	when := c.source.GetSpec().GetRules()[i].GetWhen()
	if strings.Count(when, "&&") >= mostParts {
		return ""
	}
	conditions, any := c.rules[i].conditions.of(c, when)
	if any {
		return ""
	}
	lacks := ""
	for _, p := range conditions {
		held, err := e.holds(p.rule, missing)
		if err != nil || !held && lacks != "" {
			return ""
		}
		if !held {
			lacks = p.text
		}
	}
	if len(lacks) > mostCondition {
		lacks = strings.ToValidUTF8(lacks[:mostCondition], "") + "…"
	}
	return lacks
}
