package serve

import (
	"log/slog"
	"strings"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func TestAJournalThatRefusesIsListed(t *testing.T) {
	w, err := journal.Open(journal.Config{Dir: t.TempDir()}, "trust", slog.New(slog.DiscardHandler), clock.System)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	s := &status{process: &process{journal: w}}
	large := &eventsv1.Event{Request: &eventsv1.Request{Id: strings.Repeat("x", journal.MaxRecord)}}
	if err := w.Append(large, journal.Spool); err == nil {
		t.Fatal("the journal took it")
	}
	if text := s.leansOn(t.Context()); !strings.Contains(text, "[-] journal: The audit journal cannot take the record") {
		t.Errorf("it refuses: %s", text)
	}
	if err := w.Append(&eventsv1.Event{}, journal.Spool); err != nil {
		t.Fatal(err)
	}
	if text := s.leansOn(t.Context()); !strings.Contains(text, "[+] journal: 1 records written") {
		t.Errorf("it takes records again: %s", text)
	}
}
