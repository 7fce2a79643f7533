package mcp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Get answers the raw value at a path of member names in a strict JSON object, or nil.
func Get(doc []byte, path ...string) json.RawMessage {
	at, found, _ := locate(doc, path)
	if found != len(path) || found == 0 {
		return nil
	}
	return doc[at.from:at.to]
}

// Text is Get for a string: its text, and whether there is one.
func Text(doc []byte, path ...string) (string, bool) {
	raw := Get(doc, path...)
	if kind(raw) != '"' {
		return "", false
	}
	return string(unquote(raw)), true
}

// Set answers a copy of a strict JSON object with another value at a path of member names; what is missing of the path is added.
// Every other byte stays. It refuses a value that is not strict JSON and a path through something that is not an object.
func Set(doc []byte, value json.RawMessage, path ...string) ([]byte, error) {
	if len(path) == 0 {
		return nil, fmt.Errorf("no path to set")
	}
	if !Valid(value) {
		return nil, fmt.Errorf("the value for %q is not strict JSON", path)
	}
	at, found, object := locate(doc, path)
	if found == len(path) {
		return splice(doc, at, value), nil
	}
	if !object {
		return nil, fmt.Errorf("there is no object to set %q in", path)
	}
	add := slices.Clone([]byte(value))
	for _, name := range slices.Backward(path[found+1:]) {
		add = slices.Concat([]byte("{"), quote(name), []byte(":"), add, []byte("}"))
	}
	add = slices.Concat(quote(path[found]), []byte(":"), add)
	if !empty(doc[at.from:at.to]) {
		add = slices.Concat([]byte(","), add)
	}
	return splice(doc, span{at.to - 1, at.to - 1}, add), nil
}

// Delete answers a copy of a strict JSON object without the member at a path; without such a member, the document itself.
func Delete(doc []byte, path ...string) []byte {
	if len(path) == 0 {
		return doc
	}
	parent := span{0, len(doc)}
	if len(path) > 1 {
		at, found, _ := locate(doc, path[:len(path)-1])
		if found != len(path)-1 {
			return doc
		}
		parent = at
	}
	c := cursor{b: doc[:parent.to], i: parent.from}
	if !c.open('{') {
		return doc
	}
	for before := c.i; ; {
		first := c.b[before-1] == '{'
		name, ok := c.name()
		if !ok {
			return doc
		}
		c.value()
		after := c.i
		if string(name) != path[len(path)-1] {
			before = after
			continue
		}
		if first { // the comma to drop is the one behind
			c.space()
			if c.i < len(c.b) && c.b[c.i] == ',' {
				after = c.i + 1
			}
		}
		return splice(doc, span{before, after}, nil)
	}
}

// DeletePrefixed answers a copy of a strict JSON document without those members of the object at a path whose names begin with a prefix, however
// the names are escaped; without such members, the document itself. Every other byte stays.
func DeletePrefixed(doc []byte, prefix string, path ...string) []byte {
	at, found, _ := locate(doc, path)
	c := cursor{b: doc[:at.to], i: at.from}
	if found != len(path) || !c.open('{') {
		return doc
	}
	var out []byte
	copied, kept, dropped := 0, false, false
	for before := c.i; ; before = c.i {
		name, ok := c.name()
		if !ok {
			break
		}
		drop := strings.HasPrefix(string(name), prefix)
		c.value()
		switch {
		case drop:
			out, copied, dropped = append(out, doc[copied:before]...), c.i, true
		case dropped && !kept: // the first that stays has no comma before it
			copied += bytes.IndexByte(doc[copied:], ',') + 1
			kept = true
		default:
			kept = true
		}
	}
	if !dropped {
		return doc
	}
	return append(out, doc[copied:]...)
}

// locate follows a path as far as it goes: where the last value found stands, how many names were found, and whether that value is an object.
func locate(doc []byte, path []string) (at span, found int, object bool) {
	c := cursor{b: doc}
	c.space()
	at = span{c.i, len(bytes.TrimRight(doc, " \t\r\n"))}
	at.from = min(at.from, at.to)
	for found < len(path) {
		next, ok := member(doc, at, path[found])
		if !ok {
			break
		}
		at = next
		found++
	}
	return at, found, at.from < at.to && doc[at.from] == '{'
}

func member(doc []byte, in span, want string) (span, bool) {
	c := cursor{b: doc[:in.to], i: in.from}
	if !c.open('{') {
		return span{}, false
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		from := c.i
		c.value()
		if string(name) == want {
			return span{from, c.i}, true
		}
	}
	return span{}, false
}

func empty(object []byte) bool {
	c := cursor{b: object}
	return c.open('{') && !c.element('}')
}

func splice(doc []byte, at span, with []byte) []byte {
	return slices.Concat(doc[:at.from], with, doc[at.to:])
}

// WithArguments answers the message with other arguments; every other byte is as it came. It refuses what is not a strict JSON object.
func (m *Message) WithArguments(raw json.RawMessage) ([]byte, error) {
	if kind(raw) != '{' || !Valid(raw) {
		return nil, fmt.Errorf("the arguments are not a strict JSON object")
	}
	if m.Arguments != nil {
		return splice(m.Raw, m.arguments, raw), nil
	}
	return Set(m.Raw, raw, "params", "arguments")
}

// WithName answers the message with another tool name, prompt name or resource URI; every other byte is as it came.
func (m *Message) WithName(name string) ([]byte, error) {
	member := "name"
	if m.Method == MethodResourceRead {
		member = "uri"
	}
	return Set(m.Raw, quote(name), "params", member)
}

// Members answers the names and raw values of a strict JSON object, in their order; nothing of anything else.
func Members(object []byte) (names []string, values []json.RawMessage) {
	c := cursor{b: object}
	if !c.open('{') {
		return nil, nil
	}
	for name, ok := c.name(); ok; name, ok = c.name() {
		names, values = append(names, string(name)), append(values, c.value())
	}
	return names, values
}

// Elements answers the raw elements of a strict JSON array; nothing of anything else.
func Elements(array []byte) []json.RawMessage {
	c := cursor{b: array}
	if !c.open('[') {
		return nil
	}
	var out []json.RawMessage
	for c.element(']') {
		out = append(out, c.value())
	}
	return out
}
