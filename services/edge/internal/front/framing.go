package front

import (
	"bytes"
	"errors"
	"strconv"
)

// errFraming is what the library reads where a request's bytes are not framed as every reader frames them. It answers 400 and closes.
var errFraming = errors.New("the request is not framed as RFC 9112 has it")

const (
	// mostBlank is how many bytes of empty lines may come before a request.
	mostBlank = 16
	// keptLine is how much of a field line is looked at, which is more than any that frames a body needs.
	keptLine = 96
	// mostExtension is how long the extensions of one chunk may be.
	mostExtension = 256
)

// place is where in a connection the next byte stands.
type place int

const (
	beginning place = iota // before a request
	requestLine
	fieldLines
	body
	chunkSize
	chunkData
	chunkEnd // the CRLF after a chunk
	lastEnd  // the CRLF after the last chunk: there are no trailers
	passing  // nothing is looked at any more: the library refuses what it has, and closes
)

// framing follows where the requests of a connection begin and end, and holds to one reading what the library takes in several: a bare LF as a line's end
// before, between and after what it is asked, blanks around the size of a chunk, trailers, extensions and empty lines without end. What its fields say
// of a request's length in more than one way is for head.Unclear; after that the connection is closed.
type framing struct {
	at    place
	last  byte // the byte before, within what is read now
	blank int

	line    [keptLine]byte
	size    int  // of the line so far
	framing bool // the line may be one that frames

	sized, chunked bool
	length         int64 // of the body, or of the chunk
	digits, extra  int   // of a chunk's line
}

// take looks at what was read and answers how much of it may go on. What is less than all is where the connection ends. A byte that has no place in a
// request line is put where the library would take a bare LF, so that it answers what came before, and refuses.
func (f *framing) take(data []byte) (good int) {
	for good < len(data) {
		n, ok := f.step(data[good:])
		if good += n; !ok {
			return good
		}
	}
	return good
}

func (f *framing) step(data []byte) (n int, ok bool) {
	switch f.at {
	case beginning:
		return f.begins(data), true
	case requestLine:
		return f.requested(data), true
	case fieldLines:
		return f.field(data)
	case body, chunkData:
		return f.skip(data), true
	case chunkSize:
		return f.sizeLine(data)
	case chunkEnd, lastEnd:
		return f.lineEnd(data)
	}
	return len(data), true
}

func (f *framing) to(at place) { f.at, f.last, f.size, f.blank = at, 0, 0, 0 }

// begins takes one byte of the empty lines before a request, as RFC 9112, 2.2 has it.
func (f *framing) begins(data []byte) int {
	c := data[0]
	f.blank++
	switch {
	case (c == '\n') != (f.last == '\r'), f.blank > mostBlank:
		data[0] = 0
		f.to(passing)
	case c == '\r', c == '\n':
		f.last = c
	default:
		f.to(requestLine)
		f.sized, f.chunked, f.length = false, false, 0
		return 0
	}
	return 1
}

func (f *framing) requested(data []byte) int {
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		f.last = data[len(data)-1]
		return len(data)
	}
	if f.before(data, end) == '\r' {
		f.to(fieldLines)
	} else {
		data[end] = 0
		f.to(passing)
	}
	return end + 1
}

func (f *framing) before(data []byte, at int) byte {
	if at == 0 {
		return f.last
	}
	return data[at-1]
}

// field takes the rest of a field line, as far as it is there.
func (f *framing) field(data []byte) (int, bool) {
	end := bytes.IndexByte(data, '\n')
	part := data
	if end >= 0 {
		part = data[:end]
	}
	if f.size == 0 && len(part) > 0 {
		f.framing = part[0]|0x20 == 'c' || part[0]|0x20 == 't'
	}
	if f.framing && f.size < keptLine {
		copy(f.line[f.size:], part)
	}
	f.size += len(part)
	if end < 0 {
		f.last = data[len(data)-1]
		return len(data), true
	}
	switch {
	case f.before(data, end) != '\r':
		f.to(passing)
	case f.size == 1:
		f.headEnds()
	default:
		if f.framing && !f.frames() {
			return end, false
		}
		f.last, f.size = 0, 0
	}
	return end + 1, true
}

// frames takes a whole field line that may say how long the body is. It is false for one that is too long to say that.
func (f *framing) frames() bool {
	name, value, _ := bytes.Cut(f.line[:min(f.size, keptLine)], []byte{':'})
	length, coding := bytes.EqualFold(name, []byte("Content-Length")), bytes.EqualFold(name, []byte("Transfer-Encoding"))
	if !length && !coding {
		return true
	}
	if f.size > keptLine {
		return false
	}
	value = bytes.Trim(value, " \t\r")
	n, err := strconv.ParseUint(string(value), 10, 62)
	switch {
	case coding && !f.chunked && bytes.EqualFold(value, []byte("chunked")):
		f.chunked = true
	case length && !f.sized && err == nil:
		f.sized, f.length = true, int64(n)
	default:
		f.to(passing)
	}
	return true
}

func (f *framing) headEnds() {
	switch {
	case f.chunked && f.sized:
		f.to(passing)
	case f.chunked:
		f.chunk()
	case f.length > 0:
		f.to(body)
	default:
		f.to(beginning)
	}
}

func (f *framing) chunk() {
	f.to(chunkSize)
	f.length, f.digits, f.extra = 0, 0, 0
}

func (f *framing) skip(data []byte) int {
	n := min(f.length, int64(len(data)))
	if f.length -= n; f.length == 0 {
		if f.at == body {
			f.to(beginning)
		} else {
			f.to(chunkEnd)
		}
	}
	return int(n)
}

// sizeLine takes one byte of the line before a chunk: its size in hex, extensions, CRLF.
func (f *framing) sizeLine(data []byte) (int, bool) {
	c := data[0]
	digit, isDigit := hexDigit(c)
	switch {
	case (c == '\n') != (f.last == '\r'), f.digits == 0 && !isDigit:
		return 0, false
	case c == '\n' && f.length == 0:
		f.to(lastEnd)
	case c == '\n':
		f.to(chunkData)
	case c == '\r':
		f.last = c
	case f.extra == 0 && isDigit:
		if f.digits++; f.digits > 15 {
			return 0, false
		}
		f.length = f.length<<4 | int64(digit)
	case f.extra > 0 || c == ';':
		if f.extra++; f.extra > mostExtension || c < ' ' && c != '\t' || c == 0x7f {
			return 0, false
		}
	default:
		return 0, false
	}
	return 1, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// lineEnd takes one byte of CRLF.
func (f *framing) lineEnd(data []byte) (int, bool) {
	switch c := data[0]; {
	case c == '\r' && f.last == 0:
		f.last = c
	case c == '\n' && f.last == '\r' && f.at == lastEnd:
		f.to(beginning)
	case c == '\n' && f.last == '\r':
		f.chunk()
	default:
		return 0, false
	}
	return 1, true
}
