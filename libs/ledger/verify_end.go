package ledger

import (
	"bytes"
	"fmt"
	"slices"
)

// allowed tells of a line that leaves records out which the export, by what the log signed of it, has whole, or leaves out in another way.
func (v *verifier) allowed(e entry) {
	if e.Record != nil || !v.signed {
		return
	}
	heads, hashes := v.report.Statement.LeftOut == Heads, e.Head == nil
	switch {
	case v.filter == Filter{}:
		v.report.Problem("line %d leaves record %d out, and the export's filter wants every record: it was taken out", v.number, *e.Index)
	case heads && hashes && (*e.Index > 0 || v.filter.Since.IsZero()):
		v.report.Problem("line %d has hashes from record %d on, where each record stands whole or as its head: they were taken out", v.number, *e.Index)
	case !heads && !hashes:
		v.report.Problem("line %d has the head of record %d, where hashes stand for what is left out: it was changed", v.number, *e.Index)
	case !heads && *e.Index > 0 && *e.Index == v.hashesAt && v.report.Statement.Version > 1:
		v.report.Problem("line %d has hashes from record %d on, and the line before it too: one line has them all, it was changed", v.number, *e.Index)
	}
}

// last takes the last line of an export.
func (v *verifier) last(text []byte, e entry) error {
	v.end = e.End
	again, err := encode(entry{End: e.End, Signature: e.Signature, Handovers: e.Handovers})
	if err != nil || !bytes.Equal(again, text) {
		v.report.Problem("line %d was changed: something was added to it or written otherwise", v.number)
		return err
	}
	if !v.signed {
		return nil // told already
	}
	if n := len(v.handovers); len(e.Handovers) < n || !slices.Equal(e.Handovers[:n], v.handovers) {
		v.report.Problem("line %d has other handovers of the log's key than line 1: they were changed", v.number)
		return nil
	}
	if err := v.keys.followExactly(e.Handovers); err != nil {
		v.report.Problem("line %d: %v", v.number, err)
		return nil
	}
	signed, err := endText(*v.report.Statement, *e.End)
	if err == nil {
		if _, wrong := v.keys.openAlone(signed + e.Signature); wrong != nil {
			v.report.Problem("line %d, which says what the export holds, was changed, or is the end of another: its signature does not hold", v.number)
		}
	}
	return err
}

// over tells of an export that ends before its end.
func (v *verifier) over() {
	const goOn = "its tail was cut, or it is not finished yet; headgate audit export --resume goes on with it"
	size := v.report.Checkpoint.Size
	switch {
	case v.at < size && !v.lost:
		v.stray("the export ends after %d of %d records: "+goOn, v.at, size)
	case v.report.Statement.Version > 1 && v.end == nil:
		v.report.Problem("the export has no last line that says what it holds: " + goOn)
	}
}

// ending holds what stands in the export against what its end says.
func (v *verifier) ending() {
	switch {
	case v.end == nil && v.report.Statement.Version == 1 && v.report.LeftOut > 0:
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d records are left out, and exports of form 1 have no signed end: whether the filter wants some of them cannot be told; export them anew", v.report.LeftOut))
	case v.end == nil || !v.signed:
	case v.report.Statement.LeftOut == Heads && v.prefix != v.end.Start:
		v.report.Problem("hashes stand for the first %d records, and the log signed that they do for %d: heads were taken out", v.prefix, v.end.Start)
	case v.tally.records != v.end.Records:
		v.report.Problem("%d records stand whole in the export, and the log signed %d: records were taken out, and what is left stands for them", v.tally.records, v.end.Records)
	case !bytes.Equal(v.tally.End(0).Indexes, v.end.Indexes):
		v.report.Problem("the records that stand whole, or whose places are shown, are not those that the log signed: some were taken out, added or moved")
	}
}
