package record

import eventsv1 "headgate.dev/proto/gen/headgate/events/v1"

// By is who does something, from where, and in which request of theirs.
type By struct {
	Principal *eventsv1.Principal
	Source    *eventsv1.Source
	Request   *eventsv1.Request
	Trace     *eventsv1.Trace
}

// Itself is what a service does without being asked.
func Itself(service string) By { return By{Principal: Service(service)} }

// Sign puts it into a record and gives that back.
func (b By) Sign(ev *eventsv1.Event) *eventsv1.Event {
	ev.Principal, ev.Source, ev.Request, ev.Trace = b.Principal, b.Source, b.Request, b.Trace
	return ev
}
