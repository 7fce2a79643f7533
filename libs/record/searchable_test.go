package record

import (
	"strings"
	"testing"
)

func TestACopyThatAnIndexWouldRefuseIsNotPutThere(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) }
	for text, want := range map[string]bool{
		nested(1): true, nested(18): true, nested(19): false, nested(64): false, nested(128): false,
		`{"a":[[1],{"b":"x"}]}`: true, `{"a\u0000":1}`: false, `{"a":"\u0000"}`: false, `{"a":1`: false, `{"a":1}}`: false, ``: true,
	} {
		if got := searchable([]byte(text)); got != want {
			t.Errorf("%.60q: %t", text, got)
		}
	}
}
