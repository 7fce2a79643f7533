package ingest_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index/indextest"
)

// sink keeps what a loop records. It is used by the loop's goroutine until a commit.
type sink struct {
	diary  *diary
	fail   int
	events []*eventsv1.Event
}

func (s *sink) Append(ev *eventsv1.Event, _ journal.Mode) error {
	if s.fail > 0 {
		s.fail--
		s.diary.note("record fails")
		return errDown
	}
	s.diary.note("record")
	s.events = append(s.events, ev)
	return nil
}

func TestWhatIsPutAsideIsRecordedAsAnAlertBeforeTheCommit(t *testing.T) {
	s := newSource(&diary{})
	var all [][]byte
	for range 30 {
		all = append(all, []byte("poison"))
	}
	forged := indextest.Event("1", "acme", "ana", 1, func(ev *eventsv1.Event) { ev.Action = "forged" }).Bytes
	s.send(append(all, forged, indextest.Event("2", "acme", "mallory", 2).Bytes)...)
	x := start(t, s, 2)
	waitCommit(t, s)
	if len(x.told.events) != 1 {
		t.Fatalf("recorded %v", x.told.events)
	}
	ev := x.told.events[0]
	const sentence = "consumer g put 32 records aside: document_parsing_exception (1), refused-by-ledger (1), undecodable (30). " +
		"Look at them with headgate audit replay --dry-run, and bring them back when the cause is gone."
	if record.Alert(ev) != record.AlertDeadLetter || ev.GetTenant() != "system" || ev.GetDecision().GetSentence() != sentence {
		t.Errorf("recorded %v", ev)
	}
	notes := ev.GetFindings().GetNotes()
	if len(notes) != 21 || !strings.Contains(notes[0], "@0: undecodable: ") || notes[20] != "and 12 more" {
		t.Errorf("notes %q", notes)
	}
	diary := s.diary.all()
	if at := slices.Index(diary, "record"); at < 0 || at < slices.Index(diary, "record fails") || at > slices.IndexFunc(diary, func(line string) bool { return strings.HasPrefix(line, "commit") }) {
		t.Errorf("done in the order %q", diary)
	}
}

// The record that something was put aside is told, too, when it is put aside itself; but not the record of that, and so on: that would go on without end. What is not told
// at once is told with what comes next.
func TestARecordOfLettersThatIsPutAsideIsToldAndNotWithoutEnd(t *testing.T) {
	s := newSource(&diary{})
	letters := func(id string) []byte {
		return indextest.Event(id, "system", "mallory", 1, func(ev *eventsv1.Event) { ev.Action = record.AuditAside }).Bytes
	}
	x := start(t, s, 0)
	for i, c := range []struct {
		value []byte
		told  string
	}{
		{letters("1"), "consumer g put 1 records aside: document_parsing_exception (1). "},
		{letters("2"), ""},
		{letters("3"), ""},
		{[]byte("poison"), "consumer g put 3 records aside: document_parsing_exception (2), undecodable (1). "},
		{letters("4"), ""},
	} {
		s.send(c.value)
		waitCommit(t, s)
		if len(s.dead) != i+1 {
			t.Fatalf("message %d: put aside %v", i, s.dead)
		}
		told := ""
		if len(x.told.events) > 0 {
			told, _, _ = strings.Cut(x.told.events[0].GetDecision().GetSentence(), "Look")
		}
		if told != c.told {
			t.Errorf("message %d: recorded %q", i, told)
		}
		x.told.events = nil
	}
}
