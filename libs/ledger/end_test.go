package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/ledger"
)

func TestAnExportOfTheLastHoursShowsWhatCameEarlyAmongHashes(t *testing.T) {
	l := newLog(t)
	a, b, c := l.event("edge-1", "acme", "ana"), l.event("edge-1", "acme", "ana"), l.event("edge-1", "acme", "ana")
	d := l.event("edge-1", "acme", "ana")
	l.add(a, c, b, d) // c came early: it stands among the hashes
	recent := func(i int, _ entry) kind {
		if i < 2 {
			return hash
		}
		return whole
	}
	early := func(s *ledger.Statement) {
		s.Filter = map[string]string{"since": "2026-11-22T12:00:00Z"}
		s.LeftOut = ledger.Heads
	}
	lines := l.export(recent, early)
	s := headerOf(t, lines)
	ends := func(start int64, places ...int64) []byte {
		var tally ledger.Tally
		tally.Record(2)
		tally.Record(3)
		for _, i := range places {
			tally.Place(i)
		}
		return l.end(s, tally.End(start))
	}
	lines[4] = ends(2)
	wants(t, verify(t, l.public, lines), "record 3 of writer edge-1 is missing: it should stand before record 3 (event edge-1-4)")
	p, err := tlog.ProveRecord(4, 1, l)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := must(t)(ledger.ElsewhereLine(1, c.head, p))
	lines[4] = ends(2, 1)
	wants(t, verify(t, l.public, inside(lines, elsewhere)))
	moved := must(t)(ledger.ElsewhereLine(0, c.head, p))
	wants(t, verify(t, l.public, inside(lines, moved)), "line 5 does not show a place in the log: it was added or changed")
	wants(t, verify(t, l.public, lines), "the records that stand whole, or whose places are shown, are not those that the log signed: some were taken out, added or moved",
		"record 3 of writer edge-1 is missing: it should stand before record 3 (event edge-1-4)")
	lines[4] = ends(1, 1)
	wants(t, verify(t, l.public, inside(lines, elsewhere)), "hashes stand for the first 2 records, and the log signed that they do for 1: heads were taken out")
}

func headerOf(t *testing.T, lines [][]byte) ledger.Statement {
	t.Helper()
	statement, err := ledger.ParseStatement(lines[0])
	if err != nil {
		t.Fatal(err)
	}
	return statement
}

// An export that broke off, and is continued after the key was handed over, ends with the new key's word.
func TestAnExportMayEndWithTheNextKey(t *testing.T) {
	l := newLog(t).fill(3)
	begun := l.export(everything)
	private, public, err := ledger.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	word, err := ledger.SignHandover(origin, public, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	l.signer, _ = note.NewSigner(private)
	l.handovers = []string{word}
	rest := l.export(everything)
	lines := append(slices.Clone(begun[:4]), rest[4])
	wants(t, verify(t, l.public, lines))
	const signature = "line 5, which says what the export holds, was changed, or is the end of another: its signature does not hold"
	l.handovers = nil
	wants(t, verify(t, l.public, append(slices.Clone(begun[:4]), l.export(everything)[4])), signature)
	lines = append(slices.Clone(rest[:4]), begun[4])
	wants(t, verify(t, l.public, lines), "line 5 has other handovers of the log's key than line 1: they were changed")
}

// A record that is taken out leaves its hash in the tree, so that only what the log signed at the end tells it from one that was never wanted.
func TestRecordsThatWereTakenOutAreMissed(t *testing.T) {
	l := gapped(newLog(t)) // number 3 of edge-1 is missing before record 4
	full, tenant := l.export(everything), l.export(acme)
	person := l.export(func(_ int, e entry) kind {
		if e.ev.GetPrincipal().GetPerson() == "ana" {
			return whole
		}
		return hash
	})
	recent := l.export(everything, func(s *ledger.Statement) { s.Filter = map[string]string{"since": "2026-11-22T12:00:00Z"} })
	asHead := func(lines [][]byte, at ...int) [][]byte {
		out := slices.Clone(lines)
		for _, i := range at {
			out[i+1] = must(t)(ledger.HeadLine(int64(i), l.entries[i].head))
		}
		return out
	}
	asHashes := func(lines [][]byte, from, end int) [][]byte {
		return slices.Concat(lines[:from+1], [][]byte{l.hashesLine(from, end)}, lines[end+1:])
	}
	old := func(lines [][]byte) [][]byte {
		return stated(l, lines[:len(lines)-1], func(s map[string]any) { s["version"] = 1 })
	}
	const (
		gap  = "record 3 of writer edge-1 is missing: it should stand before record 4 (event edge-1-4)"
		none = "the export has no last line that says what it holds: its tail was cut, or it is not finished yet; headgate audit export --resume goes on with it"
	)
	out := func(line, record int) string {
		return fmt.Sprintf("line %d leaves record %d out, and the export's filter wants every record: it was taken out", line, record)
	}
	for name, c := range map[string]struct {
		lines [][]byte
		want  []string
	}{
		"none":                                {full, []string{gap}},
		"a record of everything, as its head": {asHead(full, 5), []string{out(7, 5), "9 records stand whole in the export, and the log signed 10: records were taken out, and what is left stands for them", gap}},
		"every record, as its head": {asHead(full, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), []string{
			out(2, 0), out(3, 1), out(4, 2), out(5, 3), out(6, 4), out(7, 5), out(8, 6), out(9, 7), out(10, 8), out(11, 9),
			"0 records stand whole in the export, and the log signed 10: records were taken out, and what is left stands for them",
			"record 3 of writer edge-1 is missing: it should stand before record 4 (left out)"}},
		"every record, as hashes": {asHashes(full, 0, 10), []string{out(2, 0), "hashes stand for the first 10 records, and the log signed that they do for 0: heads were taken out"}},
		"a record, as hashes":     {asHashes(full, 4, 5), []string{out(6, 4), "9 records stand whole in the export, and the log signed 10: records were taken out, and what is left stands for them"}},
		"a record of a tenant, as its head": {asHead(tenant, 1), []string{
			"6 records stand whole in the export, and the log signed 7: records were taken out, and what is left stands for them", gap}},
		"every record of a tenant, as its head": {asHead(tenant, 0, 1, 3, 4, 5, 7, 8), []string{
			"0 records stand whole in the export, and the log signed 7: records were taken out, and what is left stands for them",
			"record 3 of writer edge-1 is missing: it should stand before record 4 (left out)"}},
		"a head of a tenant's, as hashes": {asHashes(tenant, 2, 3), []string{
			"line 4 has hashes from record 2 on, where each record stands whole or as its head: they were taken out"}},
		"the beginning of a tenant, as hashes": {asHashes(tenant, 0, 5), []string{
			"line 2 has hashes from record 0 on, where each record stands whole or as its head: they were taken out",
			"hashes stand for the first 5 records, and the log signed that they do for 0: heads were taken out"}},
		"the beginning of a time, as hashes": {asHashes(recent, 0, 5), []string{
			"hashes stand for the first 5 records, and the log signed that they do for 0: heads were taken out"}},
		"a record of a person, as hashes": {[][]byte{person[0], l.hashesLine(0, 2), person[3], person[4], person[5], person[6], person[7], person[8], person[9], person[10], person[11]}, []string{
			"4 records stand whole in the export, and the log signed 5: records were taken out, and what is left stands for them"}},
		"a record of a person, as its head": {asHead(person, 2), []string{
			"line 4 has the head of record 2, where hashes stand for what is left out: it was changed",
			"4 records stand whole in the export, and the log signed 5: records were taken out, and what is left stands for them"}},
		"hashes behind hashes": {[][]byte{person[0], person[1], l.hashesLine(1, 2), l.hashesLine(2, 3), person[4], person[5], person[6], person[7], person[8], person[9], person[10], person[11]}, []string{
			"line 4 has hashes from record 2 on, and the line before it too: one line has them all, it was changed",
			"line 5 has hashes from record 3 on, and the line before it too: one line has them all, it was changed",
			"4 records stand whole in the export, and the log signed 5: records were taken out, and what is left stands for them"}},
		"a line that counts beyond every number": {slices.Insert(slices.Clone(full), 6, []byte(`{"ledger":{"index":5,"count":9223372036854775807}}`+"\n")), []string{
			out(7, 5), "line 7 was changed: it is not what stands for records that were left out", "line 8 has record 5 where record 6 belongs: it was added or moved"}},
		"no end":             {full[:11], []string{none, gap}},
		"another's end":      {append(slices.Clone(full[:11]), tenant[11]), []string{"line 12, which says what the export holds, was changed, or is the end of another: its signature does not hold", "10 records stand whole in the export, and the log signed 7: records were taken out, and what is left stands for them", gap}},
		"an end in between":  {slices.Insert(slices.Clone(full), 11, full[11]), []string{"line 13 follows the last line of an export: it was added", gap}},
		"an end that counts": {replace(full, 11, `"records":10`, `"records":9`), []string{"line 12, which says what the export holds, was changed, or is the end of another: its signature does not hold", "10 records stand whole in the export, and the log signed 9: records were taken out, and what is left stands for them", gap}},
		"words in the end":   {replace(full, 11, `"signature":`, `"checkpoint":"x","signature":`), []string{"line 12 was changed: something was added to it or written otherwise", gap}},
		"form 1":             {old(full), []string{gap}},
		"form 1, a record of everything as its head": {asHead(old(full), 5), []string{out(7, 5), gap}},
		"form 1 with an end":                         {append(old(full), full[11]), []string{"line 12 has no place in the log: it was added or changed"}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			wants(t, verify(t, l.public, c.lines), c.want...)
		})
	}
}

// Among hashes the tree of an earlier size cannot be known: that is no reason to call an export changed. One that can be compared still must agree.
func TestACheckpointThatCannotBeComparedIsNoProblem(t *testing.T) {
	l := newLog(t).fill(10)
	early := l.checkpoint()
	other := l.fork().fillAs("eve", 16).checkpoint()
	l.fill(10)
	lines := l.export(func(int, entry) kind { return hash })
	report := verify(t, l.public, lines, early)
	wants(t, report)
	const note = "the checkpoint of 10 records from elsewhere cannot be compared: the export has only hashes of the records 0 to 15; one of the whole log can"
	if !slices.Contains(report.Notes, note) {
		t.Errorf("notes %q", report.Notes)
	}
	wants(t, verify(t, l.public, lines, early, other), "the log's first 16 records are not those of a checkpoint from elsewhere (*): the log was forked")
}

// What an export of form 1 leaves out may have been taken out, and nobody can tell.
func TestAnExportWithoutAnEndSaysWhatItCannotShow(t *testing.T) {
	l := newLog(t).fill(6)
	for name, c := range map[string]struct {
		how   func(int, entry) kind
		notes []string
	}{
		"everything": {everything, nil},
		"a tenant":   {acme, []string{"2 records are left out, and exports of form 1 have no signed end: whether the filter wants some of them cannot be told; export them anew"}},
	} {
		lines := l.export(c.how)
		report := verify(t, l.public, stated(l, lines[:7], func(s map[string]any) { s["version"] = 1 }))
		wants(t, report)
		if !slices.Equal(report.Notes, c.notes) {
			t.Errorf("%s: %q", name, report.Notes)
		}
	}
}
