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

// The record that something was put aside is not recorded again when it is put aside itself: that would go on without end.
func TestARecordOfLettersThatIsPutAsideIsNotRecordedAgain(t *testing.T) {
	s := newSource(&diary{})
	s.send(indextest.Event("1", "system", "mallory", 1, func(ev *eventsv1.Event) { ev.Action = record.AuditAside }).Bytes)
	x := start(t, s, 0)
	waitCommit(t, s)
	if len(s.dead) != 1 || len(x.told.events) != 0 {
		t.Errorf("put aside %v, recorded %v", s.dead, x.told.events)
	}
}
