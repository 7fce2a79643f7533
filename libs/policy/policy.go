// Package policy decides one call. It is pure: policies, relations, facts and the time come in as values, a Decision goes out.
//
// The service authz and the edge both decide with it and must say the same, so nothing here reads a clock, a network or a random
// source, and the same request gives the same Decision every time.
//
// How a call is decided:
//
//  1. Without a relation that lets the principal call the tool, it is blocked.
//  2. Every policy that matches server and tool looks at the call. Among its rules that match, block wins over escalate, escalate over
//     modify, modify over allow. A policy none of whose rules matches answers with its default: block unless it says allow.
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
	// At is the time of the call, as request.time.
	At time.Time
	// SourceIP and Country are request.ip and request.country. Empty means not known: a rule that uses it cannot be evaluated and blocks.
	SourceIP, Country string
	Relation          Relation
	// Trust and Taint are what the gateway knows of the server and the conversation. Nil means not known: a rule that uses it blocks.
	Trust map[string]any
	Taint []string
}

// Principal is the person a call is made for.
type Principal struct {
	Name, Email, Department string
	Roles, Groups, Teams    []string
	Attributes              map[string]string
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
	// Rules lists every rule that was looked at: policies by name, rules in their order.
	Rules []RuleOutcome
	// NeedsFacts names, as policy/fact, what was missing when this was decided.
	NeedsFacts []string
	// Alert is set when a rule that matched asks for one.
	Alert bool
	// Approval, with effect escalate, is the rule's with its defaults filled in. It is shared and must not be changed.
	Approval *authzv1.Approval
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
	}
}
