// Package recordtest makes events in which every field is set, so that a test of a mapping misses none: a field that is added to the schema is in them.
package recordtest

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// at is when every event of the tests happened.
func at() *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 11, 22, 10, 15, 30, 123_000_000, time.UTC))
}

// Filled is an event in which every field has a value, also those of the messages in it.
func Filled() *eventsv1.Event {
	ev := &eventsv1.Event{}
	fill(ev.ProtoReflect())
	ev.Source.Ip, ev.Target.Address, ev.Request.Id = "203.0.113.7", "tickets.acme.example:443", `"r-17"`
	return ev
}

func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			for n := range 2 {
				list.Append(value(f, list.NewElement, n))
			}
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.Timestamp":
			m.Set(f, protoreflect.ValueOfMessage(at().ProtoReflect()))
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, value(f, nil, 0))
		}
	}
}

func value(f protoreflect.FieldDescriptor, made func() protoreflect.Value, n int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(fmt.Sprintf("%s-%d", f.Name(), n))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{0xde, 0xad, byte(n)})
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(values.Len() - 1).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n) + 7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n) + 7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n) + 7)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n) + 0.5)
	case protoreflect.MessageKind:
		one := made()
		fill(one.Message())
		return one
	default:
		panic(fmt.Sprintf("recordtest: no value for %s of kind %s", f.FullName(), f.Kind()))
	}
}

// Every is at least one event of each action, phase, outcome and effect, with every field set, and each with an id of its own. What leaves one field out so
// that another is used is among them: a prompt, a call of our own API, a service that acts by itself, an upstream without a port.
func Every() []*eventsv1.Event {
	var out []*eventsv1.Event
	add := func(change func(ev *eventsv1.Event)) {
		ev := Filled()
		change(ev)
		ev.Id = fmt.Sprintf("0197a3c4-0000-7000-8000-%012d", len(out))
		ev.Sequence = uint64(len(out)) + 1
		out = append(out, ev)
	}
	for _, action := range record.Actions() {
		for _, phase := range []eventsv1.Phase{eventsv1.Phase_PHASE_UNSPECIFIED, eventsv1.Phase_PHASE_STARTED, eventsv1.Phase_PHASE_FINAL} {
			for _, outcome := range []eventsv1.Outcome{eventsv1.Outcome_OUTCOME_SUCCESS, eventsv1.Outcome_OUTCOME_FAILURE, eventsv1.Outcome_OUTCOME_UNKNOWN} {
				for _, effect := range []string{"", record.Allow, record.Block, record.Escalate, record.Modify} {
					add(func(ev *eventsv1.Event) {
						ev.Action, ev.Phase, ev.Outcome, ev.Decision.Effect = action, phase, outcome, effect
					})
				}
			}
		}
	}
	for _, change := range []func(ev *eventsv1.Event){
		func(ev *eventsv1.Event) { ev.Request.Method = "prompts/get" },
		func(ev *eventsv1.Event) {
			ev.Request.Method, ev.Request.Endpoint = "Approve", "/headgate.trust.v1.TrustService/Approve"
		},
		func(ev *eventsv1.Event) { ev.Request.Method = "POST" },
		func(ev *eventsv1.Event) { ev.Principal = record.Service("trust") },
		func(ev *eventsv1.Event) { ev.Target.Address = "stdio:git" },
		func(ev *eventsv1.Event) { ev.Source.Ip = "not an address" },
		func(ev *eventsv1.Event) { ev.Tenant = "" },
		func(ev *eventsv1.Event) { ev.Decision, ev.Change, ev.Alert = nil, nil, false },
		moved,
	} {
		add(change)
	}
	return out
}

// moved has what is only in a record where there is something to tell: an answer that took a minute, a score that fell to nothing, and each thing that
// can happen to a right.
func moved(ev *eventsv1.Event) {
	nothing, before := 0.0, 62.5
	ev.Approval.State, ev.Approval.AskedAt = record.ApprovalGranted, timestamppb.New(at().AsTime().Add(-time.Minute))
	ev.Trust.Score, ev.Trust.PreviousScore = &nothing, &before
	soon := timestamppb.New(at().AsTime().Add(time.Hour))
	ev.Grants = []*eventsv1.Grant{
		{What: record.GrantGiven, Holder: "person:ana", Right: "role:support"},
		{What: record.GrantTaken, Holder: "group:night-shift", Right: "role:support", Until: soon},
		{What: record.GrantChanged, Holder: "role:support", Right: "call tickets.get_ticket", Until: soon},
	}
}

// Bytes is an event as a journal has it.
func Bytes(ev *eventsv1.Event) []byte {
	data, err := proto.Marshal(ev)
	if err != nil {
		panic(err)
	}
	return data
}
