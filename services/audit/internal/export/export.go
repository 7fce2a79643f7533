// Package export writes what the ledger has for who wants it elsewhere: with proofs, for spreadsheets, for SIEMs. It reads as it goes and keeps nothing.
package export

import (
	"context"

	"golang.org/x/mod/sumdb/note"

	base "headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/ledger"
)

// Emit takes whole lines. The bytes are the receiver's.
type Emit func(lines []byte) error

// Proved is an export with proofs.
type Proved struct {
	View       *ledger.View
	Filter     base.Filter
	Statement  base.Statement
	Checkpoint string
	Handovers  []string
	Signer     note.Signer
	// Next is the index from which on lines are emitted; 0 means all, with the first line.
	Next int64
	// Given is told of each record before its line is emitted; nil for nobody. Its error ends the export.
	Given func(ev *eventsv1.Event) error
}

// Write emits the export: each record from the first to the last is in it, whole, as its head, or among hashes. Its last line says which are whole: also where it is
// continued, all records are looked at.
func (p Proved) Write(ctx context.Context, emit Emit) error {
	p.Statement.Filter, p.Statement.LeftOut = p.Filter.Map(), base.Hashes
	if p.Filter.Wide() {
		p.Statement.LeftOut = base.Heads
	}
	if p.Next == 0 {
		header, err := base.HeaderLine(p.Statement, p.Checkpoint, p.Handovers, p.Signer)
		if err == nil {
			err = emit(header)
		}
		if err != nil {
			return err
		}
	}
	w := &writer{p: p, emit: emit, heads: p.Filter.Wide()}
	start, err := w.all(ctx)
	if err != nil {
		return err
	}
	if !w.heads {
		start = 0 // they are among the other hashes
	}
	end, err := base.EndLine(p.Statement, w.tally.End(start), p.Handovers, p.Signer)
	if err != nil {
		return err
	}
	return emit(end)
}

type writer struct {
	p       Proved
	emit    Emit
	heads   bool
	from    int64 // of what is left out and not yet written
	tracker base.Tracker
	tally   base.Tally
	// Of an export with heads: up to where it is known which records need not be read, and up to where they are those.
	known, unwanted int64
}

// all writes everything between the first line and the last, and says where it started.
func (w *writer) all(ctx context.Context) (int64, error) {
	start, err := w.start()
	if err != nil {
		return 0, err
	}
	for index := start; index < w.p.View.Size; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		skipped, err := w.skip(index)
		if err != nil {
			return 0, err
		}
		if skipped > index {
			index = skipped
			continue
		}
		if err := w.one(index); err != nil {
			return 0, err
		}
		index++
	}
	if err := w.flush(w.p.View.Size); err != nil {
		return 0, err
	}
	return start, w.elsewhere(ctx, start)
}

// start is where the first record may stand that is wanted: what comes before is left out as hashes, also where heads stand for what comes later.
func (w *writer) start() (int64, error) {
	if w.p.Filter.Since.IsZero() {
		return 0, nil
	}
	index, err := w.p.View.Since(w.p.Filter.Since)
	if err != nil || !w.heads {
		return index, err
	}
	return index, w.flush(index)
}

// skip is the beginning of the next block when none of this one's records can be wanted and hashes stand for them; else index.
func (w *writer) skip(index int64) (int64, error) {
	if w.heads || index%ledger.BlockSize != 0 {
		return index, nil
	}
	end, err := w.outside(index)
	return max(index, end), err
}

// outside is where the block of a record ends when none of its records is of the time that is wanted; else 0. The block's records need not be read then.
func (w *writer) outside(index int64) (int64, error) {
	f := w.p.Filter
	if f.Since.IsZero() && f.Until.IsZero() {
		return 0, nil
	}
	from, to, next, err := w.p.View.Block(index)
	if err != nil || next > w.p.View.Size {
		return 0, err
	}
	if !f.Since.IsZero() && to.Before(f.Since) || !f.Until.IsZero() && !from.Before(f.Until) {
		return next, nil
	}
	return 0, nil
}

// one writes a record, or leaves it out.
func (w *writer) one(index int64) error {
	if w.heads {
		if index >= w.known {
			var err error
			if w.unwanted, err = w.outside(index); err != nil {
				return err
			}
			w.known = (index/ledger.BlockSize + 1) * ledger.BlockSize
		}
		if index < w.unwanted {
			head, err := w.p.View.Head(index)
			if err != nil {
				return err
			}
			return w.head(index, head)
		}
	}
	data, err := w.p.View.Record(index)
	if err != nil {
		return err
	}
	head, ev, err := base.HeadOf(data)
	if err != nil {
		return err
	}
	wanted := w.p.Filter.Match(ev)
	if !wanted && !w.heads {
		return nil // it is among the hashes that the next flush writes
	}
	if !wanted {
		return w.head(index, head)
	}
	if err := w.before(index, head); err != nil {
		return err
	}
	w.tally.Record(index)
	return w.line(index, func() ([]byte, error) {
		if w.p.Given != nil {
			if err := w.p.Given(ev); err != nil {
				return nil, err
			}
		}
		return base.RecordLine(index, head, ev, data)
	})
}

// head writes a record that is left out by its head.
func (w *writer) head(index int64, head base.Head) error {
	if err := w.before(index, head); err != nil {
		return err
	}
	return w.line(index, func() ([]byte, error) { return base.HeadLine(index, head) })
}

// before writes what was left out before a line, and follows the writer whose record the line is about.
func (w *writer) before(index int64, head base.Head) error {
	if err := w.flush(index); err != nil {
		return err
	}
	w.from = index + 1
	if w.heads {
		w.tracker.Add(head, index, "")
	}
	return nil
}

// line emits a line unless who continues an export has it.
func (w *writer) line(index int64, render func() ([]byte, error)) error {
	if index < w.p.Next {
		return nil
	}
	text, err := render()
	if err != nil {
		return err
	}
	return w.emit(text)
}

// flush writes hashes for what was left out before end.
func (w *writer) flush(end int64) error {
	from := w.from
	w.from = end
	if from == end {
		return nil
	}
	return w.line(from, func() ([]byte, error) {
		hashes, err := w.p.View.Subtrees(from, end)
		if err != nil {
			return nil, err
		}
		return base.HashesLine(from, end-from, hashes)
	})
}

// Plain emits the wanted records from first to before end, each as render has it. It reads every record: a report says that it is complete, and the times of blocks
// are signed by nobody.
func Plain(ctx context.Context, v *ledger.View, f base.Filter, first, end int64, emit func(index int64, ev *eventsv1.Event) error) error {
	return v.Records(ctx, first, end, func(index int64, data []byte) error {
		_, ev, err := base.HeadOf(data)
		if err != nil || !f.Match(ev) {
			return err
		}
		return emit(index, ev)
	})
}
