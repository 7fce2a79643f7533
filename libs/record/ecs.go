package record

import eventsv1 "headgate.dev/proto/gen/headgate/events/v1"

// ECS is the event as an Elastic Common Schema document: nested objects, Headgate's own fields under "headgate".
func ECS(ev *eventsv1.Event) map[string]any {
	return map[string]any{"event": map[string]any{"id": ev.GetId()}}
}
