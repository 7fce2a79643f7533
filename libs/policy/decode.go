package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxExactFloat is the largest magnitude below which every integer is a double: 2^53.
const maxExactFloat = 1 << 53

// Decode turns one strict JSON value into what rules see. Objects become map[string]any, arrays []any. A number is an int64 when it is an
// integer that fits, in whatever notation (3, 3.0, 3e0), then a uint64, otherwise a double: integers beyond 2^64 and fractions are rounded
// to the nearest double, integers within are never rounded. A number beyond the range of doubles is an error.
func Decode(raw json.RawMessage) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	v, err := decodeValue(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err == nil {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return v, nil
}

func decodeValue(dec *jsontext.Decoder) (any, error) {
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	switch tok.Kind() {
	case '{':
		return decodeObject(dec)
	case '[':
		return decodeArray(dec)
	case '"':
		return tok.String(), nil
	case '0':
		return number(tok.String())
	case 't', 'f':
		return tok.Bool(), nil
	}
	return nil, nil
}

func decodeObject(dec *jsontext.Decoder) (any, error) {
	object := map[string]any{}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, fmt.Errorf("read JSON: %w", err)
		}
		key := name.String()
		if object[key], err = decodeValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return object, err
}

func decodeArray(dec *jsontext.Decoder) (any, error) {
	array := []any{}
	for dec.PeekKind() != ']' {
		v, err := decodeValue(dec)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err := dec.ReadToken()
	return array, err
}

func number(literal string) (any, error) {
	if i, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return i, nil
	}
	if u, err := strconv.ParseUint(literal, 10, 64); err == nil {
		return u, nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %.40s is beyond the range of doubles", literal)
	}
	return exact(f), nil
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
