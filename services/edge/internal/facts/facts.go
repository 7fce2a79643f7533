// Package facts reads what a policy must know before it can decide, through a read-only tool of the same server, as the same person and with
// the same credential. Each reading has its own two records.
package facts

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// patience bounds one reading.
	patience = 3 * time.Second
	// lasting is how long a fact is believed.
	lasting = 2 * time.Second
	kept    = 10_000
)

// Tools finds tools under the same conditions as calls do.
type Tools interface {
	Tool(ctx context.Context, c *guard.Caller, server, tool string) (*guard.Tool, error)
}

// Parts are the stages that a reading passes.
type Parts struct {
	Tools     Tools
	Lender    guard.Lender
	Journal   guard.Journal
	Upstream  guard.Upstream
	Inspector guard.Inspector
	Keys      guard.Keys
	// Decide judges the reading by the rules about its tool.
	Decide func(ctx context.Context, q guard.Question) (policy.Decision, error)
	Now    clock.Now
}

// Reader reads facts and believes each for a moment. Safe for concurrent use.
type Reader struct {
	Parts
	reading flight.Group[asked, json.RawMessage]

	mu    sync.Mutex
	known map[asked]known
}

type asked struct{ tenant, person, agent, server, tool, args string }

type known struct {
	result json.RawMessage
	at     time.Time
}

// New makes a reader.
func New(parts Parts) *Reader { return &Reader{Parts: parts, known: map[asked]known{}} }

// Close ends the readings under way and returns when they have ended. It is for after the last request.
func (r *Reader) Close() { r.reading.Close() }

// Read answers one fact as raw JSON. Whether the caller may read it is judged each time; what was read is believed for a moment, and who needs the same at
// the same time shares one reading.
func (r *Reader) Read(ctx context.Context, q guard.Question, need policy.FactNeed) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := r.permit(ctx, q, need)
	var result json.RawMessage
	var err error
	if p.err == nil && p.decision.Effect == policy.Allow {
		result, err = r.shared(ctx, q, need, p)
	} else { // refused, or as the rules make it for this very request
		result, err = r.fetch(ctx, q, need, p)
	}
	if err != nil {
		return nil, err
	}
	value, err := policy.FactValue(result, need.Path)
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "the answer of %s has nothing at %q.", need.Tool, need.Path).Because(err)
	}
	if q.Learner != nil {
		q.Learner.Learned(ctx, guard.Learned{Need: need, Tool: p.tool, Result: result, Value: value})
	}
	return value, nil
}

func (r *Reader) shared(ctx context.Context, q guard.Question, need policy.FactNeed, p permit) (json.RawMessage, error) {
	key := asked{q.Caller.Tenant, q.Caller.Person, q.Caller.Agent, q.Tool.Server.Name, need.Tool, string(need.Args)}
	r.mu.Lock()
	have, ok := r.known[key]
	r.mu.Unlock()
	if ok && r.Now().Sub(have.at) < lasting {
		return have.result, nil
	}
	return r.reading.Do(ctx, key, patience, func(ctx context.Context) (json.RawMessage, error) {
		at := r.Now()
		result, err := r.fetch(ctx, q, need, p)
		if err == nil {
			r.keep(key, known{result: result, at: at})
		}
		return result, err
	})
}

// keep makes room by what is not believed any more and, where that is not enough, by some of the rest.
func (r *Reader) keep(key asked, one known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= kept {
		maps.DeleteFunc(r.known, func(_ asked, old known) bool { return one.at.Sub(old.at) >= lasting })
	}
	if len(r.known) >= kept {
		for old := range r.known {
			if delete(r.known, old); len(r.known) <= kept-kept/10 {
				break
			}
		}
	}
	r.known[key] = one
}

// permit is whether a caller may read by a tool, and as what.
type permit struct {
	tool     *guard.Tool
	decision policy.Decision
	err      error
}

// permit looks at the relation, at the tool and at the rules about it.
func (r *Reader) permit(ctx context.Context, q guard.Question, need policy.FactNeed) permit {
	tool, err := r.Tools.Tool(ctx, q.Caller, q.Tool.Server.Name, need.Tool)
	p := permit{tool: tool, err: err}
	if err != nil {
		return p
	}
	switch {
	case !tool.Relation.May():
		p.err = fault.New(faultv1.Reason_REASON_NOT_GRANTED, "%s may not be called by this caller.", need.Tool)
		return p
	case string(mcp.Get(tool.Annotations, "readOnlyHint")) != "true":
		p.err = fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "%s is not approved as read-only.", need.Tool)
		return p
	}
	q.Tool, q.Arguments, q.Decoded = tool, need.Args, nil
	if p.decision, p.err = r.Decide(ctx, q); p.err != nil {
		return p
	}
	if p.decision.Effect != policy.Allow && p.decision.Effect != policy.Modify {
		p.err = fault.New(p.decision.Reason, "%s", p.decision.Sentence)
	}
	return p
}

// fetch makes the call, within the caller's own right and only to a tool that is approved as read-only.
func (r *Reader) fetch(ctx context.Context, q guard.Question, need policy.FactNeed, p permit) (json.RawMessage, error) {
	ev := &eventsv1.Event{
		Action: "fact-read", CallId: ids.New(), Tenant: q.Caller.Tenant, Time: timestamppb.New(r.Now()),
		Principal: &eventsv1.Principal{Person: q.Caller.Person, Email: q.Caller.Email, DisplayName: q.Caller.DisplayName, Roles: q.Caller.Principal.Roles,
			Agent: q.Caller.Agent, ClientId: q.Caller.ClientID, TokenId: q.Caller.TokenID},
		Source:    &eventsv1.Source{Ip: q.SourceIP},
		Request:   &eventsv1.Request{Method: mcp.MethodToolsCall},
		Target:    &eventsv1.Target{Server: q.Tool.Server.Name, Tool: need.Tool},
		Arguments: &eventsv1.Payload{Hmac: r.Keys.Sum(q.Caller.Tenant, need.Args), Bytes: int64(len(need.Args))},
		Decision:  &eventsv1.Decision{Effect: policy.Allow, Sentence: "read for the policy fact " + need.Key + " of call " + q.CallID},
	}
	began := r.Now()
	result, err := r.call(ctx, q, need, p, ev)
	final := &eventsv1.Event{
		Action: ev.Action, Phase: eventsv1.Phase_PHASE_FINAL, CallId: ev.CallId, Tenant: ev.Tenant, Time: timestamppb.New(r.Now()),
		Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, DurationNs: int64(r.Now().Sub(began)), Principal: ev.Principal, Source: ev.Source,
		Request: ev.Request, Target: ev.Target, Arguments: ev.Arguments, Credential: ev.Credential, Decision: ev.Decision,
	}
	if err != nil {
		why := fault.From(err)
		final.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
		final.Decision.Reason, final.Decision.Sentence = why.Reason, why.Sentence
		if ev.GetPhase() != eventsv1.Phase_PHASE_STARTED {
			final.Decision.Effect = policy.Block
		}
	} else {
		final.Result = &eventsv1.Payload{Hmac: r.Keys.Sum(ev.Tenant, result), Bytes: int64(len(result))}
	}
	if recorded := r.Journal.Append(final, q.Tool.Server.Journal); recorded != nil {
		return nil, recorded
	}
	return result, err
}

func (r *Reader) call(ctx context.Context, q guard.Question, need policy.FactNeed, p permit, ev *eventsv1.Event) (json.RawMessage, error) {
	tool := p.tool
	if tool != nil {
		ev.Target.DefinitionHash, ev.Target.Address, ev.Target.Labels = tool.Hash, tool.Server.Address, tool.Labels
	}
	if ev.Decision.Rule = p.decision.Rule; p.err != nil {
		return nil, p.err
	}
	args := need.Args
	if p.decision.Effect == policy.Modify {
		args = p.decision.Arguments
	}
	ev.Decision.Via = tool.Relation.Via
	if _, err := tool.Arguments.Validate(args); err != nil {
		return nil, err
	}
	lease, err := r.Lender.Lease(ctx, guard.LeaseRequest{Caller: q.Caller, Server: tool.Server, Tool: tool.Name, CallID: ev.GetCallId()})
	if err != nil {
		return nil, err
	}
	if lease.ID != "" {
		ev.Credential = &eventsv1.Credential{Connection: lease.Connection, LeaseId: lease.ID}
	}
	ev.Phase, ev.Outcome = eventsv1.Phase_PHASE_STARTED, eventsv1.Outcome_OUTCOME_UNKNOWN
	if err := r.Journal.Append(ev, tool.Server.Journal); err != nil {
		ev.Phase = eventsv1.Phase_PHASE_UNSPECIFIED
		return nil, err
	}
	params := slices.Concat([]byte(`{"name":`), mcp.Quote(tool.Name), []byte(`,"arguments":`), args, []byte{'}'})
	reply, err := r.Upstream.Forward(ctx, guard.Exchange{
		Caller: q.Caller, Server: tool.Server, Method: mcp.MethodToolsCall, Name: tool.Name, Params: params, Arguments: args, Bindings: tool.Bindings,
		Lease: lease, Modern: true,
	})
	if err != nil {
		return nil, err
	}
	if reply.Result == nil || string(mcp.Get(reply.Result, "isError")) == "true" {
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "%s answered with an error.", need.Tool)
	}
	clean, _, err := r.Inspector.Inspect(reply.Result, lease)
	if err != nil || len(p.decision.Redact) == 0 {
		return clean, err
	}
	out, taken, err := policy.RedactResult(clean, p.decision.Redact)
	missed := slices.ContainsFunc(taken.Missed, func(path string) bool { return !slices.Contains(p.decision.RedactIfThere, path) })
	if err != nil || missed {
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "what the rules take out of the answer of %s was not found in it.", tool.Name).Because(err)
	}
	return out, nil
}
