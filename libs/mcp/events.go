package mcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrEventTooLarge says that an event has more bytes than are taken.
var ErrEventTooLarge = errors.New("an event of the stream is larger than is taken")

// Event is one Server-Sent Event (HTML, 9.2).
type Event struct {
	ID   string
	Type string // empty means message
	Data []byte
}

// EventReader reads events from a stream. A line ends with CRLF, LF or CR. It is not safe for concurrent use.
type EventReader struct {
	r     *bufio.Reader
	limit int
	used  int
	begun bool
	cr    bool // the last line ended with CR: an LF that follows belongs to it
	line  []byte
}

// NewEventReader reads events of at most limit bytes each, comments and field names included; 0 means 8 MiB.
func NewEventReader(r io.Reader, limit int) *EventReader {
	if limit <= 0 {
		limit = ReplyLimits().Bytes
	}
	return &EventReader{r: bufio.NewReader(r), limit: limit}
}

// Next answers the next event that has data; io.EOF at the end of the stream. An event that the end cuts off is dropped, as the standard says.
func (e *EventReader) Next() (Event, error) {
	var ev Event
	var data []byte
	has := false
	e.used = 0
	for {
		line, err := e.readLine()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			if has {
				ev.Data = data
				return ev, nil
			}
			ev, e.used = Event{}, 0
			continue
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(name) {
		case "data":
			if has {
				data = append(data, '\n')
			}
			data, has = append(data, value...), true
		case "event":
			ev.Type = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				ev.ID = string(value)
			}
		}
	}
}

// readLine answers one line without its end; it holds until the next call. A last line without an end is not a line.
func (e *EventReader) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if e.cr {
			e.cr = false
			if b == '\n' {
				continue
			}
		}
		if b == '\n' || b == '\r' {
			e.cr = b == '\r'
			if !e.begun {
				e.begun = true
				e.line = bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
			}
			return e.line, nil
		}
		if e.used++; e.used > e.limit {
			return nil, ErrEventTooLarge
		}
		e.line = append(e.line, b)
	}
}

// WriteEvent writes one event. It refuses an id or type that would break out of its line.
func WriteEvent(w io.Writer, ev Event) error {
	if strings.ContainsAny(ev.ID, "\r\n\x00") || strings.ContainsAny(ev.Type, "\r\n\x00") {
		return fmt.Errorf("an event's id and type have no line breaks")
	}
	out := make([]byte, 0, len(ev.Data)+len(ev.ID)+len(ev.Type)+32)
	if ev.Type != "" {
		out = append(append(append(out, "event: "...), ev.Type...), '\n')
	}
	if ev.ID != "" {
		out = append(append(append(out, "id: "...), ev.ID...), '\n')
	}
	// CR ends a line for a reader as LF does: each becomes a line of its own.
	data := bytes.ReplaceAll(bytes.ReplaceAll(ev.Data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		out = append(append(append(out, "data: "...), line...), '\n')
	}
	_, err := w.Write(append(out, '\n'))
	return err
}
