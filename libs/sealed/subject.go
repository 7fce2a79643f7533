package sealed

import (
	"math/big"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// number is a number of JSON (RFC 8259, section 6) that is not too long to be worked out.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,63})(\.[0-9]{1,64})?([eE][+-]?[0-9]{1,3})?$`)

// Subject is the one name of whom a document is about, however it is spelled: 17, "17" and 17.0 are one, and so are Ana@X, "ana@x " and their full-width forms.
// Numbers count by their value, though 017 is not 17; text counts after Unicode's compatibility form (NFKC) and full case folding, without characters that
// nobody sees and with one space for many. Two whom only their case tells apart share a key: erasing the one erases the other too.
func Subject(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFKC.String(name))
	name = norm.NFKC.String(cases.Fold().String(name))
	name = strings.Join(strings.Fields(name), " ")
	if !number.MatchString(name) {
		return name
	}
	value, ok := new(big.Rat).SetString(name)
	if !ok {
		return name
	}
	return value.RatString()
}
