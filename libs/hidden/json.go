package hidden

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// StripJSON answers a strict JSON document without hidden characters in its strings, member names included, and how many were taken out,
// written as they are or escaped. Every other byte is as it was; a clean document is answered as it is, without a copy.
// What stays is decided as in Strip.
func StripJSON(raw json.RawMessage) (json.RawMessage, int) {
	if suspect(raw) < 0 {
		return raw, 0
	}
	out, count, names := stripStrings(raw, 0, false)
	if count == 0 {
		return raw, 0
	}
	if !names || jsontext.Value(out).IsValid() {
		return out, count
	}
	// Two names became one. Each name that had something hidden gets a visible mark and a number instead; the numbers grow until none is taken.
	for from := 1; ; from *= 2 {
		if out, _, _ = stripStrings(raw, from, true); jsontext.Value(out).IsValid() {
			return out, count
		}
	}
}

// suspect answers the index of the first character, raw or escaped, that may be hidden, or -1. It looks at eight bytes at once where they are ASCII.
func suspect(b []byte) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for i := 0; i < len(b); {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			escape, del := w^(ones*'\\'), w^(ones*0x7f)
			if odd := (w | ((escape - ones) &^ escape) | ((del - ones) &^ del)) & highs; odd != 0 {
				i += bits.TrailingZeros64(odd) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			break
		}
		if b[i] == '\\' && i+1 < len(b) && (b[i+1] == '"' || b[i+1] == 'n' || b[i+1] == '\\') {
			i += 2 // the escapes that JSON within JSON is full of
			continue
		}
		r, width := unit(b, i)
		if classify(r) != 0 {
			return i
		}
		i += width
	}
	return -1
}

// unit decodes one character of a JSON string: as it is, or escaped, a pair of escapes for one character included.
func unit(b []byte, i int) (rune, int) {
	switch {
	case b[i] != '\\':
		if b[i] < utf8.RuneSelf {
			return rune(b[i]), 1
		}
		return utf8.DecodeRune(b[i:])
	case i+1 >= len(b):
		return '\\', 1
	case b[i+1] != 'u':
		return escaped(b[i+1]), 2
	}
	r, ok := hex4(b, i+2)
	if !ok {
		return utf8.RuneError, 2
	}
	if utf16.IsSurrogate(r) && i+8 <= len(b) && b[i+6] == '\\' && b[i+7] == 'u' {
		if low, ok := hex4(b, i+8); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return r, 6
}

// escaped answers what the short escapes stand for.
func escaped(b byte) rune {
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return rune(b)
}

func hex4(b []byte, i int) (rune, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[i:i+4]), 16, 16)
	return rune(n), err == nil
}

// stripStrings copies a document without the hidden characters of its strings. It reports how many there were and whether a member name had any.
// With mark, such a name also gets U+FFFD and a number, from upwards.
func stripStrings(doc []byte, from int, mark bool) (out []byte, count int, names bool) {
	out = make([]byte, 0, len(doc))
	for i := 0; i < len(doc); {
		if doc[i] != '"' {
			out = append(out, doc[i])
			i++
			continue
		}
		end := stringEnd(doc, i)
		var n int
		out, n = stripString(append(out, '"'), doc[i+1:end-1])
		if n > 0 && isName(doc, end) {
			names = true
			if mark {
				out = strconv.AppendInt(append(out, "\ufffd"...), int64(from+count), 10)
			}
		}
		out = append(out, '"')
		count += n
		i = end
	}
	return out, count, names
}

// stripString appends the inside of one string without its hidden characters.
func stripString(out, inside []byte) ([]byte, int) {
	count, prev := 0, rune(-1)
	for i := 0; i < len(inside); {
		r, width := unit(inside, i)
		if classify(r) != 0 {
			next := rune(-1)
			if i+width < len(inside) {
				next, _ = unit(inside, i+width)
			}
			if !needed(prev, r, next) {
				count++
				i += width
				continue
			}
		}
		out = append(out, inside[i:min(i+width, len(inside))]...)
		prev = r
		i += width
	}
	return out, count
}

// isName reports whether the string that ends before i is a member's name.
func isName(doc []byte, i int) bool {
	for ; i < len(doc); i++ {
		switch doc[i] {
		case ' ', '\n', '\r', '\t':
		default:
			return doc[i] == ':'
		}
	}
	return false
}

func stringEnd(b []byte, i int) int {
	for j := i + 1; j < len(b); j++ {
		switch b[j] {
		case '"':
			return j + 1
		case '\\':
			j++
		}
	}
	return len(b)
}
