package journal

import (
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// TestEveryFieldOfAnEventIsWritten fails when the message has a field that the encoder does not know.
func TestEveryFieldOfAnEventIsWritten(t *testing.T) {
	for _, length := range []int{1, 40, 200, 20_000} {
		ev := &eventsv1.Event{}
		if set := fill(ev.ProtoReflect(), func(protoreflect.FieldDescriptor) bool { return true }, length); set < 60 {
			t.Fatalf("only %d fields were set: the walk is broken", set)
		}
		roundTrip(t, ev)
	}
}

func TestAnyEventIsReadAsItWasWritten(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		ev := &eventsv1.Event{}
		fill(ev.ProtoReflect(), func(protoreflect.FieldDescriptor) bool { return chance.IntN(2) == 0 }, chance.IntN(300))
		roundTrip(t, ev)
	}
	roundTrip(t, &eventsv1.Event{})
	roundTrip(t, &eventsv1.Event{DurationNs: -1, Target: &eventsv1.Target{}, Request: &eventsv1.Request{HttpStatus: -5}})
}

func roundTrip(t *testing.T, ev *eventsv1.Event) {
	t.Helper()
	ev.Writer, ev.Sequence, ev.PreviousHash = "", 0, nil // the journal adds them itself
	before := []byte("before")
	encoded := appendEvent(before[:len(before):len(before)], ev)
	if !strings.HasPrefix(string(encoded), "before") {
		t.Fatal("what was there is gone")
	}
	var read eventsv1.Event
	if err := proto.Unmarshal(encoded[len(before):], &read); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(ev, &read) {
		t.Fatalf("%v\nwas read as\n%v", ev, &read)
	}
	standard, err := proto.Marshal(ev)
	if err != nil || len(standard) != len(encoded)-len(before) {
		t.Errorf("it takes %d bytes, %d in the standard encoding (%v)", len(encoded)-len(before), len(standard), err)
	}
}

func TestTextThatIsNotUTF8IsMadeSo(t *testing.T) {
	var read eventsv1.Event
	ev := &eventsv1.Event{Action: "a\xffb", Principal: &eventsv1.Principal{Roles: []string{"ok", "\xc3\x28"}}}
	if err := proto.Unmarshal(appendEvent(nil, ev), &read); err != nil {
		t.Fatal(err)
	}
	if read.GetAction() != "a\uFFFDb" || read.GetPrincipal().GetRoles()[1] != "\uFFFD(" {
		t.Errorf("%v", &read)
	}
}

// fill sets the fields that wanted picks, and counts them.
func fill(m protoreflect.Message, wanted func(protoreflect.FieldDescriptor) bool, length int) int {
	count := 0
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		f := all.Get(i)
		if !wanted(f) {
			continue
		}
		count++
		switch {
		case f.IsList() && f.Message() != nil:
			list := m.Mutable(f).List()
			for range 3 { // one may be empty, where few fields are wanted
				one := list.NewElement()
				count += fill(one.Message(), wanted, length)
				list.Append(one)
			}
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(protoreflect.ValueOfString(string(f.Name())))
			list.Append(protoreflect.ValueOfString(""))
			list.Append(protoreflect.ValueOfString(strings.Repeat("é", length)))
		case f.Kind() == protoreflect.MessageKind:
			count += fill(m.Mutable(f).Message(), wanted, length)
		default:
			m.Set(f, scalar(f, i, length))
		}
	}
	return count
}

func scalar(f protoreflect.FieldDescriptor, i, length int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(f.Name()) + strings.Repeat("x", length))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.Name()))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(-100 * (i + 1)))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(1) << (i + 20))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(1) << (i + 20))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(i%2) * 62.5) // 0 is a value of what may be unset
	default:
		panic("the event has a field of a kind that it had not before: " + f.Kind().String())
	}
}
