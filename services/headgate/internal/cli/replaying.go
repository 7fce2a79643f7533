package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// examples is how many calls of a group are named.
	examples = 3
	toolCall = "tool-call"
	factRead = "fact-read" // rules do not look at these
	// clientPrefix begins the name under which the record has a client that is no declared agent.
	clientPrefix = "client:"
)

// groupKey is what differences are put together by; open is a rule that cannot be judged, and was the recorded effect of such a call.
type groupKey struct {
	tenant, server, tool string
	now, then            policy.Judged
	differs, open, was   string
}

type replayed struct {
	calls    int
	people   map[string]bool
	examples []string // call ids
}

type replayer struct {
	tenant    string
	candidate *policy.Candidate
	people    map[string]policy.Principal
	servers   map[string][]string // their labels
	calls     int
	// moved are calls that the policies in force decide otherwise than the record has it.
	moved int
	// reveal opens the arguments that a call was decided about, nil where their key is gone; nil when nothing may be opened.
	reveal func(*eventsv1.Event) (json.RawMessage, error)
	failed error
	groups map[groupKey]*replayed
}

// take judges one record anew. Records of what never came to rules are passed over.
func (r *replayer) take(event *eventsv1.Event) {
	decision, target := event.GetDecision(), event.GetTarget()
	if decision == nil || target.GetServer() == "" || target.GetTool() == "" || event.GetAction() == factRead || !cameToRules(decision) {
		return
	}
	if r.failed != nil {
		return // what failed once fails for each record
	}
	r.calls++
	request := r.request(event)
	was := recorded(event, arguments(event))
	was.Facts = r.facts(event)
	got := r.candidate.Replay(request, was)
	if r.reveal != nil && sealedArguments(event) && matters(got) { // nothing is opened for a call that comes to the same without
		args, err := r.reveal(event)
		if err != nil {
			r.failed = err
			return
		}
		was.Args = args
		got = r.candidate.Replay(request, was)
	}
	if got.Moved {
		r.moved++
	}
	if got.Open != "" || len(got.Differs) > 0 {
		r.put(event, got)
	}
}

// facts are those whose values the record has, unless they are read otherwise today.
func (r *replayer) facts(event *eventsv1.Event) map[string]any {
	var out map[string]any
	for _, f := range event.GetDecision().GetFacts() {
		if document := f.GetValue().GetDocument(); document != "" && r.candidate.Reads(f.GetName(), f.GetDeclared()) {
			if out == nil {
				out = map[string]any{}
			}
			out[f.GetName()] = json.RawMessage(document)
		}
	}
	return out
}

// request is the call as far as the record and today's directory have it.
func (r *replayer) request(event *eventsv1.Event) *policy.Request {
	who, target := event.GetPrincipal(), event.GetTarget()
	principal, known := r.people[who.GetPerson()]
	if !known {
		principal = policy.Principal{Name: who.GetPerson(), Email: who.GetEmail()}
	}
	principal.Roles = who.GetRoles()
	agent := who.GetAgent()
	if strings.HasPrefix(agent, clientPrefix) {
		agent = "" // rules see no agent then
	}
	return &policy.Request{
		Tenant: r.tenant, Principal: principal, Agent: policy.Agent{Name: agent},
		Server: policy.Server{Name: target.GetServer(), Labels: r.servers[target.GetServer()]}, Tool: policy.Tool{Name: target.GetTool(), Labels: target.GetLabels()},
		At: event.GetTime().AsTime().Add(-time.Duration(event.GetDurationNs())), SourceIP: event.GetSource().GetIp(),
		Relation: policy.Relation{Via: event.GetDecision().GetVia()},
	}
}

// recorded is what the rules decided. Where something later refused, the record does not say that.
func recorded(event *eventsv1.Event, args json.RawMessage) policy.Recorded {
	d := event.GetDecision()
	out := policy.Recorded{
		Effect: d.GetEffect(), Rule: d.GetRule(), Reason: d.GetReason(), Policy: d.GetPolicy(), PolicyVersion: d.GetPolicyVersion(), Args: args,
	}
	if out.Effect == policy.Block && !refusedByRule(d) {
		out.Effect = ""
	}
	return out
}

func (r *replayer) put(event *eventsv1.Event, got policy.Replayed) {
	target := event.GetTarget()
	key := groupKey{r.tenant, target.GetServer(), target.GetTool(), got.Now, got.Then, strings.Join(got.Differs, ", "), got.Open, ""}
	if got.Open != "" {
		key.was = event.GetDecision().GetEffect()
	}
	group := r.groups[key]
	if group == nil {
		group = &replayed{people: map[string]bool{}}
		r.groups[key] = group
	}
	group.calls++
	group.people[event.GetPrincipal().GetPerson()] = true
	if len(group.examples) < examples {
		group.examples = append(group.examples, event.GetCallId())
	}
}

// arguments are those of a copy that is whole.
func arguments(event *eventsv1.Event) json.RawMessage {
	copied := event.GetArguments()
	if document := copied.GetDocument(); document != "" && int64(len(document)) == copied.GetBytes() && !strings.Contains(document, "[redacted") && decidedAbout(event) {
		return json.RawMessage(document)
	}
	return nil
}

func sealedArguments(event *eventsv1.Event) bool {
	return event.GetArguments().GetSealed() != nil && decidedAbout(event)
}

// matters says whether a call whose arguments are not known could come to something else with them.
func matters(got policy.Replayed) bool {
	return got.Open != "" || slices.Contains(got.Differs, policy.DiffersArguments)
}

// decidedAbout says whether a record's arguments are those that rules saw: what a rule changed is not, and of what is no tool call, they are the client's own.
func decidedAbout(event *eventsv1.Event) bool {
	return len(event.GetDecision().GetChanged()) == 0 && event.GetAction() == toolCall
}

// revealing opens sealed copies. One whose key was erased is as if there were none.
func (s *session) revealing(ctx context.Context, reason string) (func(*eventsv1.Event) (json.RawMessage, error), error) {
	audit, err := s.audit()
	if err != nil {
		return nil, err
	}
	return func(event *eventsv1.Event) (json.RawMessage, error) {
		answer, err := audit.Reveal(ctx, connect.NewRequest(&auditv1.RevealRequest{Tenant: event.GetTenant(), EventId: event.GetId(), Reason: reason}))
		if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetArguments(), nil
	}, nil
}

// cameToRules says whether the relation held, so that rules were asked: without one nothing is allowed, whatever the rules are.
func cameToRules(d *eventsv1.Decision) bool {
	switch d.GetReason() {
	case faultv1.Reason_REASON_NOT_GRANTED, faultv1.Reason_REASON_AGENT, faultv1.Reason_REASON_BLOCK_LISTED, faultv1.Reason_REASON_CONDITION:
		return false
	}
	return d.GetVia() != "" || refusedByRule(d)
}

// refusedByRule says whether a refusal is the rules' own.
func refusedByRule(d *eventsv1.Decision) bool {
	switch d.GetReason() {
	case faultv1.Reason_REASON_RULE, faultv1.Reason_REASON_APPROVAL_REQUIRED, faultv1.Reason_REASON_STEP_UP, faultv1.Reason_REASON_RULE_ERROR,
		faultv1.Reason_REASON_RULE_COST, faultv1.Reason_REASON_RULE_TYPE, faultv1.Reason_REASON_FACT_UNAVAILABLE:
		return true
	case faultv1.Reason_REASON_RATE_LIMITED, faultv1.Reason_REASON_RELATION_UNAVAILABLE:
		return d.GetRule() != "" // without a rule it is another limit, or the call's own relation
	}
	return false
}

func (s *session) printReplay(r *replayer, allowOpen bool) error {
	all := make([]groupKey, 0, len(r.groups))
	for key := range r.groups {
		all = append(all, key)
	}
	slices.SortFunc(all, func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.open, b.open), cmp.Compare(r.groups[b].calls, r.groups[a].calls), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
	})
	rows := [][]string{{"CALLS", "PEOPLE", "TENANT", "TOOL", "NOW", "WOULD BE", "DIFFERS IN", "EXAMPLES"}}
	items := []json.RawMessage{}
	differs, open := false, 0
	for _, key := range all {
		group := r.groups[key]
		now, would := key.now.Effect+by(key.now.Rule), key.then.Effect+by(key.then.Rule)
		if key.open != "" {
			now, would = "recorded as "+key.was, "open: rule "+key.open+" reads what is not recorded"
			open += group.calls
		} else {
			differs = true
		}
		rows = append(rows, []string{
			fmt.Sprint(group.calls), fmt.Sprint(len(group.people)), key.tenant, key.server + "." + key.tool, now, would, key.differs, fmt.Sprint(group.examples),
		})
		encoded, err := json.Marshal(map[string]any{
			"tenant": key.tenant, "server": key.server, "tool": key.tool, "now": map[string]string{"effect": key.now.Effect, "rule": key.now.Rule},
			"wouldBe": map[string]string{"effect": key.then.Effect, "rule": key.then.Rule, "open": key.open}, "differs": key.differs, "recorded": key.was,
			"calls": group.calls, "people": len(group.people), "examples": group.examples,
		})
		if err != nil {
			return err
		}
		items = append(items, encoded)
	}
	_, _ = fmt.Fprintf(s.stdio.Err, "%d recorded calls were decided anew, by the policies in force and with the files' policies; roles are as recorded, groups, departments, "+
		"attributes, clearances and labels of servers as of today\n", r.calls)
	if r.moved > 0 {
		_, _ = fmt.Fprintf(s.stdio.Err, "%d of them are decided otherwise today than the record has it, whatever the files say: policies or people changed since\n", r.moved)
	}
	if err := s.print(join(items), rows); err != nil {
		return err
	}
	if open > 0 {
		_, _ = fmt.Fprintf(s.stdio.Err, "%d of them are open: what decides is not recorded. Record arguments, try --reveal, or take them as they are with --allow-open\n", open)
	}
	switch {
	case differs:
		return errNo
	case open > 0 && !allowOpen:
		return errOpen
	}
	return nil
}

func by(rule string) string {
	if rule == "" {
		return ""
	}
	return " (" + rule + ")"
}
