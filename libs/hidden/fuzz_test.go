package hidden_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/hidden"
)

// FuzzStrip holds Strip to leaving nothing hidden, and nothing to do twice.
func FuzzStrip(f *testing.F) {
	f.Add("pass\u200bword \U000e0061 👨\u200d👩 می\u200cخواهم")
	f.Fuzz(func(t *testing.T, text string) {
		out := hidden.Strip(text)
		if found := hidden.Scan(out); found.Count != 0 {
			t.Fatalf("%q still has %+v", out, found)
		}
		if hidden.Scan(text).Count == 0 && out != text {
			t.Fatalf("%q was clean and became %q", text, out)
		}
	})
}

// FuzzStripJSON holds StripJSON to: valid JSON of the same structure without hidden characters, untouched when clean.
func FuzzStripJSON(f *testing.F) {
	f.Add([]byte(`{"a\u200b":"x\udb40\udc72","b":[1.0,"👨\u200d👩"]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !jsontext.Value(doc).IsValid() {
			return
		}
		before := bytes.Clone(doc)
		out, count := hidden.StripJSON(doc)
		if !bytes.Equal(before, doc) {
			t.Fatalf("the document itself was changed: %q", doc)
		}
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("%q became %q, which is not strict JSON", doc, out)
		}
		if count == 0 && !bytes.Equal(out, doc) {
			t.Fatalf("%q was clean and became %q", doc, out)
		}
		compare(t, tokens(t, doc), tokens(t, out))
		if again, n := hidden.StripJSON(out); n != 0 || !bytes.Equal(again, out) {
			t.Fatalf("%q was stripped to %q and then to %q", doc, out, again)
		}
	})
}

func compare(t *testing.T, before, after []json.Token) {
	t.Helper()
	if len(before) != len(after) {
		t.Fatalf("%d tokens became %d", len(before), len(after))
	}
	for i, b := range before {
		text, isText := b.(string)
		stripped, stillText := after[i].(string)
		switch {
		case isText != stillText, !isText && b != after[i]:
			t.Fatalf("%v became %v", b, after[i])
		case isText && hidden.Scan(stripped).Count != 0:
			t.Fatalf("%q still hides something", stripped)
		case isText && hidden.Strip(text) != stripped && !bytes.ContainsRune([]byte(stripped), '\ufffd'):
			t.Fatalf("%q became %q", text, stripped)
		}
	}
}

func tokens(t *testing.T, doc []byte) []json.Token {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var out []json.Token
	for dec.More() || len(out) == 0 || dec.InputOffset() < int64(len(bytes.TrimSpace(doc))) {
		token, err := dec.Token()
		if err != nil {
			return out
		}
		out = append(out, token)
	}
	return out
}
