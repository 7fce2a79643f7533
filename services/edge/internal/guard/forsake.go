package guard

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// The final record of a request whose call waits for its client says that its outcome is not known yet. Who takes the call up records how it goes on, and
// names the request that it goes on with. A call that nobody takes up has a record of its own for how it ended: forsake writes it.

// trace is what is kept of a request for the record of its call's end.
type trace struct {
	id    string // of the state that its client holds
	event *eventsv1.Event
	mode  journal.Mode
	since time.Time
}

// trail keeps what the record of the call's end needs: everything that is known of the request, without copies of its arguments.
func (e *Entry) trail(id string, now time.Time) *trace {
	known := &e.event
	ev := &eventsv1.Event{
		Action: known.Action, Tenant: known.Tenant, CallId: e.id, Principal: known.Principal, Source: known.Source, Request: known.Request, Target: known.Target,
		Decision: known.Decision, Credential: known.Credential, Trace: known.Trace,
	}
	if a := known.Arguments; a != nil {
		ev.Arguments = &eventsv1.Payload{Hmac: a.Hmac, Bytes: a.Bytes}
	}
	ev = proto.CloneOf(ev)
	ev.Request.ProtocolVersion = e.version
	return &trace{id, ev, e.mode, now}
}

// over is told that the exchange of a call with its server has ended. One that was stopped while it waited for its client waits no longer.
func (g *Guard) over(in *Inbound, caller *Caller, tool *Tool, p *parked) {
	var stopped error
	if p.ctx.Err() != nil {
		if stopped = g.halted(in, caller, tool); stopped == nil {
			stopped = fault.New(faultv1.Reason_REASON_CANCELLED, "The call was ended while it waited for its client. It may have taken effect at its server.")
		}
	}
	g.parking.mu.Lock()
	p.ended = true
	if stopped != nil && p.trace != nil && g.parking.calls[p.trace.id] == p {
		if g.parking.remove(p.trace.id); g.parking.closed {
			stopped = shutDown()
		}
		p.why = stopped
	}
	forsaken := p.why != nil
	g.parking.mu.Unlock()
	if forsaken {
		g.states.take(p.trace.id)
		g.wasForsaken(p)
	}
}

func shutDown() error {
	return fault.New(faultv1.Reason_REASON_CANCELLED, "The call that waited for its client was ended, because its edge was shut down. It may have taken effect at its server.")
}

// forsake ends a call that waits, if it does, and has it recorded once its exchange is over.
func (g *Guard) forsake(id string, why error) {
	g.parking.mu.Lock()
	p := g.parking.remove(id)
	ended := p != nil && p.ended
	if p != nil {
		p.why = why
	}
	g.parking.mu.Unlock()
	if p == nil {
		return
	}
	g.states.take(id)
	p.cancel()
	if ended {
		g.wasForsaken(p)
	}
}

// sweepParked ends the calls whose clients did not come back in time.
func (g *Guard) sweepParked(now time.Time) {
	g.writeAgain()
	for _, id := range g.parking.ids(func(p *parked) bool { return now.Unix() > p.until }) {
		g.forsake(id, fault.New(faultv1.Reason_REASON_CANCELLED, "The call was ended, because its client did not come back within %s with what its server asked for. "+
			"It may have taken effect at its server.", stateFor))
	}
}

// forsakeAll ends what still waits when an edge is shut down.
func (g *Guard) forsakeAll() {
	for _, id := range g.parking.ids(func(*parked) bool { return true }) {
		g.forsake(id, shutDown())
	}
}

// ids are the ids of the calls that fit.
func (p *parking) ids(fits func(*parked) bool) (found []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, call := range p.calls {
		if fits(call) {
			found = append(found, id)
		}
	}
	return found
}

// wasForsaken writes how a call ended that nobody took up. It has a call id of its own: the request that began it has its final record.
func (g *Guard) wasForsaken(p *parked) {
	ev, why, now := p.trace.event, fault.From(cause(p.why)), g.Now()
	began := ev.GetCallId()
	note := "the end of call " + began + ", which waited for its client's input"
	select {
	case out := <-p.over:
		if out.err == nil {
			note += "; its server had answered, and nobody got the answer"
		}
	default:
	}
	ev.CallId, ev.Phase, ev.Outcome = g.ids.New(), eventsv1.Phase_PHASE_FINAL, eventsv1.Outcome_OUTCOME_FAILURE
	ev.Time, ev.DurationNs = timestamppb.New(now), int64(now.Sub(p.trace.since))
	ev.Findings = &eventsv1.Findings{Notes: []string{note}}
	if ev.Decision == nil {
		ev.Decision = &eventsv1.Decision{Id: decisionID(ev.CallId), Effect: effectAllow}
	}
	ev.Decision.Reason, ev.Decision.Sentence, ev.Decision.Stage = why.Reason, clip(why.Sentence, 1000), stageForward
	if err := g.Journal.Append(ev, p.trace.mode); err != nil {
		g.Log.Error("the end of a call that nobody took up is not recorded yet", "call", began, "error", err)
		g.parking.later(unwritten{ev, p.trace.mode})
	}
}

// unwritten is a record that the journal did not take.
type unwritten struct {
	event *eventsv1.Event
	mode  journal.Mode
}

// later keeps a record for when the journal takes some again. There are no more than calls may wait: a journal that takes none lets no call begin.
func (p *parking) later(u unwritten) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.unwritten) < maxParked {
		p.unwritten = append(p.unwritten, u)
	}
}

// writeAgain writes the ends of calls that were not recorded.
func (g *Guard) writeAgain() {
	g.parking.mu.Lock()
	left := g.parking.unwritten
	g.parking.unwritten = nil
	g.parking.mu.Unlock()
	for _, u := range left {
		if err := g.Journal.Append(u.event, u.mode); err != nil {
			g.parking.later(u)
		}
	}
}
