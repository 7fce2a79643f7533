// Package record builds audit events, reads them back and gives them the one form in which people and SIEMs see them.
package record

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
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
		Person: c.GetName(), Email: c.GetEmail(), DisplayName: c.GetDisplayName(), Roles: c.GetRoles(),
		Agent: c.GetAgent(), ClientId: c.GetClientId(), TokenId: c.GetTokenId(),
	}
}

// Service is the principal of what a service does by itself.
func Service(name string) *eventsv1.Principal { return &eventsv1.Principal{Service: name} }

// Refused is the decision of what err stopped.
func Refused(err error) *eventsv1.Decision {
	f := fault.From(err)
	return &eventsv1.Decision{Effect: Block, Reason: f.Reason, Sentence: f.Sentence}
}
