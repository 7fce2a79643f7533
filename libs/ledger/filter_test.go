package ledger_test

import (
	"testing"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// one is an export of one record, as its filter with a text and its form have it.
func one(l *log, text string, form int) [][]byte {
	lines := l.export(everything, func(s *ledger.Statement) { s.Filter = ledger.Filter{Text: text}.Map() })
	return stated(l, lines, func(s map[string]any) { s["version"] = form })
}

// What an older version found by words still holds, though it knew fewer of them, in another order.
func TestExportsByWordsHoldInTheFormThatTheyWereMadeIn(t *testing.T) {
	l := newLog(t)
	e := l.event("edge-1", "acme", "ana")
	e.ev.Principal.DisplayName, e.ev.Principal.TokenId = "Jürgen Müller", "tok-7"
	e.ev.Decision = &eventsv1.Decision{Effect: "block", Rule: "crm/no", Stage: "rules", Sentence: "Ask Ana."}
	l.add(l.seal(e.ev))
	const added, future = "record 0 (event edge-1-1) is none that the export's filter wants: it was added",
		"the export is of form 3 ecs-9.5.0/1, this program checks form 2 ecs-9.5.0/1: verify it with the version that made it"
	for _, c := range []struct {
		text string
		form int
		want []string
	}{
		{"muller", 2, nil}, {"JÜRGEN-Müller", 2, nil}, {"tok-7", 2, nil}, {"7-tok", 2, []string{added}}, {"mallory", 2, []string{added}},
		{"Müller ask-ana", 1, nil}, {"no-ask", 1, nil}, {"no-ask", 2, []string{added}}, {"mallory", 1, []string{added}}, {"tok-7", 3, []string{future}},
	} {
		wants(t, verify(t, l.public, one(l, c.text, c.form)), c.want...)
	}
	header, err := ledger.ParseHeader(l.export(everything, func(s *ledger.Statement) { s.Filter = ledger.Filter{Text: "tok"}.Map() })[0])
	if err != nil || header.Statement.Version != 2 || !header.Current() {
		t.Errorf("an export by words is of form %d, %v", header.Statement.Version, err)
	}
	if header, err = ledger.ParseHeader(one(l, "tok", 1)[0]); err != nil || header.Current() {
		t.Errorf("an export by words of form 1 is current, %v", err)
	}
	if header, err = ledger.ParseHeader(l.export(everything)[0]); err != nil || header.Statement.Version != 1 || !header.Current() {
		t.Errorf("an export without words is of form %d, %v", header.Statement.Version, err)
	}
}
