package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Recorded is a decision as the record has it, and what the record holds of what it was made by.
type Recorded struct {
	// Effect is empty where the record does not say what the rules decided, because something later refused.
	Effect, Rule string
	Reason       faultv1.Reason
	// Policy and PolicyVersion are of the policy that decided; 0 where none did.
	Policy        string
	PolicyVersion int64
	// Args are the arguments that were decided about, where the record has a whole copy of them; nil otherwise.
	Args json.RawMessage
	// Facts are the values that were read, by FactNeed.Key, as far as the record has them.
	Facts map[string]any
}

// Judged is what policies say of a recorded call. Effect is one of a decision, or step-up.
type Judged struct{ Effect, Rule string }

// Replayed is what a recorded call would come to under the policies in force and under a candidate.
type Replayed struct {
	Now, Then Judged
	// Differs names what the two say differently: effect, arguments, redactions, approval, step-up. Empty when they agree.
	Differs []string
	// Open names a rule that depends on what the record does not hold, where that decides whether the two agree. Then the rest is empty.
	Open string
	// Moved says that the policies in force decide otherwise than the record has it: they, or the person, changed since.
	Moved bool
}

// The names of Replayed.Differs.
const (
	differsEffect = "effect"
	// DiffersArguments is the one that may vanish once the arguments are known.
	DiffersArguments = "arguments"
	differsRedaction = "redactions"
	differsApproval  = "approval"
	differsStepUp    = "step-up"
)

// mostSeen is how many kinds of calls a candidate remembers.
const mostSeen = 50_000

// maxUnknown is how many rules of one call may depend on what is not known; with more the call is open.
const maxUnknown = 8

// Candidate compares policies that would be in force with those that are, by recorded calls. It is for one goroutine at a time: it remembers
// what calls of one kind came to.
type Candidate struct {
	now, then *Bundle
	// unchanged are the rules in force, as policy/rule, that the candidate has as they are.
	unchanged map[string]bool
	inForce   map[string]*Compiled
	changes   map[*rule]string // what a modify rule does to arguments
	seen      map[string]Replayed
}

// NewCandidate takes the policies of a tenant that are in force and those that would be.
func NewCandidate(now, then []*Compiled) *Candidate {
	c := &Candidate{
		now: NewBundle(now), then: NewBundle(then), unchanged: map[string]bool{}, inForce: map[string]*Compiled{}, changes: map[*rule]string{},
		seen: map[string]Replayed{},
	}
	wanted := map[string]*Compiled{}
	for _, p := range then {
		wanted[p.name] = p
	}
	for _, p := range now {
		c.inForce[p.name] = p
		if next := wanted[p.name]; next != nil && sameDays(p.shared, next.shared) && sameSurroundings(p.source.GetSpec(), next.source.GetSpec()) {
			for _, r := range p.source.GetSpec().GetRules() {
				c.unchanged[p.name+"/"+r.GetName()] = slices.ContainsFunc(next.source.GetSpec().GetRules(), func(other *authzv1.Rule) bool { return sameCondition(r, other) })
			}
		}
	}
	for _, p := range slices.Concat(now, then) {
		for i := range p.rules {
			if len(p.rules[i].modify) > 0 {
				c.changes[&p.rules[i]] = changeWords(p.source.GetSpec().GetRules()[i].GetModify())
			}
		}
	}
	return c
}

// sameSurroundings says whether one rule text means the same in both policies.
func sameSurroundings(a, b *authzv1.PolicySpec) bool {
	bare := func(s *authzv1.PolicySpec) *authzv1.PolicySpec {
		return &authzv1.PolicySpec{Facts: s.GetFacts(), Calendars: s.GetCalendars(), Counters: s.GetCounters()}
	}
	return proto.Equal(bare(a), bare(b))
}

// sameCondition says whether two rules hold for the same calls, whatever they then do: a limit and a step-up hold by what they want too.
func sameCondition(a, b *authzv1.Rule) bool {
	bare := func(r *authzv1.Rule) *authzv1.Rule {
		return &authzv1.Rule{Name: r.GetName(), When: r.GetWhen(), Limit: r.GetLimit(), StepUp: r.GetStepUp()}
	}
	return proto.Equal(bare(a), bare(b))
}

// changeWords is the same for two rules that do the same to any arguments.
func changeWords(all []*authzv1.Modification) string {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(&authzv1.Rule{Modify: all})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Replay judges a recorded call by both, with the relation that it had. A rule that reads what the record does not hold may match or not, and does the
// same in both where it is the same. What was decided then says more, if it is what the policies in force could have said, and they did not change since. Where
// the two agree for some and not for others of what is possible, the answer is open.
func (c *Candidate) Replay(req *Request, was Recorded) Replayed {
	q := c.question(req, was)
	if len(q.unknown) > maxUnknown {
		return Replayed{Open: q.slots[q.unknown[0]].id}
	}
	trusted := c.trusted(req, was)
	key := q.key(trusted)
	if known, ok := c.seen[key]; ok && key != "" {
		return known
	}
	out := q.compare(trusted)
	if len(c.seen) >= mostSeen {
		clear(c.seen)
	}
	if key != "" {
		c.seen[key] = out
	}
	return out
}

// Reads says whether the policies in force read a fact, by FactNeed.Key, as it was declared when it was recorded.
func (c *Candidate) Reads(key, declared string) bool {
	policy, name, _ := strings.Cut(key, "/")
	in := c.inForce[policy]
	return in != nil && slices.ContainsFunc(in.facts, func(f fact) bool { return f.name == name && f.declared == declared })
}

// settled is how long after a change some edge may still decide by what was before: by then it would refuse.
const settled = 5 * time.Second

// trusted says whether the record is of a decision by the policies in force: the one that decided has the version it had, and none of those that look
// at the call changed since.
func (c *Candidate) trusted(req *Request, was Recorded) bool {
	if was.Effect == "" {
		return false
	}
	for _, p := range c.now.matching(req.Server.Name, req.Tool.Name) {
		if changed := p.source.GetMetadata().GetUpdatedAt(); changed != nil && req.At.Before(changed.AsTime().Add(settled)) {
			return false
		}
	}
	if was.Policy == "" {
		return true
	}
	p := c.inForce[was.Policy]
	return p != nil && p.version == was.PolicyVersion
}

// difference names what two decisions say differently of one call.
func difference(now, then *Decision) []string {
	var out []string
	if effectOf(now) != effectOf(then) {
		out = append(out, differsEffect)
	}
	if now.Effect == Block || then.Effect == Block {
		if now.StepUp != nil && then.StepUp != nil && !proto.Equal(now.StepUp, then.StepUp) {
			out = append(out, differsStepUp)
		}
		return out // one of them sends nothing and shows nothing
	}
	if changedArguments(now) != changedArguments(then) {
		out = append(out, DiffersArguments)
	}
	if !sameSet(now.Redact, then.Redact) || !sameSet(now.RedactIfThere, then.RedactIfThere) {
		out = append(out, differsRedaction)
	}
	if now.Effect == Escalate && then.Effect == Escalate && !slices.EqualFunc(now.Approvals, then.Approvals, func(a, b *authzv1.Approval) bool { return proto.Equal(a, b) }) {
		out = append(out, differsApproval)
	}
	return out
}

func effectOf(d *Decision) string {
	if d.StepUp != nil {
		return StepUp
	}
	return d.Effect
}

// changedArguments are what would be sent, where a rule changed it.
func changedArguments(d *Decision) string {
	if len(d.Changed) == 0 {
		return ""
	}
	return string(d.Arguments)
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
