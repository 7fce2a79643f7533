package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// MaxLine is more than the longest line of an export has: a record of half a MiB, of which each byte stands in its document four times at most, as six characters, and
	// once in base64.
	MaxLine = 32 * 512 << 10
	// maxProblems is how many problems are told one by one.
	maxProblems = 100
)

// Report is what a verification found. It holds when there is no problem.
type Report struct {
	Statement  *Statement // of an export; nil for a proof
	Checkpoint Checkpoint
	// Records were read whole, LeftOut were only counted.
	Records, LeftOut int64
	// Writers is how many writers' chains were followed.
	Writers  int
	Problems []string
	// Notes say what was not checked, and why.
	Notes []string
}

// Holds reports whether nothing is wrong.
func (r *Report) Holds() bool { return len(r.Problems) == 0 }

// Problem adds one. From the hundredth on they are no longer told one by one.
func (r *Report) Problem(format string, args ...any) {
	switch len(r.Problems) {
	case maxProblems:
		r.Problems = append(r.Problems, "there is more; it is not told one by one")
	case maxProblems + 1:
	default:
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// errStop ends a verification whose problem makes the rest meaningless.
var errStop = errors.New("the rest has no meaning")

// Verify reads an export or a proof and says whether it holds, by keys that are trusted. Checkpoints are signed notes of the same log, from another source, as a
// witness: the export must agree with each. The error is that of reading alone.
func Verify(in io.Reader, keys *Keyring, checkpoints ...string) (*Report, error) {
	v := &verifier{keys: keys.Clone(), in: bufio.NewReaderSize(in, 16<<10), chains: chains{}, report: &Report{}}
	first, err := v.next()
	switch {
	case err != nil:
		return v.report, v.ended(err)
	case first == nil:
		v.report.Problem("the file is empty")
		return v.report, nil
	}
	var l line
	if err := json.Unmarshal(first, &l); err != nil {
		if first[0] != '{' {
			v.report.Problem("line 1 is not that of an export with proofs: the file is of a form that carries none (CSV, CEF, a report), or it was changed; make one with headgate audit export --format jsonl")
			return v.report, nil
		}
		v.report.Problem("line 1 is not JSON: it was changed")
		return v.report, nil
	}
	if l.Ledger.Proof != nil {
		err = v.proof(first, l.Ledger, checkpoints)
	} else {
		err = v.export(first, l.Ledger, checkpoints)
	}
	return v.report, v.ended(err)
}

// ended is the error that a caller must know of.
func (v *verifier) ended(err error) error {
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

type verifier struct {
	keys      *Keyring
	in        *bufio.Reader
	number    int // of the line
	report    *Report
	known     []Checkpoint // from elsewhere, by size
	handovers []string     // of the first line
	frontier  Frontier
	chains    chains
	filter    Filter
	signed    bool  // the statement is the log's
	hashed    bool  // hashes stood for records somewhere
	hashesAt  int64 // where the records end that the line before has hashes of
	prefix    int64
	tally     Tally
	end       *End  // what the last line says, once it was read
	at        int64 // which record the next line should have
	lost      bool  // the line before has no place that can be read, so that the next one says where it goes on
	broken    int   // the first line that is not what or where it should be: from there on neither tree nor numbers can be followed; 0 for none
}

// stray tells of a line that is not what or where it should be. Those that follow are read each for itself.
func (v *verifier) stray(format string, args ...any) {
	v.report.Problem(format, args...)
	if v.broken == 0 {
		v.broken = v.number
	}
}

// next returns the next line with its end; nil at the end of the file.
func (v *verifier) next() ([]byte, error) {
	var out []byte
	for {
		part, err := v.in.ReadSlice('\n')
		out = append(out, part...)
		switch {
		case len(out) > MaxLine:
			v.report.Problem("line %d is longer than %d bytes: it is not one of an export", v.number+1, MaxLine)
			return nil, errStop
		case err == nil:
			v.number++
			return out, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(out) == 0:
			return nil, nil
		case errors.Is(err, io.EOF):
			v.report.Problem("line %d is cut in its middle: the file's tail was cut", v.number+1)
			return nil, errStop
		default:
			return nil, err
		}
	}
}

// trust follows the handovers and reads the checkpoint that the file carries, and those from elsewhere.
func (v *verifier) trust(e entry, checkpoints []string) error {
	if err := v.keys.followExactly(e.Handovers); err != nil {
		v.report.Problem("line 1: %v", err)
		return errStop
	}
	v.handovers = e.Handovers
	c, err := v.keys.checkpointAlone(e.Checkpoint)
	if err != nil {
		v.report.Problem("line 1: the checkpoint does not hold: %v", err)
		return errStop
	}
	v.report.Checkpoint = c
	v.known = v.keys.Elsewhere(v.report, c, "", checkpoints)
	return nil
}

// proof verifies a file of one line.
func (v *verifier) proof(first []byte, e entry, checkpoints []string) error {
	if err := v.trust(e, checkpoints); err != nil {
		return err
	}
	more, err := v.next()
	if err != nil {
		return err
	}
	if more != nil {
		v.report.Problem("line 2 follows a proof, which has one line: it was added")
	}
	head, _, name, err := v.record(e, first, entry{Proof: e.Proof, Checkpoint: e.Checkpoint, Handovers: e.Handovers})
	if err != nil {
		return err
	}
	v.report.Records = 1
	c := v.report.Checkpoint
	if *e.Index >= c.Size || tlog.CheckRecord(*e.Proof, c.Size, c.Root, *e.Index, head.LeafHash()) != nil {
		v.report.Problem("%s is not in the log at that place: the proof does not lead to the checkpoint", name)
	}
	for _, known := range v.known {
		if known.Size < c.Size {
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("the checkpoint of %d records from elsewhere cannot be compared with a proof of %d; an export can", known.Size, c.Size))
		}
	}
	return nil
}

// record reads a line that carries a record: its bytes, and everything else in it must be what follows from them, or what else that kind of line has.
func (v *verifier) record(e entry, text []byte, kind entry) (Head, *eventsv1.Event, string, error) {
	if e.Index == nil || *e.Index < 0 || len(e.Record) == 0 {
		v.report.Problem("line %d has no record or no place in the log: it was changed", v.number)
		return Head{}, nil, "", errStop
	}
	head, ev, err := HeadOf(e.Record)
	if err != nil {
		v.report.Problem("line %d: record %d was changed: %v", v.number, *e.Index, err)
		return Head{}, nil, "", errStop
	}
	name := fmt.Sprintf("record %d (event %s)", *e.Index, ev.GetId())
	if e.Leaf == nil || *e.Leaf != head.LeafHash() {
		v.report.Problem("%s was changed: its bytes do not have the hash that the log has", name)
		return head, ev, name, nil
	}
	kind.Index, kind.Leaf, kind.Record = e.Index, e.Leaf, e.Record
	again, err := recordLine(ev, kind)
	if err != nil || !bytes.Equal(again, text) {
		v.report.Problem("%s was changed where people read it: line %d says something else than the record's bytes", name, v.number)
	}
	return head, ev, name, nil
}
