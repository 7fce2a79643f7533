package catalogue

import (
	"encoding/json"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

func TestT8ArgumentsAreHeldToTheApprovedSchema(t *testing.T) {
	const open = `{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer","maximum":9007199254740993}},"required":["id"]}`
	const parts = `{"type":"object","properties":{"id":{"type":"string"}},"allOf":[{"properties":{"x":{"type":"boolean"}}}]}`
	for _, c := range []struct{ schema, arguments, refused string }{
		{open, `{"id":"a","n":1}`, ""},
		{open, `{"id":"a","n":1.0}`, ""},
		{open, `{"id":"a","n":9007199254740993}`, ""},
		{open, `{"id":"a","n":9007199254740994}`, "/n"},
		{open, `{"id":"a","note":"secret-value"}`, "note"},
		{open, `{"id":7}`, "/id"},
		{open, `{}`, "id"},
		{open, ``, "id"},
		{open, `{"id":"a","n":1.5}`, "/n"},
		{parts, `{"id":"a","x":true}`, ""},
		{parts, `{"id":"a","y":true}`, "y"},
		{`{"type":"object"}`, `{"anything":1}`, ""},
		{`{"type":"object","properties":{},"additionalProperties":true}`, `{"anything":1}`, ""},
		{`{"type":"object","properties":{}}`, `{"anything":1}`, "anything"},
		{`{"type":"object","$ref":"http://127.0.0.1:1/schema.json"}`, `{}`, "schema cannot be used"},
		{`{"type":7}`, `{}`, "schema cannot be used"},
	} {
		var arguments json.RawMessage
		if c.arguments != "" {
			arguments = json.RawMessage(c.arguments)
		}
		_, err := compile("t", json.RawMessage(c.schema), nil).Validate(arguments)
		switch {
		case c.refused == "" && err != nil, c.refused != "" && err == nil:
			t.Errorf("%s for %s: %v", c.arguments, c.schema, err)
		case err != nil && !strings.Contains(err.Error(), c.refused):
			t.Errorf("%s: %v does not name %s", c.arguments, err, c.refused)
		case err != nil && strings.Contains(err.Error(), "secret-value"):
			t.Errorf("a value is in the sentence: %v", err)
		}
	}
}

// Names that a caller chose go into the record with the sentence, so that only what looks like a name is shown.
func TestARefusalShowsOfTheCallersNamesOnlyWhatIsOne(t *testing.T) {
	const open = `{"type":"object","properties":{"labels":{"type":"object","additionalProperties":{"type":"string"}},"one":{"type":"object","properties":{},"additionalProperties":false}}}`
	const unknown = "t was refused: in the arguments stands an argument that the tool does not have. Correct the arguments and call again."
	long := strings.Repeat("x", 65)
	for arguments, want := range map[string]string{
		`{"prioritý_1-a.b":1}`:          "t was refused: the arguments may not have prioritý_1-a.b, which the approved schema does not know. Correct the arguments and call again.",
		`{"` + long[1:] + `":1}`:        "t was refused: the arguments may not have " + long[1:] + ", which the approved schema does not know. Correct the arguments and call again.",
		`{"` + long + `":1}`:            unknown,
		`{"ana@acme.example":1}`:        unknown,
		`{"my password is PW":1}`:       unknown,
		`{"":1}`:                        unknown,
		`{"fine":1,"a b":1}`:            unknown,
		`{"one":{"a b":1}}`:             "t was refused: in the argument /one stands an argument that the tool does not have. Correct the arguments and call again.",
		`{"labels":{"team":1}}`:         "t was refused: the argument /labels/team must be of type string, not number. Correct the arguments and call again.",
		`{"labels":{"Ana Smith":1}}`:    "t was refused: the argument /labels/… must be of type string, not number. Correct the arguments and call again.",
		`{"labels":{"` + long + `":1}}`: "t was refused: the argument /labels/… must be of type string, not number. Correct the arguments and call again.",
	} {
		if _, err := compile("t", json.RawMessage(open), nil).Validate(json.RawMessage(arguments)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", arguments, err, want)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	s := compile("t", json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"},"note":{"type":"string"}},"required":["id"]}`), nil)
	arguments := json.RawMessage(`{"id":"T-1","n":3,"note":"please close"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Validate(arguments); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzValidate holds to this: arguments never stop the gateway, and what it says of them is short.
func FuzzValidate(f *testing.F) {
	s := compile("t", json.RawMessage(`{"type":"object","properties":{"id":{"type":"string","maxLength":5},"n":{"type":"number","multipleOf":0.01},"l":{"type":"array","uniqueItems":true}}}`), nil)
	f.Add([]byte(`{"id":"a","n":1e400,"l":[1,1.0]}`))
	f.Add([]byte(`{"n":0.30000000000000004}`))
	f.Add([]byte(`{"n":0.30000E10000000000}`))
	f.Fuzz(func(t *testing.T, arguments []byte) {
		if _, err := s.Validate(arguments); err != nil && len(err.Error()) > 600 {
			t.Fatalf("%d bytes: %s", len(err.Error()), err)
		}
	})
}

func TestNullForAnArgumentThatTravelsInAHeaderIsNoArgument(t *testing.T) {
	schema := json.RawMessage(`{"type":"object","properties":{"verbose":{"type":"boolean","x-mcp-header":"Verbose"},"where":{"type":"object","properties":` +
		`{"region":{"type":"string","x-mcp-header":"Region"}}},"id":{"type":"string","x-mcp-header":"Id"},"plain":{"type":"string"}},"required":["id"]}`)
	bindings, err := mcp.Bindings(schema)
	if err != nil {
		t.Fatal(err)
	}
	s := compile("t", schema, bindings)
	for arguments, fits := range map[string]bool{
		`{"id":"a","verbose":null}`: true, `{"id":"a","where":{"region":null}}`: true, `{"id":"a","verbose":null,"where":{"region":null}}`: true,
		`{"id":null}`: false, `{"id":"a","plain":null}`: false, `{"id":"a","verbose":null,"plain":null}`: false, `{"id":"a","where":null}`: false,
	} {
		if _, err := s.Validate(json.RawMessage(arguments)); (err == nil) != fits {
			t.Errorf("%s: %v", arguments, err)
		}
	}
}
