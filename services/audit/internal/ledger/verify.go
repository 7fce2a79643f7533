package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	base "headgate.dev/libs/ledger"
)

// IsDir reports whether a directory looks like that of a ledger.
func IsDir(dir string) bool {
	for _, name := range []string{historyFile, "records"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// VerifyDir reads the directory of a ledger whose service need not run, and changes nothing in it. What was signed must be as it was, by keys that are trusted, whatever
// the directory says of itself; and what it has published below itself must be of the same log. Checkpoints are of the same log from elsewhere. The error is that of
// reading alone.
func VerifyDir(ctx context.Context, dir string, keys *base.Keyring, checkpoints ...string) (*base.Report, error) {
	v := &verifier{dir: dir, keys: keys.Clone(), report: &base.Report{}, skip: map[int]bool{}}
	if err := v.trust(); err != nil || !v.report.Holds() {
		return v.report, err
	}
	if err := v.readHistory(); err != nil || v.report.Checkpoint.Origin == "" {
		return v.report, err
	}
	known := v.keys.Elsewhere(v.report, v.report.Checkpoint, historyFile, checkpoints)
	if err := v.records(ctx, known); err != nil {
		return v.report, err
	}
	return v.report, v.published()
}

type verifier struct {
	dir     string
	keys    *base.Keyring
	older   bool         // keys from before the trusted one signed first
	lines   int          // of the history, whatever is appended to it meanwhile
	read    int64        // where these lines end
	skip    map[int]bool // lines of it that tell nothing
	last    Signed
	settled int64 // how many records it had, by its times, minutes before it was signed last: what was written until then must have arrived
	pace    pace
	report  *base.Report
	unread  error // why the history could not be read again
}

// trust follows the handovers. The first ones may be from before the trusted key.
func (v *verifier) trust() error {
	place := os.DirFS(v.dir)
	first, err := fs.ReadFile(place, fmt.Sprintf(base.HandoverFile, handoverFirst))
	v.older = err == nil && v.keys.Clone().Follow(string(first)) != nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := v.keys.FollowFiles(place); err != nil {
		v.report.Problem("%v", err)
		return nil
	}
	public, err := fs.ReadFile(place, base.PublicKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if text := strings.TrimSpace(string(public)); err == nil && !v.keys.Trusts(text) {
		v.report.Problem("%s is not the key that is trusted, and no handover leads from that to it: this is another log, its key was exchanged, or a handover is missing", base.PublicKeyFile)
	}
	return err
}

// readHistory reads every checkpoint that was signed. The last one says how long the log is.
func (v *verifier) readHistory() error {
	h, err := openHistory(v.dir)
	if err != nil {
		return err
	}
	defer func() { _ = h.close() }()
	unsure, signed := 0, false
	for {
		s, wrong, err := h.next()
		if wrong != nil && errors.Is(wrong, errCutLine) {
			s, wrong, err = h.written()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if wrong != nil && errors.Is(wrong, errCutLine) {
			v.report.Problem("%s: line %d %v", historyFile, h.number+1, wrong)
			break
		}
		if len(v.skip) == mostSkipped {
			v.report.Problem("%s: %d lines do not hold; what follows was not read", historyFile, mostSkipped)
			break
		}
		v.lines, v.read = h.number, h.at
		if wrong != nil {
			v.report.Problem("%s: line %d %v", historyFile, h.number, wrong)
			v.skip[h.number] = true
			continue
		}
		switch _, err := v.keys.Checkpoint(s.Note); {
		case err == nil:
			signed = true
		case v.older && !signed && s.Origin == v.keys.Origin():
			unsure++
		default:
			v.report.Problem("%s: line %d, the checkpoint of %d records, does not hold: %v", historyFile, h.number, s.Size, err)
			v.skip[h.number] = true
			continue
		}
		v.follows(s, h.number)
		v.last = s
	}
	switch {
	case v.last.Origin == "":
		v.report.Problem("%s has no checkpoint: nothing was signed yet, or it was dropped", historyFile)
		return nil
	case !signed:
		v.report.Problem("%s has no checkpoint that the trusted key or one it was handed over to has signed", historyFile)
	case unsure > 0:
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d checkpoints are from before the trusted key; whether its predecessors signed them shows the log's first key", unsure))
	}
	v.report.Checkpoint = v.last.Checkpoint
	return nil
}

// again reads the same checkpoints once more, to hold the tree against each.
func (v *verifier) again(h *history) func() (Signed, bool) {
	var before Signed
	line := 0
	return func() (Signed, bool) {
		if line > 0 {
			v.pace.checkpoint(before, line)
		}
		for h.number < v.lines {
			s, wrong, err := h.next()
			if err != nil {
				v.unread = err
				break
			}
			if wrong != nil || v.skip[h.number] {
				continue
			}
			if !s.At.After(v.last.At.Add(-arrival)) {
				v.settled = s.Size
			}
			before, line = s, h.number
			return s, true
		}
		return Signed{}, false
	}
}

// follows tells checkpoints that do not stand in the order in which they were signed.
func (v *verifier) follows(s Signed, number int) {
	switch last := v.last; {
	case last.Origin == "":
	case s.Size < last.Size:
		v.report.Problem("%s: line %d has a checkpoint of %d records after one of %d: lines were moved, or an older log was put in this one's place", historyFile, number, s.Size, last.Size)
	case s.Size == last.Size && s.Root != last.Root:
		v.report.Problem("%s: line %d has another tree of %d records than the one before: the log was forked", historyFile, number, s.Size)
	case s.At.Before(last.At):
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%s: line %d was signed before the one above it, by its time: the clock was set back, or it was changed", historyFile, number))
	}
}

// readHistoryLine reads what was written, and nothing else.
func readHistoryLine(text []byte) (Signed, error) {
	var l historyLine
	if err := json.Unmarshal(text, &l); err != nil {
		return Signed{}, errors.New("is not JSON")
	}
	if again, err := json.Marshal(l); err != nil || !bytes.Equal(again, text) {
		return Signed{}, errors.New("is not as audit writes it")
	}
	c, err := base.UncheckedCheckpoint(l.Checkpoint)
	if err != nil {
		return Signed{}, errors.New("has no checkpoint")
	}
	return Signed{Checkpoint: c, Note: l.Checkpoint, At: l.At}, nil
}

// records reads what was signed.
func (v *verifier) records(ctx context.Context, known []base.Checkpoint) error {
	size := v.report.Checkpoint.Size
	f, err := v.files()
	if f == nil {
		return err
	}
	defer func() { _ = f.close() }()
	if !v.long(f) {
		return nil
	}
	h, err := openHistory(v.dir)
	if err != nil {
		return err
	}
	defer func() { _ = h.close() }()
	elsewhere := make([]Signed, len(known))
	for i, c := range known {
		elsewhere[i].Checkpoint = c
	}
	c := checker{view: &View{Size: size, files: f}, signed: []*source{newSource(v.again(h)), listed(elsewhere)}, seen: v.pace.record, problem: v.report.Problem}
	if v.report.Records, err = c.all(ctx); err != nil || v.unread != nil {
		return errors.Join(err, v.unread)
	}
	v.report.Writers = c.chains.Writers()
	v.report.Notes = append(v.report.Notes, v.pace.notes()...)
	if err := v.gaps(ctx, &c); err != nil {
		return err
	}
	if rest := f.segments.end() - c.end; c.end >= 0 && rest > 0 {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d bytes follow the last record that was signed: what they are cannot be said; start audit, which signs records that are whole", rest))
	}
	more, err := f.unsigned(size)
	if err != nil {
		return err
	}
	if len(more) > 0 {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%s: bytes follow what belongs to the records that were signed: what they are cannot be said, and nothing that was signed rests on them", strings.Join(more, ", ")))
	}
	return nil
}

// gaps tells numbers that are missing. They should have come minutes before the end: by the times of checkpoints, or, since nobody signs these, by those of the records.
func (v *verifier) gaps(ctx context.Context, c *checker) error {
	all, missing := c.chains.Gaps(c.view.Size), c.chains.Gaps(v.settled)
	for _, gap := range missing {
		v.report.Problem("%s", gap)
	}
	if len(all) == len(missing) {
		return nil
	}
	settled, err := arrived(ctx, c.view)
	if err != nil {
		return err
	}
	told, come := set(missing), set(c.chains.Gaps(settled))
	for _, gap := range all {
		switch {
		case told[gap]:
		case come[gap]:
			v.report.Problem("%s; by the times in %s, which nobody signs, it may have been on its way, but records behind it happened more than %s later", gap, historyFile, arrival)
		default:
			v.report.Notes = append(v.report.Notes, gap+"; it may have been on its way when the log was signed last: start audit and verify once more")
		}
	}
	return nil
}

func set(all []string) map[string]bool {
	out := make(map[string]bool, len(all))
	for _, one := range all {
		out[one] = true
	}
	return out
}

// long tells a file that is too short for what was signed: it would be told of each record otherwise.
func (v *verifier) long(f *files) bool {
	size := v.report.Checkpoint.Size
	for _, one := range []struct {
		file *flat
		want int64
	}{{f.spots, size * spotBytes}, {f.hashes, tlog.StoredHashCount(size) * tlog.HashSize}, {f.times, (size + BlockSize - 1) / BlockSize * blockBytes}} {
		if one.file.size < one.want {
			v.report.Problem("%s has %d bytes, and the %d records that were signed take %d: its tail was cut", filepath.Base(one.file.file.Name()), one.file.size, size, one.want)
			return false
		}
	}
	return true
}

// files opens the ledger's files without writing; nil when they are not there.
func (v *verifier) files() (*files, error) {
	f := &files{dir: v.dir, writers: &slots{dir: filepath.Join(v.dir, "writers"), mode: toRead, files: map[string]*os.File{}}}
	err := f.openFlats(toRead)
	if err == nil {
		f.segments, err = listSegments(filepath.Join(v.dir, "records"), toRead)
	}
	if err == nil {
		return f, nil
	}
	_ = f.close()
	missing, cut := errors.AsType[*fs.PathError](err)
	switch {
	case cut && errors.Is(err, fs.ErrNotExist):
		v.report.Problem("%s is missing: it was dropped", filepath.Base(missing.Path))
		return nil, nil
	case errors.As(err, new(*missingSegment)):
		v.report.Problem("%v", err)
		return nil, nil
	}
	return nil, err
}

// published reads what the ledger publishes below itself: the last checkpoint, and the tiles of its heads. Where the service runs, it may not have published yet what it
// signed, or have signed more since the history was read.
func (v *verifier) published() error {
	place := os.DirFS(filepath.Join(v.dir, publicDir))
	before, _ := base.ReadFile(place, base.CheckpointFile, base.MaxNote)
	below, err := base.VerifyTiles(place, v.keys)
	if err != nil {
		return err
	}
	if below.Checkpoint.Size < v.last.Size && changes(place, before) {
		if below, err = base.VerifyTiles(place, v.keys); err != nil {
			return err
		}
	}
	newer, err := v.signedSince()
	if err == nil && below.Checkpoint.Size > v.last.Size && v.agrees(below, newer) {
		if below, err = base.VerifyTiles(place, v.keys, v.last.Note); err == nil { // what was signed since continues what was read here
			newer, err = v.signedSince()
		}
	}
	if err != nil {
		return err
	}
	v.tell(below, newer)
	return v.sameKeys(place)
}

// sameKeys holds the key and the handovers that are published against the ledger's own. They are written before the checkpoint is.
func (v *verifier) sameKeys(place fs.FS) error {
	if text, err := base.ReadFile(place, base.CheckpointFile, base.MaxNote); err != nil || string(text) != v.last.Note {
		return nil // told already, or a service goes on
	}
	own := os.DirFS(v.dir)
	for n, name := 0, base.PublicKeyFile; ; n, name = n+1, fmt.Sprintf(base.HandoverFile, n+handoverFirst) {
		want, err := base.ReadFile(own, name, base.MaxNote)
		if errors.Is(err, fs.ErrNotExist) && n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		got, err := base.ReadFile(place, name, base.MaxNote)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			v.report.Problem("%s/%s is missing: it was dropped", publicDir, name)
		case base.IsOdd(err): // told already
		case err != nil:
			return err
		case !bytes.Equal(got, want):
			v.report.Problem("%s/%s is not the ledger's own %s: one of them was changed", publicDir, name, name)
		}
	}
}

// changes reports whether another checkpoint is published within a moment.
func changes(place fs.FS, before []byte) (changed bool) {
	base.Await(func() bool {
		now, err := base.ReadFile(place, base.CheckpointFile, base.MaxNote)
		changed = err == nil && !bytes.Equal(now, before)
		return changed
	})
	return changed
}

// agrees reports whether what is published was signed since the history was read.
func (v *verifier) agrees(below *base.Report, newer []Signed) bool {
	return slices.ContainsFunc(newer, func(s Signed) bool { return s.Checkpoint == below.Checkpoint })
}

// signedSince reads what was signed since the history was read.
func (v *verifier) signedSince() (newer []Signed, err error) {
	h, err := openHistory(v.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.close() }()
	h.at = v.read
	if err := h.more(); err != nil {
		return nil, err
	}
	for {
		s, wrong, err := h.next()
		if errors.Is(err, io.EOF) || wrong != nil {
			return newer, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := v.keys.Checkpoint(s.Note); err == nil {
			newer = append(newer, s)
		}
	}
}

func (v *verifier) tell(below *base.Report, newer []Signed) {
	for _, p := range below.Problems {
		v.report.Problem("%s: %s", publicDir, p)
	}
	last, c := v.last, below.Checkpoint
	switch {
	case c.Origin == "" || c.Size > last.Size && v.agrees(below, newer): // told already, or of a service that goes on
	case c.Size > last.Size:
		v.report.Problem("%s/%s signs %d records, and %s ends with %d: an older state of the ledger was put back, or its tail was cut", publicDir, base.CheckpointFile, c.Size, historyFile, last.Size)
	case c.Size < last.Size:
		v.report.Problem("%s ends with a checkpoint of %d records (%s), and %s/%s signs %d: an older one was put back, or the last one was not published whole; start audit, which publishes it, and verify once more",
			historyFile, last.Size, last.At.Format(time.RFC3339), publicDir, base.CheckpointFile, c.Size)
	case c.Root != last.Root:
		v.report.Problem("%s/%s and %s sign two trees of %d records: the log was forked", publicDir, base.CheckpointFile, historyFile, c.Size)
	}
}
