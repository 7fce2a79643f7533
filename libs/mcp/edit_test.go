package mcp_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func TestSetChangesOnlyTheNamedPath(t *testing.T) {
	for name, c := range map[string]struct {
		doc, value string
		path       []string
		want       string
	}{
		"replaces":               {`{ "a" : 1.0 , "b":"\u00e9" }`, `2`, []string{"a"}, `{ "a" : 2 , "b":"\u00e9" }`},
		"replaces deep":          {`{"a":{"b":[1, 2]},"n":9007199254740993}`, `{}`, []string{"a", "b"}, `{"a":{"b":{}},"n":9007199254740993}`},
		"adds":                   {`{"a":1}`, `true`, []string{"b"}, `{"a":1,"b":true}`},
		"adds to nothing":        {`{}`, `true`, []string{"b"}, `{"b":true}`},
		"adds to blanks":         {`{ }`, `true`, []string{"b"}, `{ "b":true}`},
		"adds the way":           {`{"a":1}`, `3`, []string{"b", "c", "d"}, `{"a":1,"b":{"c":{"d":3}}}`},
		"takes no name for path": {`{"a.b":1,"a":{"b":2}}`, `3`, []string{"a.b"}, `{"a.b":3,"a":{"b":2}}`},
		"takes no name for code": {`{"@this":1,"*":2}`, `3`, []string{"*"}, `{"@this":1,"*":3}`},
		"finds an escaped name":  {`{"\u0061":1}`, `3`, []string{"a"}, `{"\u0061":3}`},
		"quotes a new name":      {`{}`, `3`, []string{"a\"\n"}, `{"a\"\n":3}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mcp.Set([]byte(c.doc), json.RawMessage(c.value), c.path...)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	for name, c := range map[string]struct {
		doc, value string
		path       []string
	}{
		"a value that is not JSON":  {`{}`, `1,"b":2`, []string{"a"}},
		"a value with a name twice": {`{}`, `{"a":1,"a":2}`, []string{"a"}},
		"through a number":          {`{"a":1}`, `2`, []string{"a", "b"}},
		"through an array":          {`{"a":[]}`, `2`, []string{"a", "0"}},
		"no path":                   {`{}`, `2`, nil},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			_, err := mcp.Set([]byte(c.doc), json.RawMessage(c.value), c.path...)
			require.Error(t, err)
		})
	}
}

func TestDeleteTakesOnlyTheNamedMember(t *testing.T) {
	for name, c := range map[string]struct {
		doc  string
		path []string
		want string
	}{
		"first":                     {`{ "a":1 , "b":2}`, []string{"a"}, `{ "b":2}`},
		"middle":                    {`{"a":1, "b":{"x":","} ,"c":3}`, []string{"b"}, `{"a":1 ,"c":3}`},
		"last":                      {`{"a":1,"b":2 }`, []string{"b"}, `{"a":1 }`},
		"only":                      {`{"a":1}`, []string{"a"}, `{}`},
		"deep":                      {`{"a":{"b":1,"c":2}}`, []string{"a", "b"}, `{"a":{"c":2}}`},
		"not there":                 {`{"a":1}`, []string{"b"}, `{"a":1}`},
		"no way":                    {`{"a":1}`, []string{"a", "b"}, `{"a":1}`},
		"braces at the end of text": {`{"a":"{","b":1}`, []string{"b"}, `{"a":"{"}`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, string(mcp.Delete([]byte(c.doc), c.path...)))
		})
	}
}

func TestWithArgumentsAndNameLeaveEveryOtherByte(t *testing.T) {
	m := message(t, ` {"jsonrpc":"2.0","id":"\u0031","method":"tools/call","params":{"arguments" : {"n":1} , "name":"a","x":9007199254740993}} `)
	got, err := m.WithArguments(json.RawMessage(`{"n":2}`))
	require.NoError(t, err)
	require.Equal(t, ` {"jsonrpc":"2.0","id":"\u0031","method":"tools/call","params":{"arguments" : {"n":2} , "name":"a","x":9007199254740993}} `, string(got))
	got, err = m.WithName("b\"")
	require.NoError(t, err)
	require.Equal(t, ` {"jsonrpc":"2.0","id":"\u0031","method":"tools/call","params":{"arguments" : {"n":1} , "name":"b\"","x":9007199254740993}} `, string(got))
	for _, bad := range []string{`[]`, `{"a":1,"a":2}`, `{}{}`, `{"n":2},"name":"other"`, ``} {
		_, err := m.WithArguments(json.RawMessage(bad))
		require.Error(t, err, bad)
	}
	got, err = message(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`).WithArguments(json.RawMessage(`{}`))
	require.NoError(t, err)
	require.Equal(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}`, string(got))
	got, err = message(t, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a"}}`).WithName("b")
	require.NoError(t, err)
	require.Equal(t, "b", string(mcp.Get(got, "params", "uri")[1:2]))
}
