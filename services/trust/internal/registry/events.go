package registry

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/store"
)

// mostEvents is how many definitions of one look or approval get a record of their own; the rest are counted in one. A server must not be able to
// fill the journal.
const mostEvents = 100

// How far something is trusted that is killed, and people, agents and tools that are not. Servers have more bands.
const (
	bandStopped = "stopped"
	bandFree    = "not-stopped"
)

// Actor is who does something, for the record and for the pins.
type Actor struct {
	Name string
	record.By
}

// itself is the service, when nobody asked.
func itself() Actor { return Actor{Name: pin.Initially, By: record.Itself("trust")} }

// event is one record about a server. It stands for itself: no call waits for it.
func (r *Registry) event(action string, key store.Key, by Actor) *eventsv1.Event {
	return by.Sign(&eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Time: timestamppb.New(r.Now()), Tenant: key.Tenant, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS,
		Target: &eventsv1.Target{Server: key.Name},
	})
}

// band is what a server is allowed as a whole, as records name it.
func band(pins pin.Server) string {
	switch pins.Standing() {
	case pin.Approved:
		return "approved"
	case pin.Quarantined:
		return "quarantined"
	default:
		return "pending"
	}
}

// moves puts into a record how trust in something moved, if it did.
func moves(ev *eventsv1.Event, subject, before, after, reason string) *eventsv1.Event {
	if before == after {
		return ev
	}
	ev.Trust = &eventsv1.Trust{Subject: subject, PreviousBand: before, Band: after}
	if reason != "" {
		ev.Trust.Reasons = []string{reason}
	}
	return ev
}

// drifted are the records of what a server shows otherwise than before.
func (r *Registry) drifted(key store.Key, drifts []pin.Drift) []*eventsv1.Event {
	return r.each("definition-changed", key, itself(), drifts, func(ev *eventsv1.Event, d pin.Drift) {
		ev.Alert = d.Alert
		ev.Change.Action = string(d.Kind)
	})
}

// approved are the records of pins that were made or dropped.
func (r *Registry) approved(key store.Key, by Actor, changes []pin.Drift) []*eventsv1.Event {
	return r.each("definition-approved", key, by, changes, func(ev *eventsv1.Event, d pin.Drift) {
		ev.Change.Action = "approved"
		if d.New == "" {
			ev.Change.Action = "unpinned"
		}
	})
}

func (r *Registry) each(action string, key store.Key, by Actor, drifts []pin.Drift, fill func(*eventsv1.Event, pin.Drift)) []*eventsv1.Event {
	var events []*eventsv1.Event
	alert := false
	for i, d := range drifts {
		ev := r.event(action, key, by)
		ev.Change = &eventsv1.Change{Kind: "Tool", Name: valid(key.Name + "." + d.Tool), OldHash: d.Old, NewHash: d.New}
		ev.Target.Tool, ev.Target.DefinitionHash = valid(d.Tool), d.New
		if d.Kind == pin.KindInstructions {
			ev.Change.Kind, ev.Change.Name = "Instructions", key.Name
			ev.Target.DefinitionHash = ""
		}
		fill(ev, d)
		if i < mostEvents {
			events = append(events, ev)
		}
		alert = alert || ev.GetAlert()
	}
	if more := len(drifts) - mostEvents; more > 0 {
		ev := r.event(action, key, by)
		ev.Alert = alert
		ev.Change = &eventsv1.Change{Kind: kindServer, Name: key.Name, Reason: fmt.Sprintf("%d more definitions", more)}
		events = append(events, ev)
	}
	return events
}
