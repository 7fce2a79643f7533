package policy

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/policy/money"
	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// callTerms are what a call must meet for a grant to let it pass. They never change.
type callTerms struct {
	source *authzv1.CallCondition
	words  string
	terms  terms.Terms
	// unread says why they cannot be read here; then nothing meets them.
	unread error
}

func newCallTerms(c *authzv1.CallCondition) *callTerms {
	read, err := terms.Read(c)
	return &callTerms{source: c, words: terms.Words(c), terms: read, unread: err}
}

// unmet says why a call does not meet the conditions, without a value of its arguments; empty when it does.
func (c *callTerms) unmet(req *Request) string {
	switch {
	case c.unread != nil:
		return "the gateway cannot read this condition"
	case c.terms.Admit(req.SourceIP):
		return beyond(c.terms.Limit, req.Args)
	case req.SourceIP == "":
		return "it is not known where this call came from"
	}
	return "this call came from " + req.SourceIP
}

// beyond says why the amount of a call is not within a limit, if there is one. What cannot be read exactly is not, nor what is negative.
func beyond(limit *terms.Limit, args json.RawMessage) string {
	if limit == nil {
		return ""
	}
	amount, ok := amountIn(limit, args)
	if !ok {
		return "the call has no amount in " + limit.Max.Currency + " at " + limit.Argument
	}
	if order, err := amount.Compare(limit.Max); err != nil || order > 0 {
		return "the amount of this call is larger"
	}
	if amount.Minor < 0 {
		return "the amount of this call is negative"
	}
	return ""
}

func amountIn(limit *terms.Limit, args json.RawMessage) (money.Amount, bool) {
	if limit.Currency != "" {
		if code, isText, ok := scalarAt(args, limit.Currency); !ok || !isText || code != limit.Max.Currency {
			return money.Amount{}, false
		}
	}
	text, isText, ok := scalarAt(args, limit.Argument)
	if !ok {
		return money.Amount{}, false
	}
	amount, err := money.New(text, limit.Max.Currency)
	if err != nil && isText {
		amount, err = money.Parse(text)
	}
	return amount, err == nil && amount.Currency == limit.Max.Currency
}

// scalarAt is the number, as it is written, or the text at a pointer.
func scalarAt(args json.RawMessage, pointer string) (value string, isText, ok bool) {
	tokens, err := parsePointer(pointer)
	if err != nil || len(args) == 0 {
		return "", false, false
	}
	at, _, err := locate(args, tokens)
	if err != nil || !at.found {
		return "", false, false
	}
	switch raw := jsontext.Value(args[at.start:at.end]); raw.Kind() {
	case '0':
		return string(raw), false, true
	case '"':
		err := json.Unmarshal(raw, &value)
		return value, true, err == nil
	}
	return "", false, false
}

// pending is what a relation still depends on: one of several grants of a principal, or the relations of a person and of an agent.
type pending struct {
	any  []conditional
	both *[2]Relation
}

// conditional is a grant with conditions and its path.
type conditional struct {
	*callTerms
	via string
}

// May reports whether the tool may be called, at least by calls that meet the conditions of a grant.
func (r Relation) May() bool { return r.Call || r.pending != nil }

// If is what calls must meet, in words; empty when nothing is.
func (r Relation) If() string {
	switch {
	case r.pending == nil:
		return ""
	case r.pending.both == nil:
		var words []string
		for _, one := range r.pending.any {
			words = append(words, one.words)
		}
		return strings.Join(words, ", or ")
	}
	person, agent := r.pending.both[0].If(), r.pending.both[1].If()
	switch {
	case person == "" || person == agent:
		return agent
	case agent == "":
		return person
	}
	return person + "; and for the agent " + agent
}

// For is the relation as it is for one call: grants with conditions count where the call meets them.
func (r Relation) For(req *Request) Relation {
	switch {
	case r.pending == nil:
		return r
	case r.pending.both != nil:
		return Smaller(r.pending.both[0].For(req), r.pending.both[1].For(req))
	}
	for _, one := range r.pending.any {
		if one.unmet(req) == "" {
			return Relation{Known: true, See: true, Call: true, Via: one.via}
		}
	}
	return Relation{Known: true, See: true, Via: r.Via, Reason: faultv1.Reason_REASON_CONDITION, unmet: allUnmet(r.pending.any, req)}
}

// mostUnmet are the conditions that a refusal names, each once.
const mostUnmet = 4

// allUnmet says why none of several grants lets a call pass: by the first, whose path stands before it in the sentence, and by the others.
func allUnmet(all []conditional, req *Request) string {
	why, said := all[0].unmet(req), []string{all[0].words}
	for _, one := range all[1:] {
		if len(said) == mostUnmet || slices.Contains(said, one.words) {
			continue
		}
		why, said = why+", nor is it "+one.words+" ("+one.unmet(req)+")", append(said, one.words)
	}
	return why
}
