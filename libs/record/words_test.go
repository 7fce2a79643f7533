package record_test

import (
	"slices"
	"testing"

	"headgate.dev/libs/record"
)

func TestWordsAreLettersAndNumbersWithoutCaseAndMarks(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             nil,
		" \t- /":                       nil,
		"Close_ticket needs ANA's ok.": {"close", "ticket", "needs", "ana", "s", "ok"},
		"zoë ZOE\u0308":                {"zoe", "zoe"},
		"größer GRÖSSER":               {"großer", "grosser"},
		"東京 １２":                        {"東京", "１２"},
		"a\x00b\xffc":                  {"a", "b", "c"},
		"sha256:4bf9":                  {"sha256", "4bf9"},
	} {
		if got := record.Words(text); !slices.Equal(got, want) {
			t.Errorf("%q has the words %q, want %q", text, got, want)
		}
	}
}
