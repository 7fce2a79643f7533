package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	base "headgate.dev/libs/ledger"
)

const historyFile = "checkpoints.jsonl"

// Signed is a checkpoint as it was signed once.
type Signed struct {
	base.Checkpoint

	Note string
	At   time.Time
}

// historyLine is one checkpoint in the history.
type historyLine struct {
	At         time.Time `json:"at"`
	Checkpoint string    `json:"checkpoint"`
}

// readHistory reads all checkpoints that were signed. A last line that was not written whole was not published either, and is cut.
func readHistory(dir string) ([]Signed, error) {
	path := filepath.Join(dir, historyFile)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unusable(dir, err)
	}
	defer func() { _ = file.Close() }()
	var out []Signed
	var whole int64
	for r := bufio.NewReader(file); ; {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out, file.Truncate(whole)
		}
		if err != nil {
			return nil, unusable(dir, err)
		}
		whole += int64(len(text))
		var l historyLine
		strict := json.NewDecoder(bytes.NewReader(text))
		strict.DisallowUnknownFields()
		c, err := base.Checkpoint{}, strict.Decode(&l)
		if err == nil {
			c, err = base.UncheckedCheckpoint(l.Checkpoint)
		}
		if err != nil {
			return nil, broken("The ledger's history %s has a line that is no checkpoint. Restore it from a copy.", path)
		}
		out = append(out, Signed{Checkpoint: c, Note: l.Checkpoint, At: l.At})
	}
}

// signedSize is how many records the last checkpoint covers. The caller holds the lock.
func (l *Ledger) signedSize() int64 {
	if len(l.history) == 0 {
		return -1
	}
	return l.history[len(l.history)-1].Size
}

// Checkpoint signs the log as it is, when it has grown, and publishes that everywhere. Where one place cannot be written, the others are, and the error says so.
func (l *Ledger) Checkpoint() error {
	if err := l.signGrown(); err != nil {
		return err
	}
	return errors.Join(slices.Collect(maps.Values(l.publish(l.folders)))...)
}

// Sign signs the log as it is, when it has grown, and publishes that below its own directory, so that both say the same; the other places have time until the next checkpoint.
func (l *Ledger) Sign() error {
	if err := l.signGrown(); err != nil {
		return err
	}
	own := l.folders[0]
	return l.publish(l.folders[:1])[own]
}

func (l *Ledger) signGrown() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil || l.torn != nil || l.frontier.Size() == l.signedSize() {
		return nil
	}
	first := len(l.history) == 0
	if !first {
		if err := l.files.sync(l.frontier.Size()); err != nil {
			return wrap("bring the log to the disk", err)
		}
	}
	c := base.Checkpoint{Origin: l.keys.signer.Name(), Size: l.frontier.Size(), Root: l.frontier.Root()}
	if err := l.sign(c, l.keys.signer); err != nil || !first {
		return err
	}
	// A state without a checkpoint means that checkpoints were taken away, so the first comes before it; without a state, all is derived from the records.
	return wrap("bring the log to the disk", l.files.sync(l.frontier.Size()))
}

// sign remembers a checkpoint with the signature of that key. The caller holds the lock.
func (l *Ledger) sign(c base.Checkpoint, signer note.Signer) error {
	text, err := base.SignCheckpoint(c, signer)
	if err != nil {
		return err
	}
	at := l.now().UTC()
	data, err := json.Marshal(historyLine{At: at, Checkpoint: text})
	if err != nil {
		return err
	}
	if err := appendLine(filepath.Join(l.cfg.Dir, historyFile), data); err != nil {
		return wrap("remember the checkpoint", err)
	}
	l.history = append(l.history, Signed{Checkpoint: c, Note: text, At: at})
	return nil
}

func appendLine(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		if _, err = file.Write(append(data, '\n')); err == nil {
			err = file.Sync()
		}
		if err != nil {
			err = errors.Join(err, file.Truncate(end))
		}
	}
	return errors.Join(err, file.Close())
}

// Signed is the last checkpoint; false while nothing was signed.
func (l *Ledger) Signed() (Signed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.history) == 0 {
		return Signed{}, false
	}
	return l.history[len(l.history)-1], true
}

// At is the checkpoint of that size; false when the log was never signed at it.
func (l *Ledger) At(size int64) (Signed, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Backward(l.history) {
		if s.Size == size {
			return s, true
		}
	}
	return Signed{}, false
}

// Settled is how many records the log had when it was last signed before that instant.
func (l *Ledger) Settled(at time.Time) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Backward(l.history) {
		if !s.At.After(at) {
			return s.Size
		}
	}
	return 0
}
