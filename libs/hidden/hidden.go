// Package hidden finds and removes characters that a person does not see but a model reads: tags, zero-width and bidirectional controls,
// variation selectors, fillers and terminal controls (threat T6). What writing needs stays: a variation selector after an emoji, joiners inside
// emoji and between letters of scripts that use them, direction marks beside right-to-left letters.
package hidden

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind is a set of kinds of hidden characters.
type Kind uint8

// The kinds.
const (
	Tag       Kind = 1 << iota // U+E0000 to U+E0FFF without the variation selectors: a whole alphabet that nobody sees
	ZeroWidth                  // spaces, joiners and fillers without width
	Bidi                       // controls that reorder text
	Variation                  // variation selectors, each of which can carry a byte
	Control                    // C0 but for tab, line feed and carriage return; DEL; C1; so every terminal sequence
	Format                     // other invisible format characters and noncharacters
)

// Names lists the kinds of the set in words, for findings and records.
func (k Kind) Names() []string {
	var out []string
	for i, name := range [...]string{"tag", "zero-width", "bidi", "variation-selector", "control", "format"} {
		if k&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Finding says what hidden characters a text has.
type Finding struct {
	Count int
	Kinds Kind
	First int // the byte index of the first; -1 without one
}

// Scan counts the hidden characters of a text. Plain ASCII costs next to nothing and nothing allocates.
func Scan(text string) Finding {
	found := Finding{First: -1}
	prev := rune(-1)
	for i := 0; i < len(text); {
		if text[i] >= 0x20 && text[i] < 0x7f {
			prev = rune(text[i])
			i++
			continue
		}
		r, width := utf8.DecodeRuneInString(text[i:])
		kind := classify(r)
		if kind != 0 {
			next, _ := utf8.DecodeRuneInString(text[i+width:])
			if needed(prev, r, next) {
				kind = 0
			}
		}
		if kind == 0 {
			prev = r
		} else {
			if found.Count == 0 {
				found.First = i
			}
			found.Count++
			found.Kinds |= kind
		}
		i += width
	}
	return found
}

// Strip answers the text without its hidden characters, and with U+FFFD for bytes that are not UTF-8; a clean text is answered as it is.
func Strip(text string) string {
	found := Scan(text)
	if found.Count == 0 {
		return text
	}
	var out strings.Builder
	out.Grow(len(text))
	prev := rune(-1)
	for i := 0; i < len(text); {
		r, width := utf8.DecodeRuneInString(text[i:])
		next, _ := utf8.DecodeRuneInString(text[i+width:])
		if classify(r) == 0 || needed(prev, r, next) {
			out.WriteRune(r) // bytes that are not UTF-8 as U+FFFD: with something gone between them they could become a character
			prev = r
		}
		i += width
	}
	return out.String()
}

// Legible counts the letters and digits of a text that a person can see.
func Legible(text string) int {
	count := 0
	for _, r := range text {
		if classify(r) == 0 && (unicode.IsLetter(r) || unicode.IsNumber(r)) {
			count++
		}
	}
	return count
}

// Shown answers the text as a person can see it: controls are blanks, and other characters that nobody sees are written as their numbers.
func Shown(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsControl(r):
			out.WriteByte(' ')
		case unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp, unicode.Variation_Selector):
			fmt.Fprintf(&out, "\\u{%X}", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
