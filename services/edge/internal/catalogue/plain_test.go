package catalogue

import (
	"encoding/json"
	"fmt"
	"testing"
)

func plainSchemas() []string {
	return []string{
		`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"type":"number"},"d":{"type":"boolean"}},"required":["a"]}`,
		`{"type":"object","properties":{"a":{"type":"string","description":"x"}},"additionalProperties":true}`,
		`{"type":"object","properties":{},"additionalProperties":false}`,
		`{"type":"object"}`,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"b":{"type":"integer"}},"required":["b","b"]}`,
		`{"type":"object","properties":{"a":{"type":"string","maxLength":1}}}`,
		`{"type":"object","properties":{"a":{"type":["string","null"]}}}`,
		`{"type":"object","properties":{"a":{}}}`,
		`{"type":"object","properties":{"a":true}}`,
		`{"type":"object","minProperties":1}`,
		`{"type":"object","additionalProperties":{"type":"string"}}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","properties":{"b":{"type":"integer"}}}`,
		`{"properties":{"a":{"type":"string"}}}`,
	}
}

// agrees holds the quick yes to the schema: what the one takes, the other takes too.
func agrees(t *testing.T, s *schema, arguments json.RawMessage) (quick bool) {
	t.Helper()
	value, _, err := decode(arguments)
	if err != nil || s.problem != nil {
		return false
	}
	quick = s.plain.fits(value)
	if full := s.compiled.Validate(value); quick && full != nil {
		t.Errorf("%s was taken, and the schema says %v", arguments, full)
	}
	return quick
}

func TestWhatIsTakenQuicklyIsWhatTheSchemaTakes(t *testing.T) {
	values := []string{`"x"`, `""`, `1`, `-1`, `1.0`, `1.5`, `1e3`, `9007199254740993`, `true`, `null`, `[]`, `{}`}
	quick := 0
	for _, text := range plainSchemas() {
		s := compile("t", json.RawMessage(text), nil)
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			for _, value := range values {
				for _, arguments := range []string{fmt.Sprintf(`{%q:%s}`, name, value), fmt.Sprintf(`{"a":"x",%q:%s}`, name+"2", value), `{}`} {
					if agrees(t, s, json.RawMessage(arguments)) {
						quick++
					}
				}
			}
		}
	}
	if quick < 100 {
		t.Errorf("only %d were taken quickly", quick)
	}
	for at, want := range map[int]bool{0: true, 1: true, 5: false, 6: false, 7: false, 8: false, 9: false, 10: false, 11: false} {
		if got := compile("t", json.RawMessage(plainSchemas()[at]), nil).plain != nil; got != want {
			t.Errorf("%s is plain: %v", plainSchemas()[at], got)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, text := range plainSchemas() {
		f.Add([]byte(text), []byte(`{"a":"x","b":1,"c":1.5,"d":true}`))
	}
	f.Fuzz(func(t *testing.T, text, arguments []byte) {
		if json.Valid(text) {
			agrees(t, compile("t", text, nil), arguments)
		}
	})
}
