package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// shortestEcho is the shortest value that is looked for elsewhere; a shorter one is everywhere.
	shortestEcho = 4
	// shortestNumber is how many digits a value such as 078-05-1120 has at least to be looked for without what stands between them.
	shortestNumber = 6
	maxEchoes      = 10_000
	// maxInside is how deep JSON in a text in JSON is looked into.
	maxInside = 8
)

// echoes are values that were taken out of a document, to find where else they stand in it.
type echoes struct {
	texts   map[string]bool
	numbers map[string]bool // as sameNumber writes them

	replacer *strings.Replacer
}

func newEchoes() *echoes { return &echoes{texts: map[string]bool{}, numbers: map[string]bool{}} }

// remember keeps the texts and numbers of a value.
func (e *echoes) remember(value []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(value))
	for {
		token, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return broken(err)
		case (token.Kind() == '"' || token.Kind() == '0') && !name(dec):
			e.add(token.String())
		}
	}
}

// add keeps a value in the forms in which it may stand elsewhere: as it is, as part of an address, and a number of digits in groups also in one piece.
func (e *echoes) add(text string) {
	for _, form := range []string{text, url.PathEscape(text), url.QueryEscape(text), inOnePiece(text)} {
		if len(form) < shortestEcho || strings.Contains(Redacted, form) { // what stands in its place is no echo
			continue
		}
		e.texts[form] = true
		if number, ok := sameNumber(form); ok {
			e.numbers[number] = true
		}
	}
}

// inOnePiece is a value of digits in groups without what separates them; empty when it is something else or too short.
func inOnePiece(text string) string {
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -./", r) {
			return -1
		}
		return r
	}, text)
	if len(digits) < shortestNumber || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	return digits
}

// sameNumber writes equal numbers alike, 078 as 78 and 1e3 as 1000.
func sameNumber(text string) (string, bool) {
	n, err := strconv.ParseFloat(text, 64)
	return strconv.FormatFloat(n, 'g', -1, 64), err == nil
}

// takeOut puts Redacted in the place of every echo in a result. An error means that one may be left.
func (e *echoes) takeOut(doc []byte) ([]byte, error) {
	if len(e.texts) == 0 {
		return doc, nil
	}
	if len(e.texts) > maxEchoes {
		return nil, fmt.Errorf("more than %d values would have to be redacted", maxEchoes)
	}
	pairs := make([]string, 0, 2*len(e.texts))
	for _, text := range longestFirst(e.texts) {
		pairs = append(pairs, text, Redacted)
	}
	e.replacer = strings.NewReplacer(pairs...)
	out, err := e.within(doc, 0)
	if err == nil && !jsontext.Value(out).IsValid() {
		err = errors.New("two members have the same name once it is redacted")
	}
	return out, err
}

func longestFirst(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for echo := range set {
		out = append(out, echo)
	}
	slices.SortFunc(out, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return out
}

// within goes through a document, or through one that stands as a text in another; all else in it stays as it is written.
func (e *echoes) within(doc []byte, depth int) ([]byte, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(doc))
	var out []byte
	copied := 0
	for {
		before := int(dec.InputOffset())
		token, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return append(out, doc[copied:]...), nil
		}
		if err != nil {
			return nil, broken(err)
		}
		start, end := skipSpace(doc, before), int(dec.InputOffset())
		with, err := e.instead(dec, token, doc[start:end], depth)
		if err != nil {
			return nil, err
		}
		if with != nil {
			out = append(append(out, doc[copied:start]...), with...)
			copied = end
		}
	}
}

// instead is what stands in the place of a token; nil when it stays.
func (e *echoes) instead(dec *jsontext.Decoder, token jsontext.Token, written []byte, depth int) ([]byte, error) {
	switch token.Kind() {
	case '0':
		if number, ok := sameNumber(string(written)); ok && e.numbers[number] {
			return []byte(`"` + Redacted + `"`), nil
		}
	case '"':
		old := token.String()
		text, err := e.inText(old, depth)
		if err != nil || text == old || depth == 0 && ofProtocol(dec, old) {
			return nil, err
		}
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return nil, broken(err)
		}
		return quoted, nil
	}
	return nil, nil
}

// inText takes echoes out of a text, and first out of the texts in it when it is JSON, where they may be written in another way.
func (e *echoes) inText(text string, depth int) (string, error) {
	trimmed := strings.TrimSpace(text)
	if depth < maxInside && trimmed != "" && (trimmed[0] == '{' || trimmed[0] == '[') && jsontext.Value(trimmed).IsValid() {
		inner, err := e.within([]byte(trimmed), depth+1)
		if err != nil {
			return "", err
		}
		if string(inner) != trimmed {
			text = string(inner)
		}
	}
	return e.replacer.Replace(text), nil
}

// ofProtocol says whether a text is a word of MCP's at its place in a result, which a client needs to read the result at all.
func ofProtocol(dec *jsontext.Decoder, word string) bool {
	at := strings.Split(strings.TrimPrefix(string(dec.StackPointer()), "/"), "/")
	item := at[0] == contentPart && len(at) > 1
	if !name(dec) {
		return len(at) == 1 && at[0] == "resultType" || item && len(at) == 3 && at[2] == "type" && itemType(word)
	}
	switch word {
	case contentPart, structured, "_meta", "isError", "resultType":
		return len(at) == 1
	case "type", "text", "data", "mimeType", "resource", "annotations", "title", "description", "name", "uri", "blob", "size", "icons":
		return item && (len(at) == 3 || len(at) == 4 && at[2] == "resource")
	}
	return false
}

func itemType(word string) bool {
	return slices.Contains([]string{"text", "image", "audio", "resource", "resource_link"}, word)
}

// name says whether the text that was just read names a member.
func name(dec *jsontext.Decoder) bool {
	kind, length := dec.StackIndex(dec.StackDepth())
	return kind == '{' && length%2 == 1
}
