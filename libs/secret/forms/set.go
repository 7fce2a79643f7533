package forms

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// skips is how many pairs of bytes are told apart: enough that few of a text look like one of a form.
const skips = 1 << 12

// Set looks for forms. A nil Set finds nothing. It is safe for concurrent use.
type Set struct {
	forms []string // the shortest first
	// One pass finds whether there is any of them, after Wu and Manber: where two bytes of the text cannot be among the first bytes of a form, as many
	// bytes as can be are left out. Ahead is how many of a form's first bytes are looked at, 0 where the shortest form is too short for it.
	ahead int
	skip  []uint8
}

func newSet(all []string) *Set {
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	var forms []string
	for _, form := range all {
		if !slices.ContainsFunc(forms, func(known string) bool { return strings.Contains(form, known) }) {
			forms = append(forms, form)
		}
	}
	s := &Set{forms: forms}
	if len(forms) == 0 || len(forms[0]) < 2 {
		return s
	}
	s.ahead = min(len(forms[0]), math.MaxUint8)
	s.skip = bytes.Repeat([]byte{uint8(s.ahead - 1)}, skips)
	for _, form := range forms {
		for end := 1; end < s.ahead; end++ {
			at := pair(form[end-1], form[end])
			s.skip[at] = min(s.skip[at], uint8(s.ahead-1-end))
		}
	}
	return s
}

// Union looks for what any of the sets looks for.
func Union(sets ...*Set) *Set {
	var all []string
	for _, s := range sets {
		if !s.Empty() {
			all = append(all, s.forms...)
		}
	}
	return newSet(all)
}

func pair(a, b byte) int { return (int(a)<<5 ^ int(b)) & (skips - 1) }

// Empty reports whether there is nothing to look for.
func (s *Set) Empty() bool { return s == nil || len(s.forms) == 0 }

// within reports whether a text has any of the forms, as they are.
func (s *Set) within(text []byte) bool {
	if s.ahead == 0 {
		for _, form := range s.forms {
			if bytes.Contains(text, []byte(form)) {
				return true
			}
		}
		return false
	}
	for i := s.ahead - 1; i < len(text); {
		if n := s.skip[pair(text[i-1], text[i])]; n > 0 {
			i += int(n)
			continue
		}
		rest := text[i-s.ahead+1:]
		for _, form := range s.forms {
			if len(form) <= len(rest) && string(rest[:len(form)]) == form {
				return true
			}
		}
		i++
	}
	return false
}

// Found reports whether a strict JSON document holds one of the forms, as it is written or in a string that is written with escapes.
func (s *Set) Found(document []byte) bool {
	if s.Empty() {
		return false
	}
	if s.within(document) {
		return true
	}
	_, count := s.redactEscaped(document)
	return count > 0
}

// Redact takes the forms out of a strict JSON document and counts them. What is left may not be JSON any more where a form was more than text.
func (s *Set) Redact(document []byte) ([]byte, int) {
	if s.Empty() {
		return document, 0
	}
	count := 0
	if s.within(document) {
		for _, form := range s.forms {
			if n := bytes.Count(document, []byte(form)); n > 0 {
				count += n
				document = bytes.ReplaceAll(document, []byte(form), []byte(Redacted))
			}
		}
	}
	escaped, n := s.redactEscaped(document)
	return escaped, count + n
}

// redactEscaped looks into strings that are written with escapes, which can spell a secret in many ways.
func (s *Set) redactEscaped(document []byte) ([]byte, int) {
	if bytes.IndexByte(document, '\\') < 0 {
		return document, 0
	}
	var out, text []byte
	count, copied := 0, 0
	for i := 0; i < len(document); i++ {
		if document[i] != '"' {
			continue
		}
		end, escapes := literal(document, i)
		if escapes {
			text, _ = jsontext.AppendUnquote(text[:0], document[i:end]) // what is no string is looked at as far as it is one
			if s.within(text) {
				clean, n := s.RedactText(string(text))
				if quoted, err := json.Marshal(clean); err == nil {
					out = append(append(out, document[copied:i]...), quoted...)
					copied = end
					count += n
				}
			}
		}
		i = end - 1
	}
	if count == 0 {
		return document, 0
	}
	return append(out, document[copied:]...), count
}

// literal answers where the string that begins at i ends, and whether it has escapes. It looks for the next quote again only when that was an escaped one.
func literal(document []byte, i int) (end int, escapes bool) {
	for j, quote := i+1, i; ; {
		if quote < j {
			next := bytes.IndexByte(document[j:], '"')
			if next < 0 {
				return len(document), escapes || bytes.IndexByte(document[j:], '\\') >= 0
			}
			quote = j + next
		}
		escape := bytes.IndexByte(document[j:quote], '\\')
		if escape < 0 {
			return quote + 1, escapes
		}
		escapes = true
		j = min(j+escape+2, len(document))
	}
}

// RedactText is Redact for a text that is not JSON.
func (s *Set) RedactText(text string) (string, int) {
	if s.Empty() {
		return text, 0
	}
	count := 0
	for _, form := range s.forms {
		if n := strings.Count(text, form); n > 0 {
			count += n
			text = strings.ReplaceAll(text, form, Redacted)
		}
	}
	return text, count
}
