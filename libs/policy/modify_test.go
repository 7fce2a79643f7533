package policy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// change compiles one modification from its JSON.
func change(t testing.TB, doc string) *modification {
	t.Helper()
	m := &authzv1.Modification{}
	if err := protojson.Unmarshal([]byte(doc), m); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	compiled, err := compileModification(m)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return &compiled
}

var changes = []struct{ change, in, out string }{
	{`{"path":"/a","set":1}`, `{"a":2}`, `{"a":1}`},
	{`{"path":"/a","set":1}`, ` { "b" : 9007199254740993 , "a":  2 } `, ` { "b" : 9007199254740993 , "a":  1 } `},
	{`{"path":"/a","set":1}`, `{}`, `{"a":1}`},
	{`{"path":"/a","set":1}`, ``, `{"a":1}`},
	{`{"path":"/a","set":1}`, `{ }`, `{"a":1 }`},
	{`{"path":"/a","set":null}`, `{"b":"\u0041\/"}`, `{"b":"\u0041\/","a":null}`},
	{`{"path":"/a","set":{"z":[1.5,true,"<&>"],"b":null}}`, `{}`, `{"a":{"b":null,"z":[1.5,true,"<&>"]}}`},
	{`{"path":"/a/b/c","set":"x"}`, `{"a":{}}`, `{"a":{"b":{"c":"x"}}}`},
	{`{"path":"/a/b/c","set":"x"}`, `{}`, `{"a":{"b":{"c":"x"}}}`},
	{`{"path":"/l/0","set":9}`, `{"l":[1, 2]}`, `{"l":[9, 2]}`},
	{`{"path":"/l/2","set":9}`, `{"l":[1, 2 ]}`, `{"l":[1, 2,9 ]}`},
	{`{"path":"/l/-","set":9}`, `{"l":[]}`, `{"l":[9]}`},
	{`{"path":"/l/-/x","set":9}`, `{"l":[1]}`, `{"l":[1,{"x":9}]}`},
	{`{"path":"/a~1b/~0","set":9}`, `{"a/b":{"~":1}}`, `{"a/b":{"~":9}}`},
	{`{"path":"/","set":9}`, `{"":1,"a":2}`, `{"":9,"a":2}`},
	{`{"path":"/a.b*?#","set":9}`, `{"a":{"b":1}}`, `{"a":{"b":1},"a.b*?#":9}`},
	{`{"path":"/é\"","set":9}`, `{"\u00e9\"":1}`, `{"\u00e9\"":9}`},
	{`{"path":"/a","remove":true}`, `{"a":1}`, `{}`},
	{`{"path":"/a","remove":true}`, `{"a":1 , "b":2}`, `{"b":2}`},
	{`{"path":"/b","remove":true}`, `{"a":1 , "b":2}`, `{"a":1}`},
	{`{"path":"/b","remove":true}`, `{"a":1,"b":{"x":[1]},"c":3}`, `{"a":1,"c":3}`},
	{`{"path":"/l/1","remove":true}`, `{"l":[1,2,3]}`, `{"l":[1,3]}`},
	{`{"path":"/l/0","remove":true}`, `{"l":[ [1] , 2 ]}`, `{"l":[ 2 ]}`},
	{`{"path":"/l/9","remove":true}`, `{"l":[1]}`, `{"l":[1]}`},
	{`{"path":"/x/y","remove":true}`, `{"x":1}`, `{"x":1}`},
	{`{"path":"/x","remove":true}`, ``, ``},
	{`{"path":"/cards/*/number","mask":"last4"}`, `{"cards":[{"number":"4111111111111111"},{"n":1},{"number":"5500000000000004"}]}`, `{"cards":[{"number":"***1111"},{"n":1},{"number":"***0004"}]}`},
	{`{"path":"/l/*","remove":true}`, `{"l":[1, 2,3 ]}`, `{"l":[ ]}`},
	{`{"path":"/*/a","set":1}`, `{"x":{"a":2},"y":{}}`, `{"x":{"a":1},"y":{"a":1}}`},
	{`{"path":"/l/*/*","clamp":{"max":9}}`, `{"l":[[1,10],[20]]}`, `{"l":[[1,9],[9]]}`},
	{`{"path":"/none/*","remove":true}`, `{"l":[1]}`, `{"l":[1]}`},
	{`{"path":"/l/*","remove":true}`, `{"l":5}`, `{"l":5}`},
	{`{"path":"/l/*","mask":"all"}`, `{"l":null}`, `{"l":null}`},
	{`{"path":"/n","clamp":{"max":100}}`, `{"n":101}`, `{"n":100}`},
	{`{"path":"/n","clamp":{"max":100}}`, `{"n":100.0}`, `{"n":100.0}`},
	{`{"path":"/n","clamp":{"max":100}}`, `{"n":1e2}`, `{"n":1e2}`},
	{`{"path":"/n","clamp":{"max":9007199254740992}}`, `{"n":9007199254740993}`, `{"n":9007199254740992}`},
	{`{"path":"/n","clamp":{"max":9007199254740994}}`, `{"n":9007199254740993}`, `{"n":9007199254740993}`},
	{`{"path":"/n","clamp":{"max":1e300}}`, `{"n":123456789012345678901234567890}`, `{"n":123456789012345678901234567890}`},
	{`{"path":"/n","clamp":{"max":100}}`, `{"n":1e999999999}`, `{"n":100}`},
	{`{"path":"/n","clamp":{"min":0.5}}`, `{"n":-0}`, `{"n":0.5}`},
	{`{"path":"/n","clamp":{"min":-5,"max":-5}}`, `{"n":7}`, `{"n":-5}`},
	{`{"path":"/n","clamp":{"max":0}}`, `{"n":7}`, `{"n":0}`},
	{`{"path":"/m","clamp":{"max":0}}`, `{"n":7}`, `{"n":7}`},
	{`{"path":"/l","truncate":2}`, `{"l":[1 , {"a":2} , 3]}`, `{"l":[1 , {"a":2}]}`},
	{`{"path":"/l","truncate":3}`, `{"l":[1,2,3 ]}`, `{"l":[1,2,3 ]}`},
	{`{"path":"/l","truncate":0}`, `{"l":[1,2,3]}`, `{"l":[]}`},
	{`{"path":"/l","truncate":0}`, `{"l":[ ]}`, `{"l":[ ]}`},
	{`{"path":"/s","truncate":3}`, `{"s":"a\u00e9\n\/x"}`, `{"s":"a\u00e9\n"}`},
	{`{"path":"/s","truncate":1}`, `{"s":"\ud83d\ude00x"}`, `{"s":"\ud83d\ude00"}`},
	{`{"path":"/s","truncate":2}`, `{"s":"日本語"}`, `{"s":"日本"}`},
	{`{"path":"/s","truncate":9}`, `{"s":"\u0041"}`, `{"s":"\u0041"}`},
	{`{"path":"/s","truncate":0}`, `{"s":"abc"}`, `{"s":""}`},
	{`{"path":"/s","mask":"all"}`, `{"s":"secret"}`, `{"s":"***"}`},
	{`{"path":"/s","mask":"last4"}`, `{"s":"4111111111111111"}`, `{"s":"***1111"}`},
	{`{"path":"/s","mask":"last4"}`, `{"s":"1234"}`, `{"s":"***"}`},
	{`{"path":"/s","mask":"email"}`, `{"s":"ana@acme.example"}`, `{"s":"a***@acme.example"}`},
	{`{"path":"/s","mask":"email"}`, `{"s":"\u00e9va@acme.example"}`, `{"s":"é***@acme.example"}`},
	{`{"path":"/s","mask":"email"}`, `{"s":"no address"}`, `{"s":"***"}`},
	{`{"path":"/s","mask":"email"}`, `{"s":"@x"}`, `{"s":"***"}`},
	{`{"path":"/s","mask":"email"}`, `{"t":1}`, `{"t":1}`},
}

func TestModificationsChangeOnlyTheirPath(t *testing.T) {
	for _, c := range changes {
		before := c.in
		in := []byte(c.in)
		out, changed, err := change(t, c.change).apply(in)
		if err != nil || string(out) != c.out || changed != (c.in != c.out) {
			t.Errorf("%s on %s: %s, changed %v, %v; want %s", c.change, c.in, out, changed, err, c.out)
		}
		if string(in) != before {
			t.Errorf("%s changed its input", c.change)
		}
	}
}

func TestModificationsThatDoNotFitAreErrors(t *testing.T) {
	for _, c := range []struct{ change, in string }{
		{`{"path":"/n","clamp":{"max":1}}`, `{"n":"5"}`}, {`{"path":"/n","clamp":{"max":1}}`, `{"n":null}`}, {`{"path":"/n","clamp":{"max":1}}`, `{"n":[5]}`},
		{`{"path":"/n","truncate":1}`, `{"n":123}`}, {`{"path":"/n","truncate":1}`, `{"n":{"a":1}}`},
		{`{"path":"/n","mask":"all"}`, `{"n":5}`}, {`{"path":"/n","mask":"last4"}`, `{"n":["a"]}`},
		{`{"path":"/emails/*","mask":"email"}`, `{"emails":"a@b.c"}`}, {`{"path":"/n/*","clamp":{"max":1}}`, `{"n":5}`}, {`{"path":"/l/*/x","set":1}`, `{"l":[true]}`},
		{`{"path":"/a/b","set":1}`, `{"a":5}`}, {`{"path":"/a/b","set":1}`, `{"a":null}`},
		{`{"path":"/a/5","set":1}`, `{"a":[1]}`}, {`{"path":"/a/x","set":1}`, `{"a":[1]}`},
		{`{"path":"/a/01","set":1}`, `{"a":[1,2]}`}, {`{"path":"/a","set":1}`, `[1]`},
		{`{"path":"/a","set":1}`, `{"b":1`}, {`{"path":"/a","set":1}`, `{"a":1`}, {`{"path":"/a","remove":true}`, `{"a"`},
	} {
		if out, _, err := change(t, c.change).apply([]byte(c.in)); err == nil {
			t.Errorf("%s on %s: %s", c.change, c.in, out)
		}
	}
}

// writer makes documents as awkward as JSON allows.
type writer struct {
	*rand.Rand
	paths []string
}

func (w *writer) pick(from ...string) string { return from[w.IntN(len(from))] }

func (w *writer) space() string { return w.pick("", "", " ", "\n\t", "  ") }

func (w *writer) value(depth int, path string) string {
	w.paths = append(w.paths, path)
	if kind := w.IntN(8); depth > 0 && kind < 3 {
		return w.object(depth, path)
	} else if depth > 0 && kind < 5 {
		var out []string
		for i := range w.IntN(4) {
			out = append(out, w.space()+w.value(depth-1, path+"/"+strconv.Itoa(i))+w.space())
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	return w.pick("1", "9007199254740993", "123456789012345678901234567890", "1.50", "-0", "1E+2", "true", "null",
		`"a"`, `"\u00e9\/\n"`, `"\ud83d\ude00x"`, `"日本"`, `"ana@acme.example"`, `""`)
}

func (w *writer) object(depth int, path string) string {
	names := []string{`"a"`, `"b/c"`, `"\u007e"`, `"x y"`, `"\u65e5"`, `"0"`, `""`, `"a.b"`, `"*"`}
	w.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var out []string
	for _, name := range names[:w.IntN(5)] {
		plain, _ := jsontext.AppendUnquote(nil, name)
		token := strings.ReplaceAll(strings.ReplaceAll(string(plain), "~", "~0"), "/", "~1")
		out = append(out, w.space()+name+w.space()+":"+w.space()+w.value(depth-1, path+"/"+token)+w.space())
	}
	return "{" + strings.Join(out, ",") + w.space() + "}"
}

// piece is one scalar or empty container of a document, as it is written.
type piece struct{ path, raw string }

// flatten lists every value below doc with its bytes, in order; containers are listed by their kind.
func flatten(t testing.TB, doc []byte, path string) []piece {
	t.Helper()
	var out []piece
	dec := jsontext.NewDecoder(bytes.NewBuffer(doc))
	var walk func(path string)
	walk = func(path string) {
		kind := dec.PeekKind()
		if kind != '{' && kind != '[' {
			raw, err := dec.ReadValue()
			if err != nil {
				t.Fatalf("%s: %v", doc, err)
			}
			out = append(out, piece{path, string(raw)})
			return
		}
		out = append(out, piece{path, kind.String()})
		if _, err := dec.ReadToken(); err != nil {
			t.Fatal(err)
		}
		for i := 0; dec.PeekKind() != '}' && dec.PeekKind() != ']'; i++ {
			token := strconv.Itoa(i)
			if kind == '{' {
				name, err := dec.ReadToken()
				if err != nil {
					t.Fatal(err)
				}
				token = strings.ReplaceAll(strings.ReplaceAll(name.String(), "~", "~0"), "/", "~1")
			}
			walk(path + "/" + token)
		}
		if _, err := dec.ReadToken(); err != nil {
			t.Fatal(err)
		}
	}
	walk(path)
	return out
}

func TestPropertyEverythingOutsideThePathStaysByteForByte(t *testing.T) {
	actions := []string{`"set":1`, `"set":{"q":[1,"x"]}`, `"remove":true`, `"clamp":{"min":2,"max":50}`, `"truncate":1`, `"mask":"email"`}
	applied := 0
	for seed := range 4000 {
		w := &writer{Rand: rand.New(rand.NewPCG(uint64(seed), 7))}
		doc := w.space() + w.object(4, "") + w.space()
		path := w.pick(append(w.paths, "/new", "/a/new/deeper")...)
		if path == "" {
			continue
		}
		quoted, _ := jsontext.AppendQuote(nil, path)
		m := change(t, `{"path":`+string(quoted)+`,`+actions[seed%len(actions)]+`}`)
		out, changed, err := m.apply([]byte(doc))
		if err != nil {
			continue
		}
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("%s %s: %s becomes %s", path, actions[seed%len(actions)], doc, out)
		}
		if !changed {
			if string(out) != doc {
				t.Fatalf("%s: %s becomes %s, unchanged", path, doc, out)
			}
			continue
		}
		applied++
		if m.remove && strings.Contains(path, "/") { // elements after a removed one move up: compare the values alone
			compareValues(t, m, doc, out, path)
			continue
		}
		outside := func(all []piece) []piece {
			return slices.DeleteFunc(all, func(one piece) bool {
				return one.path == path || strings.HasPrefix(one.path, path+"/") || strings.HasPrefix(path, one.path+"/")
			})
		}
		if before, after := outside(flatten(t, []byte(doc), "")), outside(flatten(t, out, "")); !slices.Equal(before, after) {
			t.Fatalf("%s %s: %s becomes %s", path, actions[seed%len(actions)], doc, out)
		}
	}
	if applied < 500 {
		t.Errorf("only %d changes were made", applied)
	}
}

func compareValues(t *testing.T, m *modification, doc string, out []byte, path string) {
	t.Helper()
	values := func(all []piece) []string {
		var raw []string
		for _, one := range all {
			raw = append(raw, one.raw)
		}
		return raw
	}
	before := slices.DeleteFunc(flatten(t, []byte(doc), ""), func(one piece) bool { return one.path == path || strings.HasPrefix(one.path, path+"/") })
	if after := flatten(t, out, ""); !slices.Equal(values(before), values(after)) {
		t.Fatalf("remove %s: %s becomes %s", m.path, doc, out)
	}
}

func FuzzModify(f *testing.F) {
	for i, doc := range []string{`{"a":[1,2,{"b":"x"}]}`, `{"a":"\ud83d\ude00"}`, `{"a":1e999}`, ` { } `, `{"a":{"a":{"a":1}}}`, `{"a":"\u00`, `[`} {
		f.Add([]byte(doc), "/a/0", i)
	}
	all := []string{`"set":1`, `"remove":true`, `"clamp":{"max":5}`, `"truncate":1`, `"mask":"email"`, `"mask":"last4"`}
	f.Fuzz(func(t *testing.T, doc []byte, path string, which int) {
		raw, err := jsontext.AppendQuote(nil, path)
		if err != nil {
			return
		}
		m := &authzv1.Modification{}
		if err := protojson.Unmarshal(fmt.Appendf(nil, `{"path":%s,%s}`, raw, all[uint(which)%uint(len(all))]), m); err != nil {
			return
		}
		compiled, err := compileModification(m)
		if err != nil {
			return
		}
		out, _, err := compiled.apply(doc)
		if err == nil && jsontext.Value(doc).IsValid() && !jsontext.Value(out).IsValid() {
			t.Errorf("%s at %s: %s becomes %s", all[uint(which)%uint(len(all))], path, doc, out)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, doc := range []string{`{"a":[1,2.5,1e400,18446744073709551616,-0]}`, `"\ud800"`, `[[[[`, `{"a":1,"a":2}`, `nul`, `1 2`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := Decode(doc)
		if err == nil && !jsontext.Value(doc).IsValid() {
			t.Errorf("%q is decoded as %v", doc, v)
		}
	})
}
