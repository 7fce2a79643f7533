package back

import (
	"bytes"
	"fmt"

	"headgate.dev/services/edge/internal/head"
)

// mostInterim is how many answers of the 1xx kind may come before the one that counts.
const mostInterim = 8

// unclearError says what of an answer's head has more than one reading.
type unclearError struct{ says string }

// Error implements error.
func (e *unclearError) Error() string { return e.says }

// readHead reads the head of the next answer. The library is lenient where answers are smuggled, so what it reads is looked at before.
func (r *response) readHead() error {
	if err := r.conn.clear(); err != nil {
		return err
	}
	return r.http.Header.Read(r.conn.reader)
}

// readTrailer reads what follows the last chunk of an answer: mostly an empty line, and otherwise lines like those of a head.
func (r *response) readTrailer() error {
	err := r.conn.ahead(func(raw []byte) (bool, error) {
		if bytes.HasPrefix(raw, []byte("\r\n")) {
			return true, nil
		}
		_, fields, whole := head.Cut(append([]byte("\n"), raw...)) // as if a first line had come before
		return whole, unclear(head.Unclear(fields))
	})
	if err != nil {
		return err
	}
	return r.http.Header.ReadTrailer(r.conn.reader)
}

// clear waits for the head of an answer and refuses one with more than one reading.
func (c *conn) clear() error {
	return c.ahead(func(raw []byte) (bool, error) {
		first, fields, whole := head.Cut(raw)
		if whole && !statusLine(first) {
			return true, unclear("does not begin with a status of HTTP/1.1")
		}
		return whole, unclear(head.Unclear(fields))
	})
}

// ahead looks at what comes next, more and more of it, until it is seen whole. It takes nothing from the reader.
func (c *conn) ahead(look func(raw []byte) (whole bool, err error)) error {
	for seen := 0; ; seen = c.reader.Buffered() {
		if _, err := c.reader.Peek(seen + 1); err != nil {
			return fmt.Errorf("a part of an answer is not whole after %d bytes: %w", seen, err)
		}
		raw, err := c.reader.Peek(c.reader.Buffered())
		if err != nil {
			return err
		}
		if whole, err := look(raw); whole || err != nil {
			return err
		}
	}
}

func unclear(says string) error {
	if says == "" {
		return nil
	}
	return &unclearError{says}
}

// statusLine reports whether a line with its end is the first of an answer (RFC 9112, 4).
func statusLine(line []byte) bool {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || len(line) < len("HTTP/1.1 200") {
		return false
	}
	version, status, reason := string(line[:9]), line[9:12], line[12:]
	digits := status[0] >= '1' && status[0] <= '5' && status[1] >= '0' && status[1] <= '9' && status[2] >= '0' && status[2] <= '9'
	return (version == "HTTP/1.1 " || version == "HTTP/1.0 ") && digits && (len(reason) == 0 || reason[0] == ' ') && bytes.IndexByte(reason, '\r') < 0
}
