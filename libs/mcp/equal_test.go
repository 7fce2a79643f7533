package mcp_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"testing"
)

// equal compares two strict documents by a second way: decoded, with numbers as exact fractions.
func equal(t *testing.T, a, b []byte) bool {
	t.Helper()
	return equalValues(decode(t, a), decode(t, b))
}

func decode(t *testing.T, doc []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func equalValues(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !equalValues(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equalValues(x[i], y[i]) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := b.(json.Number)
		return ok && equalNumbers(string(x), string(y))
	}
	return a == b
}

// equalNumbers compares exactly; exponents that no computer could write out are compared as text.
func equalNumbers(a, b string) bool {
	if a == b || zero(a) || zero(b) {
		return a == b || zero(a) && zero(b)
	}
	if far(a) || far(b) {
		return false // the fuzzer does not find two spellings of such a number
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}

func far(number string) bool {
	i := strings.IndexAny(number, "eE")
	if i < 0 {
		return false
	}
	n, err := strconv.Atoi(number[i+1:])
	return err != nil || n > 5000 || n < -5000
}

func zero(number string) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	return strings.Trim(mantissa, "-0.") == ""
}
