package keep

import (
	"bytes"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// longestName is how far back from what separates a name from its value the name is looked for, in bytes.
	longestName = 96
	// deepestIndent is as far as the indentation of a name is told apart.
	deepestIndent = 256
	// vainBytes is how many bytes may be read as JSON in vain for each byte of a text, and vainObject what an attempt costs beside them.
	vainBytes, vainObject = 8, 64
	// unread is what stands for text that could not be looked into.
	unread = "[redacted:unread]"
)

// pairs is a text in which objects of JSON are looked into, and the name of a secret, and then = or :, has no value behind it. Its time grows with the text's length alone:
// what was taken as a value is passed over, and what may be read as JSON in vain is bounded.
func (s scrubber) pairs(text string, depth int) string {
	var out strings.Builder
	doc := []byte(text)
	done, line, vain := 0, 0, vainBytes*len(text) // what is written, where the line begins, what may be read in vain
	for i := 0; i < len(text); {
		if n := separator(text[i:]); n > 0 {
			at := i + n
			if i = at; s.named(text[max(0, at-n-longestName) : at-n]) {
				from, to := value(text, at, indent(text[line:min(at, line+deepestIndent)]))
				if out.WriteString(text[done:from]); from < to {
					out.WriteString(aSecret)
				}
				if n := strings.LastIndexByte(text[at:to], '\n'); n >= 0 {
					line = at + n + 1
				}
				i, done = to, to
			}
			continue
		}
		if text[i] == '{' && depth < nested && (vain > 0 || len(s.pointers) > 0) {
			if vain <= 0 && len(s.pointers) > 0 { // too much like JSON to be looked into, so it may hold anything that a pointer names
				return out.String() + text[done:i] + unread
			}
			within, n, ok := s.object(doc[i:], depth)
			if ok {
				out.WriteString(text[done:i] + within)
				i += n
				done = i
				continue
			}
			vain -= n + vainObject
		}
		if i++; text[i-1] == '\n' {
			line = i
		}
	}
	return out.String() + text[done:]
}

// object looks into the object of JSON at the beginning of a text, and says how long it is; or how much was read of what is none.
func (s scrubber) object(text []byte, depth int) (within string, n int, ok bool) {
	found, err := jsontext.NewDecoder(bytes.NewBuffer(text)).ReadValue()
	if err != nil {
		if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return "", int(wrong.ByteOffset), false
		}
		return "", len(text), false
	}
	if within, err = s.inside(found, depth); err != nil { // the pointers cannot be carried out, so nothing of it is kept
		within = aSecret
	}
	return within, len(found), true
}

// separator is how long what separates a name from its value is at the beginning of a text: = or :, also twice, as => or full-width.
func separator(text string) int {
	n := 0
	for n < len(text) {
		switch {
		case text[n] == '=' || text[n] == ':' || text[n] == '>' && n > 0:
			n++
		case strings.HasPrefix(text[n:], "：") || strings.HasPrefix(text[n:], "＝"):
			n += len("：")
		default:
			return n
		}
	}
	return n
}

// named reports whether a text ends with the name of a secret, in quotes or not.
func (s scrubber) named(text string) bool {
	text = strings.TrimRight(text, " \t\"'`*\\])?!")
	return s.secretName(text[strings.LastIndexFunc(text, func(r rune) bool { return !nameSign(r) })+1:])
}

func nameSign(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-. ", r)
}

// value is where the value that begins at a place stands. In quotes it ends with them, in brackets with the line in which they are closed; else with its line and the lines
// below it that are indented more than the name's.
func value(text string, at, indented int) (from, to int) {
	for at < len(text) && strings.IndexByte(" \t\r\n", text[at]) >= 0 {
		at++
	}
	if at == len(text) {
		return at, at
	}
	opening := at
	for opening < len(text) && text[opening] == '\\' {
		opening++
	}
	if opening < len(text) && strings.IndexByte("\"'`", text[opening]) >= 0 {
		end, after := closing(text, opening+1, text[opening], opening-at)
		if after == len(text) || strings.IndexByte(" \t\r\n,;:)]}>&\\", text[after]) >= 0 {
			return opening + 1, end
		}
		at = opening
		return at, block(text, after, indented)
	}
	if text[at] == '{' || text[at] == '[' {
		return at, block(text, bracketEnd(text, at), indented)
	}
	return at, block(text, at, indented)
}

// closing is where the quotes end that began before a place, with as many backslashes before them, and where the text goes on. Without an end all is within them.
func closing(text string, at int, quote byte, slashes int) (end, after int) {
	run := 0 // of backslashes
	for i := at; i < len(text); i++ {
		switch {
		case text[i] == '\\':
			run++
			continue
		case text[i] == quote && i+1 < len(text) && text[i+1] == quote && run == 0 && slashes == 0: // twice is one within
			i++
		case text[i] == quote && (run <= slashes && slashes > 0 || run%2 == 0 && slashes == 0):
			return i - min(run, slashes), i + 1
		}
		run = 0
	}
	return len(text), len(text)
}

// bracketEnd is where the bracket at a place is closed; the end of the text when it never is.
func bracketEnd(text string, at int) int {
	deep := 0
	for i := at; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			deep++
		case '}', ']':
			if deep--; deep == 0 {
				return i
			}
		}
	}
	return len(text)
}

// block is where the line of a place ends, with the lines below it that are indented more; empty ones between them are among them.
func block(text string, at, indented int) int {
	end := lineEnd(text, at)
	for next := end; next < len(text); {
		next++
		below := lineEnd(text, next)
		switch line := text[next:below]; {
		case indent(line) > indented && indent(line) < len(line):
			end = below
		case strings.TrimSpace(line) != "":
			return end
		}
		next = below
	}
	return end
}

func lineEnd(text string, at int) int {
	if n := strings.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n
	}
	return len(text)
}

// indent is how far in a line begins. The dashes of a list count.
func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " \t-")) }
