package mcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// ErrEventTooLarge says that an event has more bytes than are taken.
var ErrEventTooLarge = errors.New("an event of the stream is larger than is taken")

// Event is one Server-Sent Event (HTML, 9.2).
type Event struct {
	ID   string
	Type string // empty means message
	Data []byte
}

// Message reports whether an event carries a message. One without data only says where the stream is, and one of another type is for other readers.
func (e Event) Message() bool { return len(e.Data) > 0 && (e.Type == "" || e.Type == "message") }

// EventReader reads events from a stream. A line ends with CRLF, LF or CR. It is not safe for concurrent use.
type EventReader struct {
	r     *bufio.Reader
	limit int
	used  int
	begun bool
	cr    bool // the last line ended with CR: an LF that follows belongs to it
	line  []byte
	last  string
	retry time.Duration
	told  bool // the stream said how long to wait
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
	has, named := false, false
	e.used = 0
	for {
		line, err := e.readLine()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			if named {
				e.last = ev.ID // also of an event without data, which only says where the stream is
			}
			if has {
				ev.Data = data
				return ev, nil
			}
			ev, named, e.used = Event{}, false, 0
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
				ev.ID, named = string(value), true
			}
		case "retry":
			e.wait(value)
		}
	}
}

// wait takes a retry field: digits alone, in milliseconds.
func (e *EventReader) wait(value []byte) {
	for _, b := range value {
		if b < '0' || b > '9' {
			return
		}
	}
	if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
		e.retry, e.told = time.Duration(ms)*time.Millisecond, true
	}
}

// LastID is the id of the last whole event that had one, also when the event had no data; empty for none. It is what Last-Event-ID says.
func (e *EventReader) LastID() string { return e.last }

// Retry is how long the stream wants a reader to wait before it connects again; false when the stream did not say.
func (e *EventReader) Retry() (time.Duration, bool) { return e.retry, e.told }

// readLine answers one line without its end; it holds until the next call. A last line without an end is not a line.
func (e *EventReader) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		if _, err := e.r.Peek(1); err != nil {
			return nil, err
		}
		window, err := e.r.Peek(e.r.Buffered())
		if err != nil {
			return nil, err
		}
		if e.cr {
			e.cr = false
			if window[0] == '\n' {
				window = window[1:]
				e.skip(1)
			}
		}
		end := lineEnd(window)
		if e.used += end; e.used > e.limit {
			return nil, ErrEventTooLarge
		}
		e.line = append(e.line, window[:end]...)
		if end == len(window) {
			e.skip(end)
			continue
		}
		e.cr = window[end] == '\r'
		e.skip(end + 1)
		if !e.begun {
			e.begun = true
			e.line = bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
		}
		return e.line, nil
	}
}

// skip moves on over bytes that are there.
func (e *EventReader) skip(n int) {
	_, _ = e.r.Discard(n) // they were peeked at
}

// lineEnd is where the first line of a window ends; its length when that is not in it.
func lineEnd(window []byte) int {
	end := bytes.IndexByte(window, '\n')
	if end < 0 {
		end = len(window)
	}
	if cr := bytes.IndexByte(window[:end], '\r'); cr >= 0 {
		return cr
	}
	return end
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
