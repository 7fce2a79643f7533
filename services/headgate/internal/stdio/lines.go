package stdio

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sync"

	"headgate.dev/libs/mcp"
)

// line is one line of the client, without its end.
type line struct {
	text []byte
	// long is set instead of text when the line is longer than is taken.
	long *outline
}

// lineReader reads lines of at most limit bytes. Of a longer one it only finds out whom to answer. Not safe for concurrent use.
type lineReader struct {
	in    *bufio.Reader
	limit int
}

func newLineReader(in io.Reader, limit int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10), limit: limit}
}

// next answers the next line that is not blank, io.EOF at the end. A last line needs no line break. The text is the caller's.
func (r *lineReader) next() (line, error) {
	for {
		l, err := r.one()
		if l.long != nil || len(bytes.TrimSpace(l.text)) > 0 {
			if errors.Is(err, io.EOF) {
				err = nil // the next call says so
			}
			return l, err
		}
		if err != nil {
			return line{}, err
		}
	}
}

func (r *lineReader) one() (line, error) {
	var l line
	for {
		part, err := r.in.ReadSlice('\n')
		if l.long == nil && len(l.text)+len(bytes.TrimSuffix(part, []byte{'\n'})) > r.limit {
			l.long = &outline{}
			l.long.read(l.text)
			l.text = nil
		}
		if l.long != nil {
			l.long.read(part)
		} else {
			l.text = append(l.text, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			l.text = bytes.TrimSuffix(l.text, []byte{'\n'})
			return l, err
		}
	}
}

// maxWord is the most bytes of an id, a method or a member's name that an outline keeps.
const maxWord = 512

// outline follows a message that is too large to be kept, and finds its id and its method. What it answers about something that is not JSON means nothing.
type outline struct {
	depth   int
	object  bool // the document is an object
	text    bool // inside a string
	escaped bool // behind a backslash
	value   bool // behind a colon at depth 1

	word   []byte // of the scalar at depth 1 that is being read
	name   string // of the member that is being read
	id     json.RawMessage
	method json.RawMessage
	twice  bool // a member that counts is there twice
}

// read goes on with more bytes.
func (o *outline) read(part []byte) {
	for _, b := range part {
		o.step(b)
	}
}

func (o *outline) step(b byte) {
	if o.text {
		o.keep(b)
		switch {
		case o.escaped:
			o.escaped = false
		case b == '\\':
			o.escaped = true
		case b == '"':
			o.text = false
		}
		return
	}
	switch b {
	case '"':
		o.text = true
		o.keep(b)
	case '{', '[':
		o.depth++
		if o.depth == 1 {
			o.object = b == '{'
		}
	case '}', ']':
		o.end()
		o.depth--
	case ':':
		if o.depth == 1 {
			o.name, o.word, o.value = string(o.word), nil, true
		}
	case ',':
		o.end()
	case ' ', '\t', '\r', '\n':
	default:
		o.keep(b)
	}
}

func (o *outline) keep(b byte) {
	if o.depth == 1 && len(o.word) <= maxWord {
		o.word = append(o.word, b)
	}
}

// end is behind a value at depth 1.
func (o *outline) end() {
	if o.depth != 1 {
		return
	}
	if o.value && o.object {
		for _, member := range [...]struct {
			name string
			into *json.RawMessage
		}{{`"id"`, &o.id}, {`"method"`, &o.method}} {
			if o.name != member.name {
				continue
			}
			o.twice = o.twice || *member.into != nil
			*member.into = slices.Clone(o.word)
		}
	}
	o.word, o.value = nil, false
}

// message answers the message without its params, or nil when it is not known whom to answer. A request has an id and a method, a response an id alone.
func (o *outline) message() *mcp.Message {
	if o.twice || o.id == nil {
		return nil
	}
	body := slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), o.id, []byte(`,"result":null}`))
	if o.method != nil {
		body = slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), o.id, []byte(`,"method":`), o.method, []byte(`}`))
	}
	m, err := mcp.Read(body, mcp.Limits{})
	if err != nil && !refused(err, mcp.CodeInvalidParams) { // without its params the request is not whole, but its id and its method are read
		return nil
	}
	if m == nil {
		m = &mcp.Message{Kind: mcp.Request, ID: o.id}
	}
	return m
}

func refused(err error, code int) bool {
	known, ok := errors.AsType[*mcp.Error](err)
	return ok && known.Code == code
}

// writer writes messages as lines. Safe for concurrent use: a line is never inside another.
type writer struct {
	mu   sync.Mutex
	out  io.Writer
	fail func(error) // is told once that nothing can be written any more
	over bool
}

// line writes one JSON document. Line breaks of JSON stand between its tokens only, where a space says the same.
func (w *writer) line(document []byte) {
	flat := make([]byte, len(document)+1)
	copy(flat, document)
	for i, b := range document {
		if b == '\n' || b == '\r' {
			flat[i] = ' '
		}
	}
	flat[len(document)] = '\n'
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if _, err := w.out.Write(flat); err != nil {
		w.over = true
		w.fail(err)
	}
}
