package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxExactFloat is the largest magnitude below which every integer is a double: 2^53.
const maxExactFloat = 1 << 53

// maxDigits is how many decimal digits an integer of 64 bits has at most.
const maxDigits = 20

// Decode turns one strict JSON value into what rules see. Objects become map[string]any, arrays []any. A number is an int64 when it is an
// integer that fits, in whatever notation (3, 3.0, 3e0), then a uint64, otherwise a double: integers beyond 2^64 and fractions are rounded
// to the nearest double, integers within are never rounded. A number beyond the range of doubles is an error.
func Decode(raw json.RawMessage) (any, error) {
	if !jsontext.Value(raw).IsValid() {
		return nil, errors.New("not one strict JSON value")
	}
	d := decoder{doc: string(raw)} // copied once: names and texts without escapes are parts of it
	return d.value()
}

// decoder reads a document that is known to be strict.
type decoder struct {
	doc string
	at  int
}

// next is the first byte that is neither white space nor a separator.
func (d *decoder) next() byte {
	for {
		switch c := d.doc[d.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			d.at++
		default:
			return c
		}
	}
}

func (d *decoder) value() (any, error) {
	switch d.next() {
	case '{':
		return d.object()
	case '[':
		return d.array()
	case '"':
		return d.text()
	case 't':
		d.at += len("true")
		return true, nil
	case 'f':
		d.at += len("false")
		return false, nil
	case 'n':
		d.at += len("null")
		return nil, nil
	}
	start := d.at
	for d.at < len(d.doc) && isNumeric(d.doc[d.at]) {
		d.at++
	}
	return number(d.doc[start:d.at])
}

func isNumeric(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

func (d *decoder) object() (any, error) {
	object := map[string]any{}
	d.at++
	for d.next() != '}' {
		name, err := d.text()
		if err != nil {
			return nil, err
		}
		if object[name], err = d.value(); err != nil {
			return nil, err
		}
	}
	d.at++
	return object, nil
}

func (d *decoder) array() (any, error) {
	array := []any{}
	d.at++
	for d.next() != ']' {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	d.at++
	return array, nil
}

func (d *decoder) text() (string, error) {
	start := d.at
	d.at++
	escaped := false
	for d.doc[d.at] != '"' {
		if d.doc[d.at] == '\\' {
			escaped = true
			d.at++
		}
		d.at++
	}
	d.at++
	if !escaped {
		return d.doc[start+1 : d.at-1], nil
	}
	plain, err := jsontext.AppendUnquote(nil, d.doc[start:d.at])
	if err != nil {
		return "", fmt.Errorf("read JSON: %w", err)
	}
	return string(plain), nil
}

func number(literal string) (any, error) {
	if i, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(literal, 10, 64); err == nil {
		return u, nil
	}
	if digits, ok := integral(literal); ok {
		if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
			return i, nil
		}
		if u, err := strconv.ParseUint(digits, 10, 64); err == nil {
			return u, nil
		}
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %.40s is beyond the range of doubles", literal)
	}
	return exact(f), nil
}

// integral writes an integer of up to 64 bits without its fraction and exponent, so that 9007199254740993e0 is not rounded either. It answers false
// for a number that is none.
func integral(literal string) (string, bool) {
	mantissa, power, _ := strings.Cut(strings.ReplaceAll(literal, "E", "e"), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil {
			return "", false
		}
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	significant := strings.TrimRight(digits, "0")
	zeros := len(digits) - len(significant) + exponent - len(fraction)
	if significant == "" || zeros < 0 || zeros > maxDigits || len(significant)+zeros > maxDigits {
		return "", false
	}
	digits = significant + strings.Repeat("0", zeros)
	if negative {
		digits = "-" + digits
	}
	return digits, true
}

// exact is f as an int64 when it is an integer that a double holds without rounding, so that 3.0 and 3 are one number to a rule.
func exact(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) <= maxExactFloat {
		return int64(f)
	}
	return f
}

// normal is v as Decode would have given it, for facts that arrive decoded by others.
func normal(v any) (any, error) {
	switch v := v.(type) {
	case json.RawMessage:
		return Decode(v)
	case jsontext.Value:
		return Decode(json.RawMessage(v))
	case json.Number:
		return number(v.String())
	case float64:
		return exact(v), nil
	case float32:
		return exact(float64(v)), nil
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case map[string]any:
		return normalObject(v)
	case []any:
		out := make([]any, len(v))
		for i, one := range v {
			var err error
			if out[i], err = normal(one); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func normalObject(v map[string]any) (any, error) {
	out := make(map[string]any, len(v))
	for key, one := range v {
		var err error
		if out[key], err = normal(one); err != nil {
			return nil, err
		}
	}
	return out, nil
}
