package mcp_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"headgate.dev/libs/mcp"
)

// parts are what a decision is made by, as one reader sees them: raw where they are JSON, decoded where they are names.
type parts struct {
	id, method, name, uri, arguments, meta string
}

// FuzzFourReadersAgree holds Read to four other readers of JSON: whatever it takes, all of them see the same method, name and arguments in it, so
// that no server can read another call than the one that was decided.
func FuzzFourReadersAgree(f *testing.F) {
	for _, body := range []string{
		call, `{"jsonrpc":"2.0","id":"\u0031","method":"tools/call","params":{"na\u006de":"a\/b","arguments":{"n":1E+2, "a" : [ ] }}}`,
		`{"method":"resources/read","params":{"uri":"memo://\ud83d\ude00","_meta":{"a":-0.0}},"id":12345678901234567890,"jsonrpc":"2.0"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"arguments":{"name":"y"}},"x.y":1,"*":2}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","NAME":"y","arguments":{"id":1,"\u0049D":2}}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := mcp.Read(body, mcp.DefaultLimits())
		if err != nil || m.Kind == mcp.Response {
			return
		}
		want := parts{
			id: string(m.ID), method: m.Method, arguments: string(mcp.Get(m.Params, "arguments")), meta: string(mcp.Get(m.Params, "_meta")),
			name: text(mcp.Get(m.Params, "name")), uri: text(mcp.Get(m.Params, "uri")),
		}
		if m.Method == mcp.MethodToolsCall && (string(m.Arguments) != want.arguments || m.Name != want.name) {
			t.Errorf("decided by %q and %q, not %+v in %q", m.Name, m.Arguments, want, body)
		}
		if got := standard(t, body); got != want {
			t.Errorf("encoding/json reads %+v, not %+v in %q", got, want, body)
		}
		if got := careless(t, body); got != want {
			t.Errorf("a struct of encoding/json holds %+v, not %+v of %q", got, want, body)
		}
		if got := tokens(t, body); got != want {
			t.Errorf("jsontext reads %+v, not %+v in %q", got, want, body)
		}
		if got := paths(body); got != want {
			t.Errorf("gjson reads %+v, not %+v in %q", got, want, body)
		}
	})
}

// text is a name that is a string; other types are not names.
func text(raw json.RawMessage) string {
	var out string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &out) != nil {
		return ""
	}
	return out
}

// standard reads with encoding/json, where the last of equal names wins.
func standard(t *testing.T, body []byte) parts {
	var message, params map[string]json.RawMessage
	if err := json.Unmarshal(body, &message); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	if raw := message["params"]; raw != nil && json.Unmarshal(raw, &params) != nil {
		t.Fatalf("the params are no object: %q", body)
	}
	return parts{
		id: string(message["id"]), method: text(message["method"]), name: text(params["name"]), uri: text(params["uri"]),
		arguments: string(params["arguments"]), meta: string(params["_meta"]),
	}
}

// careless reads with encoding/json into a struct, whose fields take names in any case, as most servers in Go do.
func careless(t *testing.T, body []byte) parts {
	var message struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			Name      json.RawMessage `json:"name"`
			URI       json.RawMessage `json:"uri"`
			Arguments json.RawMessage `json:"arguments"`
			Meta      json.RawMessage `json:"_meta"`
		} `json:"params"`
	}
	if err := json.Unmarshal(body, &message); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	p := message.Params
	return parts{
		id: string(message.ID), method: message.Method, name: text(p.Name), uri: text(p.URI), arguments: string(p.Arguments), meta: string(p.Meta),
	}
}

// tokens reads with go-json-experiment, token by token.
func tokens(t *testing.T, body []byte) parts {
	members := func(doc []byte) map[string]jsontext.Value {
		out := map[string]jsontext.Value{}
		dec := jsontext.NewDecoder(bytes.NewReader(doc))
		if _, err := dec.ReadToken(); err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		for dec.PeekKind() == '"' {
			name, err := dec.ReadToken()
			if err != nil {
				t.Fatalf("%v: %q", err, body)
			}
			key := name.String()
			value, err := dec.ReadValue()
			if err != nil {
				t.Fatalf("%v: %q", err, body)
			}
			out[key] = value.Clone()
		}
		return out
	}
	message := members(body)
	params := map[string]jsontext.Value{}
	if raw := message["params"]; raw != nil {
		params = members(raw)
	}
	return parts{
		id: string(message["id"]), method: text(json.RawMessage(message["method"])), name: text(json.RawMessage(params["name"])),
		uri: text(json.RawMessage(params["uri"])), arguments: string(params["arguments"]), meta: string(params["_meta"]),
	}
}

// paths reads with gjson, which looks for one name at a time and is lenient. It finds no names that are escaped, so it walks over all of them.
func paths(body []byte) parts {
	member := func(doc gjson.Result, name string) (found gjson.Result) {
		doc.ForEach(func(key, value gjson.Result) bool {
			if key.String() == name {
				found = value
				return false
			}
			return true
		})
		return found
	}
	name := func(of gjson.Result) string {
		if of.Type != gjson.String {
			return ""
		}
		return of.String()
	}
	message := gjson.ParseBytes(body)
	params := member(message, "params")
	return parts{
		id: strings.TrimSpace(member(message, "id").Raw), method: name(member(message, "method")), name: name(member(params, "name")),
		uri: name(member(params, "uri")), arguments: member(params, "arguments").Raw, meta: member(params, "_meta").Raw,
	}
}
