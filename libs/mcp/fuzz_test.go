package mcp_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/mcp"
)

// FuzzRead holds Read to: what it takes is strict JSON that encoding/json reads the same way, and edits change only what they name.
func FuzzRead(f *testing.F) {
	f.Add([]byte(call))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"\ud83d","method":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := mcp.Read(body, mcp.DefaultLimits())
		intended := mcp.Intended(body, mcp.DefaultLimits())
		if err != nil {
			if intended != nil && !mcp.Valid(intended) {
				t.Fatalf("%q would be answered under %q", body, intended)
			}
			return
		}
		if m.Kind == mcp.Request && !mcp.SameID(m.ID, intended) {
			t.Fatalf("the id of %q is taken for %q", body, intended)
		}
		var seen struct {
			ID     json.RawMessage `json:"id"`
			Method *string         `json:"method"`
			Params struct {
				Name      *string         `json:"name"`
				URI       *string         `json:"uri"`
				Arguments json.RawMessage `json:"arguments"`
			} `json:"params"`
		}
		if !mcp.Valid(body) || bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
			t.Fatalf("took what is not one strict message: %q", body)
		}
		if err := json.Unmarshal(body, &seen); err != nil {
			return // a name, URI or method of another type where it does not matter, or in another case
		}
		if m.Kind != mcp.Response && (seen.Method == nil || *seen.Method != m.Method) {
			t.Fatalf("read method %q of %q", m.Method, body)
		}
		if m.Method == mcp.MethodToolsCall {
			checkCall(t, m)
		}
	})
}

// checkCall holds the parts of a call and its edits to a second reader.
func checkCall(t *testing.T, m *mcp.Message) {
	t.Helper()
	var params map[string]json.RawMessage
	if err := json.Unmarshal(m.Params, &params); err != nil {
		t.Fatal(err)
	}
	var name string
	if err := json.Unmarshal(params["name"], &name); err != nil || name != m.Name {
		t.Fatalf("read name %q of %q", m.Name, m.Raw)
	}
	if !bytes.Equal(params["arguments"], m.Arguments) {
		t.Fatalf("read arguments %q of %q", m.Arguments, m.Raw)
	}
	const other = `{"n":9007199254740993}`
	edited, err := m.WithArguments(json.RawMessage(other))
	if err != nil {
		t.Fatal(err)
	}
	again, err := mcp.Read(edited, mcp.Limits{Bytes: len(edited) + 1})
	if err != nil || again.Name != m.Name || string(again.Arguments) != other || !mcp.SameID(m.ID, again.ID) && m.ID != nil {
		t.Fatalf("an edit broke %q: %q", m.Raw, edited)
	}
	if m.Arguments != nil {
		back, err := again.WithArguments(m.Arguments)
		if err != nil || !bytes.Equal(back, m.Raw) {
			t.Fatalf("an edit and its opposite changed %q to %q", m.Raw, back)
		}
	}
}

// FuzzReadReply holds ReadReply to taking only strict messages of one kind.
func FuzzReadReply(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := mcp.ReadReply(body, mcp.ReplyLimits())
		if err != nil {
			return
		}
		switch {
		case !mcp.Valid(body):
			t.Fatalf("took what is not strict: %q", body)
		case r.Kind == mcp.Response && (r.Result == nil) == (r.Error == nil):
			t.Fatalf("took a response with both or nothing: %q", body)
		case r.Kind == mcp.Response && r.Result != nil:
			if !mcp.SameJSON(mcp.Get(body, "result"), r.Result) || !mcp.Valid(mcp.Result(r.ID, r.Result)) {
				t.Fatalf("read result %q of %q", r.Result, body)
			}
		}
	})
}

// FuzzEventReader holds the reader to its limit, and to reading back what WriteEvent writes.
func FuzzEventReader(f *testing.F) {
	f.Add([]byte("id: 1\r\nevent: message\ndata: {}\r\rdata: x\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 256
		r := mcp.NewEventReader(bytes.NewReader(stream), limit)
		for {
			ev, err := r.Next()
			if err != nil {
				return
			}
			if len(ev.Data)+len(ev.ID)+len(ev.Type) > limit || bytes.ContainsRune(ev.Data, '\r') {
				t.Fatalf("an event beyond the limit or with a line end: %q", ev)
			}
			var out bytes.Buffer
			if err := mcp.WriteEvent(&out, ev); err != nil {
				if strings.ContainsRune(ev.Type, 0) {
					continue
				}
				t.Fatal(err)
			}
			back, err := mcp.NewEventReader(&out, 0).Next()
			if err != nil || back.ID != ev.ID || back.Type != ev.Type || !bytes.Equal(back.Data, ev.Data) {
				t.Fatalf("wrote %q, read %q: %v", ev, back, err)
			}
		}
	})
}

// FuzzHeaderValue holds the encoding of header values to: one text, one canonical form, and nothing but visible ASCII.
func FuzzHeaderValue(f *testing.F) {
	f.Add("=?base64?SGVsbG8sIOS4lueVjA==?=")
	f.Fuzz(func(t *testing.T, value string) {
		if text, ok := mcp.DecodeHeader(value); ok {
			if !utf8.ValidString(text) {
				t.Fatalf("decoded %q to bytes that are not text", value)
			}
			again, ok := mcp.DecodeHeader(mcp.EncodeHeader(text))
			if !ok || again != text {
				t.Fatalf("%q became %q", text, again)
			}
		}
		if !utf8.ValidString(value) {
			return
		}
		encoded := mcp.EncodeHeader(value)
		for _, b := range []byte(encoded) {
			if b < 0x20 || b > 0x7e {
				t.Fatalf("encoded %q to %q", value, encoded)
			}
		}
		if text, ok := mcp.DecodeHeader(encoded); !ok || text != value {
			t.Fatalf("%q came back as %q", value, text)
		}
	})
}

var farAway = regexp.MustCompile(`[eE][+-]?[0-9]{4}`)

// FuzzDefinitionHash holds the hash to: the same for the same meaning in another order or spelling, another for any other meaning.
func FuzzDefinitionHash(f *testing.F) {
	f.Add([]byte(`{"name":"t","description":"d","x":9007199254740993}`), []byte(`{"x":9007199254740993,"description":"d","name":"t"}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if !mcp.Valid(a) || !mcp.Valid(b) || len(a) > 4096 || len(b) > 4096 {
			return
		}
		if bytes.Contains(a, []byte("_meta")) || bytes.Contains(b, []byte("_meta")) {
			return // some of its keys do not count
		}
		if farAway.Match(a) || farAway.Match(b) {
			return // such a number is not written out to compare it with another
		}
		same, sameHash := equal(t, a, b), mcp.Definition{Raw: a}.Hash() == mcp.Definition{Raw: b}.Hash()
		if same != sameHash {
			t.Fatalf("%q and %q: same meaning %v, same hash %v", a, b, same, sameHash)
		}
		canonical, err := mcp.Canonical(a)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := mcp.Canonical(canonical); err != nil || !bytes.Equal(again, canonical) || !equal(t, a, canonical) {
			t.Fatalf("the canonical form of %q is not final: %q, %q", a, canonical, again)
		}
	})
}

// FuzzLongStrings holds the reading of documents with long strings, whose inside is not looked at twice, to what a reader says that looks at every byte.
func FuzzLongStrings(f *testing.F) {
	for _, seed := range []string{
		`{"a":"@"}`, `{"@":1,"@":2}`, `{"@" : 1, "b":["@","@\n@"]}`, `"@`, `"@"@"`, "\"@\x01\"", `"@\"@"`, `["@"x]`, `"@\ud800"`, "\"@\xff@\"", `{"a":"@","a":"@"}`, `@"@"`, `["@" "@"]`,
	} {
		f.Add([]byte(seed))
	}
	long := bytes.Repeat([]byte("plain "), 200)
	f.Fuzz(func(t *testing.T, short []byte) {
		document := bytes.ReplaceAll(short, []byte("@"), long)
		if got, want := mcp.Valid(document), jsontext.Value(document).IsValid(); got != want {
			t.Fatalf("valid: %v, and %v says a reader of every byte, of %q", got, want, short)
		}
	})
}
