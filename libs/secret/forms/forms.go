// Package forms looks for secrets in what a server sends back: as they are, and in the simple encodings in which a server could spell them. It is
// the one list of those encodings, so that whoever looks for a secret looks for the same. It is pure.
package forms

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Redacted stands where a secret was.
const Redacted = "[redacted:credential]"

// shortest is the length below which encoded forms of a secret, and whole header values, would be found by chance.
const shortest = 6

// Of are the ways in which secrets, and the header values that they were sent in, are looked for: as they are, as JSON and URLs write them, with
// every byte percent-encoded, in hex, and in Base64 at each of the three alignments. A form that holds another one is left out: who finds the
// shorter has found it.
func Of(secrets []string, headers ...string) []string {
	var all []string
	for _, one := range secrets {
		all = spell(all, one)
	}
	for _, one := range headers {
		if len(one) >= shortest {
			all = spell(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	var out []string
	for _, form := range all {
		if !slices.ContainsFunc(out, func(known string) bool { return strings.Contains(form, known) }) {
			out = append(out, form)
		}
	}
	return out
}

func spell(out []string, secret string) []string {
	if secret == "" {
		return out
	}
	out = append(out, secret)
	if quoted, err := json.Marshal(secret); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	for _, escaped := range []string{url.QueryEscape(secret), url.PathEscape(secret)} {
		out = append(out, escaped, lowerEscapes(escaped))
	}
	if len(secret) < shortest {
		return out
	}
	digits := hex.EncodeToString([]byte(secret))
	out = append(out, digits, strings.ToUpper(digits), percent("%%%02x", secret), percent("%%%02X", secret))
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		whole := len(padded) / 3 * 4 // what later bytes cannot change
		from := (shift*8 + 5) / 6    // what earlier bytes can change
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if text := encoding.EncodeToString(padded)[from:whole]; len(text) >= shortest {
				out = append(out, text)
			}
		}
	}
	return out
}

// percent writes every byte as an escape of a URL.
func percent(format, secret string) string {
	var b strings.Builder
	for i := range len(secret) {
		fmt.Fprintf(&b, format, secret[i])
	}
	return b.String()
}

// lowerEscapes writes the digits of a URL's escapes in lower case.
func lowerEscapes(escaped string) string {
	out := []byte(escaped)
	for i := 0; i+2 < len(out); i++ {
		if out[i] == '%' {
			copy(out[i:], bytes.ToLower(out[i:i+3]))
			i += 2
		}
	}
	return string(out)
}

// Found reports whether a strict JSON document holds one of the forms, as it is written or in a string that is written with escapes.
func Found(document []byte, forms []string) bool {
	for _, form := range forms {
		if bytes.Contains(document, []byte(form)) {
			return true
		}
	}
	if len(forms) == 0 || bytes.IndexByte(document, '\\') < 0 {
		return false
	}
	_, count := redactEscaped(document, forms)
	return count > 0
}

// Redact takes the forms out of a strict JSON document and counts them. What is left may not be JSON any more where a form was more than text.
func Redact(document []byte, forms []string) ([]byte, int) {
	count := 0
	for _, form := range forms {
		if n := bytes.Count(document, []byte(form)); n > 0 {
			count += n
			document = bytes.ReplaceAll(document, []byte(form), []byte(Redacted))
		}
	}
	if len(forms) == 0 || bytes.IndexByte(document, '\\') < 0 {
		return document, count
	}
	escaped, n := redactEscaped(document, forms)
	return escaped, count + n
}

// redactEscaped looks into strings that are written with escapes, which can spell a secret in many ways.
func redactEscaped(document []byte, forms []string) ([]byte, int) {
	var out []byte
	count, copied := 0, 0
	for i := 0; i < len(document); i++ {
		if document[i] != '"' {
			continue
		}
		end, escapes := literal(document, i)
		if escapes {
			var text string
			if json.Unmarshal(document[i:end], &text) == nil {
				if clean, n := RedactText(text, forms); n > 0 {
					if quoted, err := json.Marshal(clean); err == nil {
						out = append(append(out, document[copied:i]...), quoted...)
						copied = end
						count += n
					}
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

// literal answers where the string that begins at i ends, and whether it has escapes.
func literal(document []byte, i int) (end int, escapes bool) {
	for j := i + 1; j < len(document); j++ {
		switch document[j] {
		case '\\':
			escapes = true
			j++
		case '"':
			return j + 1, escapes
		}
	}
	return len(document), escapes
}

// RedactText takes the forms out of one text and counts them.
func RedactText(text string, forms []string) (string, int) {
	count := 0
	for _, form := range forms {
		if n := strings.Count(text, form); n > 0 {
			count += n
			text = strings.ReplaceAll(text, form, Redacted)
		}
	}
	return text, count
}
