package sqlite

import (
	"encoding/hex"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// text is the words of an event, and a word of its own for each IPv4 address. By itself an address is four numbers that very many records have, and to find where they
// follow each other means to go through the places of all of them. The words are divided here and not by FTS5, so that it finds what the ledger's filters find.
func text(ev *eventsv1.Event) string {
	words := record.Words(record.Text(ev))
	return strings.Join(append(words, addresses(words)...), " ")
}

// addresses are the words for what may be IPv4 addresses: for every four numbers that follow each other, whatever stands between them.
func addresses(words []string) []string {
	var out []string
	var last [4]byte
	row := 0 // how many numbers follow each other
	for _, word := range words {
		number, ok := octet(word)
		if !ok {
			row = 0
			continue
		}
		last = [4]byte{last[1], last[2], last[3], number}
		if row++; row >= len(last) {
			out = append(out, addressWord(last))
		}
	}
	return out
}

// addressWord is an address as one word. It begins with a sign that no other word has.
func addressWord(a [4]byte) string { return "·" + hex.EncodeToString(a[:]) }

// octet reads a number of an address: without leading zeros. It is called for every word of every record.
func octet(word string) (byte, bool) {
	if len(word) > 3 || len(word) > 1 && word[0] == '0' || len(word) == 3 && word > "255" {
		return 0, false
	}
	var n byte
	for i := range len(word) {
		if word[i] < '0' || word[i] > '9' {
			return 0, false
		}
		n = 10*n + word[i] - '0'
	}
	return n, true
}

// match is the user's words as an FTS5 expression in which nothing but words has a meaning: all must occur.
func match(text string) (string, error) {
	all := ""
	for _, phrase := range record.Phrases(text) {
		all = join(all, quote(phrase))
	}
	if all == "" {
		return "", fault.Invalid("text: has no letter or number to search for")
	}
	return all, nil
}

// quote is words that follow each other, in FTS5's form. Four numbers are asked for as an address, by its own word.
func quote(words []string) string {
	if own := addresses(words); len(words) == 4 && len(own) == 1 {
		words = own
	}
	return `"` + strings.Join(words, " ") + `"`
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " AND " + b
}
