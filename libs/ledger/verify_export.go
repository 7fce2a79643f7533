package ledger

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// export verifies an export from its first line on, at constant memory but for the writers' gaps.
func (v *verifier) export(first []byte, e entry, checkpoints []string) error {
	if e.Export == nil {
		v.report.Problem("line 1 is not the beginning of an export: it was dropped or changed")
		return errStop
	}
	if err := v.trust(e, checkpoints); err != nil {
		return err
	}
	if err := v.statement(first, e); err != nil {
		return err
	}
	v.compare(0)
	if err := v.lines(); err != nil {
		return err
	}
	v.finish()
	return nil
}

// statement checks what the log says of the export.
func (v *verifier) statement(first []byte, e entry) error {
	s := e.Export
	v.report.Statement = s
	text, err := statementText(*s)
	if err != nil {
		return err
	}
	_, err = v.keys.openAlone(text + e.Signature)
	again, encodeErr := encode(entry{Export: s, Signature: e.Signature, Checkpoint: e.Checkpoint, Handovers: e.Handovers})
	switch {
	case err != nil: // what follows is still held against the checkpoint, and against no filter
		v.report.Problem("line 1: the export's period, filter and size were changed: their signature does not hold")
		return nil
	case encodeErr != nil || !bytes.Equal(again, first):
		v.report.Problem("line 1 was changed: something was added to it or written otherwise")
		return nil
	case s.Version < 1 || s.Version > ExportVersion || s.Rendering != Rendering:
		v.report.Problem("the export is of form %d %s, this program checks form %d %s: verify it with the version that made it", s.Version, s.Rendering, ExportVersion, Rendering)
	case s.Origin != v.keys.origin:
		v.report.Problem("the export is of the log %q, the key is for %q", s.Origin, v.keys.origin)
	case s.Size != v.report.Checkpoint.Size:
		v.report.Problem("the export covers %d records and its checkpoint %d: the checkpoint was exchanged or the tail cut", s.Size, v.report.Checkpoint.Size)
	default:
		if v.filter, err = ParseFilter(s.Filter); err == nil {
			v.signed = true
			return nil
		}
		v.report.Problem("line 1: %v", err)
	}
	return errStop
}

// lines reads until the log is whole, then what shows places among hashes, and the end.
func (v *verifier) lines() error {
	for {
		text, err := v.next()
		if err != nil {
			return err
		}
		if text == nil {
			v.over()
			return nil
		}
		if v.end != nil {
			v.report.Problem("line %d follows the last line of an export: it was added", v.number)
			continue
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			v.stray("line %d is not JSON: it was changed", v.number)
			v.lost = true
			continue
		}
		if err := v.one(text, l.Ledger); err != nil {
			return err
		}
	}
}

// one reads one line. When its place is not the next one, it goes on with what the line says.
func (v *verifier) one(text []byte, e entry) error {
	size := v.report.Checkpoint.Size
	switch {
	case e.End != nil && v.report.Statement.Version > 1:
		return v.last(text, e)
	case e.Index == nil || *e.Index < 0:
		v.stray("line %d has no place in the log: it was added or changed", v.number)
		v.lost = true
		return nil
	case e.Proof != nil && e.Record == nil && (v.at == size || v.lost):
		v.place(text, e)
		return nil
	case v.at == size, *e.Index >= size:
		v.stray("line %d has record %d, and the export covers %d records: it was added", v.number, *e.Index, size)
		return nil
	case *e.Index < v.at:
		v.stray("line %d has record %d where record %d belongs: it was added or moved", v.number, *e.Index, v.at)
		return nil
	case *e.Index > v.at && !v.lost:
		v.stray("line %d has record %d where record %d belongs: record %d was dropped or moved", v.number, *e.Index, v.at, v.at)
	}
	v.lost, v.at = false, *e.Index+1
	v.allowed(e)
	switch {
	case e.Record != nil:
		v.whole(text, e)
	case e.Head != nil:
		v.head(text, e)
	default:
		return v.hashes(text, e)
	}
	return nil
}

// whole takes a record.
func (v *verifier) whole(text []byte, e entry) {
	if e.Proof != nil {
		v.stray("line %d carries a proof, which a record of an export has not: it was added or changed", v.number)
		return
	}
	head, ev, name, err := v.record(e, text, entry{})
	if err != nil {
		v.broken = cmp.Or(v.broken, v.number) // it is told already
		return
	}
	match := v.filter.Match
	if v.report.Statement.Version == firstForm {
		match = v.filter.matchLoosely
	}
	if !match(ev) {
		v.report.Problem("%s is none that the export's filter wants: it was added", name)
	}
	v.report.Records++
	v.tally.Record(*e.Index)
	v.grow(head, name, e)
}

// head takes a record that was left out.
func (v *verifier) head(text []byte, e entry) {
	name := fmt.Sprintf("record %d (left out)", *e.Index)
	again, err := encode(entry{Index: e.Index, Leaf: e.Leaf, Head: e.Head})
	if e.Head.check() != nil || e.Leaf == nil || *e.Leaf != e.Head.LeafHash() || err != nil || !bytes.Equal(again, text) {
		v.stray("%s was changed: line %d is not what the log has of it", name, v.number)
		return
	}
	v.report.LeftOut++
	v.grow(*e.Head, name, e)
}

func (v *verifier) grow(head Head, name string, e entry) {
	for _, wrong := range v.chains.add(head, *e.Index, name) {
		v.report.Problem("%s", wrong)
	}
	if v.broken > 0 {
		return
	}
	leaf := head.LeafHash()
	if e.Leaf != nil {
		leaf = *e.Leaf // a record that was changed is told already; its place in the tree may still be right
	}
	v.frontier.Append(leaf)
	v.compare(v.frontier.Size() - 1)
}

// hashes takes records that stand as hashes of subtrees.
func (v *verifier) hashes(text []byte, e entry) error {
	again, err := encode(entry{Index: e.Index, Count: e.Count, Hashes: e.Hashes})
	if e.Count <= 0 || e.Count > v.report.Checkpoint.Size-*e.Index || err != nil || !bytes.Equal(again, text) {
		v.stray("line %d was changed: it is not what stands for records that were left out", v.number)
		v.lost = true
		return nil
	}
	v.at = *e.Index + e.Count
	v.hashesAt = v.at
	pieces := Cover(*e.Index, *e.Index+e.Count)
	if len(pieces) != len(e.Hashes) {
		v.stray("line %d was changed: %d records from %d on take %d hashes, it has %d", v.number, e.Count, *e.Index, len(pieces), len(e.Hashes))
		return nil
	}
	if *e.Index == 0 {
		v.prefix = e.Count
	}
	v.hashed = v.hashed || *e.Index > 0 || v.report.Statement.LeftOut == Hashes // then no line has the numbers of what was left out
	v.report.LeftOut += e.Count
	for i, p := range pieces {
		if v.broken > 0 {
			return nil
		}
		before := v.frontier.Size()
		if err := v.frontier.AppendSubtree(p.Level, e.Hashes[i]); err != nil {
			return err
		}
		v.compare(before)
	}
	return nil
}

// place takes a line that shows where a record stands among hashes.
func (v *verifier) place(text []byte, e entry) {
	c := v.report.Checkpoint
	again, err := encode(entry{Index: e.Index, Head: e.Head, Proof: e.Proof})
	if e.Head == nil || e.Head.check() != nil || err != nil || !bytes.Equal(again, text) || *e.Index >= v.prefix ||
		tlog.CheckRecord(*e.Proof, c.Size, c.Root, *e.Index, e.Head.LeafHash()) != nil {
		v.stray("line %d does not show a place in the log: it was added or changed", v.number)
		return
	}
	v.tally.Place(*e.Index)
	for _, wrong := range v.chains.add(*e.Head, *e.Index, fmt.Sprintf("record %d (left out)", *e.Index)) {
		v.report.Problem("%s", wrong)
	}
}

// compare holds the tree against the checkpoints from elsewhere, when it has just grown beyond the size before.
func (v *verifier) compare(before int64) {
	for len(v.known) > 0 && v.known[0].Size <= v.frontier.Size() {
		known := v.known[0]
		v.known = v.known[1:]
		switch {
		case known.Size != v.frontier.Size():
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("the checkpoint of %d records from elsewhere cannot be compared: the export has only hashes of the records %d to %d; one of the whole log can",
				known.Size, before, v.frontier.Size()-1))
		case known.Root != v.frontier.Root():
			v.report.Problem("the log's first %d records are not those of a checkpoint from elsewhere (%s and %s): the log was forked", known.Size,
				Short(v.frontier.Root()), Short(known.Root))
		}
	}
}

// finish checks the tree, and the chains of the writers as far as the export shows them.
func (v *verifier) finish() {
	c := v.report.Checkpoint
	v.report.Writers = len(v.chains)
	if v.broken > 0 {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("from line %d on, the first that is not what it should be, each line was read for itself: the tree, checkpoints from elsewhere and gaps in the numbers of writers could not be looked at", v.broken))
		return
	}
	v.ending()
	if v.frontier.Root() != c.Root {
		v.report.Problem("the records make the tree %s, the checkpoint signs %s: records were changed, added or dropped", Short(v.frontier.Root()), Short(c.Root))
	}
	if v.hashed {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d records stand as hashes: gaps in the numbers of writers were not looked for; an export of the whole tenant shows them", v.report.LeftOut))
		return
	}
	for _, g := range v.chains.gaps(v.prefix == 0) {
		if g.next.index >= v.report.Statement.Settled {
			v.report.Notes = append(v.report.Notes, g.String()+"; it was on its way when the export was made: look for it in a later one")
			continue
		}
		v.report.Problem("%s", g.String())
	}
}
