package review_test

import (
	"bytes"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/trust/internal/review"
)

func TestWhatStandsAgainstADefinitionIsSaid(t *testing.T) {
	for raw, says := range map[string]string{
		`{"name":"a","description":"plain","inputSchema":{"type":"object"}}`:                          "",
		`{"name":"a","description":"emoji ✔️ 👩‍💻, Persian می‌خواهم","inputSchema":{"type":"object"}}`: "",
		`{"name":"a","description":"lines\n\ttabs","inputSchema":{"type":"object"}}`:                  "",
		`{"name":"a","description":"x\u200by","inputSchema":{"type":"object"}}`:                       "a character that a person does not see",
		`{"name":"a","x-new":["\u202e","\u2066"],"inputSchema":{"type":"object"}}`:                    "2 characters",
		`{"name":"a\u0000","inputSchema":{"type":"object"}}`:                                          "name",
		`{"name":"a b","inputSchema":{"type":"object"}}`:                                              "name",
		`{"name":"a","description":"no schema"}`:                                                      "input schema",
		`{"name":"a","inputSchema":{"type":"object"},"x":"` + strings.Repeat("x", 300<<10) + `"}`:     "longer than",
	} {
		name, _ := mcp.Text([]byte(raw), "name")
		shown := review.Tool(mcp.Definition{Name: name, Raw: []byte(raw)})
		if (says == "") != (shown.Problem == "") || !strings.Contains(shown.Problem, says) || string(shown.Raw) != raw || !strings.HasPrefix(shown.Hash, "sha256:") {
			t.Errorf("%.80s: %q", raw, shown.Problem)
		}
	}
	for text, good := range map[string]bool{"": true, "be kind\n": true, "be\u200bkind": false, strings.Repeat("x", 65<<10): false} {
		if got := review.Instructions(text); (got == "") != good {
			t.Errorf("%.20q: %q", text, got)
		}
	}
}

// Whatever an edge reports, what is taken is a strict object with the name that it says, and nothing hidden passes as clean.
func FuzzReported(f *testing.F) {
	for _, seed := range []string{`{"name":"a","inputSchema":{"type":"object"}}`, `{"name":"a","name":"b"}`, `{"name":"\u200b"}`, `[]`, ``, `{"name":"a"} {}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		shown, err := review.Reported([][]byte{raw})
		if err != nil {
			return
		}
		if name, ok := mcp.Text(raw, "name"); !ok || name != shown[0].Name || !mcp.Valid(raw) || !bytes.Equal(shown[0].Raw, raw) {
			t.Errorf("%q was taken as %q", raw, shown[0].Name)
		}
		if shown[0].Problem == "" && (bytes.Contains(raw, []byte("\u200b")) || bytes.Contains(raw, []byte("\U000E0041")) || !mcp.ToolName(shown[0].Name)) {
			t.Errorf("%q passed as clean", raw)
		}
	})
}
