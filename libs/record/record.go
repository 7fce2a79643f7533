// Package record builds audit events, reads them back and gives them the one form in which people and SIEMs see them.
package record

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// The effects of a decision, as records name them.
const (
	Allow    = "allow"
	Block    = "block"
	Escalate = "escalate"
	Modify   = "modify"
)

// SystemTenant is the tenant of what is about no tenant, and of callers who are not known.
const SystemTenant = "system"

// Sink takes events; a *journal.Writer is one. An error means that the event is not recorded and that what it was to record must not happen.
type Sink interface {
	Append(ev *eventsv1.Event, mode journal.Mode) error
}

// Decode reads the bytes of a journaled event. One that does not say what happened, or has no id, is refused.
func Decode(data []byte) (*eventsv1.Event, error) {
	ev := &eventsv1.Event{}
	if err := proto.Unmarshal(data, ev); err != nil {
		return nil, fmt.Errorf("the bytes are not an event: %w", err)
	}
	switch {
	case ev.GetId() == "":
		return nil, fmt.Errorf("the event has no id")
	case ev.GetAction() == "":
		return nil, fmt.Errorf("event %s does not say what happened", ev.GetId())
	case ev.GetTime() == nil:
		return nil, fmt.Errorf("event %s does not say when it happened", ev.GetId())
	case ev.GetTime().CheckValid() != nil:
		return nil, fmt.Errorf("event %s has no valid time: %w", ev.GetId(), ev.GetTime().CheckValid())
	}
	return ev, nil
}

// Hash is what the next record of the writer carries as previous_hash.
func Hash(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}

// Person is the principal of what a person does, through an agent or without one.
func Person(c *identityv1.Caller) *eventsv1.Principal {
	return &eventsv1.Principal{
		Tenant: c.GetTenant(), Person: c.GetName(), Email: c.GetEmail(), DisplayName: c.GetDisplayName(), Roles: c.GetRoles(),
		Agent: c.GetAgent(), ClientId: c.GetClientId(), TokenId: c.GetTokenId(),
	}
}

// PersonOf is who did it, by a name that nobody else has in the tenant's records: somebody of another tenant has that before theirs, as system/admin.
func PersonOf(ev *eventsv1.Event) string {
	p := ev.GetPrincipal()
	if p.GetPerson() == "" || p.GetTenant() == "" || p.GetTenant() == ev.GetTenant() {
		return p.GetPerson()
	}
	return p.GetTenant() + "/" + p.GetPerson()
}

// Hiding is the stage that refuses what looks to the caller as if it were not there, by any of Hidings. Records from before they say so themselves are known by it.
const Hiding = "resolve"

// Hidings are the reasons for which something looks as if it were not there.
func Hidings() []faultv1.Reason {
	return []faultv1.Reason{
		faultv1.Reason_REASON_UNKNOWN_TOOL, faultv1.Reason_REASON_NOT_GRANTED, faultv1.Reason_REASON_BLOCK_LISTED, faultv1.Reason_REASON_QUARANTINED,
		faultv1.Reason_REASON_NOT_APPROVED, faultv1.Reason_REASON_DEFINITION_CHANGED, faultv1.Reason_REASON_AGENT,
	}
}

// Told reports whether who called may read the record: they may not where they were told that what they called does not exist.
func Told(ev *eventsv1.Event) bool {
	d := ev.GetDecision()
	return !d.GetHidden() && d.GetReason() != faultv1.Reason_REASON_UNKNOWN_TOOL && (d.GetStage() != Hiding || !slices.Contains(Hidings(), d.GetReason()))
}

// Service is the principal of what a service does by itself.
func Service(name string) *eventsv1.Principal { return &eventsv1.Principal{Service: name} }

// Refused is the decision of what err stopped.
func Refused(err error) *eventsv1.Decision {
	f := fault.From(err)
	return &eventsv1.Decision{Effect: Block, Reason: f.Reason, Sentence: f.Sentence}
}
