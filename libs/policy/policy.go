// Package policy decides one call. It is pure: policies, relations, facts and the time come in as values, a Decision goes out.
//
// The service authz and the edge both decide with it and must say the same, so nothing here reads a clock, a network or a random
// source, and the same request gives the same Decision every time.
//
// How a call is decided:
//
//  1. Without a relation that lets the principal call the tool, it is blocked.
//  2. Every policy that matches server and tool looks at the call. Among its rules that match, block wins over escalate, escalate over
//     modify, modify over allow. A limit blocks when it is used up; otherwise it says nothing, like a redaction and an alert. A step-up blocks, but for blocks,
//     until the person has signed in as it wants. A policy none of whose rules matches answers with its default: block unless it says allow.
//  3. The answers of several policies are combined in the same order of precedence: each of them must let the call pass.
//  4. Where no policy matches the tool, the relation is enough.
//
// A rule that cannot be evaluated blocks. A rule in shadow is evaluated and reported and decides nothing.
package policy

import (
	"encoding/json"
	"time"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// The effects of rules and decisions.
const (
	Allow    = "allow"
	Block    = "block"
	Escalate = "escalate"
	Modify   = "modify"
	// Redact takes something out of the result of a call that other rules let pass: the decision is then modify.
	Redact = "redact"
	// Limit blocks when it is used up and otherwise says nothing.
	Limit = "limit"
	// Alert says nothing but in the record.
	Alert = "alert"
	// StepUp refuses until the person has signed in as the rule wants; then it says nothing.
	StepUp = "step-up"
)

// Request is one call that somebody would make. Evaluate does not change it; strings and slices in it may be shared.
type Request struct {
	Tenant    string
	Principal Principal
	Agent     Agent
	Server    Server
	Tool      Tool
	// Args are the arguments as they would be sent: one strict JSON object, or nil for none.
	Args json.RawMessage
	// Decoded is what Decode made of Args, where somebody has done it already; nil otherwise. It is read only.
	Decoded map[string]any
	// Facts by FactNeed.Key or, where every matching policy defines the fact alike, by its name alone. A value is raw JSON (json.RawMessage)
	// or what Decode returns; other values as encoding/json and structpb give them are accepted. A fact that could not be read is left out.
	Facts map[string]any
	// WithoutFacts leaves rules out that read facts, for the call that reads one: what such a rule would say is not known before it. A policy that has one
	// of them does not answer with its default.
	WithoutFacts bool
	// Counts are the sums of CountNeed by their keys, with this call's own amount.
	Counts map[string]float64
	// At is the time of the call, as request.time.
	At time.Time
	// SourceIP and Country are request.ip and request.country. Empty means not known: a rule that uses it cannot be evaluated and blocks.
	SourceIP, Country string
	Relation          Relation
	Session           Session
	Device            Device
	// Purpose is why the call is made: the token's word where it has one, otherwise the agent's own; empty is not known.
	Purpose string
	// Related are the relations that rules ask for, as far as they were looked up; see Settle. Unrelated says why they could not be.
	Related   map[Relationship]bool
	Unrelated string
	// Trust and Taint are what the gateway knows of the server and the conversation. Nil means not known: a rule that uses it blocks.
	Trust map[string]any
	Taint []string
	gaps  *gaps // of a call from the record
}

// Principal is the person a call is made for.
type Principal struct {
	Name, Email, Department string
	Roles, Groups, Teams    []string
	Attributes              map[string]string
	// Clearances are the classes of data that the person may see.
	Clearances []string
}

// Agent is the program in between; its name is empty when there is none.
type Agent struct{ Name string }

// Server is the MCP server that has the tool.
type Server struct {
	Name   string
	Labels []string
}

// Tool is named as its server names it. Annotations are raw JSON from the approved definition: a server's own word, not evidence.
type Tool struct {
	Name        string
	Labels      []string
	Annotations json.RawMessage
}

// Relation is what the relations say about one principal and one tool.
type Relation struct {
	// Known is false when the principal has no relation to the tool at all.
	Known, See, Call bool
	// Via is the path in words, as "ana → role support → server tickets".
	Via string
	// Reason says why Call is false; unspecified means REASON_NOT_GRANTED.
	Reason faultv1.Reason

	pending *pending // what For decides
	unmet   string   // why conditions are not met
}

// Decision is the answer and everything that made it.
type Decision struct {
	// ID is left empty by Evaluate, which is pure; the caller names the decision.
	ID string
	// Effect is allow, block, escalate or modify.
	Effect string
	// Rule is policy/rule of the rule that decided; empty when a default or the relation did.
	Rule          string
	Policy        string
	PolicyVersion int64
	Reason        faultv1.Reason
	// Sentence says to the person what was decided, by which rule and, for a refusal, what to do.
	Sentence string
	Via      string
	// Arguments are what is to be sent, when a modify rule matched: with effect modify, and with effect escalate, where the approval is
	// for these arguments. Only the places named in Changed differ from the request's bytes. Otherwise nil.
	Arguments json.RawMessage
	Changed   []string
	// Redact are pointers into the result, for RedactResult. A result in which one leads to nothing must not be shown, but for those that are in
	// RedactIfThere too.
	Redact        []string
	RedactIfThere []string
	// Rules lists every rule that was looked at: policies by name, rules in their order.
	Rules []RuleOutcome
	// NeedsFacts names, as policy/fact, what was missing when this was decided.
	NeedsFacts []string
	// GivenFacts names facts that nobody but the asker vouches for. Evaluate leaves it empty.
	GivenFacts []string
	// Near, of a call that was refused, are rules that nearly matched. Evaluate leaves it empty; see Bundle.Near.
	Near []string
	// Alert is set when a rule that matched asks for one.
	Alert bool
	// Asks are the relations that were missing when this was decided; see Settle.
	Asks []Relationship
	// StepUp, where the reason is REASON_STEP_UP, is what the sign-in must be like. It is shared and must not be changed.
	StepUp *authzv1.StepUp
	// Approvals, with effect escalate, are those of every rule that matched and asks for one, with their defaults filled in. All must be met. They
	// are shared and must not be changed. Approval is the first.
	Approvals []*authzv1.Approval
	Approval  *authzv1.Approval
}

// RuleOutcome is what one rule said.
type RuleOutcome struct {
	Rule, Effect    string
	Matched, Shadow bool
	// Error is a sentence, set when the rule could not be evaluated.
	Error string
}

// Proto is the decision as the API answers it.
func (d Decision) Proto() *authzv1.Decision {
	rules := make([]*authzv1.RuleOutcome, len(d.Rules))
	for i, r := range d.Rules {
		rules[i] = &authzv1.RuleOutcome{Rule: r.Rule, Effect: r.Effect, Matched: r.Matched, Shadow: r.Shadow, Error: r.Error}
	}
	return &authzv1.Decision{
		Id:            d.ID,
		Effect:        d.Effect,
		Rule:          d.Rule,
		Policy:        d.Policy,
		PolicyVersion: d.PolicyVersion,
		Reason:        d.Reason,
		Sentence:      d.Sentence,
		Via:           d.Via,
		Arguments:     d.Arguments,
		Changed:       d.Changed,
		Rules:         rules,
		NeedsFacts:    d.NeedsFacts,
		Alert:         d.Alert,
		Approval:      d.Approval,
		Approvals:     d.Approvals,
		Redact:        d.Redact,
		RedactIfThere: d.RedactIfThere,
		StepUp:        d.StepUp,
		GivenFacts:    d.GivenFacts,
		Near:          d.Near,
	}
}
