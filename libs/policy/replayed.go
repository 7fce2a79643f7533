package policy

import (
	"errors"
	"strings"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// gaps notes, for a call that is taken from the record, where a rule reads what the record does not hold.
type gaps struct {
	arguments bool // they are not recorded
	missed    bool // something was answered with an error: what the rule says all the same is right
	guessed   bool // something was answered with a value that may be wrong
}

// errUnrecorded is what rules get in the place of what is not recorded.
var errUnrecorded = errors.New("it is not in the record")

// miss says whether something that is empty is so because it is not recorded.
func (r *Request) miss() bool {
	if r.gaps != nil {
		r.gaps.missed = true
	}
	return r.gaps != nil
}

// answer is what a rule said: what is given to an evaluation instead of letting it ask the rule.
type answer struct {
	matched bool
	// used says of a limit or a step-up that matched that it refuses.
	used bool
	err  error
}

// slot is one rule of a recorded call, or one that two policies have alike.
type slot struct {
	id     string
	added  bool // only the candidate has it
	answer answer
	// known is false where the rule reads what is not recorded: then answer is what it says if it matches.
	known bool
}

// question is one recorded call on its way through both sets of policies.
type question struct {
	c         *Candidate
	was       Recorded
	now, then Request // they differ in their facts
	slots     []slot
	of        map[*rule]int
	unknown   []int // slots
	byName    map[string]int
	modifies  bool // arguments that are known may be changed
}

func (c *Candidate) question(req *Request, was Recorded) *question {
	q := &question{c: c, was: was, of: map[*rule]int{}, byName: map[string]int{}}
	q.now = *req
	q.now.Args, q.now.Decoded, q.now.Counts, q.now.Related, q.now.Facts = was.Args, nil, nil, nil, was.Facts
	q.now.Relation = Relation{Known: true, See: true, Call: true, Via: req.Relation.Via}
	q.now.gaps = &gaps{arguments: was.Args == nil}
	q.then = q.now
	q.then.Facts = c.factsThen(req, was.Facts)
	q.ask(c.now, &q.now, false)
	q.ask(c.then, &q.then, true)
	return q
}

// factsThen are the recorded facts under the names of the candidate's policies: a fact that is read otherwise there is another fact.
func (c *Candidate) factsThen(req *Request, recorded map[string]any) map[string]any {
	if len(recorded) == 0 {
		return nil
	}
	out := map[string]any{}
	for _, p := range c.then.matching(req.Server.Name, req.Tool.Name) {
		for name, own := range p.source.GetSpec().GetFacts() {
			for _, other := range c.now.matching(req.Server.Name, req.Tool.Name) {
				for theirs, declared := range other.source.GetSpec().GetFacts() {
					if value, ok := recorded[other.name+"/"+theirs]; ok && sameFact(own, declared) {
						out[p.name+"/"+name] = value
					}
				}
			}
		}
	}
	return out
}

// ask lets every rule that could decide say what it says.
func (q *question) ask(b *Bundle, req *Request, candidate bool) {
	matching := b.matching(req.Server.Name, req.Tool.Name)
	e := evaluation{req: req, matching: matching, call: newCall(req)}
	for _, p := range matching {
		missing := e.gather(p)
		e.sums(p)
		for i := range p.rules {
			r := &p.rules[i]
			if r.shadow || r.effect == Alert {
				continue // they decide nothing
			}
			at, shared := q.byName[r.id]
			if shared = shared && candidate && q.c.unchanged[r.id]; !shared {
				at = len(q.slots)
				q.slots = append(q.slots, q.said(&e, p, r, missing))
				q.slots[at].added = candidate
				if !q.slots[at].known {
					q.unknown = append(q.unknown, at)
				}
				if !candidate {
					q.byName[r.id] = at
				}
			}
			q.of[r] = at
			q.modifies = q.modifies || len(r.modify) > 0 && q.was.Args != nil && (q.slots[at].answer.matched || !q.slots[at].known)
		}
	}
}

// said asks one rule. An error is the rule's own where nothing was missing.
func (q *question) said(e *evaluation, p *Compiled, r *rule, missing map[string]error) slot {
	g := e.req.gaps
	g.missed, g.guessed = false, false
	out := slot{id: r.id, known: true}
	lacking := r.lacks(missing) != nil
	var err error
	if !lacking {
		out.answer.matched, err = e.rule(r, nil)
	}
	switch {
	case lacking || g.guessed || err != nil && g.missed:
		out.answer, out.known = answer{matched: true, used: true}, false
		if why := q.failed(p, r, lacking); why != nil {
			out.answer, out.known = answer{err: why}, true
		}
	case err != nil:
		out.answer.err = err
	case out.answer.matched && (r.limit != nil || r.stepUp != nil): // how many had passed and how old the sign-in was is not recorded
		out.answer.used, out.known = true, false
	}
	return out
}

// failed is why a rule could not be judged then, if the record says so of a rule that did not change.
func (q *question) failed(p *Compiled, r *rule, lacking bool) error {
	was := q.was
	switch was.Reason {
	case faultv1.Reason_REASON_FACT_UNAVAILABLE:
		if was.Rule == "" && lacking && q.c.sameFacts(p) { // it could not be read before any rule was judged
			return factFailure("a fact could not be read")
		}
	case faultv1.Reason_REASON_RULE_ERROR, faultv1.Reason_REASON_RULE_COST, faultv1.Reason_REASON_RULE_TYPE, faultv1.Reason_REASON_RELATION_UNAVAILABLE:
	default:
		return nil
	}
	inForce := q.c.inForce[was.Policy]
	if was.Rule == r.id && inForce != nil && inForce.version == was.PolicyVersion && (p == inForce || q.c.unchanged[r.id]) {
		return &failure{was.Reason, "it could not be judged"}
	}
	return nil
}

// sameFacts says whether a policy reads the facts that the one in force with its name reads.
func (c *Candidate) sameFacts(p *Compiled) bool {
	in := c.inForce[p.name]
	return in != nil && sameSurroundings(in.source.GetSpec(), p.source.GetSpec())
}

// key is the same for calls that come to the same; empty where that depends on their arguments.
func (q *question) key(trusted bool) string {
	if q.modifies {
		return ""
	}
	var b strings.Builder
	b.Grow(128)
	for _, part := range [...]string{q.now.Server.Name, q.now.Tool.Name, q.was.Effect, q.was.Rule, q.was.Policy} {
		b.WriteString(part)
		b.WriteByte(0)
	}
	b.WriteByte(byte(q.was.Reason))
	if trusted {
		b.WriteByte('t')
	}
	for i := range q.slots {
		s := &q.slots[i]
		switch {
		case !s.known:
			b.WriteByte('?')
		case s.answer.err != nil:
			b.WriteByte('!')
		case s.answer.matched:
			b.WriteByte('+')
		default:
			b.WriteByte('-')
		}
	}
	return b.String()
}

// possible is what the call comes to for one choice of what is not known.
type possible struct {
	now, then Decision
	differs   []string
	fits      bool // the policies in force say what the record has
}

// compare goes through what is possible.
func (q *question) compare(trusted bool) Replayed {
	all := make([]possible, 1<<len(q.unknown))
	fits, moved := 0, q.was.Effect != ""
	for choice := range all {
		one := &all[choice]
		one.now, one.then = q.decide(q.c.now, &q.now, choice), q.decide(q.c.then, &q.then, choice)
		one.differs = difference(&one.now, &one.then)
		moved = moved && one.now.Effect != q.was.Effect
		if one.fits = trusted && one.now.Effect == q.was.Effect && one.now.Rule == q.was.Rule; one.fits {
			fits++
		}
	}
	first, open := -1, -1
	for choice := range all {
		if fits > 0 && !all[choice].fits {
			continue
		}
		switch {
		case first < 0:
			first = choice
		case !all[first].like(&all[choice]):
			open = choice
		}
	}
	out := Replayed{Moved: moved}
	if open >= 0 {
		out.Open = q.blame(first ^ open)
		return out
	}
	one := &all[first]
	out.Differs = one.differs
	out.Now, out.Then = Judged{effectOf(&one.now), one.now.Rule}, Judged{effectOf(&one.then), one.then.Rule}
	return out
}

// like says whether two possibilities come to the same for who compares: both agree, or both differ in one way.
func (p *possible) like(o *possible) bool {
	if len(p.differs) == 0 || len(o.differs) == 0 {
		return len(p.differs) == len(o.differs)
	}
	return effectOf(&p.now) == effectOf(&o.now) && effectOf(&p.then) == effectOf(&o.then)
}

// blame names a rule that the answer depends on: one that the candidate brings, if there is one.
func (q *question) blame(between int) string {
	named := ""
	for bit, at := range q.unknown {
		if s := &q.slots[at]; between>>bit&1 == 1 && (named == "" || s.added) {
			named = s.id
			if s.added {
				break
			}
		}
	}
	return named
}

// decide is Evaluate with what the rules are known or taken to say.
func (q *question) decide(b *Bundle, req *Request, choice int) Decision {
	matching := b.matching(req.Server.Name, req.Tool.Name)
	if len(matching) == 0 {
		return Decision{Effect: Allow}
	}
	given := make(map[*rule]answer, len(q.of))
	for r, at := range q.of {
		given[r] = q.slots[at].answer
	}
	for bit, at := range q.unknown {
		if choice>>bit&1 == 1 {
			continue
		}
		for r, of := range q.of {
			if of == at {
				given[r] = answer{}
			}
		}
	}
	e := evaluation{req: req, matching: matching, call: newCall(req), given: given}
	if req.gaps.arguments {
		e.changes = q.c.changes
	}
	return e.run()
}
