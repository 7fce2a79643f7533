package sqlite

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

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

// addresses are the IPv4 addresses that stand in a text by themselves, each once for every time that it stands there.
func addresses(text string) []netip.Addr {
	var out []netip.Addr
	for from := 0; from < len(text); {
		begin := strings.IndexAny(text[from:], "0123456789")
		if begin < 0 {
			break
		}
		begin += from
		end := begin
		for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.') {
			end++
		}
		from = end
		before, _ := utf8.DecodeLastRuneInString(text[:begin])
		after, _ := utf8.DecodeRuneInString(text[end:])
		run := strings.TrimRight(text[begin:end], ".")
		if strings.Count(run, ".") != 3 || worded(before) || run == text[begin:end] && worded(after) {
			continue
		}
		if a, err := netip.ParseAddr(run); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// worded is what would be one word with the number beside it.
func worded(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r))
}
