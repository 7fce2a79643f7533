package mcp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// call is a tools/call of 2026-07-28 of 377 bytes, as a client sends it.
const call = `{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"close_ticket",` +
	`"arguments":{"id":"T-1001","comment":"Customer confirmed; no answer since.","force":false},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"Example","version":"1.0.0"},` +
	`"io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p7"}}}`

// refusal reads a body that must be refused.
func refusal(t *testing.T, body string) *mcp.Error {
	t.Helper()
	m, err := mcp.Read([]byte(body), mcp.DefaultLimits())
	require.Nil(t, m)
	var e *mcp.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestReadPicksWhatTheGatewayDecidesBy(t *testing.T) {
	m, err := mcp.Read([]byte(call), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, mcp.Request, m.Kind)
	require.Equal(t, "42", string(m.ID))
	require.Equal(t, "tools/call", m.Method)
	require.Equal(t, "close_ticket", m.Name)
	require.Equal(t, `{"id":"T-1001","comment":"Customer confirmed; no answer since.","force":false}`, string(m.Arguments))
	require.Equal(t, "2026-07-28", m.ProtocolVersion)
	require.Equal(t, "Example", m.ClientName)
	require.Equal(t, "1.0.0", m.ClientVersion)
	require.Equal(t, "{}", string(m.ClientCapabilities))
	require.Equal(t, `"p7"`, string(m.ProgressToken))
	require.Equal(t, call, string(m.Raw))
}

func TestReadPicksTheClientOfAnInitialize(t *testing.T) {
	m, err := mcp.Read([]byte(`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"2025-11-25",`+
		`"capabilities":{"roots":{}},"clientInfo":{"name":"c\u00e9","version":"2"}}}`), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, "2025-11-25", m.ProtocolVersion)
	require.Equal(t, "cé", m.ClientName)
	require.Equal(t, `{"roots":{}}`, string(m.ClientCapabilities))
}

func TestReadKeepsBigIntegersExactly(t *testing.T) {
	arguments := `{"n":9007199254740993,"m":123456789012345678901234567890,"f":0.1000000000000000055511151231257827}`
	body := `{"jsonrpc":"2.0","id":9223372036854775807,"method":"tools/call","params":{"name":"x","arguments":` + arguments + `}}`
	m, err := mcp.Read([]byte(body), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, arguments, string(m.Arguments))
	require.Equal(t, "9223372036854775807", string(m.ID))
}

// TestT19ParserDifferential holds Read to refusing every message that two readers could understand in two ways.
func TestT19ParserDifferential(t *testing.T) {
	for name, body := range map[string]string{
		"CVE-2026-27896 wrong case of a name": `{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"x"}}`,
		"CVE-2026-27896 folded s of a name":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","paramſ":{"name":"x"}}`,
		"CVE-2026-27896 both cases":           `{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call"}`,
		"wrong case of a parameter":           `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"x"}}`,
		"same name twice":                     `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}`,
		"same name twice, once escaped":       `{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}`,
		"same name twice in params":           `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}`,
		"same name twice deep in arguments":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":[{"y":{"z":1,"z":2}}]}}}`,
		"two messages":                        `{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,"method":"ping"}`,
		"two messages on lines":               "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}",
		"batch":                               `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`,
		"trailing bytes":                      `{"jsonrpc":"2.0","id":1,"method":"ping"}x`,
		"trailing comma":                      `{"jsonrpc":"2.0","id":1,"method":"ping",}`,
		"comment":                             `{"jsonrpc":"2.0","id":1,"method":"ping"/**/}`,
		"single quotes":                       `{'jsonrpc':'2.0','id':1,'method':'ping'}`,
		"byte order mark":                     "\ufeff" + `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
		"NUL behind":                          "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\x00",
		"NUL before":                          "\x00{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
		"NUL in a string":                     "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\x00ng\"}",
		"line feed in a string":               "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\nng\"}",
		"form feed between":                   "{\"jsonrpc\":\"2.0\",\f\"id\":1,\"method\":\"ping\"}",
		"no-break space between":              "{\"jsonrpc\":\"2.0\",\u00a0\"id\":1,\"method\":\"ping\"}",
		"invalid UTF-8":                       "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\xff\"}}",
		"overlong UTF-8":                      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\xc0\xaf\"}}",
		"raw lone surrogate":                  "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"a\xed\xa0\x80\"}}",
		"escaped lone high surrogate":         `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\ud800"}}`,
		"escaped lone low surrogate":          `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\udc00b"}}`,
		"NaN":                                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":NaN}}}`,
		"leading zero":                        `{"jsonrpc":"2.0","id":01,"method":"ping"}`,
		"plus sign":                           `{"jsonrpc":"2.0","id":+1,"method":"ping"}`,
	} {
		t.Run(name, func(t *testing.T) { requireRefused(t, body) })
	}
}

// TestT19OneShapeOfMessage holds Read to refusing every message whose members are not exactly JSON-RPC's and MCP's.
func TestT19OneShapeOfMessage(t *testing.T) {
	for name, body := range map[string]string{
		"null id":                          `{"jsonrpc":"2.0","id":null,"method":"ping"}`,
		"fraction id":                      `{"jsonrpc":"2.0","id":1.5,"method":"ping"}`,
		"integer id written as a fraction": `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`,
		"exponent id":                      `{"jsonrpc":"2.0","id":1e3,"method":"ping"}`,
		"negative zero id":                 `{"jsonrpc":"2.0","id":-0,"method":"ping"}`,
		"id of more than 64 bits":          `{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}`,
		"huge id":                          `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 300) + `","method":"ping"}`,
		"boolean id":                       `{"jsonrpc":"2.0","id":true,"method":"ping"}`,
		"object id":                        `{"jsonrpc":"2.0","id":{},"method":"ping"}`,
		"missing jsonrpc":                  `{"id":1,"method":"ping"}`,
		"other jsonrpc":                    `{"jsonrpc":"1.0","id":1,"method":"ping"}`,
		"numeric jsonrpc":                  `{"jsonrpc":2.0,"id":1,"method":"ping"}`,
		"unknown member":                   `{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}`,
		"request and response":             `{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}`,
		"result and error":                 `{"jsonrpc":"2.0","id":1,"result":{},"error":{}}`,
		"nothing":                          `{"jsonrpc":"2.0","id":1}`,
		"response without id":              `{"jsonrpc":"2.0","result":{}}`,
		"empty method":                     `{"jsonrpc":"2.0","id":1,"method":""}`,
		"numeric method":                   `{"jsonrpc":"2.0","id":1,"method":7}`,
		"long method":                      `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 200) + `"}`,
		"array params":                     `{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}`,
		"null params":                      `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`,
		"call without a name":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`,
		"call without params":              `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`,
		"numeric tool name":                `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}`,
		"long tool name":                   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + strings.Repeat("n", 3000) + `"}}`,
		"array arguments":                  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":[]}}`,
		"null arguments":                   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":null}}`,
		"string arguments":                 `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":"{}"}}`,
		"array _meta":                      `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":[]}}`,
		"numeric version":                  `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}`,
		"client info that is text":         `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/clientInfo":"x"}}}`,
		"capabilities that are a list":     `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":[]}}`,
		"object progress token":            `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":{}}}}`,
		"empty body":                       ``,
		"blank body":                       " \n ",
		"text":                             `"ping"`,
		"null":                             `null`,
		"cut off":                          `{"jsonrpc":"2.0","id":1,"method":"pi`,
	} {
		t.Run(name, func(t *testing.T) { requireRefused(t, body) })
	}
}

func requireRefused(t *testing.T, body string) {
	t.Helper()
	e := refusal(t, body)
	require.Equal(t, http.StatusBadRequest, e.HTTPStatus)
	require.Equal(t, faultv1.Reason_REASON_PARSE, e.Reason)
	require.Contains(t, []int{mcp.CodeParse, mcp.CodeInvalidRequest, mcp.CodeInvalidParams}, e.Code)
	require.NotEmpty(t, e.Message)
	require.True(t, mcp.Valid(e.Reply(nil)))
}

func TestNullIsRefusedByName(t *testing.T) {
	for member, body := range map[string]string{
		"The params are":             `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`,
		"params.arguments is":        `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":null}}`,
		"params.cursor is":           `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":null}}`,
		"params.requestState is":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","requestState":null}}`,
		"params.inputResponses is":   `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","inputResponses":null}}`,
		"params._meta is not an obj": `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":null}}`,
	} {
		says := refusal(t, body).Message
		require.Contains(t, says, member)
		require.Contains(t, says, "Leave it out instead of sending null.")
	}
}

func TestReadRefusesWhatIsTooLarge(t *testing.T) {
	deep := func(n int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}}`
	}
	for name, body := range map[string]string{
		"10 MB":            `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("a", 10<<20) + `"}}`,
		"depth 1000":       deep(1000),
		"depth 65":         deep(62),
		"a million open":   strings.Repeat("[", 1_000_000),
		"a million object": strings.Repeat(`{"a":`, 500_000),
	} {
		t.Run(name, func(t *testing.T) {
			e := refusal(t, body)
			if name == "10 MB" {
				require.Equal(t, http.StatusRequestEntityTooLarge, e.HTTPStatus)
				require.Equal(t, faultv1.Reason_REASON_TOO_LARGE, e.Reason)
				return
			}
			require.Equal(t, http.StatusBadRequest, e.HTTPStatus)
			require.Contains(t, e.Message, "nested deeper")
		})
	}
	_, err := mcp.Read([]byte(deep(61)), mcp.DefaultLimits())
	require.NoError(t, err, "depth 64 is taken")
	_, err = mcp.Read([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"`+strings.Repeat("[{", 1000)+`"}}`), mcp.DefaultLimits())
	require.NoError(t, err, "brackets in a string are no depth")
}

func TestARefusedRequestIsAnsweredUnderItsID(t *testing.T) {
	e := refusal(t, `{"jsonrpc":"2.0","id":"r-1","method":"tools/call","params":{}}`)
	require.JSONEq(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":"r-1","error":{"code":-32602,"message":%q}}`, e.Message), string(e.Reply(nil)))
	require.NotContains(t, string(refusal(t, `{"jsonrpc":"2.0","id":null,"method":"ping"}`).Reply(nil)), `"id"`, "MCP does not allow a null id")
}

func TestRefusalsDoNotRepeatArguments(t *testing.T) {
	e := refusal(t, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"password":"hunter2","password":"hunter3"}}}`)
	require.NotContains(t, e.Message, "hunter")
}

func TestReadTakesNotificationsAndResponses(t *testing.T) {
	m, err := mcp.Read([]byte(` {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}} `), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, mcp.Notification, m.Kind)
	require.Nil(t, m.ID)
	m, err = mcp.Read([]byte(`{"jsonrpc":"2.0","id":3,"result":{"action":"accept"}}`), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, mcp.Response, m.Kind)
	require.Equal(t, `{"action":"accept"}`, string(m.Result))
}

func TestReadUnderstandsEscapedNames(t *testing.T) {
	m, err := mcp.Read([]byte(`{"jsonrpc":"2.0","id":1,"\u006dethod":"tools\/call","params":{"n\u0061me":"a\"b"}}`), mcp.DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, "tools/call", m.Method)
	require.Equal(t, `a"b`, m.Name)
}

func TestAnErrorIsAnError(t *testing.T) {
	_, err := mcp.Read([]byte(`{}`), mcp.Limits{})
	var e *mcp.Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, e.Message, err.Error())
}

func BenchmarkRead(b *testing.B) {
	body, lim := []byte(call), mcp.DefaultLimits()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mcp.Read(body, lim); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadReply264KB(b *testing.B) {
	row, err := json.Marshal(map[string]any{"id": 12345, "name": "Ada Lovelace", "city": "London", "note": "says \"hello\"\nand goes"})
	require.NoError(b, err)
	rows := strings.Repeat(string(row)+",", 264<<10/(len(row)+1))
	body := []byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"rows":[` + strings.TrimSuffix(rows, ",") + `]}}}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mcp.ReadReply(body, mcp.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
