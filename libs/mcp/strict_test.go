package mcp

import (
	"math/rand/v2"
	"testing"
)

func TestTheEndOfAStringIsFoundHoweverLongItIs(t *testing.T) {
	chance := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		text := make([]byte, chance.IntN(300))
		for i := range text {
			text[i] = "abcdefghijklmnop\\\"\xff{}"[chance.IntN(21)]
		}
		got, want := stringEnd(text, 0), len(text)
		for j := 1; j < len(text); j++ {
			if text[j] == '\\' {
				j++
			} else if text[j] == '"' {
				want = j + 1
				break
			}
		}
		if got != want {
			t.Fatalf("%q ends at %d, not %d", text, got, want)
		}
	}
}

func TestAValueIsFoundWhateverSurroundsTheDocument(t *testing.T) {
	for _, doc := range []string{` {"a": {"b" :1 } } `, "\n{\"x\":[\"}\"],\"a\":{\"b\":1}}\t", `{"a":{"b":1}}`} {
		if got := Get([]byte(doc), "a", "b"); string(got) != "1" {
			t.Errorf("%q: %s", doc, got)
		}
		if got := Get([]byte(doc), "b"); got != nil {
			t.Errorf("%q: %s", doc, got)
		}
	}
	for _, doc := range []string{"", "  ", "7", `"a"`} {
		if got := Get([]byte(doc), "a"); got != nil {
			t.Errorf("%q: %s", doc, got)
		}
	}
}
