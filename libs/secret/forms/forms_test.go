package forms_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"headgate.dev/libs/secret/forms"
)

const key = "s3cr+t/k\"y~value"

// spellings are ways to write a text that a server could choose.
func spellings(text string) map[string]string {
	var lower, upper strings.Builder
	for i := range len(text) {
		fmt.Fprintf(&lower, "%%%02x", text[i])
		fmt.Fprintf(&upper, "%%%02X", text[i])
	}
	out := map[string]string{
		"raw": text, "hex": hex.EncodeToString([]byte(text)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(text))),
		"query": url.QueryEscape(text), "path": url.PathEscape(text), "percent, lower": lower.String(), "percent, upper": upper.String(),
		"query, lower": strings.NewReplacer("%2B", "%2b", "%2F", "%2f").Replace(url.QueryEscape(text)),
	}
	for shift := range 3 {
		padded := []byte("ab"[:shift%3] + text + "tail")
		out[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString(padded)
		out[fmt.Sprintf("base64url at %d", shift)] = base64.RawURLEncoding.EncodeToString(padded)
	}
	return out
}

func TestT18EverySpellingOfASecretIsFoundAndTakenOut(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+key))
	wanted := forms.Of([]string{key}, "Bearer "+key, basic)
	for sent, whole := range map[string]string{"the secret": key, "the header": "Bearer " + key, "another header": basic} {
		for name, text := range spellings(whole) {
			quoted, err := json.Marshal("before " + text + " after")
			if err != nil {
				t.Fatal(err)
			}
			document := []byte(`{"a":` + string(quoted) + `}`)
			if !wanted.Found(document) {
				t.Errorf("%s, %s: not found", sent, name)
			}
			if clean, n := wanted.Redact(document); n == 0 || wanted.Found(clean) || !json.Valid(clean) {
				t.Errorf("%s, %s: %d taken out of %s", sent, name, n, clean)
			}
		}
	}
}

func TestAShortSecretIsFoundInItsHeaderWithoutChance(t *testing.T) {
	wanted := forms.Of([]string{"k1"}, "Bearer k1")
	if document := []byte(`"` + base64.StdEncoding.EncodeToString([]byte("Bearer k1")) + `"`); !wanted.Found(document) {
		t.Error("the header's value in Base64 is not found")
	}
	if wanted.Found([]byte(`{"text":"azE"}`)) || wanted.Found([]byte(`"Bearer of news"`)) {
		t.Error("found by chance")
	}
}

func TestWithoutSecretsNothingIsFound(t *testing.T) {
	document := []byte(`{"a":"\u0062"}`)
	if clean, n := forms.Of([]string{""}).Redact(document); n != 0 || string(clean) != string(document) || (*forms.Set)(nil).Found(document) {
		t.Errorf("%d: %s", n, clean)
	}
}

func FuzzASecretIsTakenOutOfAnyDocument(f *testing.F) {
	f.Add("s3cret-value", "before", "after")
	f.Add("\"\\\u00e9xx", "\\u0041", "")
	f.Fuzz(func(t *testing.T, text, before, after string) {
		document, err := json.Marshal(map[string]string{"a": before + text + after})
		if err != nil || strings.ContainsRune(text, '\uFFFD') || text == "" {
			return
		}
		wanted := forms.Of([]string{text})
		var said map[string]string
		if json.Unmarshal(document, &said) != nil || !strings.Contains(said["a"], text) {
			return // not a text that JSON can carry
		}
		if !wanted.Found(document) {
			t.Errorf("%q not found in %s", text, document)
		}
	})
}

// naive is what Found promises, without leaving anything out.
func naive(document []byte, secrets ...string) bool {
	for _, secret := range secrets {
		if secret != "" && strings.Contains(string(document), secret) {
			return true
		}
	}
	return false
}

func FuzzNothingThatIsThereIsSkipped(f *testing.F) {
	f.Add("s3cret-value", "other-secret-of-a-server", "abcs3cret-valuedef", 3)
	f.Add("aaaaaaab", "ab", "aaaaaaaaaaab", 0)
	f.Add(strings.Repeat("long", 100), "x", strings.Repeat("long", 150), 7)
	f.Fuzz(func(t *testing.T, one, other, document string, at int) {
		set := forms.Of([]string{one, other})
		if !strings.ContainsAny(document, `"\`) && naive([]byte(document), one, other) && !set.Found([]byte(document)) {
			t.Errorf("not found in %q", document)
		}
		at = max(0, min(at, len(document)))
		planted := document[:at] + one + document[at:]
		if one != "" && !set.Found([]byte(planted)) {
			t.Errorf("%q not found in %q", one, planted)
		}
	})
}
