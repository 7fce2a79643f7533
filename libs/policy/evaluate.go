package policy

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// weight orders the effects: the heaviest among those that hold decides.
type weight int

const (
	nothing weight = iota
	allowing
	modifying
	escalating
	blocking
)

func weigh(effect string) weight {
	switch effect {
	case Allow:
		return allowing
	case Modify:
		return modifying
	case Escalate:
		return escalating
	}
	return blocking
}

// verdict is what decides so far.
type verdict struct {
	weight  weight
	policy  *Compiled
	rule    *rule // nil for a policy's default
	reason  faultv1.Reason
	problem string // why the rule could not be evaluated
}

// evaluation is one request on its way through the policies.
type evaluation struct {
	req      *Request
	matching []*Compiled
	call     *call
	best     verdict
	modify   []*rule
	outcome  Decision
}

// Evaluate decides. It never fails: what cannot be judged is blocked, with a sentence that says why. It is safe for concurrent use.
func (b *Bundle) Evaluate(req *Request) Decision {
	if !req.Relation.Call {
		return notGranted(req)
	}
	var few [16]*Compiled
	matching := b.matching(few[:0], req.Server.Name, req.Tool.Name)
	if len(matching) == 0 {
		return Decision{Effect: Allow, Via: req.Relation.Via, Sentence: "allowed by relation: " + orUnnamed(req.Relation.Via)}
	}
	e := evaluation{req: req, matching: matching, call: newCall(req)}
	rules := 0
	for _, c := range matching {
		rules += len(c.rules)
	}
	e.outcome = Decision{Via: req.Relation.Via, Rules: make([]RuleOutcome, 0, rules)}
	for _, c := range matching {
		e.policy(c)
	}
	e.change()
	return e.decide()
}

// policy lets one policy look at the call.
func (e *evaluation) policy(c *Compiled) {
	missing := e.gather(c)
	answered := false
	for i := range c.rules {
		r := &c.rules[i]
		outcome := RuleOutcome{Rule: r.id, Effect: r.effect, Shadow: r.shadow}
		v := verdict{weight: weigh(r.effect), policy: c, rule: r}
		matched, err := e.rule(r, missing)
		switch {
		case err != nil:
			outcome.Error = err.Error()
			v.weight, v.problem, v.reason = blocking, err.Error(), reasonOf(err)
		case matched:
			outcome.Matched = true
			v.reason = reasonFor(v.weight)
		default:
			v.weight = nothing
		}
		e.outcome.Rules = append(e.outcome.Rules, outcome)
		if r.shadow || v.weight == nothing {
			continue
		}
		answered = true
		e.outcome.Alert = e.outcome.Alert || (matched && r.alert)
		if v.weight == modifying {
			e.modify = append(e.modify, r)
		}
		e.consider(v)
	}
	if answered {
		return
	}
	if c.allows {
		e.consider(verdict{weight: allowing, policy: c})
		return
	}
	e.consider(verdict{weight: blocking, policy: c, reason: faultv1.Reason_REASON_RULE})
}

// consider keeps the heaviest verdict and, of several, the first.
func (e *evaluation) consider(v verdict) {
	if v.weight > e.best.weight {
		e.best = v
	}
}

func reasonFor(w weight) faultv1.Reason {
	switch w {
	case blocking:
		return faultv1.Reason_REASON_RULE
	case escalating:
		return faultv1.Reason_REASON_APPROVAL_REQUIRED
	}
	return faultv1.Reason_REASON_UNSPECIFIED
}

// factError is the error of a rule that reads a fact which is not there.
type factError struct{ problem string }

func (f *factError) Error() string { return f.problem }

func reasonOf(err error) faultv1.Reason {
	if _, ok := errors.AsType[*factError](err); ok {
		return faultv1.Reason_REASON_FACT_UNAVAILABLE
	}
	return faultv1.Reason_REASON_RULE_ERROR
}

// gather puts the policy's facts where its rules see them and says which are not there, and why.
func (e *evaluation) gather(c *Compiled) map[string]error {
	e.call.facts = nil
	var missing map[string]error
	for i := range c.facts {
		f := &c.facts[i]
		if !f.used {
			continue
		}
		value, there := factValue(e.req, e.matching, c, f)
		var err error
		if !there {
			e.outcome.NeedsFacts = append(e.outcome.NeedsFacts, f.key)
			err = &factError{"the fact " + f.name + " was not read"}
		} else if value, err = normal(value); err != nil {
			err = &factError{"the fact " + f.name + " cannot be read: " + err.Error()}
		}
		if err != nil {
			if missing == nil {
				missing = map[string]error{}
			}
			missing[f.name] = err
			continue
		}
		if e.call.facts == nil {
			e.call.facts = make(map[string]any, len(c.facts))
		}
		e.call.facts[f.name] = value
	}
	return missing
}

func (e *evaluation) rule(r *rule, missing map[string]error) (bool, error) {
	if missing != nil {
		for _, name := range r.facts {
			if err := missing[name]; err != nil {
				return false, err
			}
		}
	}
	v, err := run(r.program, e.call)
	if err != nil {
		return false, err
	}
	matched, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("the rule gave a %s, not a bool", v.Type().TypeName())
	}
	return bool(matched), nil
}

// run evaluates one expression. A panic inside is an error like any other.
func run(p cel.Program, c *call) (v ref.Val, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("the evaluation broke: %v", r)
		}
	}()
	v, _, err = p.Eval(c)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return v, nil
}

// change applies every modify rule that matched, in order, unless the call is blocked. One that cannot be applied blocks.
func (e *evaluation) change() {
	if len(e.modify) == 0 || e.best.weight >= blocking {
		return
	}
	doc := []byte(e.req.Args)
	var changed []string
	for _, r := range e.modify {
		for i := range r.modify {
			m := &r.modify[i]
			out, did, err := m.apply(doc)
			if err != nil {
				e.failChange(r, fmt.Errorf("modify %s: %w", m.path, err))
				return
			}
			if did {
				changed = append(changed, m.path)
			}
			doc = out
		}
	}
	e.outcome.Arguments, e.outcome.Changed = doc, distinct(changed)
}

func (e *evaluation) failChange(r *rule, err error) {
	for i := range e.outcome.Rules {
		if e.outcome.Rules[i].Rule == r.id {
			e.outcome.Rules[i].Error = err.Error()
		}
	}
	for _, c := range e.matching {
		for i := range c.rules {
			if &c.rules[i] == r {
				e.best = verdict{weight: blocking, policy: c, rule: r, reason: faultv1.Reason_REASON_RULE_ERROR, problem: err.Error()}
			}
		}
	}
}

func distinct(paths []string) []string {
	seen := make(map[string]bool, len(paths))
	out := paths[:0]
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// decide turns the verdict into the answer.
func (e *evaluation) decide() Decision {
	d := e.outcome
	v := &e.best
	d.Policy, d.PolicyVersion, d.Reason = v.policy.name, v.policy.version, v.reason
	if v.rule != nil {
		d.Rule = v.rule.id
	}
	switch v.weight {
	case allowing:
		d.Effect = Allow
	case modifying:
		d.Effect = Modify
	case escalating:
		d.Effect, d.Approval = Escalate, v.rule.approval
	default:
		d.Effect = Block
	}
	d.Sentence = sentence(e.req, v, &d)
	return d
}
