package ledger_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/ledger"
	"headgate.dev/libs/record/recordtest"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// inEach calls use with each field of a message that can be long, and of those within it.
func inEach(m protoreflect.Message, path string, use func(path string, of protoreflect.Message, f protoreflect.FieldDescriptor)) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		name := strings.TrimPrefix(path+"."+string(f.Name()), ".")
		switch {
		case f.IsList(), f.Kind() == protoreflect.StringKind:
			use(name, m, f)
		case f.Message() != nil && f.Message().FullName() != "google.protobuf.Timestamp":
			inEach(m.Mutable(f).Message(), name, use)
		}
	}
}

// long fills a field: a text with what takes most characters in JSON, a list with as many of the smallest as fit, or with one such text.
func long(of protoreflect.Message, f protoreflect.FieldDescriptor, size int, many bool) bool {
	text := strings.Repeat("\x01", size)
	switch {
	case !f.IsList():
		of.Set(f, protoreflect.ValueOfString(text))
		return !many
	case f.Kind() == protoreflect.StringKind && many:
		list := of.Mutable(f).List()
		for range size / 2 {
			list.Append(protoreflect.ValueOfString(""))
		}
	case f.Kind() == protoreflect.StringKind:
		of.Mutable(f).List().Append(protoreflect.ValueOfString(text))
	default: // grants and facts
		list := of.Mutable(f).List()
		for range size / 16 {
			one := list.NewElement()
			mostWords(one.Message())
			list.Append(one)
			if !many {
				inEach(one.Message(), "", func(_ string, of protoreflect.Message, f protoreflect.FieldDescriptor) {
					if f.Name() == "holder" || f.Name() == "name" {
						of.Set(f, protoreflect.ValueOfString(text))
					}
				})
				break
			}
		}
	}
	return true
}

// mostWords makes a grant one that says most with fewest bytes.
func mostWords(m protoreflect.Message) {
	if g, ok := m.Interface().(*eventsv1.Grant); ok {
		proto.Merge(g, &eventsv1.Grant{What: "changed"})
		m.Mutable(m.Descriptor().Fields().ByName("until"))
		m.Mutable(m.Descriptor().Fields().ByName("previous_until"))
	}
}

// Whatever a record has of its half MiB, its line is one that the verifier reads. A sixteenth of it each shows how much longer a field becomes.
func TestTheLongestLineIsRead(t *testing.T) {
	const part = 16
	worst, where := 0, ""
	for _, bare := range []bool{true, false} {
		for _, many := range []bool{true, false} {
			base := &eventsv1.Event{Id: "e", Action: "tool-call", Time: recordtest.Filled().GetTime()}
			if !bare {
				base = recordtest.Filled()
			}
			inEach(proto.CloneOf(base).ProtoReflect(), "", func(path string, _ protoreflect.Message, _ protoreflect.FieldDescriptor) {
				ev := proto.CloneOf(base)
				fits := false
				inEach(ev.ProtoReflect(), "", func(other string, of protoreflect.Message, f protoreflect.FieldDescriptor) {
					if other == path {
						fits = long(of, f, journal.MaxRecord/part, many)
					}
				})
				ev.Writer, ev.Sequence, ev.PreviousHash = "edge", 1, nil
				if !fits || path == "writer" {
					return
				}
				e := newLog(t).seal(ev)
				if line := must(t)(ledger.RecordLine(0, e.head, e.ev, e.data)); len(line) > worst {
					worst, where = len(line), path
				}
			})
		}
	}
	if worst > ledger.MaxLine/part || worst < ledger.MaxLine/part/2 {
		t.Errorf("%s makes a line of %d bytes, of at most %d", where, worst*part, ledger.MaxLine)
	}
	t.Logf("the longest: %s, %.1f characters a byte", where, float64(worst)*part/journal.MaxRecord)
	l := newLog(t)
	e := l.event("edge-1", "acme", "ana")
	e.ev.Principal.Agent = strings.Repeat("\x01", journal.MaxRecord-1000)
	l.add(l.seal(e.ev))
	wants(t, verify(t, l.public, l.export(everything)))
	wants(t, verify(t, l.public, [][]byte{l.proof(0)}))
}
