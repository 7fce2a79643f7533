package mcp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Binding says that a tool's argument travels in a header too (2026-07-28, streamable-http, "Custom Headers from Tool Parameters").
type Binding struct {
	Header string   // the whole name, as Mcp-Param-Region
	Path   []string // of member names in the arguments
}

// maxSafe is the largest integer that an annotated argument may have, 2^53-1.
const maxSafe = 1<<53 - 1

// Bindings reads the x-mcp-header annotations of an input schema, and refuses those that break the rules: a name that is no token or that is
// there twice, a type other than string, integer or boolean, a place that is not reached by properties alone.
func Bindings(schema json.RawMessage) ([]Binding, error) {
	r := bindingReader{seen: map[string]bool{}}
	if err := r.object(schema, nil); err != nil {
		return nil, err
	}
	if all := countKey(schema, "x-mcp-header"); all != len(r.out) {
		return nil, fmt.Errorf("an x-mcp-header annotation stands where it is not reached by properties alone")
	}
	return r.out, nil
}

type bindingReader struct {
	out  []Binding
	seen map[string]bool
}

func (r *bindingReader) object(schema json.RawMessage, path []string) error {
	if len(path) > 32 {
		return fmt.Errorf("the schema is nested too deep for x-mcp-header")
	}
	c := cursor{b: Get(schema, "properties")}
	if !c.open('{') {
		return nil
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		property := c.value()
		if kind(property) != '{' {
			continue
		}
		at := append(slices.Clip(path), string(name))
		if raw := Get(property, "x-mcp-header"); raw != nil {
			if err := r.add(raw, property, at); err != nil {
				return err
			}
		}
		if err := r.object(property, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *bindingReader) add(raw, property json.RawMessage, at []string) error {
	name := string(unquote(raw))
	where := clip(strings.Join(at, "."), 128)
	if !token(name) {
		return fmt.Errorf("the x-mcp-header of %s is not a header token", where)
	}
	if folded := strings.ToLower(name); r.seen[folded] {
		return fmt.Errorf("the x-mcp-header of %s is there twice", where)
	} else {
		r.seen[folded] = true
	}
	switch of, _ := Text(property, "type"); of {
	case "string", "integer", "boolean":
	default:
		return fmt.Errorf("the x-mcp-header of %s is on an argument that is not a string, integer or boolean", where)
	}
	r.out = append(r.out, Binding{Header: HeaderParamPrefix + name, Path: at})
	return nil
}

// countKey counts how often a member name occurs in a document at any depth where its value is an annotation rather than a property's schema.
func countKey(doc json.RawMessage, key string) int {
	n := 0
	c := cursor{b: doc}
	switch kind(doc) {
	case '{':
		c.open('{')
		for name, ok := c.name(); ok; name, ok = c.name() {
			value := c.value()
			if string(name) == key && kind(value) != '{' {
				n++
			}
			n += countKey(value, key)
		}
	case '[':
		c.open('[')
		for c.element(']') {
			n += countKey(c.value(), key)
		}
	}
	return n
}

// token reports whether s is a field name (RFC 9110, 5.1).
func token(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b <= ' ' || b > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			return false
		}
	}
	return s != ""
}

// ParamHeaders are the headers that a call's arguments have to be mirrored in.
func ParamHeaders(bindings []Binding, arguments json.RawMessage) ([]Field, error) {
	var out []Field
	for _, b := range bindings {
		text, ok, err := b.text(arguments)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, Field{Name: b.Header, Value: EncodeHeader(text)})
		}
	}
	return out, nil
}

// text is the argument as a header says it; false when it is absent or null.
func (b Binding) text(arguments json.RawMessage) (string, bool, error) {
	raw := Get(arguments, b.Path...)
	switch kind(raw) {
	case 0, 'n':
		return "", false, nil
	case '"':
		return string(unquote(raw)), true, nil
	case 't':
		return string(raw), true, nil
	case '0':
		if n, ok := integer(string(raw)); ok {
			return strconv.FormatInt(n, 10), true, nil
		}
	}
	return "", false, fmt.Errorf("the argument %s cannot travel in the header %s", clip(strings.Join(b.Path, "."), 128), b.Header)
}

// integer reads a number that is an integer within ±(2^53-1), also when it is written as 42.0.
func integer(text string) (int64, bool) {
	if !Valid([]byte(text)) || kind([]byte(text)) != '0' {
		return 0, false
	}
	d, ok := decimalOf(text)
	if !ok || d.exponent < 0 || d.exponent > 16 || len(d.digits)+int(d.exponent) > 16 {
		return 0, false
	}
	if d.digits == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(d.digits+strings.Repeat("0", int(d.exponent)), 10, 64)
	if err != nil || n > maxSafe {
		return 0, false
	}
	if d.negative {
		n = -n
	}
	return n, true
}

// CheckParamHeaders holds the Mcp-Param headers of a call of 2026-07-28 to its arguments. A refusal is an *Error.
func CheckParamHeaders(m *Message, bindings []Binding, h Header) error {
	for _, b := range bindings {
		if err := b.check(m.Arguments, h); err != nil {
			err.ID = m.ID
			return err
		}
	}
	return nil
}

func (b Binding) check(arguments json.RawMessage, h Header) *Error {
	want, due, err := b.text(arguments)
	if err != nil {
		return badParams("%s.", err)
	}
	values := h.Values(b.Header)
	switch {
	case len(values) > 1:
		return mismatch("The header %s is there %d times.", b.Header, len(values))
	case due && len(values) == 0:
		return mismatch("The header %s is missing.", b.Header)
	case !due && len(values) == 0:
		return nil
	case !due:
		return mismatch("The header %s mirrors an argument that is not there.", b.Header)
	}
	said, ok := DecodeHeader(values[0])
	if !ok {
		return mismatch("The header %s is not plain ASCII text and not the Base64 form of UTF-8 text.", b.Header)
	}
	if said == want {
		return nil
	}
	if kind(Get(arguments, b.Path...)) == '0' {
		if n, ok := integer(said); ok && strconv.FormatInt(n, 10) == want {
			return nil
		}
	}
	return mismatch("The header %s differs from the argument.", b.Header)
}
