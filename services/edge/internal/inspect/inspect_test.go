package inspect_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/secret/forms"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
)

const secret = `pa$$/w"o\rd+=é`

func TestT18EveryFormOfASecretIsRedacted(t *testing.T) {
	lease := &guard.Lease{Forms: forms.Of([]string{secret})}
	quoted, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"as it is":      secret,
		"url":           "https://x/?k=" + url.QueryEscape(secret),
		"hex":           hex.EncodeToString([]byte(secret)),
		"base64":        base64.StdEncoding.EncodeToString([]byte(secret)),
		"basic":         base64.StdEncoding.EncodeToString([]byte("u:" + secret + "!")),
		"base64url":     base64.RawURLEncoding.EncodeToString([]byte("abc" + secret + "xyz")),
		"json in json":  string(quoted),
		"in the middle": "aa" + secret + "bb",
	} {
		document, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			t.Fatal(err)
		}
		clean, found, err := inspect.Inspector{}.Inspect(document, lease)
		if err != nil || found.Secrets == 0 || !strings.Contains(string(clean), forms.Redacted) || !jsontext.Value(clean).IsValid() {
			t.Errorf("%s: %s %+v %v", name, clean, found, err)
		}
	}
}

func TestASecretThatIsPartOfTheStructureWithholdsTheAnswer(t *testing.T) {
	lease := &guard.Lease{Forms: forms.Of([]string{"12345678"})}
	if clean, _, err := (inspect.Inspector{}).Inspect([]byte(`{"n":12345678}`), lease); err == nil {
		t.Errorf("%s", clean)
	}
}

// FuzzInspect holds to this: a document without the secret passes byte for byte (hidden characters aside), and no decoded string of what comes
// out holds the secret.
func FuzzInspect(f *testing.F) {
	f.Add([]byte(`{"a":"pa$$\/w\"o\\rd+=\u00e9"}`))
	f.Add([]byte(`{"a":["\u0070a$$/w\"o\\rd+=é",1]}`))
	f.Add([]byte(`{"pa$$/w\"o\\rd+=é":"x"}`))
	f.Add([]byte(`{"a":"x\u200by"}`))
	lease := &guard.Lease{Forms: forms.Of([]string{secret})}
	f.Fuzz(func(t *testing.T, document []byte) {
		if !jsontext.Value(document).IsValid() {
			return
		}
		clean, _, err := inspect.Inspector{}.Inspect(document, lease)
		if err != nil {
			return
		}
		dec := jsontext.NewDecoder(strings.NewReader(string(clean)), jsontext.AllowDuplicateNames(true))
		for {
			token, err := dec.ReadToken()
			if err != nil {
				return
			}
			if token.Kind() == '"' && strings.Contains(token.String(), secret) {
				t.Fatalf("%s became %s", document, clean)
			}
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	lease := &guard.Lease{Forms: forms.Of([]string{secret})}
	document := []byte(`{"content":[{"type":"text","text":"` + strings.Repeat("ordinary words ", 60) + `"}]}`)
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		if _, _, err := (inspect.Inspector{}).Inspect(document, lease); err != nil {
			b.Fatal(err)
		}
	}
}
