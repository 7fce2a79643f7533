// Package facts reads what a policy must know before it can decide, through a read-only tool of the same server, as the same person and with
// the same credential. Each reading has its own two records.
package facts

import (
	"context"
	"encoding/json"
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
	Keys      guard.KeyedHash
	Now       clock.Now
}

// Reader reads facts and believes each for a moment. Safe for concurrent use.
type Reader struct {
	Parts
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

// Read answers one fact as raw JSON.
func (r *Reader) Read(ctx context.Context, q guard.Question, need policy.FactNeed) (json.RawMessage, error) {
	key := asked{q.Caller.Tenant, q.Caller.Person, q.Caller.Agent, q.Tool.Server.Name, need.Tool, string(need.Args)}
	r.mu.Lock()
	have, ok := r.known[key]
	r.mu.Unlock()
	if !ok || r.Now().Sub(have.at) >= lasting {
		at := r.Now()
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		result, err := r.fetch(ctx, q, need)
		if err != nil {
			return nil, err
		}
		have = known{result: result, at: at}
		r.mu.Lock()
		if len(r.known) >= kept {
			clear(r.known)
		}
		r.known[key] = have
		r.mu.Unlock()
	}
	value, err := policy.FactValue(have.result, need.Path)
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "the answer of %s has nothing at %q.", need.Tool, need.Path).Because(err)
	}
	return value, nil
}

// fetch makes the call, within the caller's own right and only to a tool that is approved as read-only.
func (r *Reader) fetch(ctx context.Context, q guard.Question, need policy.FactNeed) (json.RawMessage, error) {
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
	result, err := r.call(ctx, q, need, ev)
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

func (r *Reader) call(ctx context.Context, q guard.Question, need policy.FactNeed, ev *eventsv1.Event) (json.RawMessage, error) {
	tool, err := r.Tools.Tool(ctx, q.Caller, q.Tool.Server.Name, need.Tool)
	if err != nil {
		return nil, err
	}
	ev.Target.DefinitionHash, ev.Target.Address, ev.Target.Labels = tool.Hash, tool.Server.Address, tool.Labels
	switch {
	case !tool.Relation.Call:
		return nil, fault.New(faultv1.Reason_REASON_NOT_GRANTED, "%s may not be called by this caller.", need.Tool)
	case string(mcp.Get(tool.Annotations, "readOnlyHint")) != "true":
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "%s is not approved as read-only.", need.Tool)
	}
	ev.Decision.Via = tool.Relation.Via
	if _, err := tool.Arguments.Validate(need.Args); err != nil {
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
	reply, err := r.Upstream.Forward(ctx, guard.Exchange{
		Caller: q.Caller, Server: tool.Server, Tool: tool.Name, Bindings: tool.Bindings, Arguments: need.Args, Lease: lease, Modern: true,
	})
	if err != nil {
		return nil, err
	}
	if reply.Result == nil || string(mcp.Get(reply.Result, "isError")) == "true" {
		return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE, "%s answered with an error.", need.Tool)
	}
	clean, _, err := r.Inspector.Inspect(reply.Result, lease)
	return clean, err
}
