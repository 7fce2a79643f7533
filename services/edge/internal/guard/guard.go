// Package guard carries one MCP request through the stages of a call. It knows no HTTP: adapters bring bytes and facts about the connection
// and take away bytes. Whatever happens, exactly one final record is written, and nothing reaches an upstream before its started record is.
package guard

import (
	"context"
	"log/slog"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Stages are the parts that a call passes, each behind the interface that this package needs of it.
type Stages struct {
	Admitter  Admitter  // who calls, from where, how often
	Replicas  Freshness // whether the edge may decide at all
	Sessions  Sessions  // ids of clients that need a session
	Catalogue Catalogue // what this caller can see, as approved
	Decider   Decider   // relations, rules and the facts that rules need
	Lender    Lender    // a credential for this call alone
	Journal   Journal   // what is about to happen, before it happens
	Upstream  Upstream  // the server
	Inspector Inspector // what came back
	Keys      KeyedHash // the fingerprint of arguments and results
	Now       clock.Now //
	Log       *slog.Logger
}

// Guard answers MCP requests. It is safe for concurrent use.
type Guard struct {
	Stages
	running *running
	ids     ids.Source
}

// New puts the stages together.
func New(stages Stages) *Guard {
	return &Guard{Stages: stages, running: newRunning()}
}

// Call answers one request. Whatever happens, exactly one final record is written; nothing is forwarded before its started record is.
func (g *Guard) Call(ctx context.Context, in *Inbound) Answer {
	entry := g.open(in)
	answer, err := g.carry(ctx, in, entry)
	if err != nil {
		answer = g.refuse(entry, err)
	}
	return g.settle(entry, answer, err)
}

// carry is the way of a request that is not a tool call as far as it goes, and the door to callTool for one that is.
func (g *Guard) carry(ctx context.Context, in *Inbound, entry *Entry) (Answer, error) {
	entry.stage = stageAdmit
	caller, err := g.Admitter.Admit(in)
	entry.admitted(caller)
	if err != nil {
		return Answer{}, err
	}
	if in.Verb != "POST" {
		return g.otherVerb(in, entry)
	}
	entry.stage = stageParse
	if err := g.parse(in, entry); err != nil {
		return Answer{}, err
	}
	entry.stage = stageResolve
	if err := g.Replicas.Fresh(); err != nil {
		return Answer{}, err
	}
	switch entry.msg.Method {
	case "tools/call":
		return g.callTool(ctx, in, entry)
	case "tools/list":
		return g.listTools(ctx, in, entry)
	default:
		return g.greet(ctx, in, entry)
	}
}

// callTool is the product: resolve, validate, decide, hold, lease, journal, forward, inspect. Admit and parse came before, settle comes after.
func (g *Guard) callTool(ctx context.Context, in *Inbound, entry *Entry) (Answer, error) {
	ctx, done := g.running.begin(ctx, in, entry)
	defer done()

	tool, err := g.Catalogue.Resolve(ctx, entry.caller, in.Server, entry.msg.Name)
	entry.resolved(tool)
	if err != nil {
		return Answer{}, err // one answer for "not there" and "not yours"; the record knows which
	}
	entry.stage = stageValidate
	if entry.modern {
		if err := mcp.CheckParamHeaders(entry.msg, tool.Bindings, in.Headers); err != nil {
			return Answer{}, err
		}
	}
	decoded, err := tool.Arguments.Validate(entry.msg.Arguments)
	if err != nil {
		return Answer{}, err
	}
	entry.stage = stageDecide
	decision, err := g.Decider.Decide(ctx, Question{
		Caller: entry.caller, Tool: tool, Arguments: entry.msg.Arguments, Decoded: decoded, At: entry.began, SourceIP: in.IP, CallID: entry.id,
	})
	if err != nil {
		return Answer{}, err
	}
	entry.decided(decision)
	arguments := entry.msg.Arguments
	switch decision.Effect {
	case effectAllow:
	case effectModify:
		arguments = decision.Arguments // only the paths that the rule names differ
		if _, err := tool.Arguments.Validate(arguments); err != nil {
			return Answer{}, misfit(decision, err)
		}
	case effectEscalate:
		entry.stage = stageHold
		return Answer{}, held(decision)
	default:
		return Answer{}, blocked(decision)
	}
	entry.stage = stageLease
	wanted := LeaseRequest{Caller: entry.caller, Server: tool.Server, Tool: tool.Name, CallID: entry.id}
	lease, err := g.Lender.Lease(ctx, wanted)
	if err != nil {
		return Answer{}, err
	}
	entry.leased(lease)
	return g.make(ctx, in, entry, tool, wanted, lease, arguments)
}

// make is the part of callTool from which on something happens. What could have changed while it was prepared is judged again before, and what
// stops calls under way again after.
func (g *Guard) make(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, wanted LeaseRequest, lease *Lease, arguments []byte) (Answer, error) {
	g.running.uses(entry, tool) // before it is judged again: a stop is seen here or finds the call
	if err := g.still(ctx, in, entry.caller, tool); err != nil {
		return Answer{}, err
	}
	entry.stage = stageJournal
	g.ran(entry, arguments)
	if err := g.started(entry, tool.Server); err != nil {
		return Answer{}, err // no record, no call
	}
	entry.stage = stageForward
	reply, err := g.Upstream.Forward(ctx, g.exchange(in, entry, tool, lease, arguments))
	if stop := g.halted(in, entry.caller, tool); stop != nil {
		return Answer{}, stop // whatever it answered
	}
	if err != nil {
		if fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) {
			g.Lender.Forget(wanted)
		}
		return Answer{}, g.redacted(err, lease)
	}
	entry.stage = stageInspect
	return g.deliver(entry, reply, lease)
}

// exchange is what the upstream gets to do for this call. Notices that belong to the call are inspected like its result before they go on.
func (g *Guard) exchange(in *Inbound, entry *Entry, tool *Tool, lease *Lease, arguments []byte) Exchange {
	ex := Exchange{
		Caller: entry.caller, Server: tool.Server, Tool: tool.Name, Bindings: tool.Bindings, Arguments: arguments, Lease: lease,
		Meta: entry.msg.Meta, Modern: entry.modern,
	}
	if in.Notify == nil {
		return ex
	}
	ex.Notify = func(notice []byte) error {
		if err := g.halted(in, entry.caller, tool); err != nil {
			return err
		}
		clean, _, err := g.Inspector.Inspect(notice, lease)
		if err != nil {
			return err
		}
		entry.streamed = true
		return in.Notify(unforged(clean, "params", "_meta"))
	}
	return ex
}

func (g *Guard) open(in *Inbound) *Entry {
	return newEntry(in, g.ids.New(), g.Now())
}

// blocked and held turn a decision into the refusal that the caller sees.
func blocked(d policy.Decision) error { return refusal(d.Reason, d.Sentence) }

// misfit refuses a call whose arguments do not fit the approved schema after a rule changed them.
func misfit(d policy.Decision, err error) error {
	return fault.New(faultv1.Reason_REASON_RULE_ERROR,
		"The call was refused because the rule %s changes its arguments so that they do not fit the tool's approved schema any more: %s Tell your "+
			"administrator.", d.Rule, fault.From(err).Sentence).Because(err)
}
