package mcp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func TestT19NamesInParamsThatDifferOnlyByCaseAreRefused(t *testing.T) {
	for _, name := range []string{"Arguments", "ARGUMENTS", "argument\u017f", "Name", "_Meta", "Uri", "taskid", "Ref", "RequestState", "inputresponses"} {
		body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","` + name + `":{"a":1}}}`
		e := refusal(t, body)
		require.Equal(t, http.StatusBadRequest, e.HTTPStatus, name)
		require.Contains(t, e.Message, "case-sensitive", name)
	}
	_, err := mcp.Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"Arguments":1,"NAME":2},"extra":true}}`), mcp.DefaultLimits())
	require.NoError(t, err, "names inside the arguments are the tool's own")
}

func TestT19NamesOfOneObjectThatDifferOnlyByCaseAreRefusedAtAnyDepth(t *testing.T) {
	many := func(last string) string {
		var out strings.Builder
		for i := range 40 {
			fmt.Fprintf(&out, `"name%d\u00e9":%d,`, i, i)
		}
		return `{"arguments":{` + out.String() + `"` + last + `":0}}`
	}
	for params, refused := range map[string]string{
		`{"arguments":{"path":"/a","Path":"/b"}}`:                             "Path",
		`{"arguments":{"user":{"id":"guest","ID":"admin"}}}`:                  "ID",
		`{"arguments":{"users":[{"a":1},[{"id":1,"x":{},"iD":2}]]}}`:          "iD",
		`{"arguments":{"kind":1,"\u212aind":2}}`:                              "?ind",
		`{"arguments":{"s":1,"\u017f":2}}`:                                    "?",
		`{"arguments":{"\u00e9":1,"\u00c9":2}}`:                               "?",
		`{"arguments":{"\u0069d":1,"I\u0064":2}}`:                             "Id",
		`{"ref":{"type":"ref/prompt","name":"p","Name":"secret"}}`:            "Name",
		`{"arguments":{"a":1},"_meta":{"traceparent":"x","Traceparent":"y"}}`: "Traceparent",
		`{"inputResponses":{"a":{"action":"accept","Action":"decline"}}}`:     "Action",
		many("NAME7\u00c9"): "NAME7?",
		many("name7"):       "",
		`{"arguments":{"id":1,"ids":[{"ID":1},{"id":2}],"x":{"Id":"id","y":"Y"}}}`: "",
		`{"arguments":{"a_b":1,"a-b":2,"ab":3,"ss":4,"\u00df":5}}`:                 "",
	} {
		for _, method := range []string{"tools/call", "completion/complete", "prompts/get"} {
			body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + strings.Replace(params, "{", `{"name":"x",`, 1) + `}`
			if refused == "" {
				_, err := mcp.Read([]byte(body), mcp.DefaultLimits())
				require.NoError(t, err, body)
				continue
			}
			e := refusal(t, body)
			require.Equal(t, http.StatusBadRequest, e.HTTPStatus, body)
			require.Contains(t, e.Message, `"`+refused+`"`, body)
			require.Contains(t, e.Message, "differ only by case", body)
			require.NotContains(t, e.Message, "secret", body)
		}
	}
}

// FuzzFolded holds the one spelling of names to what is the same without case, and to what a careless reader takes for the same.
func FuzzFolded(f *testing.F) {
	f.Add("id", "ID")
	f.Add("kind", "\u212aind")
	f.Add("\u03a3s", "\u03c2\u017f")
	f.Add("\u0130", "i")
	f.Fuzz(func(t *testing.T, one, other string) {
		one, other = strings.ToValidUTF8(one, "?"), strings.ToValidUTF8(other, "?")
		same := bytes.Equal(mcp.AppendFolded(nil, one), mcp.AppendFolded(nil, other))
		if same != strings.EqualFold(one, other) {
			t.Fatalf("%q and %q: %v", one, other, same)
		}
		names := [2][]byte{}
		for i, name := range []string{one, other} {
			quoted, err := json.Marshal(name)
			require.NoError(t, err)
			names[i] = quoted
		}
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{%s:1,%s:2}}}`, names[0], names[1])
		if _, err := mcp.Read([]byte(body), mcp.DefaultLimits()); (err != nil) != same {
			t.Fatalf("%s: %v", body, err)
		}
	})
}

func BenchmarkReadArguments264KB(b *testing.B) {
	const row = `{"id":12345,"name":"Ada Lovelace","city":"London","note":"says \"hello\" and goes"},`
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"rows":[` +
		strings.TrimSuffix(strings.Repeat(row, 264<<10/len(row)), ",") + `]}}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mcp.Read(body, mcp.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}
