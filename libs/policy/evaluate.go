package policy

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy/dataclass"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// weight orders the effects: the heaviest among those that hold decides.
type weight int

const (
	nothing weight = iota
	allowing
	modifying
	escalating
	stepping
	blocking
)

func weigh(effect string) weight {
	switch effect {
	case Allow:
		return allowing
	case Modify, Redact:
		return modifying
	case Alert:
		return nothing
	case Escalate:
		return escalating
	case StepUp:
		return stepping
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
	changed bool   // it is about arguments as rules changed them
}

// evaluation is one request on its way through the policies.
type evaluation struct {
	req      *Request
	matching []*Compiled
	call     *call
	best     verdict
	modify   []*rule
	escalate []*rule
	redact   []verdict // rules that take something out of the result
	outcome  Decision
	// given, for a call from the record, is what rules say. Changes stands there for what modify rules would do to arguments that are not known.
	given   map[*rule]answer
	changes map[*rule]string
}

// Evaluate decides. It never fails: what cannot be judged is blocked, with a sentence that says why. It is safe for concurrent use.
func (b *Bundle) Evaluate(req *Request) Decision {
	if !req.Relation.Call {
		return notGranted(req)
	}
	matching := b.matching(req.Server.Name, req.Tool.Name)
	if len(matching) == 0 && !hides(req) {
		return Decision{Effect: Allow, Via: req.Relation.Via, Sentence: "allowed by relation: " + orUnnamed(req.Relation.Via)}
	}
	e := b.begin(req, matching)
	defer b.finish(e)
	return e.run()
}

// hides reports whether something of the tool's results is not for the person.
func hides(req *Request) bool {
	must, may := dataclass.Hidden(req.Tool.Labels, req.Principal.Clearances)
	return len(must)+len(may) > 0
}

// run lets every policy look at the call and decides.
func (e *evaluation) run() Decision {
	rules := 0
	for _, c := range e.matching {
		rules += len(c.rules)
	}
	e.outcome = Decision{Via: e.req.Relation.Via, Rules: make([]RuleOutcome, 0, rules)}
	for _, c := range e.matching {
		e.policy(c)
	}
	e.change()
	e.judgeChanged()
	e.takeOut()
	return e.decide()
}

// begin takes an evaluation that an earlier request has left, or a new one.
func (b *Bundle) begin(req *Request, matching []*Compiled) *evaluation {
	e, ok := b.evaluations.Get().(*evaluation)
	if !ok {
		e = &evaluation{call: &call{}}
	}
	e.req, e.matching = req, matching
	e.call.start(req)
	return e
}

// finish leaves nothing of the request behind.
func (b *Bundle) finish(e *evaluation) {
	c := e.call
	*c = call{}
	*e = evaluation{call: c}
	b.evaluations.Put(e)
}

// takeOut makes a call that passes one whose result is redacted, by rules and by what its places are labelled with.
func (e *evaluation) takeOut() {
	if e.best.weight >= stepping {
		return
	}
	must, may := dataclass.Hidden(e.req.Tool.Labels, e.req.Principal.Clearances)
	if len(e.redact)+len(must)+len(may) == 0 {
		return
	}
	for _, v := range e.redact {
		must, may = append(must, v.rule.redact...), append(may, v.rule.redactIfThere...)
	}
	if len(e.redact) > 0 {
		e.consider(e.redact[0])
	}
	e.best.weight = max(e.best.weight, modifying)
	e.outcome.RedactIfThere = distinct(slices.DeleteFunc(may, func(path string) bool { return slices.Contains(must, path) }))
	e.outcome.Redact = distinct(slices.Concat(must, e.outcome.RedactIfThere))
	if e.outcome.Arguments == nil {
		e.outcome.Arguments = e.req.Args
	}
}

// policy lets one policy look at the call.
func (e *evaluation) policy(c *Compiled) {
	missing := e.gather(c)
	e.sums(c)
	answered := false
	for i := range c.rules {
		r := &c.rules[i]
		if e.req.WithoutFacts && len(r.facts) > 0 {
			answered = answered || !r.shadow
			continue
		}
		outcome := RuleOutcome{Rule: r.id, Effect: r.effect, Shadow: r.shadow}
		v := verdict{weight: weigh(r.effect), policy: c, rule: r}
		matched, err := e.rule(r, missing)
		switch {
		case err != nil:
			outcome.Error = err.Error()
			v.weight, v.problem, v.reason = blocking, err.Error(), reasonOf(err)
			e.outcome.Alert = e.outcome.Alert || !r.shadow && v.reason != faultv1.Reason_REASON_FACT_UNAVAILABLE
			if r.effect == Alert { // an alert decides nothing; that it could not be judged raises it
				v.weight = nothing
				e.outcome.Alert = e.outcome.Alert || !r.shadow
			}
		case matched:
			outcome.Matched = true
			if err := e.holding(r, &v); err != nil {
				outcome.Error = err.Error()
				v.weight, v.problem, v.reason = blocking, err.Error(), faultv1.Reason_REASON_RULE_ERROR
				e.outcome.Alert = e.outcome.Alert || !r.shadow
			}
			e.outcome.Alert = e.outcome.Alert || !r.shadow && r.effect == Alert
		default:
			v.weight = nothing
		}
		e.outcome.Rules = append(e.outcome.Rules, outcome)
		if r.shadow || v.weight == nothing {
			continue
		}
		if r.effect == Redact && v.problem == "" { // it adds to what others let pass
			e.redact = append(e.redact, v)
			continue
		}
		answered = true
		e.outcome.Alert = e.outcome.Alert || (matched && r.alert)
		switch v.weight {
		case modifying:
			e.modify = append(e.modify, r)
		case escalating:
			e.escalate = append(e.escalate, r)
		}
		e.consider(v)
	}
	if !answered {
		e.byDefault(c)
	}
}

// byDefault is the answer of a policy none of whose rules matched.
func (e *evaluation) byDefault(c *Compiled) {
	if c.allows {
		e.consider(verdict{weight: allowing, policy: c})
		return
	}
	e.consider(verdict{weight: blocking, policy: c, reason: faultv1.Reason_REASON_RULE})
}

// holding is what a rule that matched says: a limit only when it is used up, a step-up only until the person has signed in as it wants.
func (e *evaluation) holding(r *rule, v *verdict) error {
	switch {
	case e.given != nil && (r.limit != nil || r.stepUp != nil):
		v.reason = faultv1.Reason_REASON_STEP_UP
		if r.limit != nil {
			v.reason = faultv1.Reason_REASON_RATE_LIMITED
		}
		if !e.given[r].used {
			v.weight = nothing
		}
		return nil
	case r.limit != nil:
		return e.limited(r, v)
	case r.stepUp != nil:
		done, err := r.stepUp.satisfied(&e.req.Session, e.req.At)
		if done {
			v.weight = nothing
		}
		v.reason = faultv1.Reason_REASON_STEP_UP
		return err
	}
	v.reason = reasonFor(v.weight)
	return nil
}

// approvals are what rules ask for, each once: one rule's approvers do not stand for another's.
func approvals(rules []*rule) []*authzv1.Approval {
	var out []*authzv1.Approval
	for _, r := range rules {
		if !slices.ContainsFunc(out, func(a *authzv1.Approval) bool { return proto.Equal(a, r.approval) }) {
			out = append(out, r.approval)
		}
	}
	return out
}

// consider keeps the heaviest verdict and, of several, the first. A rule that waits for a fact gives way to one that blocks without it.
func (e *evaluation) consider(v verdict) {
	waits := e.best.problem != "" && e.best.reason == faultv1.Reason_REASON_FACT_UNAVAILABLE
	if v.weight > e.best.weight || waits && v.weight == blocking && v.problem == "" && v.rule != nil {
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

// gather puts the policy's facts where its rules see them and says which are not there, and why.
func (e *evaluation) gather(c *Compiled) map[string]error {
	e.call.facts, e.call.memo.calendars = nil, c.calendars
	if e.req.WithoutFacts {
		return nil
	}
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
			err = factFailure("the fact " + f.name + " was not read")
		} else if value, err = normal(value); err != nil {
			err = factFailure("the fact " + f.name + " cannot be read: " + err.Error())
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

// lacks answers why a fact that the rule reads is missing; nil when none is.
func (r *rule) lacks(missing map[string]error) error {
	if missing == nil {
		return nil
	}
	for _, name := range r.facts {
		if err := missing[name]; err != nil {
			return err
		}
	}
	return nil
}

func (e *evaluation) rule(r *rule, missing map[string]error) (bool, error) {
	if e.given != nil {
		return e.given[r].matched, e.given[r].err
	}
	if err := r.lacks(missing); err != nil {
		return false, err
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
	c.memo.unrelated = ""
	v, _, err = p.Eval(c)
	if err != nil {
		return nil, c.memo.failed(err)
	}
	return v, nil
}

// change applies every modify rule that matched, in order, unless the call is blocked. One that cannot be applied blocks.
func (e *evaluation) change() {
	if len(e.modify) == 0 || e.best.weight >= stepping {
		return
	}
	doc := []byte(e.req.Args)
	var changed []string
	for _, r := range e.modify {
		if e.changes != nil {
			doc, changed = append(doc, e.changes[r]...), append(changed, r.id)
			continue
		}
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

// aboutSQL says what keeps a statement from being one that only reads, where that may be why the call is refused.
func (e *evaluation) aboutSQL(v *verdict) string {
	why := e.call.memo.notReading
	if why == "" || v.weight != blocking || v.problem != "" || v.rule != nil && !v.rule.sql {
		return ""
	}
	return " The statement is not known to only read: " + why + "."
}

// decide turns the verdict into the answer.
func (e *evaluation) decide() Decision {
	d := e.outcome
	v := &e.best
	if v.policy == nil { // every rule was left out
		d.Effect, d.Sentence = Allow, "allowed by relation: "+orUnnamed(e.req.Relation.Via)
		if len(d.Redact) > 0 {
			d.Effect, d.Sentence = Modify, d.Sentence+takesOut(e.req, &d)
		}
		return d
	}
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
		d.Effect, d.Approvals = Escalate, approvals(e.escalate)
		d.Approval = d.Approvals[0]
	case stepping:
		d.Effect, d.StepUp = Block, v.rule.stepUp.source
	default:
		d.Effect = Block
	}
	d.Asks = e.call.memo.wanted
	if d.Effect == Escalate {
		d.Sentence = needsApproval(e.req.Tool.Name+" on "+e.req.Server.Name, e.escalate)
	} else {
		d.Sentence = sentence(e.req, v, &d) + e.aboutSQL(v) + v.aboutChanged()
	}
	return d
}
