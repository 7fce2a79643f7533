package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"headgate.dev/libs/ledger"
	"headgate.dev/services/audit"
)

// exhibit is one thing to verify: a file, a ledger's folder or a place where a log is published.
type exhibit struct {
	name      string
	ledger    bool
	published bool
	notes     []string // the checkpoints that it carries, unchecked
}

// look finds out what a file or directory is.
func look(name string) (exhibit, error) {
	e := exhibit{name: name}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return e, err
	case !info.IsDir():
		if err := ledger.Regular(name, info); err != nil {
			return e, err
		}
		e.notes, err = noteOf(name)
		return e, err
	}
	e.ledger = audit.IsLedger(name)
	for _, file := range []string{ledger.CheckpointFile, ledger.PublicKeyFile, "tile"} {
		_, err := os.Stat(filepath.Join(name, file))
		e.published = e.published || (err == nil && !e.ledger)
	}
	if !e.ledger && !e.published {
		return e, fmt.Errorf("the directory %s is neither a ledger's folder (records, checkpoints.jsonl) nor a place where a log is published (checkpoint, tile)", name)
	}
	if e.ledger {
		return e, nil // what it publishes below itself is its own word
	}
	witnessed, err := filepath.Glob(filepath.Join(name, ledger.WitnessedDir, "*"))
	if err != nil {
		return e, err
	}
	for _, file := range append(witnessed, filepath.Join(name, ledger.CheckpointFile)) {
		text, err := readNote(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !ledger.IsOdd(err) { // the verifier says what is odd
			return e, err
		}
		if text != "" {
			e.notes = append(e.notes, text)
		}
	}
	return e, nil
}

// readNote reads a file with a checkpoint or a key.
func readNote(name string) (string, error) {
	data, err := ledger.ReadFile(os.DirFS(filepath.Dir(name)), filepath.Base(name), ledger.MaxNote)
	return string(data), err
}

// noteOf is the checkpoint in the first line of an export or a proof; none of what is neither.
func noteOf(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	first, err := bufio.NewReader(io.LimitReader(file, ledger.MaxLine)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if carried := ledger.CarriedCheckpoint(first); carried != "" {
		return []string{carried}, nil
	}
	return nil, nil // the verifier says what is wrong with it
}

// against are the checkpoints of others that this one must agree with: a ledger with all of them; a file, or a place that is behind, with those that are not longer.
func (e exhibit) against(others []exhibit) []string {
	size := int64(-1)
	for _, text := range e.notes {
		if c, err := ledger.UncheckedCheckpoint(text); err == nil {
			size = max(size, c.Size)
		}
	}
	var out []string
	for _, other := range others {
		for _, text := range other.notes {
			if c, err := ledger.UncheckedCheckpoint(text); err == nil && (e.ledger || c.Size <= size) {
				out = append(out, text)
			}
		}
	}
	return out
}

func (e exhibit) verify(ctx context.Context, keys *ledger.Keyring, checkpoints []string) (*ledger.Report, error) {
	switch {
	case e.ledger:
		if odd := oddIn(e.name); odd != nil {
			report := &ledger.Report{}
			report.Problem("%v; the rest was not read", odd)
			return report, nil
		}
		return audit.VerifyLedger(ctx, e.name, keys, checkpoints...)
	case e.published:
		return ledger.VerifyTiles(os.DirFS(e.name), keys, checkpoints...)
	}
	file, err := os.Open(e.name)
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = file.Close() }()
	return ledger.Verify(file, keys, checkpoints...)
}

// oddIn is what in a ledger's folder is no regular file: it has none but these. What cannot be looked at is for the verifier.
func oddIn(dir string) (odd error) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			odd = ledger.Regular(path, info)
		}
		if odd != nil {
			return fs.SkipAll
		}
		return nil
	})
	return odd
}
