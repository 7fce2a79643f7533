package catalogue

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

func TestT19NamesOfTheSchemaInAnotherCaseAreRefusedAtAnyDepth(t *testing.T) {
	const user = `{"type":"object","properties":{"user":{"type":"object","properties":{"id":{"type":"string"},"kin":{"$ref":"#/properties/user"}}}}}`
	const parts = `{"type":"object","oneOf":[{"properties":{"path":{"type":"string"}},"required":["path"]},{"properties":{"url":{"type":"string"}},"required":["url"]}]}`
	const lists = `{"type":"object","properties":{"l":{"type":"array","prefixItems":[{"properties":{"a":{}}}],"items":{"properties":{"b":{}}}}}}`
	const older = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"l":{"items":[{"properties":{"a":{}}}],"additionalItems":{"$ref":"#/definitions/b"}}},` +
		`"definitions":{"b":{"properties":{"b":{}}}}}`
	for _, c := range []struct{ schema, arguments, refused string }{
		{user, `{"user":{"id":"x","other":1}}`, ""},
		{user, `{"user":{"ID":"admin"}}`, "/user/ID"},
		{user, `{"user":{"kin":{"kin":{"\u0049d":"admin"}}}}`, "/user/kin/kin/Id"},
		{user, `{"user":{"\u212ain":{}}}`, "/user/"},
		{user, `{"User":{}}`, "User"},
		{`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true}`, `{"b":1,"AB":2}`, ""},
		{`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":true}`, `{"A":1}`, "/A"},
		{`{"type":"object","properties":{"a":{"type":"string","maxLength":1}},"additionalProperties":{"type":"integer"}}`, `{"A":1}`, "/A"},
		{`{"type":"object","properties":{"a":{},"A":{}}}`, `{"A":1}`, ""},
		{`{"type":"object","properties":{"a":{}},"allOf":[{"properties":{"A":{}}}]}`, `{"A":1}`, ""},
		{`{"type":"object","additionalProperties":{"properties":{"a":{}}}}`, `{"A":{"a":1}}`, ""},
		{`{"type":"object","additionalProperties":{"properties":{"a":{}}}}`, `{"A":{"A":1}}`, "/A/A"},
		{`{"type":"object","patternProperties":{"^x":{"properties":{"a":{}}}}}`, `{"y":{"A":1}}`, ""},
		{`{"type":"object","patternProperties":{"^x":{"properties":{"a":{}}}}}`, `{"x1":{"A":1}}`, "/x1/A"},
		{`{"type":"object","properties":{"m":{"type":"object"}}}`, `{"m":{"anything":1,"M":2}}`, ""},
		{`{"type":"object","if":{"properties":{"k":{"const":1}}},"then":{"properties":{"a":{}}}}`, `{"k":1,"A":1}`, "/A"},
		{parts, `{"url":"u"}`, ""},
		{parts, `{"url":"u","Path":"/etc"}`, "/Path"},
		{lists, `{"l":[{"a":1,"B":2},{"b":1,"A":2}]}`, ""},
		{lists, `{"l":[{"A":1}]}`, "/l/0/A"},
		{lists, `{"l":[{},{"B":1}]}`, "/l/1/B"},
		{older, `{"l":[{"a":1,"B":2},{"b":1,"A":2}]}`, ""},
		{older, `{"l":[{"A":1}]}`, "/l/0/A"},
		{older, `{"l":[{},{"B":1}]}`, "/l/1/B"},
	} {
		_, err := compile("t", json.RawMessage(c.schema), nil).Validate(json.RawMessage(c.arguments))
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s for %s: %v", c.arguments, c.schema, err)
		}
	}
}

// A schema that names another twice at every depth must not be looked through twice as often at every depth.
func TestNamesAreLookedAtOncePerValueHoweverOftenASchemaIsNamed(t *testing.T) {
	s := compile("t", json.RawMessage(`{"type":"object","properties":{"id":{}},"additionalProperties":false,"patternProperties":{"^n":{"anyOf":[{"$ref":"#"},{"$ref":"#"},{"$ref":"#"}]}}}`), nil)
	const depth = 60
	value := map[string]any{"ID": "x"}
	for range depth {
		value = map[string]any{"n": value}
	}
	if place := s.casing.wrong(value); len(place) != depth+1 || place[depth] != "ID" {
		t.Errorf("found at %v", place)
	}
}

func TestT19AServerThatReadsNamesInAnyCaseSeesWhatRulesSee(t *testing.T) {
	schema := `{"type":"object","properties":{"path":{"type":"string"},"user":{"type":"object","properties":{"id":{"type":"string"},"kin":{"type":"string"}}}},"additionalProperties":true}`
	s := compile("t", json.RawMessage(schema), nil)
	names := []string{"path", "Path", "user", "USER", "u\u017fer", "id", "ID", "kin", "Kin", "\u212ain", "more"}
	dice := rand.New(rand.NewPCG(19, 2))
	object := func(inner string) string {
		var out []string
		for i := range dice.IntN(4) {
			value := fmt.Sprintf("%q", fmt.Sprint(i))
			name := names[dice.IntN(len(names))]
			if inner != "" && strings.EqualFold(name, "user") {
				value = inner
			}
			out = append(out, fmt.Sprintf("%q:%s", name, value))
		}
		return "{" + strings.Join(out, ",") + "}"
	}
	taken := 0
	for range 20_000 {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":` + object(object("")) + `}}`
		m, err := mcp.Read([]byte(body), mcp.DefaultLimits())
		if err != nil {
			continue
		}
		decoded, err := s.Validate(m.Arguments)
		if err != nil {
			continue
		}
		taken++
		var server struct {
			Path string `json:"path"`
			User struct {
				ID  string `json:"id"`
				Kin string `json:"kin"`
			} `json:"user"`
		}
		if err := json.Unmarshal(m.Arguments, &server); err != nil {
			t.Fatalf("%s: %v", m.Arguments, err)
		}
		path, _ := decoded["path"].(string)
		user, _ := decoded["user"].(map[string]any)
		id, _ := user["id"].(string)
		kin, _ := user["kin"].(string)
		if server.Path != path || server.User.ID != id || server.User.Kin != kin {
			t.Errorf("rules see %v, and the server %+v of %s", decoded, server, m.Arguments)
		}
	}
	if taken < 1_000 {
		t.Errorf("only %d were taken", taken)
	}
}
