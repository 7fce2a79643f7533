package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	base "headgate.dev/libs/ledger"
)

// maxHistoryLine bounds a line of the history: a checkpoint with its signature takes a few hundred bytes.
const maxHistoryLine = 64 << 10

// mostSkipped is how many lines that do not hold are told and passed over.
const mostSkipped = 10_000

// errCutLine is a line of the history that does not end.
var errCutLine = errors.New("is cut in its middle: the file's tail was cut, or the machine died as it was written; start audit, which signs again, and verify once more")

// history reads the checkpoints of a file one by one: there may be millions.
type history struct {
	file   *os.File
	lines  *bufio.Reader
	number int   // of the line that was read last
	at     int64 // where it ends
}

// openHistory opens the history of a ledger; one that is not there has no lines.
func openHistory(dir string) (*history, error) {
	path := filepath.Join(dir, historyFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &history{lines: bufio.NewReader(bytes.NewReader(nil))}, nil
	}
	if err == nil {
		err = base.Regular(historyFile, info)
	}
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &history{file: file, lines: bufio.NewReaderSize(file, maxHistoryLine)}, nil
}

func (h *history) close() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// next reads a line: its checkpoint, or what is wrong with it. io.EOF is the end.
func (h *history) next() (s Signed, wrong, err error) {
	text, err := h.lines.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(text) == 0 {
		return s, nil, io.EOF
	}
	if errors.Is(err, io.EOF) {
		return s, errCutLine, nil
	}
	h.number++
	h.at += int64(len(text))
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = h.lines.ReadSlice('\n')
			h.at += int64(len(text))
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return s, fmt.Errorf("has more than %d bytes: it was changed", maxHistoryLine), err
	case err != nil:
		return s, nil, err
	}
	if s, wrong = readHistoryLine(text[:len(text)-1]); wrong != nil {
		wrong = fmt.Errorf("%w: it was changed", wrong)
	}
	return s, wrong, nil
}

// more goes on behind the last whole line, which may have others behind it by now.
func (h *history) more() error {
	if h.file == nil {
		return nil
	}
	h.lines.Reset(h.file)
	_, err := h.file.Seek(h.at, io.SeekStart)
	return err
}

// written reads a line again that has no end yet: a service may write it just now.
func (h *history) written() (s Signed, wrong, err error) {
	base.Await(func() bool {
		if err = h.more(); err != nil {
			return true
		}
		s, wrong, err = h.next()
		return !errors.Is(wrong, errCutLine)
	})
	return s, wrong, err
}

// source is checkpoints in the order of their sizes, the next of them at hand.
type source struct {
	head Signed
	ok   bool
	pull func() (Signed, bool)
}

func newSource(pull func() (Signed, bool)) *source {
	s := &source{pull: pull}
	s.advance()
	return s
}

func (s *source) advance() { s.head, s.ok = s.pull() }

// listed is the checkpoints of a list.
func listed(all []Signed) *source {
	return newSource(func() (s Signed, ok bool) {
		if len(all) == 0 {
			return s, false
		}
		s, all = all[0], all[1:]
		return s, true
	})
}
