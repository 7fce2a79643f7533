package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// LongLineError says that a line has more bytes than are taken. The line was passed over; what comes after it can be read.
type LongLineError struct {
	// ID is the id of the message on the line; nil when none could be found.
	ID json.RawMessage
}

// Error says it without what the line holds.
func (e *LongLineError) Error() string { return "a line is longer than is taken" }

// ErrEndlessLine says that a line did not end even long after its limit: nothing after it can be read.
var ErrEndlessLine = errors.New("a line does not end")

// endless is how many times the limit a line may have before it counts as one that does not end.
const endless = 4

// LineReader reads the framing of standard input and output: one message a line (2026-07-28, basic/transports/stdio). It is not safe for concurrent use.
type LineReader struct {
	r     *bufio.Reader
	limit int
}

// NewLineReader reads lines of at most limit bytes each; 0 means 8 MiB.
func NewLineReader(r io.Reader, limit int) *LineReader {
	if limit <= 0 {
		limit = ReplyLimits().Bytes
	}
	return &LineReader{r: bufio.NewReaderSize(r, 32<<10), limit: limit}
}

// Next answers the next line that is not blank, without its end, in memory of its own. A *LongLineError is about one line, every other error ends the
// reading: io.EOF after the last line, which counts only when it is whole.
func (l *LineReader) Next() ([]byte, error) {
	for {
		line, err := l.line()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (l *LineReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line)+len(part) > l.limit+1 {
			return nil, l.pass(append(line, part...), err == nil)
		}
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
	}
}

// pass reads over the rest of a line that is too long, looking for the id of its message.
func (l *LineReader) pass(begun []byte, whole bool) error {
	rest := &restOfLine{r: l.r, left: (endless - 1) * l.limit, over: whole}
	id := FindID(io.MultiReader(bytes.NewReader(begun), rest))
	if _, err := io.Copy(io.Discard, rest); err != nil {
		return err
	}
	return &LongLineError{ID: id}
}

// restOfLine reads to the end of a line, which belongs to it.
type restOfLine struct {
	r    *bufio.Reader
	left int
	over bool
}

// Read implements io.Reader.
func (r *restOfLine) Read(p []byte) (int, error) {
	switch {
	case r.over:
		return 0, io.EOF
	case r.left <= 0:
		return 0, ErrEndlessLine
	case len(p) == 0:
		return 0, nil
	}
	if _, err := r.r.Peek(1); err != nil { // waits until there is something
		return 0, err
	}
	part, err := r.r.Peek(min(len(p), r.r.Buffered()))
	if err != nil {
		return 0, err
	}
	if end := bytes.IndexByte(part, '\n'); end >= 0 {
		part, r.over = part[:end+1], true
	}
	n := copy(p, part)
	r.left -= n
	_, err = r.r.Discard(n)
	return n, err
}

// FindID answers the id of a message that is not in order otherwise, so that whoever waits for it can be told; nil when there is none or more than
// one. Nothing else may be believed of such a message.
func FindID(r io.Reader) json.RawMessage {
	d := jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if begin, err := d.ReadToken(); err != nil || begin.Kind() != '{' {
		return nil
	}
	var id json.RawMessage
	for {
		name, err := d.ReadToken()
		if err != nil || name.Kind() != '"' {
			return id
		}
		if name.String() != "id" {
			if err := d.SkipValue(); err != nil {
				return id
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil || id != nil || value.Kind() != '0' && value.Kind() != '"' {
			return nil
		}
		id = json.RawMessage(value.String())
		if value.Kind() == '"' {
			id = quote(value.String())
		}
	}
}

// WriteLine answers a message as a line. It refuses one that a reader would take for two.
func WriteLine(message []byte) ([]byte, error) {
	if bytes.IndexByte(message, '\n') >= 0 || bytes.IndexByte(message, '\r') >= 0 {
		// Between the values of JSON a line break is a blank; within them it does not occur.
		compact, err := jsontext.AppendFormat(nil, message, jsontext.AllowDuplicateNames(true), jsontext.Multiline(false),
			jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false), jsontext.PreserveRawStrings(true))
		if err != nil {
			return nil, fmt.Errorf("a message that is not JSON cannot be a line: %w", err)
		}
		message = compact
	}
	out := make([]byte, 0, len(message)+1)
	return append(append(out, message...), '\n'), nil
}

// StdioAddress is how a server is named in records that is a program and has no host: "stdio:" and the program's name without its folder.
func StdioAddress(program string) string {
	name := program[strings.LastIndexAny(program, `/\`)+1:]
	return "stdio:" + clip(name, 128)
}
