package policy

import (
	"bytes"
	"errors"

	"cel.dev/cel-go/common/types"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// judgeChanged judges what modify rules made of the arguments: what is sent is what rules saw. A rule that blocks, escalates, limits, redacts or raises an
// alert says the same of the changed arguments as of others. What allowed the call is not asked again, and no rule changes what another changed.
func (e *evaluation) judgeChanged() {
	if e.given != nil || e.best.weight >= stepping || len(e.outcome.Changed) == 0 {
		return
	}
	asked, first := e.req, e.call
	changed := *asked
	changed.Args, changed.Decoded = e.outcome.Arguments, nil
	e.req, e.call = &changed, newCall(&changed)
	at := 0 // the rule's outcome
	for _, c := range e.matching {
		missing := e.gatherChanged(c, first)
		e.sumsChanged(c, first)
		for i := range c.rules {
			r := &c.rules[i]
			if changed.WithoutFacts && len(r.facts) > 0 {
				continue
			}
			if weigh(r.effect) != allowing && r.effect != Modify {
				e.judgeRule(c, r, missing, &e.outcome.Rules[at])
			}
			at++
		}
	}
	first.memo.wanted = append(first.memo.wanted, e.call.memo.wanted...)
	if first.memo.notReading == "" {
		first.memo.notReading = e.call.memo.notReading
	}
	e.req, e.call = asked, first
	if e.best.weight >= stepping {
		e.outcome.Arguments, e.outcome.Changed = nil, nil
	}
}

// judgeRule adds what one rule says of the changed arguments to what it said before.
func (e *evaluation) judgeRule(c *Compiled, r *rule, missing map[string]error, outcome *RuleOutcome) {
	matched, err := e.rule(r, missing)
	v := verdict{weight: weigh(r.effect), policy: c, rule: r, changed: true}
	if err == nil && matched && !outcome.Matched {
		outcome.Matched = true
		if err = e.holding(r, &v); err != nil && r.limit != nil {
			err = errors.New("the calls of this limit were not counted for the arguments as they were asked, and a rule changed them so that it holds")
		}
	} else if err == nil {
		return // it says nothing new
	}
	if err != nil {
		if outcome.Error != "" {
			return
		}
		outcome.Error = err.Error()
		v.weight, v.problem, v.reason = blocking, err.Error(), reasonOf(err)
	}
	if r.shadow {
		return
	}
	e.outcome.Alert = e.outcome.Alert || r.effect == Alert || r.alert || err != nil && v.reason != faultv1.Reason_REASON_FACT_UNAVAILABLE
	switch {
	case r.effect == Alert || v.weight == nothing:
	case r.effect == Redact && v.problem == "":
		e.redact = append(e.redact, v)
	default:
		if v.weight == escalating {
			e.escalate = append(e.escalate, r)
		}
		e.consider(v)
	}
}

// gatherChanged is gather for changed arguments: a fact that was read by an argument that changed is not known of the new one.
func (e *evaluation) gatherChanged(c *Compiled, first *call) map[string]error {
	needed := len(e.outcome.NeedsFacts)
	missing := e.gather(c)
	e.outcome.NeedsFacts = e.outcome.NeedsFacts[:needed] // they were named before
	if e.req.WithoutFacts {
		return missing
	}
	for i := range c.facts {
		f := &c.facts[i]
		if !f.used || missing[f.name] != nil {
			continue
		}
		first.memo.calendars = c.calendars
		before, err := f.arguments(first)
		if err == nil {
			var after []byte
			if after, err = f.arguments(e.call); err == nil && bytes.Equal(before, after) {
				continue
			}
		}
		if missing == nil {
			missing = map[string]error{}
		}
		missing[f.name] = factFailure("the fact " + f.name + " was read for the arguments as they were asked, and a rule changed what it is read by")
	}
	return missing
}

// sumsChanged is sums for changed arguments: a call that now adds more than was counted cannot be judged by the sum.
func (e *evaluation) sumsChanged(c *Compiled, first *call) {
	e.sums(c)
	for i := range c.counters {
		n := &c.counters[i]
		if !n.used || n.program == nil {
			continue
		}
		before, err := n.amount(first)
		if err != nil {
			continue // the sum is an error already
		}
		if after, err := n.amount(e.call); err != nil || after > before {
			e.call.sums[n.name] = types.WrapErr(errors.New("the counter " + n.name + " counted the arguments as they were asked, and a rule made the call add more"))
		}
	}
}

// aboutChanged says that a refusal is about arguments as rules changed them.
func (v *verdict) aboutChanged() string {
	if !v.changed || v.reason == faultv1.Reason_REASON_UNSPECIFIED {
		return ""
	}
	return " It was judged with the arguments as rules had changed them."
}
