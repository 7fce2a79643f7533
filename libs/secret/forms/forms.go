// Package forms looks for secrets in what a server sends back: as they are, and in the simple encodings in which a server could spell them. It is
// the one list of those encodings, so that whoever looks for a secret looks for the same. It is pure.
package forms

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Redacted stands where a secret was.
const Redacted = "[redacted:credential]"

// shortest is the length below which encoded forms of a secret, and whole header values, would be found by chance.
const shortest = 6

// Of are the ways in which secrets, and the header values that they were sent in, are looked for: as they are, as JSON and URLs write them, with
// every byte percent-encoded, in hex, and in Base64 at each of the three alignments. A form that holds another one is left out: who finds the
// shorter has found it.
func Of(secrets []string, headers ...string) *Set {
	var all []string
	for _, one := range secrets {
		all = spell(all, one)
	}
	for _, one := range headers {
		if len(one) >= shortest {
			all = spell(all, one)
		}
	}
	return newSet(all)
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
