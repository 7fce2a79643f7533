// Package inspect looks at what a server sends back: hidden characters are taken out, leased secrets are redacted, in whatever simple form they
// come, and what cannot be read is refused. It is pure.
package inspect

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// Redacted stands where a secret was.
const Redacted = "[redacted:credential]"

// Inspector implements guard.Inspector.
type Inspector struct{}

// Inspect cleans one strict JSON document. The caller has made sure that it is strict.
func (Inspector) Inspect(document []byte, lease *guard.Lease) ([]byte, guard.Inspection, error) {
	var found guard.Inspection
	clean, n := hidden.StripJSON(document)
	found.Hidden = n
	if lease == nil || len(lease.Forms) == 0 {
		return clean, found, nil
	}
	clean, found.Secrets = redact(clean, lease.Forms)
	if found.Secrets > 0 && !jsontext.Value(clean).IsValid() {
		return nil, found, fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server's answer held its own credential in a place where it cannot be taken out, so the answer was withheld.")
	}
	return clean, found, nil
}

// Text cleans one sentence.
func (Inspector) Text(sentence string, lease *guard.Lease) string {
	if lease == nil {
		return sentence
	}
	clean, _ := redactText(sentence, lease.Forms)
	return clean
}

func redact(document []byte, forms []string) ([]byte, int) {
	count := 0
	for _, form := range forms {
		if n := bytes.Count(document, []byte(form)); n > 0 {
			count += n
			document = bytes.ReplaceAll(document, []byte(form), []byte(Redacted))
		}
	}
	if bytes.IndexByte(document, '\\') < 0 {
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
				if clean, n := redactText(text, forms); n > 0 {
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

func redactText(text string, forms []string) (string, int) {
	count := 0
	for _, form := range forms {
		if n := strings.Count(text, form); n > 0 {
			count += n
			text = strings.ReplaceAll(text, form, Redacted)
		}
	}
	return text, count
}

// shortest is the length below which encoded forms of a secret would be found by chance.
const shortest = 6

// Forms are the ways in which a secret is looked for: as it is, as JSON and URLs write it, in hex, and in Base64 at each of the three alignments.
func Forms(secret string) []string {
	if secret == "" {
		return nil
	}
	out := []string{secret}
	add := func(form string) {
		for _, known := range out {
			if known == form {
				return
			}
		}
		out = append(out, form)
	}
	if quoted, err := json.Marshal(secret); err == nil {
		add(string(quoted[1 : len(quoted)-1]))
	}
	add(url.QueryEscape(secret))
	add(url.PathEscape(secret))
	if len(secret) < shortest {
		return out
	}
	add(hex.EncodeToString([]byte(secret)))
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		whole := len(padded) / 3 * 4 // what later bytes cannot change
		from := (shift*8 + 5) / 6    // what earlier bytes can change
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if text := encoding.EncodeToString(padded)[from:whole]; len(text) >= shortest {
				add(text)
			}
		}
	}
	return out
}
