package mcp_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func hash(raw string) string { return mcp.Definition{Raw: json.RawMessage(raw)}.Hash() }

func TestT2HashIsOfTheMeaningAndOfAllOfIt(t *testing.T) {
	tool := func(maximum, rest string) string {
		return `{"name":"t","inputSchema":{"type":"object","properties":{"a":{"maximum":` + maximum + `}}},` + rest + `}`
	}
	const big, hints = "9007199254740992", `"description":"d","annotations":{"readOnlyHint":true}`
	base := tool(big, hints)
	for name, same := range map[string]string{
		"reordered": `{"annotations":{"readOnlyHint":true},` +
			`"inputSchema":{"properties":{"a":{"maximum":` + big + `}},"type":"object"},"description":"d","name":"t"}`,
		"spaced and escaped":    tool(" "+big+"\n", `"description" : "\u0064","annotations":{"readOnlyHint":true}`),
		"number as float":       tool("9.007199254740992E15", hints),
		"trace of one exchange": tool(big, hints+`,"_meta":{"traceparent":"00-1"}`),
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, hash(base), hash(same)) })
	}
	for name, other := range map[string]string{
		"2^53+1":            tool("9007199254740993", hints),
		"annotation":        tool(big, `"description":"d","annotations":{"readOnlyHint":false}`),
		"description":       tool(big, `"description":"d ","annotations":{"readOnlyHint":true}`),
		"unknown member":    tool(big, hints+`,"x":1`),
		"lasting metadata":  tool(big, hints+`,"_meta":{"ui":1}`),
		"title":             tool(big, hints+`,"title":"T"`),
		"text for a number": tool(`"`+big+`"`, hints),
	} {
		t.Run(name, func(t *testing.T) { require.NotEqual(t, hash(base), hash(other)) })
	}
	require.Regexp(t, `^sha256:[0-9a-f]{64}$`, hash(base))
}

func TestCanonicalIsRFC8785AndExactBeyondIt(t *testing.T) {
	for in, want := range map[string]string{
		// RFC 8785, 3.2.2 and appendix B.
		`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],` +
			`"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`: `{"literals":[null,true,false],` +
			`"numbers":[33333333333333329e-8,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}`: "{\"\\r\":2,\"1\":4,\"\u0080\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\ufb33\":3}",
		`-0`:                   `0`,
		`-0.0e5`:               `0`,
		`1e400`:                `1e400`,
		`10e399`:               `1e400`,
		`9007199254740993`:     `9007199254740993e0`,
		`90071992547409930e-1`: `9007199254740993e0`,
		`1e99999999999`:        `1e99999999999`,
		`[1,-1,1.50,100]`:      `[1,-1,1.5,100]`,
	} {
		got, err := mcp.Canonical([]byte(in))
		require.NoError(t, err)
		require.Equal(t, want, string(got), in)
	}
	_, err := mcp.Canonical([]byte(`{"a":1,"a":2}`))
	require.Error(t, err)
}

func TestToolsReadsAPage(t *testing.T) {
	tools, next, more, err := mcp.Tools(json.RawMessage(`{"tools":[{"name":"b","x":1},{"name":"a"}],"nextCursor":""}`))
	require.NoError(t, err)
	require.Equal(t, []mcp.Definition{{Name: "b", Raw: json.RawMessage(`{"name":"b","x":1}`)}, {Name: "a", Raw: json.RawMessage(`{"name":"a"}`)}}, tools)
	require.True(t, more, "the empty string is a cursor")
	require.Empty(t, next)
	_, _, more, err = mcp.Tools(json.RawMessage(`{"tools":[]}`))
	require.NoError(t, err)
	require.False(t, more)
	for _, bad := range []string{``, `[]`, `{}`, `{"tools":{}}`, `{"tools":[1]}`, `{"tools":[{}]}`, `{"tools":[{"name":""}]}`, `{"tools":[],"nextCursor":1}`} {
		_, _, _, err := mcp.Tools(json.RawMessage(bad))
		require.Error(t, err, bad)
	}
}

func TestT3TheSameNameTwiceIsRefusedAndNeverLastWins(t *testing.T) {
	_, _, _, err := mcp.Tools(json.RawMessage(`{"tools":[{"name":"pay"},{"name":"\u0070ay"}]}`))
	require.ErrorContains(t, err, "twice")
}

func TestCheckRefusesDefinitionsThatCannotBeServed(t *testing.T) {
	check := func(raw string) error {
		name, _ := mcp.Text([]byte(raw), "name")
		return mcp.Definition{Name: name, Raw: json.RawMessage(raw)}.Check()
	}
	require.NoError(t, check(`{"name":"a.b-c_D","inputSchema":{"type":"object"}}`))
	for name, raw := range map[string]string{
		"T3 confusable name":    `{"name":"pаy","inputSchema":{"type":"object"}}`,
		"T6 hidden in a name":   `{"name":"pay\u200b","inputSchema":{"type":"object"}}`,
		"blank in a name":       `{"name":"pay me","inputSchema":{"type":"object"}}`,
		"no schema":             `{"name":"pay"}`,
		"schema of an array":    `{"name":"pay","inputSchema":{"type":"array"}}`,
		"schema that is true":   `{"name":"pay","inputSchema":true}`,
		"output schema text":    `{"name":"pay","inputSchema":{"type":"object"},"outputSchema":"x"}`,
		"T20 illegal mirror":    `{"name":"pay","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}`,
		"same name in a schema": `{"name":"pay","inputSchema":{"type":"object","type":"array"}}`,
	} {
		t.Run(name, func(t *testing.T) { require.Error(t, check(raw)) })
	}
}

func TestSpeakerWritesBothEras(t *testing.T) {
	legacy := mcp.Speaker{Version: mcp.V20251125, ClientName: "headgate", ClientVersion: "1"}
	out := legacy.Initialize(mcp.NewID(1))
	require.JSONEq(t, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},`+
		`"clientInfo":{"name":"headgate","version":"1"}}}`, string(out.Body))
	require.Empty(t, out.Headers)
	cursor := ""
	out = legacy.ListTools(mcp.NewID(2), &cursor)
	require.JSONEq(t, `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{"cursor":""}}`, string(out.Body))
	require.Equal(t, []mcp.Field{{Name: "Mcp-Protocol-Version", Value: "2025-11-25"}}, out.Headers)

	now := mcp.Speaker{Version: mcp.V20260728, ClientName: "headgate", ClientVersion: "1"}
	for _, out := range []mcp.Outgoing{
		now.Discover(mcp.NewID(1)), now.ListTools(mcp.NewID(2), nil),
		now.Call(mcp.NewID(3), "wétter", json.RawMessage(`{"a":1}`)),
	} {
		m := message(t, string(out.Body))
		h := headers()
		for _, f := range out.Headers {
			http := map[string][]string(h)
			http[f.Name] = append(http[f.Name], f.Value)
		}
		require.NoError(t, mcp.CheckHeaders(m, h), "what is written passes the own check")
	}
}

func TestAdaptBridgesTheEras(t *testing.T) {
	now := mcp.Speaker{Version: mcp.V20260728, ClientName: "headgate", ClientVersion: "1"}
	before := mcp.Speaker{Version: mcp.V20251125}
	legacy := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"n":9007199254740993},"_meta":{"progressToken":1}}}`
	got, err := now.Adapt([]byte(legacy))
	require.NoError(t, err)
	m := message(t, string(got))
	require.Equal(t, "2026-07-28", m.ProtocolVersion)
	require.Equal(t, "headgate", m.ClientName)
	back, err := before.Adapt(got)
	require.NoError(t, err)
	require.Equal(t, legacy, string(back))

	result, err := mcp.AdaptResult(json.RawMessage(`{"content":[]}`), true)
	require.NoError(t, err)
	require.Equal(t, `{"content":[],"resultType":"complete"}`, string(result))
	result, err = mcp.AdaptResult(json.RawMessage(`{"tools":[],"ttlMs":0,"cacheScope":"private","resultType":"complete"}`), false)
	require.NoError(t, err)
	require.Equal(t, `{"tools":[]}`, string(result))
}
