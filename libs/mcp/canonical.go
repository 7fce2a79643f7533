package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Canonical answers the one form of a strict JSON document that all equal documents share: RFC 8785, except that a number which no double holds
// exactly is kept exact as digits and exponent instead of being rounded, so that 2^53 and 2^53+1 differ.
func Canonical(doc []byte) (json.RawMessage, error) {
	sorted, err := jsontext.AppendFormat(nil, doc,
		jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return nil, fmt.Errorf("the document is not strict JSON: %s", why(doc))
	}
	out := make([]byte, 0, len(sorted))
	for i := 0; i < len(sorted); {
		switch b := sorted[i]; {
		case b == '"':
			end := stringEnd(sorted, i)
			out = append(out, sorted[i:end]...)
			i = end
		case b == '-' || ('0' <= b && b <= '9'):
			end := i + 1
			for end < len(sorted) && !ends(sorted[end]) {
				end++
			}
			out = appendNumber(out, string(sorted[i:end]))
			i = end
		default:
			out = append(out, b)
			i++
		}
	}
	return out, nil
}

// SameJSON reports whether two strict documents are equal as Canonical sees them.
func SameJSON(a, b []byte) bool {
	ca, errA := Canonical(a)
	cb, errB := Canonical(b)
	return errA == nil && errB == nil && bytes.Equal(ca, cb)
}

// appendNumber appends the number as ECMAScript writes it if a double holds it exactly, else as digits and exponent.
func appendNumber(out []byte, text string) []byte {
	exact, ok := decimalOf(text)
	if !ok {
		return append(out, text...)
	}
	if exact.digits == "" {
		return append(out, '0')
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		shortest := jsontext.AppendFloat(nil, f, 64)
		if rounded, ok := decimalOf(string(shortest)); ok && rounded == exact {
			return append(out, shortest...)
		}
	}
	return append(out, exact.String()...)
}

// decimal is a number without any freedom: sign, digits without zeros at either end, and the power of ten of the last digit.
type decimal struct {
	negative bool
	digits   string
	exponent int64
}

// decimalOf reads a JSON number; false when its exponent is beyond counting.
func decimalOf(text string) (decimal, bool) {
	d := decimal{}
	text, d.negative = strings.CutPrefix(text, "-")
	mantissa, power := text, ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, power = text[:i], text[i+1:]
	}
	if strings.Trim(mantissa, "0.") == "" {
		return decimal{}, true // zero, whatever its exponent
	}
	if power != "" {
		n, err := strconv.ParseInt(power, 10, 32)
		if err != nil {
			return d, false
		}
		d.exponent = n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exponent -= int64(len(fraction))
	digits := strings.TrimLeft(whole+fraction, "0")
	d.digits = strings.TrimRight(digits, "0")
	d.exponent += int64(len(digits) - len(d.digits))
	return d, true
}

func (d decimal) String() string {
	sign := ""
	if d.negative {
		sign = "-"
	}
	return sign + d.digits + "e" + strconv.FormatInt(d.exponent, 10)
}
