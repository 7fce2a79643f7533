package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// modification is one change of the arguments, ready to be made. Outside the value at its path it changes no byte, but for the comma of a
// member that comes or goes.
type modification struct {
	path   string
	tokens []string
	create bool // a missing path is made
	remove bool
	// change gives the new value for the old one, both raw; the same bytes mean that nothing changes.
	change func(old []byte) ([]byte, error)
}

func compileModifications(all []*authzv1.Modification) ([]modification, error) {
	out := make([]modification, 0, len(all))
	for _, m := range all {
		compiled, err := compileModification(m)
		if err != nil {
			return nil, fmt.Errorf("modify %s: %w", m.GetPath(), err)
		}
		out = append(out, compiled)
	}
	return out, nil
}

func compileModification(m *authzv1.Modification) (modification, error) {
	out := modification{path: m.GetPath()}
	var err error
	if out.tokens, err = parsePointer(m.GetPath()); err != nil {
		return out, err
	}
	if len(out.tokens) == 0 {
		return out, errors.New("the path must name a place in the arguments, as /limit")
	}
	switch action := m.GetAction().(type) {
	case *authzv1.Modification_Set:
		value, err := settable(action)
		if err != nil {
			return out, err
		}
		out.create = true
		out.change = func([]byte) ([]byte, error) { return value, nil }
	case *authzv1.Modification_Remove:
		if !action.Remove {
			return out, errors.New("remove must be true")
		}
		out.remove = true
	case *authzv1.Modification_Clamp:
		out.change, err = compileClamp(action.Clamp)
	case *authzv1.Modification_Truncate:
		if action.Truncate < 0 {
			return out, errors.New("truncate must not be negative")
		}
		keep := int(action.Truncate)
		out.change = func(old []byte) ([]byte, error) { return truncate(old, keep) }
	case *authzv1.Modification_Mask:
		out.change, err = compileMask(action.Mask)
	case *authzv1.Modification_Filter:
		out.change, err = compileFilter(action.Filter)
	default:
		return out, errors.New("one of set, remove, clamp, truncate, mask, filter is needed")
	}
	return out, err
}

func settable(action *authzv1.Modification_Set) ([]byte, error) {
	if action.Set == nil {
		return []byte("null"), nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(action.Set.AsInterface()); err != nil {
		return nil, fmt.Errorf("set: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// apply makes the change in doc, which may be nil for no arguments, at every place that the path means, and says whether anything changed. doc itself stays
// as it is.
func (m *modification) apply(doc []byte) (out []byte, changed bool, err error) {
	if len(doc) == 0 {
		if !m.create {
			return doc, false, nil
		}
		doc = []byte("{}")
	}
	if !slices.Contains(m.tokens, every) {
		return m.at(doc, m.tokens)
	}
	all, err := places(doc, m.tokens)
	if m.remove && errors.Is(err, errNoMembers) {
		return doc, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, tokens := range all {
		next, did, err := m.at(doc, tokens)
		if err != nil {
			return nil, false, err
		}
		doc, changed = next, changed || did
	}
	return doc, changed, nil
}

// at makes the change at one place.
func (m *modification) at(doc []byte, tokens []string) ([]byte, bool, error) {
	at, depth, err := locate(doc, tokens)
	if err != nil {
		return nil, false, err
	}
	switch {
	case !at.found && !m.create:
		return doc, false, nil
	case !at.found:
		out, err := m.insert(doc, tokens, at, depth)
		return out, err == nil, err
	case m.remove:
		return cut(doc, at), true, nil
	}
	old := doc[at.start:at.end]
	value, err := m.change(old)
	if err != nil {
		return nil, false, err
	}
	if string(value) == string(old) {
		return doc, false, nil
	}
	return splice(doc, at.start, at.end, value), true, nil
}

// cut takes a member or element out, with the comma that then separates nothing.
func cut(doc []byte, at place) []byte {
	switch {
	case at.before >= 0:
		return splice(doc, at.before, at.end, nil)
	case at.after >= 0:
		return splice(doc, at.member, at.after, nil)
	}
	return splice(doc, at.member, at.end, nil)
}

// insert makes what is missing from depth on: objects on the way, then the value.
func (m *modification) insert(doc []byte, tokens []string, at place, depth int) ([]byte, error) {
	value, err := m.change(nil)
	if err != nil {
		return nil, err
	}
	for i := len(tokens) - 1; i > depth; i-- {
		if value, err = member(tokens[i], value); err != nil {
			return nil, err
		}
		value = slices.Concat([]byte{'{'}, value, []byte{'}'})
	}
	switch token := tokens[depth]; at.kind {
	case '{':
		if value, err = member(token, value); err != nil {
			return nil, err
		}
	case '[':
		if i, ok := arrayIndex(token); token != "-" && (!ok || i != at.count) {
			return nil, fmt.Errorf("an array of %d elements has no place %q", at.count, token)
		}
	default:
		return nil, fmt.Errorf("there is a value on the way that is neither an object nor an array")
	}
	if at.last >= 0 {
		return splice(doc, at.last, at.last, append([]byte{','}, value...)), nil
	}
	return splice(doc, at.open+1, at.open+1, value), nil
}

func member(name string, value []byte) ([]byte, error) {
	out, err := jsontext.AppendQuote(nil, name)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", name, err)
	}
	return append(append(out, ':'), value...), nil
}

func splice(doc []byte, start, end int, with []byte) []byte {
	return slices.Concat(doc[:start], with, doc[end:])
}

// clampPrecision is enough bits for 70 digits, so that a clamp never takes a large integer for another.
const clampPrecision = 256

func compileClamp(c *authzv1.Clamp) (func([]byte) ([]byte, error), error) {
	if c == nil || (c.Min == nil && c.Max == nil) {
		return nil, errors.New("clamp needs min, max or both")
	}
	for _, bound := range []float64{c.GetMin(), c.GetMax()} {
		if math.IsNaN(bound) || math.IsInf(bound, 0) {
			return nil, errors.New("a bound of clamp is not a number")
		}
	}
	if c.Min != nil && c.Max != nil && c.GetMin() > c.GetMax() {
		return nil, errors.New("clamp has a min that is greater than its max")
	}
	return func(old []byte) ([]byte, error) {
		if jsontext.Value(old).Kind() != '0' {
			return nil, errors.New("clamp needs a number")
		}
		v, _, err := big.ParseFloat(string(old), 10, clampPrecision, big.ToNearestEven)
		if v == nil {
			return nil, fmt.Errorf("clamp needs a number: %w", err)
		}
		if c.Min != nil && v.Cmp(big.NewFloat(c.GetMin())) < 0 {
			return literal(c.GetMin()), nil
		}
		if c.Max != nil && v.Cmp(big.NewFloat(c.GetMax())) > 0 {
			return literal(c.GetMax()), nil
		}
		return old, nil
	}, nil
}

// literal writes a bound as people do: 100, not 1e+02.
func literal(f float64) []byte {
	const plain = 1e21
	if f == 0 {
		return []byte{'0'}
	}
	if math.Abs(f) < plain && math.Abs(f) >= 1/plain {
		return strconv.AppendFloat(nil, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64)
}

// truncate keeps the first elements of an array or characters of a text. What it keeps, it keeps as it is written, escapes too.
func truncate(old []byte, keep int) ([]byte, error) {
	switch jsontext.Value(old).Kind() {
	case '[':
		return truncateArray(old, keep)
	case '"':
		return truncateText(old, keep), nil
	}
	return nil, errors.New("truncate needs an array or a text")
}

func truncateArray(old []byte, keep int) ([]byte, error) {
	if keep == 0 {
		if at, err := step(old, 0, "0"); err != nil || !at.found {
			return old, err
		}
		return []byte("[]"), nil
	}
	at, err := step(old, 0, strconv.Itoa(keep-1))
	if err != nil || !at.found || at.after < 0 {
		return old, err
	}
	return append(slices.Clone(old[:at.end]), ']'), nil
}

// truncateText counts characters as Unicode code points; an escaped surrogate pair is one.
func truncateText(old []byte, keep int) []byte {
	inner := old[1 : len(old)-1]
	at := 0
	for range keep {
		if at >= len(inner) {
			return old
		}
		at += written(inner[at:])
	}
	if at >= len(inner) {
		return old
	}
	return slices.Concat([]byte{'"'}, inner[:at], []byte{'"'})
}

// written is how many bytes the first character of a JSON text takes as it is written.
func written(s []byte) int {
	const simple, unicode = 2, 6
	switch {
	case s[0] == '\\' && len(s) >= unicode && s[1] == 'u':
		if high, err := strconv.ParseUint(string(s[2:unicode]), 16, 16); err == nil && high >= 0xD800 && high < 0xDC00 && len(s) >= 2*unicode {
			return 2 * unicode
		}
		return unicode
	case s[0] == '\\':
		return min(simple, len(s))
	case s[0] < 0x80:
		return 1
	}
	n := 1
	for n < len(s) && s[n]&0xC0 == 0x80 {
		n++
	}
	return n
}

const masked = "***"

func compileMask(how string) (func([]byte) ([]byte, error), error) {
	hide, ok := map[string]func(string) string{
		"all":   func(string) string { return masked },
		"last4": maskLast4,
		"email": maskEmail,
	}[how]
	if !ok {
		return nil, fmt.Errorf("mask %q is none of email, last4, all", how)
	}
	return func(old []byte) ([]byte, error) {
		if jsontext.Value(old).Kind() != '"' {
			return nil, errors.New("mask needs a text")
		}
		plain, err := jsontext.AppendUnquote(nil, old)
		if err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
		return jsontext.AppendQuote(nil, hide(string(plain)))
	}, nil
}

// maskLast4 shows the last four characters of a text of at least eight; a shorter one would show too much of itself.
func maskLast4(s string) string {
	const shown, least = 4, 8
	runes := []rune(s)
	if len(runes) < least {
		return masked
	}
	return masked + string(runes[len(runes)-shown:])
}

// maskEmail shows the first character and the domain; what is not an address is hidden whole.
func maskEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return masked
	}
	return string([]rune(s[:at])[:1]) + masked + s[at:]
}
