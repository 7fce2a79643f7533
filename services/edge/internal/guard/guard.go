// Package guard carries one MCP request through the stages of a call. It knows no HTTP: adapters bring bytes and facts about the connection
// and take away bytes. Whatever happens, exactly one final record is written (floods of requests that are refused
// at the door share one), and nothing reaches an upstream before its started record is.
package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/flood"
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
	Peers     Peers     // the other edges
	Keeper    Keeper    // copies for the record
	Keys      Keys      // fingerprints for the record, and what clients carry
	Now       clock.Now //
	Limits    Limits    // of what callers keep open
	Log       *slog.Logger
}

// Guard answers MCP requests. It is safe for concurrent use.
type Guard struct {
	Stages
	running  *running
	ids      ids.Source
	states   *states
	parking  *parking
	asks     *asks
	replays  *replays
	clients  *clients
	patience *patience
	telling  chan struct{} // holds a value for each thing that other edges are told now
	audience *audience
	crowd    *flood.Counter
	streams  *streams
}

// New puts the stages together.
func New(stages Stages) *Guard {
	if stages.Peers == nil {
		stages.Peers = alone{}
	}
	if stages.Keeper == nil {
		stages.Keeper = hashes{}
	}
	g := &Guard{
		Stages: stages, running: newRunning(), states: newStates(), parking: newParking(), asks: newAsks(), replays: newReplays(), clients: newClients(),
		patience: newPatience(), telling: make(chan struct{}, maxTelling), crowd: flood.New(actionRequest, stageAdmit), streams: newStreams(stages.Limits),
	}
	g.audience = newAudience(g)
	return g
}

// alone is an edge without others.
type alone struct{}

func (alone) Self() string        { return "" }
func (alone) Others() []string    { return nil }
func (alone) Place(string) string { return "" }
func (alone) Relay(context.Context, string, *Inbound) (Answer, error) {
	return Answer{}, ErrUnreached
}

// Run looks after what clients left behind until ctx ends, then ends streams and calls that wait for their clients.
func (g *Guard) Run(ctx context.Context) error {
	var counting sync.WaitGroup
	counting.Go(func() { g.tally(ctx) })
	defer counting.Wait()
	defer g.patience.close()
	g.audience.run(ctx)
	g.parking.close(g.CutOff)
	g.forsakeAll()
	g.writeAgain()
	return nil
}

// Call answers one request. Whatever happens, exactly one final record is written; nothing is forwarded before its started record is.
func (g *Guard) Call(ctx context.Context, in *Inbound) Answer {
	if batched(in) {
		return g.batch(ctx, in)
	}
	return g.one(ctx, in)
}

// one answers a request that is one message.
func (g *Guard) one(ctx context.Context, in *Inbound) Answer {
	entry := g.open(in)
	answer, err := g.carry(ctx, in, entry)
	if err == nil && answer.Stream != nil {
		err = g.count(entry, &answer)
	}
	if entry.relayed {
		return answer // the other edge recorded it
	}
	if err != nil {
		err = g.cutShort(entry, err)
		answer = g.refuse(entry, err)
	}
	opened := answer.Stream
	if answer = g.settle(entry, answer, err); answer.Stream == nil && opened != nil {
		opened.Gone() // without its record it does not begin
	}
	entry.mu.Lock()
	log := entry.log
	entry.stream = nil // what comes after the answer is for nobody
	entry.mu.Unlock()
	if log != nil {
		entry.logged(&answer)
		log.end(g.Now())
	}
	return answer
}

// carry is the way of a request that is not a tool call as far as it goes, and the door to callTool for one that is.
func (g *Guard) carry(ctx context.Context, in *Inbound, entry *Entry) (Answer, error) {
	entry.stage = stageAdmit
	caller, err := g.Admitter.Admit(in)
	entry.admitted(caller)
	if err != nil {
		return Answer{}, err
	}
	if in.Relayed {
		switch in.Verb {
		case verbTold, verbAsked:
			return g.learn(in, entry)
		case verbEnded:
			return g.learnEnd(in, entry)
		}
	}
	if in.Verb != "POST" {
		return g.otherVerb(ctx, in, entry)
	}
	entry.stage = stageParse
	if err := g.parse(in, entry); err != nil {
		return Answer{}, err
	}
	if answer, ok, err := g.elsewhere(ctx, in, entry); ok {
		return answer, err
	}
	if in.Opening != nil && entry.version == mcp.V20251125 && entry.msg.Kind == mcp.Request {
		in.Opening.by(entry.opening)
	}
	if entry.msg.Kind == mcp.Response {
		return g.takeAnswer(entry)
	}
	entry.stage = stageResolve
	if err := g.Replicas.Fresh(); err != nil {
		return Answer{}, err
	}
	switch entry.msg.Method {
	case mcp.MethodToolsCall:
		return g.callTool(ctx, in, entry)
	case mcp.MethodToolsList:
		return g.listTools(ctx, in, entry)
	}
	if method, ok := methods[entry.msg.Method]; ok && entry.msg.Kind == mcp.Request {
		return method(g, ctx, in, entry)
	}
	return g.greet(ctx, in, entry)
}

// elsewhere hands the request to the edge that holds what it is about. Without that edge, it is answered here as far as that goes: ok is false. A
// request that broke there is recorded here, because there it may not have been.
func (g *Guard) elsewhere(ctx context.Context, in *Inbound, e *Entry) (answer Answer, ok bool, err error) {
	if e.home == "" || e.home == g.Peers.Self() || in.Relayed {
		return Answer{}, false, nil
	}
	ctx, done := g.running.leave(ctx, in, e)
	defer done()
	answer, err = g.Peers.Relay(ctx, e.home, in)
	if errors.Is(err, ErrUnreached) {
		return Answer{}, false, nil
	}
	if e.relayed = err == nil; !e.relayed {
		e.stage = stageForward
	}
	return answer, true, err
}

// callTool is the product: resolve, validate, decide, hold, lease, journal, forward, inspect. Admit and parse came before, settle comes after.
func (g *Guard) callTool(ctx context.Context, in *Inbound, entry *Entry) (Answer, error) {
	ctx, done := g.running.begin(ctx, in, entry, g.Now)
	defer done()

	tool, err := g.resolve(ctx, in, entry)
	if err != nil {
		return Answer{}, err
	}
	return g.perform(ctx, in, entry, tool, entry.msg.Arguments)
}

// resolve finds the tool of a call. There is one answer for "not there" and "not yours"; the record knows which.
func (g *Guard) resolve(ctx context.Context, in *Inbound, entry *Entry) (*Tool, error) {
	tool, err := g.Catalogue.Resolve(ctx, entry.caller, in.Server, entry.msg.Name)
	entry.resolved(tool)
	if err != nil {
		return nil, err
	}
	entry.own = tool.Name
	if !entry.modern {
		return tool, nil
	}
	entry.stage = stageValidate
	return tool, mcp.CheckParamHeaders(entry.msg, tool.Bindings, in.Headers)
}

// perform takes a resolved tool, or a method that counts as one, through the rest. Subject is what rules see as its arguments.
func (g *Guard) perform(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, subject json.RawMessage) (Answer, error) {
	arguments, err := g.approve(ctx, in, entry, tool, subject)
	if err != nil {
		if entry.judged { // the rules' own no ends a call that waits
			g.abandon(in, entry)
		}
		return Answer{}, err
	}
	entry.stage = stageLease
	wanted := LeaseRequest{Caller: entry.caller, Server: tool.Server, Tool: tool.Name, CallID: entry.id}
	lease, err := g.Lender.Lease(ctx, wanted)
	if err != nil {
		g.abandon(in, entry)
		return Answer{}, err
	}
	entry.leased(lease)
	return g.make(ctx, in, entry, tool, wanted, lease, arguments)
}

// approve validates and decides. It answers the arguments that may be used: those that were sent, or what a rule made of them.
func (g *Guard) approve(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, subject json.RawMessage) (json.RawMessage, error) {
	entry.stage = stageValidate
	entry.subject = subject
	decoded, err := tool.Arguments.Validate(subject)
	if err != nil {
		return nil, err
	}
	entry.stage = stageDecide
	decision, err := g.Decider.Decide(ctx, in.question(Question{
		Caller: entry.caller, Tool: tool, Arguments: subject, Decoded: decoded, At: entry.began, CallID: entry.id,
		Learner: entry.learner(g),
		Again:   entry.state != nil, // a state that is not good for this request ends it before anything happens
	}))
	if err != nil {
		return nil, err
	}
	entry.decided(decision)
	switch decision.Effect {
	case effectAllow:
		return subject, nil
	case effectModify: // only the paths that the rule names differ
		if _, err := tool.Arguments.Validate(decision.Arguments); err != nil {
			return nil, misfit(decision, err)
		}
		entry.renamed(decision.Arguments)
		return decision.Arguments, nil
	case effectEscalate:
		entry.stage = stageHold
		return nil, held(decision)
	}
	return nil, blocked(decision)
}

// make is the part of callTool from which on something happens. What could have changed while it was prepared is judged again before, and what
// stops calls under way again after.
func (g *Guard) make(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, wanted LeaseRequest, lease *Lease, arguments []byte) (Answer, error) {
	g.running.uses(entry, tool) // before it is judged again: a stop is seen here or finds the call
	if err := g.still(ctx, in, entry.caller, tool); err != nil {
		return Answer{}, err
	}
	if err := g.again(in, entry); err != nil {
		return Answer{}, err
	}
	answer, err := g.happen(ctx, in, entry, tool, wanted, lease, arguments)
	if err != nil {
		g.drop(entry) // a call that nobody hears of any more does not go on
	}
	return answer, err
}

// happen makes the call, or lets one go on that waited for its client.
func (g *Guard) happen(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, wanted LeaseRequest, lease *Lease, arguments []byte) (Answer, error) {
	if p := entry.parked; p != nil && !p.made(arguments) {
		entry.stage = stageDecide
		return Answer{}, overtaken(entry.decision)
	}
	lease = entry.both(lease)
	ex, err := g.exchange(ctx, in, entry, tool, lease, arguments)
	if err != nil {
		return Answer{}, err
	}
	entry.stage = stageJournal
	g.ran(entry, arguments)
	if err := g.keep(ctx, entry, tool, arguments); err != nil {
		return Answer{}, err
	}
	if err := g.started(entry, tool.Server); err != nil {
		return Answer{}, err // no record, no call
	}
	entry.stage = stageForward
	reply, err := g.forward(ctx, in, entry, ex)
	lease = entry.newest(lease)
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
	return g.deliver(in, entry, reply, lease)
}

// exchange is what the upstream gets to do for this call. Notices that belong to the call are inspected like its result before they go on.
func (g *Guard) exchange(ctx context.Context, in *Inbound, entry *Entry, tool *Tool, lease *Lease, arguments []byte) (Exchange, error) {
	params, err := entry.params(arguments)
	if err != nil {
		return Exchange{}, err
	}
	ex := Exchange{
		Caller: entry.caller, Server: tool.Server, Method: entry.msg.Method, Name: entry.own, Params: params, Arguments: arguments,
		Bindings: tool.Bindings, Lease: lease, Modern: entry.modern, Session: in.Session, Offer: entry.offer,
	}
	if !entry.modern && in.Send == nil {
		ex.Offer = nil // who takes no stream cannot be asked
	}
	if !entry.modern {
		if ex.Params, err = g.clients.level(entry, params, g.Now()); err != nil {
			return Exchange{}, err
		}
	}
	if in.Send == nil {
		return ex, nil
	}
	if in.Pause != nil && entry.version == mcp.V20251125 {
		ex.Pause = entry.pause
	}
	ex.Notify = func(notice []byte) error {
		if entry.modern && unasked(entry.msg.Meta, notice) {
			return nil // a client of 2026-07-28 gets no logs that it did not ask for, and nothing that its revision does not have
		}
		if !entry.mine(notice) {
			return nil
		}
		if err := g.halted(in, entry.caller, tool); err != nil {
			return err
		}
		clean, _, err := g.Inspector.Inspect(notice, entry.newest(lease))
		if err != nil {
			return err
		}
		clean, tells := entry.retold(mcp.WithoutSubscription(unforged(clean, "params", "_meta")))
		if !tells {
			return nil
		}
		if in.Server == "" {
			clean = renamed(clean, tool.Server.Name)
		}
		return entry.send(clean)
	}
	return ex, nil
}

// mine reports whether a notice is not of the progress of another request, or of one that nobody asked for: a client would take it for that one's,
// perhaps at another server (2025-11-25, basic/utilities/progress).
func (e *Entry) mine(notice []byte) bool {
	if method, _ := mcp.Text(notice, "method"); method != mcp.MethodProgress {
		return true
	}
	return mcp.SameID(mcp.Get(e.msg.Meta, mcp.MetaProgressToken), mcp.Get(notice, "params", mcp.MetaProgressToken))
}

// unasked reports whether a notice is none for a request of 2026-07-28: it is of the log, below what the request asks for, or says that an elicitation by
// URL is complete, which that revision does not.
func unasked(meta json.RawMessage, notice []byte) bool {
	if !bytes.Contains(notice, []byte("message")) && !bytes.Contains(notice, []byte("complete")) && bytes.IndexByte(notice, '\\') < 0 {
		return false
	}
	method, _ := mcp.Text(notice, "method")
	if method != mcp.MethodLog {
		return method == mcp.MethodElicitationComplete
	}
	wish, _ := mcp.Text(meta, mcp.MetaLogLevel)
	level, _ := mcp.Text(notice, "params", "level")
	wanted, asked := mcp.LogLevel(wish)
	rank, _ := mcp.LogLevel(level)
	return !asked || rank < wanted
}

// subject is what the request asks for, without what belongs to one round of it.
func subject(e *Entry) json.RawMessage {
	if e.subject == nil {
		return json.RawMessage(`{}`)
	}
	return e.subject
}

func (g *Guard) open(in *Inbound) *Entry {
	return newEntry(in, g.ids.New(), g.Now())
}

// blocked and held turn a decision into the refusal that the caller sees.
func blocked(d policy.Decision) error {
	return &Refusal{Fault: &fault.Error{Reason: d.Reason, Sentence: d.Sentence}, stepUp: d.StepUp}
}

// misfit refuses a call whose arguments do not fit the approved schema after a rule changed them.
func misfit(d policy.Decision, err error) error {
	return fault.New(faultv1.Reason_REASON_RULE_ERROR,
		"The call was refused because the rule %s changes its arguments so that they do not fit the tool's approved schema any more: %s Tell your "+
			"administrator.", d.Rule, fault.From(err).Sentence).Because(err)
}
