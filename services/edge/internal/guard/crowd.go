package guard

import (
	"context"

	"headgate.dev/libs/flood"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// counts reports whether a request is counted instead of recorded: refused at the door, by a source that had its share of records.
func (g *Guard) counts(e *Entry, failure error) bool {
	if failure == nil || e.stage != stageAdmit {
		return false
	}
	return g.crowd.Counts(flood.Refusal{Source: e.sender(), Common: e.knock}, g.Now())
}

// sender is who a refusal is counted for: the principal, or the address.
func (e *Entry) sender() string {
	if c := e.caller; c != nil {
		return flood.Person(c.Tenant, c.Person, c.Agent)
	}
	return flood.Address(e.in.IP)
}

// knock is what the records of a source's refusals have in common.
func (e *Entry) knock() *eventsv1.Event {
	ev := &eventsv1.Event{
		Action: actionRequest, Tenant: e.event.Tenant, Source: &eventsv1.Source{Ip: e.in.IP}, Request: &eventsv1.Request{Endpoint: e.event.GetRequest().GetEndpoint()},
	}
	if p := e.event.GetPrincipal(); p != nil {
		ev.Principal = &eventsv1.Principal{Person: p.GetPerson(), Agent: p.GetAgent(), ClientId: p.GetClientId(), TokenId: p.GetTokenId()}
	}
	return ev
}

// tally writes the counts down until ctx ends, and those that are left then.
func (g *Guard) tally(ctx context.Context) { g.crowd.Run(ctx, g.Now, g.counted) }

// counted writes down one count.
func (g *Guard) counted(ev *eventsv1.Event) error {
	ev.CallId = g.ids.New()
	ev.Decision.Id = decisionID(ev.GetCallId())
	err := g.Journal.Append(ev, journal.Spool)
	if err != nil {
		g.Log.Error("count of refused requests not written yet", "source", ev.GetSource().GetIp(), "requests", ev.GetRepeats(), "error", err)
	}
	return err
}
