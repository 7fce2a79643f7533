package ledger_test

import (
	"testing"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// one is an export of one record, as its filter with a text and its form have it.
func one(l *log, text string, form int) [][]byte {
	lines := l.export(everything, func(s *ledger.Statement) { s.Filter = ledger.Filter{Text: text}.Map() })
	if form == 1 { // had no end
		lines = lines[:len(lines)-1]
	}
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
}
