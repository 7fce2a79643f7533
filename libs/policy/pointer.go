package policy

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// parsePointer splits a JSON pointer (RFC 6901) into its tokens; the empty pointer has none.
func parsePointer(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if pointer[0] != '/' {
		return nil, fmt.Errorf("the JSON pointer %q does not start with /", pointer)
	}
	tokens := strings.Split(pointer[1:], "/")
	for i, token := range tokens {
		if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(token, "~0", ""), "~1", ""), "~") {
			return nil, fmt.Errorf("the JSON pointer %q has a ~ that is neither ~0 nor ~1", pointer)
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// arrayIndex is a pointer's token as the place in an array: digits without leading zeros (RFC 6901, section 4).
func arrayIndex(token string) (int, bool) {
	if token == "" || (token[0] == '0' && token != "0") || token[0] == '+' || token[0] == '-' {
		return 0, false
	}
	i, err := strconv.Atoi(token)
	return i, err == nil
}

// place is one step of a pointer: the container that it looked into and, when found, the value in it, as offsets into the document.
type place struct {
	kind  jsontext.Kind // of the container; '{', '[' or another that holds nothing
	open  int           // where the container starts
	count int           // an array's length, when nothing was found
	last  int           // where the last member or element ends, when nothing was found; -1 in an empty container

	found      bool
	member     int // where the member starts, with its name; an element starts with its value
	start, end int // of the value
	before     int // where the member before it ends; -1 for the first
	after      int // where the member after it starts; -1 for the last
}

// locate walks a document to where tokens lead. When it does not get there, the place is the last container on the way and depth is the
// number of tokens that led to it.
func locate(doc []byte, tokens []string) (at place, depth int, err error) {
	at = place{found: true, before: -1, after: -1}
	at.start = skipSpace(doc, 0)
	at.end = len(bytes.TrimRight(doc, " \t\r\n"))
	for depth, token := range tokens {
		if at, err = step(doc, at.start, token); err != nil || !at.found {
			return at, depth, err
		}
	}
	return at, len(tokens), nil
}

// step looks for one token in the value that starts at open.
func step(doc []byte, open int, token string) (place, error) {
	at := place{open: open, before: -1, after: -1, last: -1}
	dec := jsontext.NewDecoder(bytes.NewBuffer(doc[open:]))
	at.kind = dec.PeekKind()
	if at.kind != '{' && at.kind != '[' {
		return at, nil
	}
	index, isIndex := arrayIndex(token)
	if _, err := dec.ReadToken(); err != nil {
		return at, broken(err)
	}
	for {
		switch kind := dec.PeekKind(); kind {
		case '}', ']':
			return at, nil
		}
		member := skipSpace(doc, open+int(dec.InputOffset()))
		hit := at.kind == '[' && isIndex && index == at.count
		if at.kind == '{' {
			name, err := dec.ReadToken()
			if err != nil {
				return at, broken(err)
			}
			hit = name.String() == token
		}
		start := skipSpace(doc, open+int(dec.InputOffset()))
		if err := dec.SkipValue(); err != nil {
			return at, broken(err)
		}
		end := open + int(dec.InputOffset())
		if hit {
			at.found, at.member, at.start, at.end, at.before = true, member, start, end, at.last
			switch dec.PeekKind() {
			case 0:
				_, err := dec.ReadToken()
				return at, broken(err)
			case '}', ']':
			default:
				at.after = skipSpace(doc, end)
			}
			return at, nil
		}
		at.last = end
		at.count++
	}
}

// skipSpace is where the next token starts, past white space and the separators between tokens.
func skipSpace(doc []byte, from int) int {
	for from < len(doc) && strings.IndexByte(" \t\r\n,:", doc[from]) >= 0 {
		from++
	}
	return from
}

func broken(err error) error { return fmt.Errorf("the document is not strict JSON: %w", err) }
