package mcp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/go-json-experiment/json/jsontext"
)

// strict refuses what is not exactly one JSON value that every reader reads alike: no name twice in an object at any depth, valid UTF-8,
// no lone surrogate, no NaN, no leading zero, nothing behind the value, no byte order mark; within the limits.
func strict(body []byte, lim Limits) *Error {
	if len(body) > lim.Bytes {
		return tooLarge("The message has %d bytes; at most %d are taken.", len(body), lim.Bytes)
	}
	// Counting brackets is much faster than following them, and settles almost every message.
	if bytes.Count(body, []byte{'{'})+bytes.Count(body, []byte{'['}) > lim.Depth && deeper(body, lim.Depth) {
		return malformed("The message is nested deeper than %d.", lim.Depth)
	}
	if jsontext.Value(shortened(body)).IsValid() {
		return nil
	}
	return unparsable("The message is not strict JSON: %s.", why(body))
}

// Valid reports whether raw is one strict JSON value.
func Valid(raw []byte) bool { return jsontext.Value(shortened(raw)).IsValid() }

// Intended is the id of the request that a text would be if its characters were in order: half of a surrogate pair, as programs write that cut a text
// inside a character, is what clients get wrong. So who sent it gets an answer. Nothing of anything else that is not strict.
func Intended(raw []byte, limits Limits) json.RawMessage {
	mended := jsontext.Value(bytes.Clone(raw))
	if mended.Format(jsontext.AllowInvalidUTF8(true)) != nil {
		return nil
	}
	m, err := Read(mended, limits)
	if err != nil || m.Kind != Request {
		return nil
	}
	return m.ID
}

// long is from where on a string is worth being left out.
const long = 512

// shortened answers a document that is strict exactly when b is, without the inside of its long strings of plain ASCII, which are valid whatever is in
// them. Where a string begins and ends is certain up to the first error, and nothing outside of strings is left out. A member's name stays, for it must
// not be there twice.
func shortened(b []byte) []byte {
	if len(b) < 2*long {
		return b
	}
	var out []byte
	copied := 0
	for i := 0; i < len(b); {
		next := bytes.IndexByte(b[i:], '"')
		if next < 0 {
			break
		}
		start := i + next + 1
		end := plainEnd(b, start)
		if end-start < long || end >= len(b) || b[end] != '"' || named(b, end+1) {
			i = stringEnd(b, start-1)
			continue
		}
		out = append(out, b[copied:start]...)
		copied, i = end, end+1
	}
	if out == nil {
		return b
	}
	return append(out, b[copied:]...)
}

// plainEnd answers the index of the first byte from i on that is not plain in a string: ASCII without controls, quotes and backslashes.
func plainEnd(b []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, escape := w^(ones*'"'), w^(ones*'\\')
		if odd := (w | (w - ones*' ') | ((quote - ones) &^ quote) | ((escape - ones) &^ escape)) & highs; odd != 0 {
			break
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] < 0x7f && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// named reports whether what ended before i is a member's name.
func named(b []byte, i int) bool {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i < len(b) && b[i] == ':'
}

// why says in words what is wrong with a document that is not strict, without repeating any of it.
func why(body []byte) string {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	if _, err := dec.ReadValue(); err != nil {
		at := int64(0)
		if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			at = syntax.ByteOffset
		}
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			return fmt.Sprintf("an object has the same name twice, at byte %d", at)
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return "it ends too early"
		default:
			return fmt.Sprintf("bad syntax, bad UTF-8 or half a surrogate pair at byte %d", at)
		}
	}
	return fmt.Sprintf("something follows the value at byte %d", dec.InputOffset())
}

// deeper reports whether brackets outside strings nest deeper than limit. It may be asked of bytes that are not JSON.
func deeper(b []byte, limit int) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i) - 1
		case '{', '[':
			depth++
			if depth > limit {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// stringEnd answers the index behind the string that begins at i. Without a closing quote it is the end of b.
func stringEnd(b []byte, i int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
		short = 32 // a string that is not longer is not worth a call
	)
	for j, near := i+1, i+1+short; j < len(b); j++ {
		for j+8 <= len(b) { // eight bytes at once, as long as none is a quote or a backslash
			if j > near {
				return longStringEnd(b, j)
			}
			w := binary.LittleEndian.Uint64(b[j:])
			quote, escape := w^(ones*'"'), w^(ones*'\\')
			if found := (((quote - ones) &^ quote) | ((escape - ones) &^ escape)) & highs; found != 0 {
				j += bits.TrailingZeros64(found) / 8
				break
			}
			j += 8
		}
		if j >= len(b) {
			break
		}
		switch b[j] {
		case '"':
			return j + 1
		case '\\':
			j++
		}
	}
	return len(b)
}

// longStringEnd is stringEnd from within a string on: the next quote is looked for with the processor's vectors, and again only when it was an escaped one.
func longStringEnd(b []byte, j int) int {
	for quote := -1; j < len(b); {
		if quote < j {
			next := bytes.IndexByte(b[j:], '"')
			if next < 0 {
				return len(b)
			}
			quote = j + next
		}
		escape := bytes.IndexByte(b[j:quote], '\\')
		if escape < 0 {
			return quote + 1
		}
		j += escape + 2
	}
	return len(b)
}

// cursor walks a document that strict has passed. On anything else its answers mean nothing, but it never leaves b.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) space() {
	for c.i < len(c.b) && (c.b[c.i] == ' ' || c.b[c.i] == '\n' || c.b[c.i] == '\r' || c.b[c.i] == '\t') {
		c.i++
	}
}

// open steps into an object or array if one begins here, and reports whether it did.
func (c *cursor) open(bracket byte) bool {
	c.space()
	if c.i >= len(c.b) || c.b[c.i] != bracket {
		return false
	}
	c.i++
	return true
}

// name steps to the next member's value and answers its name; false at the end of the object, which is then behind.
func (c *cursor) name() ([]byte, bool) {
	if !c.element('}') {
		return nil, false
	}
	start := c.i
	c.i = stringEnd(c.b, c.i)
	raw := c.b[start:c.i]
	c.space()
	if c.i < len(c.b) && c.b[c.i] == ':' {
		c.i++
	}
	c.space()
	return unquote(raw), true
}

// element steps to the next element; false at the closing bracket, which is then behind.
func (c *cursor) element(closing byte) bool {
	c.space()
	if c.i < len(c.b) && c.b[c.i] == ',' {
		c.i++
		c.space()
	}
	if c.i >= len(c.b) {
		return false
	}
	if c.b[c.i] == closing {
		c.i++
		return false
	}
	return true
}

// value steps over one value and answers its bytes.
func (c *cursor) value() []byte {
	start := c.i
	if c.i >= len(c.b) {
		return nil
	}
	switch c.b[c.i] {
	case '"':
		c.i = stringEnd(c.b, c.i)
	case '{', '[':
		c.skip()
	default:
		for c.i < len(c.b) && !ends(c.b[c.i]) {
			c.i++
		}
		if c.i == start {
			c.i++ // not JSON; go on so that no loop stands still
		}
	}
	return c.b[start:c.i]
}

// ends reports whether a byte ends a number or a literal.
func ends(b byte) bool {
	switch b {
	case ',', '}', ']', ' ', '\n', '\r', '\t', ':', '"', '{', '[':
		return true
	}
	return false
}

func (c *cursor) skip() {
	depth := 0
	for c.i < len(c.b) {
		switch c.b[c.i] {
		case '"':
			c.i = stringEnd(c.b, c.i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		c.i++
		if depth == 0 {
			return
		}
	}
}

// unquote answers the text of a raw JSON string; of anything else, nil. Without escapes it is a part of raw.
func unquote(raw []byte) []byte {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return nil
	}
	return text
}

// quote answers text as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func quote(text string) []byte {
	out, err := jsontext.AppendQuote(nil, text)
	if err != nil && out == nil {
		return []byte(`""`)
	}
	return out
}

// kind names the JSON type of a raw value by its first byte: '{', '[', '"', 't' (also for false), 'n', '0'.
func kind(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	switch raw[0] {
	case '{', '[', '"', 'n', 't':
		return raw[0]
	case 'f':
		return 't'
	}
	return '0'
}
