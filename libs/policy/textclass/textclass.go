// Package textclass finds kinds of personal data in texts, for rules such as "card" in classes(args.note).
//
// Numbers count only when their check digits hold, so that an order number is no card. Spaces and hyphens between digits are passed over, and full-width
// letters and digits are read as plain ones. Numbers without a good check count in their usual groups, or behind a word that says what they are. It
// looks for what is written plainly and not for what somebody hides on purpose.
package textclass

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// MaxBytes is the longest text that is looked at.
const MaxBytes = 1 << 20

// The classes. One of a country's numbers is found as national-id and as national-id-xx.
const (
	Card       = "card"
	Email      = "email"
	IBAN       = "iban"
	NationalID = "national-id"
)

// Names are all classes that Find answers.
func Names() []string {
	out := []string{Card, Email, IBAN, NationalID}
	out = append(out, NationalID+"-us")
	for _, k := range kinds() {
		out = append(out, NationalID+"-"+k.country)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Find names, in order, the classes of what is in a text.
func Find(text string) []string {
	found := map[string]bool{}
	known := kinds()
	for _, token := range tokens(text) {
		if email(token.raw) {
			found[Email] = true
		}
		if token.american {
			found[NationalID], found[NationalID+"-us"] = true, true
		}
		if token.health {
			found[NationalID], found[NationalID+"-gb"] = true, true
		}
		for _, run := range token.runs {
			classify(run, known, found)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func classify(run string, known []kind, found map[string]bool) {
	if card(run) {
		found[Card] = true
	}
	if iban(run) {
		found[IBAN] = true
	}
	for _, k := range known {
		if k.holds(run) {
			found[NationalID], found[NationalID+"-"+k.country] = true, true
		}
	}
}

// token is what stands between spaces, and the numbers that begin in it, each without what divides it.
type token struct {
	raw  string
	runs []string
	// american says that a social security number begins here: it has no check digit, so it counts only in its three groups or behind its name.
	american bool
	// health says that an NHS number begins here: one in eleven numbers of ten digits is one, so it too counts only so.
	health bool
}

const (
	// longest is the longest number that is looked for: an IBAN.
	longest = 34
	// shortest is the shortest.
	shortest = 9
	// leading letters are at most these, those of an Italian name.
	leading = 6
	// groups are the most groups of letters and digits that one number is written in.
	groups = 9
	// near is how many words may stand between a number and what says which it is.
	near = 4
)

// tokens cuts a text into words. A number may be written in groups: every run of up to nine groups in a row is looked at.
func tokens(text string) []token {
	words := strings.FieldsFunc(strings.Map(plain, text), func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`"'<>()[]{},;|=`, r) })
	var parts []string
	var owner []int
	out := make([]token, len(words))
	for i, word := range words {
		out[i].raw = strings.Trim(word, ".:!?")
		for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return !asciiAlnum(r) }) {
			parts, owner = append(parts, strings.ToUpper(part)), append(owner, i)
		}
	}
	for i := range parts {
		before := parts[max(0, i-near):i]
		out[owner[i]].american = out[owner[i]].american || americanAt(before, parts[i:])
		out[owner[i]].health = out[owner[i]].health || healthAt(before, parts[i:])
		run := make([]byte, 0, longest)
		for _, part := range parts[i:min(i+groups, len(parts))] {
			run = append(run, part...)
			if len(run) > longest || len(run) > leading && !hasDigit(string(run[:leading+1])) {
				break
			}
			if len(run) >= shortest && hasDigit(string(run)) {
				out[owner[i]].runs = append(out[owner[i]].runs, string(run))
			}
		}
	}
	return out
}

// plain reads full-width letters, digits and signs (U+FF01 to U+FF5E) as what they stand for.
func plain(r rune) rune {
	if r >= 0xFF01 && r <= 0xFF5E {
		return r - 0xFF01 + '!'
	}
	return r
}

// americanAt says whether a social security number begins here, in three groups or, behind its name, in one.
func americanAt(before, parts []string) bool {
	if len(parts) >= 3 && american(parts[0], parts[1], parts[2]) {
		return true
	}
	one := parts[0]
	return len(one) == 9 && american(one[:3], one[3:5], one[5:]) && named(before, "SSN", "SOCIAL", "SECURITY", "SOCIALSECURITYNUMBER", "SOCIALSECURITY")
}

// healthAt says whether an NHS number begins here, in groups of 3, 3 and 4 digits or, behind its name, in one.
func healthAt(before, parts []string) bool {
	if len(parts) >= 3 && len(parts[0]) == 3 && len(parts[1]) == 3 && health(parts[0]+parts[1]+parts[2]) {
		return true
	}
	return health(parts[0]) && named(before, "NHS", "NHSNUMBER", "NHSNO")
}

// named says whether one of the words before a number ends in one of the names, as patientSsn does.
func named(before []string, names ...string) bool {
	return slices.ContainsFunc(before, func(word string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(word, name) })
	})
}

func asciiAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }

// email holds for local@domain with a dot in the domain and letters behind it.
func email(s string) bool {
	s = strings.TrimPrefix(s, "mailto:")
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || strings.Contains(domain, "@") || strings.ContainsAny(s, "/\\") {
		return false
	}
	at := strings.LastIndexByte(domain, '.')
	if at <= 0 || len(domain)-at < 3 {
		return false
	}
	for _, r := range domain[at+1:] {
		if !unicode.IsLetter(r) {
			return false
		}
	}
	return true
}
