package sqlite

import (
	"encoding/hex"
	"net/netip"
	"strings"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

// text is what the words of an event are made of: what every index has, and a word of its own for each IPv4 address. By itself an address is four numbers that very many
// records have, and to find where they follow each other means to go through the places of all of them.
func text(ev *eventsv1.Event) string {
	all := index.Text(ev)
	for _, a := range addresses(all) {
		all += addressWord(a) + " "
	}
	return all
}

// addressWord is an address as one word.
func addressWord(a netip.Addr) string {
	four := a.As4()
	return "ip" + hex.EncodeToString(four[:])
}

// addresses are the IPv4 addresses that stand in a text: four numbers that follow each other with one sign between, also within a longer row of numbers and as part of a
// host's name. Each is there once for every time that it stands in the text.
func addresses(text string) []netip.Addr {
	var out []netip.Addr
	var row []byte // the numbers so far
	for i := 0; i < len(text); {
		if !digit(text[i]) {
			if len(row) > 0 && !separates(text, i) {
				row = row[:0]
			}
			i++
			continue
		}
		end := i + 1
		for end < len(text) && digit(text[end]) {
			end++
		}
		number, ok := octet(text[i:end])
		if !ok || i > 0 && letter(text[i-1]) || end < len(text) && letter(text[end]) {
			row = row[:0]
		} else if row = append(row, number); len(row) >= 4 {
			out = append(out, netip.AddrFrom4([4]byte(row[len(row)-4:])))
		}
		i = end
	}
	return out
}

// separates reports whether the sign stands alone between two numbers.
func separates(text string, i int) bool {
	return strings.IndexByte(".-_", text[i]) >= 0 && i > 0 && digit(text[i-1]) && i+1 < len(text) && digit(text[i+1])
}

// octet reads a number of an address, as netip does: without leading zeros. It is called for every number of every record.
func octet(text string) (byte, bool) {
	if len(text) > 3 || len(text) > 1 && text[0] == '0' || len(text) == 3 && text > "255" {
		return 0, false
	}
	var n byte
	for i := range len(text) {
		n = 10*n + text[i] - '0'
	}
	return n, true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
