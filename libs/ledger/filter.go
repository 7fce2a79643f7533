package ledger

import (
	"fmt"
	"time"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Filter says which records are wanted; empty fields narrow nothing. Its zero value wants all.
type Filter struct {
	Tenant string
	// Person is as record.PersonOf has it.
	Person string
	Agent  string
	Server string
	Tool   string
	Effect string
	Action string
	// Outcome is success, failure or unknown, Rule a rule with its policy, Code the machine's word for how it ended, as event.code has it.
	Outcome, Rule, Code string
	// Call is the id of a call, Trace of a trace.
	Call, Trace string
	// Own leaves out what the person, whose own records are wanted, was not told: calls of what they were told does not exist.
	Own bool
	// Text holds words that all must occur in the record, side by side where punctuation joins them, as record.HasPhrases has it.
	Text         string
	Since, Until time.Time
}

// fields are those that are words, by the names that a statement gives them.
func (f *Filter) fields() map[string]*string {
	return map[string]*string{
		"tenant": &f.Tenant, "person": &f.Person, "agent": &f.Agent, "server": &f.Server, "tool": &f.Tool, "effect": &f.Effect, "action": &f.Action,
		"outcome": &f.Outcome, "rule": &f.Rule, "code": &f.Code, "call": &f.Call, "trace": &f.Trace, "text": &f.Text,
	}
}

// Map is the filter as a statement has it.
func (f Filter) Map() map[string]string {
	out := map[string]string{}
	for name, value := range f.fields() {
		if *value != "" {
			out[name] = *value
		}
	}
	if f.Own {
		out["own"] = "true"
	}
	if !f.Since.IsZero() {
		out["since"] = f.Since.UTC().Format(time.RFC3339Nano)
	}
	if !f.Until.IsZero() {
		out["until"] = f.Until.UTC().Format(time.RFC3339Nano)
	}
	return out
}

// ParseFilter reads what Map wrote.
func ParseFilter(m map[string]string) (Filter, error) {
	var f Filter
	fields := f.fields()
	for name, value := range m {
		var err error
		switch {
		case name == "since":
			f.Since, err = time.Parse(time.RFC3339Nano, value)
		case name == "until":
			f.Until, err = time.Parse(time.RFC3339Nano, value)
		case name == "own" && value == "true":
			f.Own = true
		case fields[name] != nil:
			*fields[name] = value
		default:
			err = fmt.Errorf("the filter has a field %q that this program does not know", name)
		}
		if err != nil {
			return Filter{}, err
		}
	}
	return f, nil
}

// Wide reports whether the filter leaves whole tenants: all that it may narrow besides is time.
func (f Filter) Wide() bool {
	rest := f
	rest.Tenant, rest.Since, rest.Until = "", time.Time{}, time.Time{}
	return rest == Filter{}
}

// Match reports whether a record is wanted.
func (f Filter) Match(ev *eventsv1.Event) bool {
	at := ev.GetTime().AsTime()
	if !f.Since.IsZero() && at.Before(f.Since) || !f.Until.IsZero() && !at.Before(f.Until) {
		return false
	}
	return f.MatchFields(ev) && record.HasPhrases(ev, record.Phrases(f.Text))
}

// matchLoosely is Match as far as exports of form 1 can be held to it: their words were found in fewer fields, which stood in another order.
func (f Filter) matchLoosely(ev *eventsv1.Event) bool {
	var single [][]string
	for _, phrase := range record.Phrases(f.Text) {
		for _, word := range phrase {
			single = append(single, []string{word})
		}
	}
	rest := f
	rest.Text, rest.Own = "", false // what is own was narrowed less, too
	return rest.Match(ev) && record.HasPhrases(ev, single)
}

// MatchFields is Match for all but the text and the time.
func (f Filter) MatchFields(ev *eventsv1.Event) bool {
	for _, c := range [][2]string{
		{f.Tenant, ev.GetTenant()}, {f.Person, record.PersonOf(ev)}, {f.Agent, ev.GetPrincipal().GetAgent()}, {f.Server, ev.GetTarget().GetServer()},
		{f.Tool, ev.GetTarget().GetTool()}, {f.Effect, ev.GetDecision().GetEffect()}, {f.Action, ev.GetAction()}, {f.Outcome, record.Outcome(ev)},
		{f.Rule, ev.GetDecision().GetRule()}, {f.Code, record.Code(ev)}, {f.Call, ev.GetCallId()}, {f.Trace, ev.GetTrace().GetTraceId()},
	} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	return !f.Own || record.Told(ev)
}
