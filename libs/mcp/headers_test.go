package mcp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// modern is a request of 2026-07-28.
func modern(method, params string) string {
	if params != "" {
		params += ","
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`+
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`, method, params)
}

func message(t *testing.T, body string) *mcp.Message {
	t.Helper()
	m, err := mcp.Read([]byte(body), mcp.DefaultLimits())
	require.NoError(t, err)
	return m
}

// headers reads pairs of names and values.
func headers(pairs ...string) mcp.Headers {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return mcp.Headers(h)
}

func TestT20HeaderBodyMismatchIsRefused(t *testing.T) {
	callX, list := modern("tools/call", `"name":"x"`), modern("tools/list", "")
	version, method, name := []string{"MCP-Protocol-Version", "2026-07-28"}, []string{"Mcp-Method", "tools/call"}, []string{"Mcp-Name", "x"}
	with := func(parts ...[]string) mcp.Headers {
		var all []string
		for _, p := range parts {
			all = append(all, p...)
		}
		return headers(all...)
	}
	for name, c := range map[string]struct {
		body string
		h    mcp.Headers
	}{
		"no version":                        {callX, with(method, name)},
		"other version":                     {callX, with([]string{"MCP-Protocol-Version", "2025-11-25"}, method, name)},
		"version twice":                     {callX, with(version, version, method, name)},
		"two versions":                      {callX, with(version, []string{"MCP-Protocol-Version", "2025-11-25"}, method, name)},
		"no method":                         {callX, with(version, name)},
		"other method":                      {callX, with(version, []string{"Mcp-Method", "tools/list"}, name)},
		"method in other case":              {callX, with(version, []string{"Mcp-Method", "Tools/call"}, name)},
		"method twice":                      {callX, with(version, method, method, name)},
		"method with blanks":                {callX, with(version, []string{"Mcp-Method", " tools/call"}, name)},
		"no name":                           {callX, with(version, method)},
		"no name of a task":                 {modern("tasks/get", `"taskId":"t-1"`), with(version, []string{"Mcp-Method", "tasks/get"})},
		"empty name":                        {callX, with(version, method, []string{"Mcp-Name", ""})},
		"other name":                        {callX, with(version, method, []string{"Mcp-Name", "y"})},
		"name in other case":                {callX, with(version, method, []string{"Mcp-Name", "X"})},
		"name twice":                        {callX, with(version, method, name, name)},
		"encoded other name":                {callX, with(version, method, []string{"Mcp-Name", "=?base64?eQ==?="})},
		"bad base64":                        {callX, with(version, method, []string{"Mcp-Name", "=?base64?e*==?="})},
		"base64 without padding":            {callX, with(version, method, []string{"Mcp-Name", "=?base64?eA?="})},
		"base64 with stray bits":            {callX, with(version, method, []string{"Mcp-Name", "=?base64?eB==?="})},
		"sentinel in upper case":            {callX, with(version, method, []string{"Mcp-Name", "=?BASE64?eA==?="})},
		"base64 of bytes that are not text": {callX, with(version, method, []string{"Mcp-Name", "=?base64?/w==?="})},
		"raw bytes beyond ASCII":            {callX, with(version, method, []string{"Mcp-Name", "\u00e9"})},
		"name where the method has none":    {list, with(version, []string{"Mcp-Method", "tools/list"}, name)},
	} {
		t.Run(name, func(t *testing.T) {
			err := mcp.CheckHeaders(message(t, c.body), c.h)
			var e *mcp.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, mcp.CodeHeaderMismatch, e.Code)
			require.Equal(t, http.StatusBadRequest, e.HTTPStatus)
			require.Equal(t, faultv1.Reason_REASON_HEADER_MISMATCH, e.Reason)
			require.Equal(t, "1", string(e.ID))
		})
	}
}

func TestHeadersThatSayWhatTheBodySaysAreTaken(t *testing.T) {
	for name, c := range map[string]struct{ body, name string }{
		"plain":                 {modern("tools/call", `"name":"get_weather"`), "get_weather"},
		"encoded":               {modern("tools/call", `"name":"get_weather"`), "=?base64?Z2V0X3dlYXRoZXI=?="},
		"encoded beyond ASCII":  {modern("prompts/get", `"name":"Hello, 世界"`), "=?base64?SGVsbG8sIOS4lueVjA==?="},
		"encoded blanks":        {modern("resources/read", `"uri":" padded "`), "=?base64?IHBhZGRlZCA=?="},
		"encoded sentinel":      {modern("resources/read", `"uri":"=?base64?literal?="`), "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="},
		"task of the extension": {modern("tasks/get", `"taskId":"t-1"`), "t-1"},
		"escaped in the body":   {modern("tools/call", `"name":"\u0061"`), "a"},
		"only begins like one":  {modern("tools/call", `"name":"=?base64?x"`), "=?base64?x"},
	} {
		t.Run(name, func(t *testing.T) {
			m := message(t, c.body)
			require.NoError(t, mcp.CheckHeaders(m, headers("mcp-protocol-version", "2026-07-28", "mcp-method", m.Method, "mcp-name", c.name)))
		})
	}
}

func TestModernMetadataIsRequired(t *testing.T) {
	h := headers("MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list")
	for name, body := range map[string]string{
		"no params":       `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
		"no version":      `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}}`,
		"no capabilities": `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var e *mcp.Error
			require.ErrorAs(t, mcp.CheckHeaders(message(t, body), h), &e)
			require.Equal(t, mcp.CodeInvalidParams, e.Code)
			require.Equal(t, http.StatusBadRequest, e.HTTPStatus)
		})
	}
}

func TestEraOfARequest(t *testing.T) {
	initialize := func(version string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{}}}`, version)
	}
	list := `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	for name, c := range map[string]struct {
		body, header, version string
		modern                bool
	}{
		"modern":                                    {modern("tools/list", ""), "2026-07-28", "2026-07-28", true},
		"modern without header":                     {modern("tools/list", ""), "", "2026-07-28", true},
		"modern header without metadata":            {list, "2026-07-28", "2026-07-28", true},
		"modern metadata under a legacy header":     {modern("tools/list", ""), "2025-11-25", "2026-07-28", true},
		"legacy":                                    {list, "2025-11-25", "2025-11-25", false},
		"2025-06-18":                                {list, "2025-06-18", "2025-06-18", false},
		"no header is 2025-03-26":                   {list, "", "2025-03-26", false},
		"initialize gets what it asks for":          {initialize("2025-06-18"), "", "2025-06-18", false},
		"initialize of an unknown version gets one": {initialize("2099-01-01"), "", "2025-11-25", false},
		"initialize of a modern version gets one":   {initialize("2026-07-28"), "", "2025-11-25", false},
		"initialize under a legacy header":          {initialize("2025-11-25"), "2025-11-25", "2025-11-25", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := headers()
			if c.header != "" {
				h = headers("MCP-Protocol-Version", c.header)
			}
			version, isModern, err := mcp.Era(message(t, c.body), h)
			require.NoError(t, err)
			require.Equal(t, c.version, version)
			require.Equal(t, c.modern, isModern)
		})
	}
}

func TestUnsupportedVersionNamesThoseThatAre(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		h    mcp.Headers
	}{
		"in the header":   {`{"jsonrpc":"2.0","id":1,"method":"ping"}`, headers("MCP-Protocol-Version", "2024-11-05")},
		"in the metadata": {`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2099-01-01"}}}`, headers()},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := mcp.Era(message(t, c.body), c.h)
			var e *mcp.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, mcp.CodeUnsupportedVersion, e.Code)
			require.Equal(t, faultv1.Reason_REASON_PROTOCOL_VERSION, e.Reason)
			supported := mcp.Get(e.Reply(json.RawMessage("1")), "error", "data", "supported")
			require.JSONEq(t, `["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]`, string(supported))
		})
	}
}

func TestT20VersionHeaderTwiceIsRefusedInEitherEra(t *testing.T) {
	ping := message(t, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	_, _, err := mcp.Era(ping, headers("MCP-Protocol-Version", "2025-11-25", "MCP-Protocol-Version", "2025-06-18"))
	var e *mcp.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, mcp.CodeHeaderMismatch, e.Code)
}

const annotated = `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},` +
	`"limit":{"type":"integer","x-mcp-header":"Limit"},` +
	`"where":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry-Run"}}},"query":{"type":"string"}}}`

func TestT20ParamHeadersMirrorTheArguments(t *testing.T) {
	bindings, err := mcp.Bindings(json.RawMessage(annotated))
	require.NoError(t, err)
	require.Len(t, bindings, 3)
	body := modern("tools/call", `"name":"q","arguments":{"region":"us-west1","limit":42,"where":{"dry":true},"query":"x"}`)
	m := message(t, body)

	built, err := mcp.ParamHeaders(bindings, m.Arguments)
	require.NoError(t, err)
	require.Equal(t, []mcp.Field{
		{Name: "Mcp-Param-Region", Value: "us-west1"}, {Name: "Mcp-Param-Limit", Value: "42"}, {Name: "Mcp-Param-Dry-Run", Value: "true"},
	}, built)

	good := []string{"Mcp-Param-Region", "us-west1", "Mcp-Param-Limit", "42.0", "Mcp-Param-Dry-Run", "true"}
	require.NoError(t, mcp.CheckParamHeaders(m, bindings, headers(good...)))
	for name, h := range map[string]mcp.Headers{
		"missing":       headers(good[:4]...),
		"other text":    headers("Mcp-Param-Region", "eu", "Mcp-Param-Limit", "42", "Mcp-Param-Dry-Run", "true"),
		"other number":  headers("Mcp-Param-Region", "us-west1", "Mcp-Param-Limit", "43", "Mcp-Param-Dry-Run", "true"),
		"other boolean": headers("Mcp-Param-Region", "us-west1", "Mcp-Param-Limit", "42", "Mcp-Param-Dry-Run", "TRUE"),
		"twice":         headers(append(good, "Mcp-Param-Region", "us-west1")...),
		"bad base64":    headers("Mcp-Param-Region", "=?base64?*?=", "Mcp-Param-Limit", "42", "Mcp-Param-Dry-Run", "true"),
	} {
		t.Run(name, func(t *testing.T) {
			var e *mcp.Error
			require.ErrorAs(t, mcp.CheckParamHeaders(m, bindings, h), &e)
			require.Equal(t, mcp.CodeHeaderMismatch, e.Code)
		})
	}
	none := message(t, modern("tools/call", `"name":"q","arguments":{"region":null}`))
	require.NoError(t, mcp.CheckParamHeaders(none, bindings, headers()))
	require.Error(t, mcp.CheckParamHeaders(none, bindings, headers("Mcp-Param-Region", "us")), "a header without an argument")
}

func TestBrokenParamAnnotationsAreRefused(t *testing.T) {
	for name, schema := range map[string]string{
		"empty":          `{"properties":{"a":{"type":"string","x-mcp-header":""}}}`,
		"line break":     `{"properties":{"a":{"type":"string","x-mcp-header":"A\r\nX"}}}`,
		"no token":       `{"properties":{"a":{"type":"string","x-mcp-header":"A:"}}}`,
		"no string":      `{"properties":{"a":{"type":"string","x-mcp-header":1}}}`,
		"twice":          `{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}`,
		"number":         `{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}`,
		"object":         `{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}`,
		"no type":        `{"properties":{"a":{"x-mcp-header":"A"}}}`,
		"behind items":   `{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}`,
		"behind oneOf":   `{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}`,
		"in definitions": `{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}`,
		"on the root":    `{"type":"object","x-mcp-header":"A"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mcp.Bindings(json.RawMessage(schema))
			require.Error(t, err)
		})
	}
}

func TestAnArgumentThatNoHeaderCanCarryIsRefused(t *testing.T) {
	bindings, err := mcp.Bindings(json.RawMessage(annotated))
	require.NoError(t, err)
	for _, arguments := range []string{`{"limit":9007199254740992}`, `{"limit":1.5}`, `{"limit":1e400}`, `{"region":{}}`, `{"region":[]}`} {
		_, err := mcp.ParamHeaders(bindings, json.RawMessage(arguments))
		require.Error(t, err, arguments)
	}
}

func TestAModernNotificationNeedsNoMetadata(t *testing.T) {
	// go-sdk 1.8.0 sends this when a call's context ends, and gives its session up when it is refused.
	m := message(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	require.NoError(t, mcp.CheckHeaders(m, headers("MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "notifications/cancelled")))
	require.NoError(t, mcp.CheckHeaders(m, headers("MCP-Protocol-Version", "2026-07-28")))
	require.Error(t, mcp.CheckHeaders(m, headers("MCP-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call")), "but what it says has to be so")
}
