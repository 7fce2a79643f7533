package mcp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
)

func TestPrefixedMembersGoAndEveryOtherByteStays(t *testing.T) {
	for doc, want := range map[string]string{
		`{"m":{"io.x/a":1}}`:                             `{"m":{}}`,
		`{"m":{ "io.x/a":1 , "b" : 2 }}`:                 `{"m":{ "b" : 2 }}`,
		`{"m":{"b": 2 ,"io.x/a":{"c":[","]}}, "n":1.0}`:  `{"m":{"b": 2}, "n":1.0}`,
		`{"m":{"io.x/a":1,"io.x/b":2,"c":3,"io.x/d":4}}`: `{"m":{"c":3}}`,
		`{"m":{"c":3,"io.x/a":1,"io.x/b":2,"d":4}}`:      `{"m":{"c":3,"d":4}}`,
		`{"m":{"\u0069o.x\/a":1,"b":2}}`:                 `{"m":{"b":2}}`,
		`{"m":{"b":{"io.x/a":1}}}`:                       `{"m":{"b":{"io.x/a":1}}}`,
		`{"m":["io.x/a"],"io.x/a":1}`:                    `{"m":["io.x/a"],"io.x/a":1}`,
		`{"n":1}`:                                        `{"n":1}`,
		`7`:                                              `7`,
	} {
		if got := string(mcp.DeletePrefixed([]byte(doc), "io.x/", "m")); got != want {
			t.Errorf("%s became %s, want %s", doc, got, want)
		}
	}
}

func FuzzPrefixedMembersGo(f *testing.F) {
	f.Add(`{"m":{"io.x/a":1, "b":[1,{"io.x/c":2}]}}`)
	f.Add(`{"m":{"\u0069o.x/":"}"}}`)
	f.Fuzz(func(t *testing.T, doc string) {
		if !mcp.Valid([]byte(doc)) {
			return
		}
		got := mcp.DeletePrefixed([]byte(doc), "io.x/", "m")
		if !mcp.Valid(got) {
			t.Fatalf("%s became %s", doc, got)
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(mcp.Get(got, "m"), &members) != nil {
			return
		}
		for name := range members {
			if strings.HasPrefix(name, "io.x/") {
				t.Errorf("%s is still in %s", name, got)
			}
		}
	})
}
