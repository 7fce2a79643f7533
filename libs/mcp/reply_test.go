package mcp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
)

func TestReadReplyTakesWhatServersSend(t *testing.T) {
	r, err := mcp.ReadReply([]byte(`{"jsonrpc":"2.0","id":1,"result":{"content":[],"x-unknown":9007199254740993}}`), mcp.Limits{})
	require.NoError(t, err)
	require.Equal(t, mcp.Response, r.Kind)
	require.Equal(t, `{"content":[],"x-unknown":9007199254740993}`, string(r.Result))

	r, err = mcp.ReadReply([]byte(`{"jsonrpc":"2.0","id":"a","error":{"code":-32602,"message":"no \"x\"","data":{}}}`), mcp.Limits{})
	require.NoError(t, err)
	require.Equal(t, -32602, r.ErrorCode)
	require.Equal(t, `no "x"`, r.ErrorMessage)

	for _, id := range []string{``, `"id":null,`} {
		r, err = mcp.ReadReply([]byte(`{"jsonrpc":"2.0",`+id+`"error":{"code":-32700,"message":"x"}}`), mcp.Limits{})
		require.NoError(t, err)
		require.Nil(t, r.ID)
	}
	r, err = mcp.ReadReply([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}`), mcp.Limits{})
	require.NoError(t, err)
	require.Equal(t, mcp.Notification, r.Kind)
	r, err = mcp.ReadReply([]byte(`{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}`), mcp.Limits{})
	require.NoError(t, err)
	require.Equal(t, mcp.Request, r.Kind)
}

func TestT19ReadReplyRefusesWhatTwoReadersReadDifferently(t *testing.T) {
	for name, body := range map[string]string{
		"result twice":       `{"jsonrpc":"2.0","id":1,"result":{},"result":{"x":1}}`,
		"Result":             `{"jsonrpc":"2.0","id":1,"Result":{}}`,
		"unknown member":     `{"jsonrpc":"2.0","id":1,"result":{},"also":{}}`,
		"result and error":   `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`,
		"neither":            `{"jsonrpc":"2.0","id":1}`,
		"no id":              `{"jsonrpc":"2.0","result":{}}`,
		"null id":            `{"jsonrpc":"2.0","id":null,"result":{}}`,
		"array result":       `{"jsonrpc":"2.0","id":1,"result":[]}`,
		"text result":        `{"jsonrpc":"2.0","id":1,"result":"x"}`,
		"text error":         `{"jsonrpc":"2.0","id":1,"error":"x"}`,
		"error code as text": `{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}`,
		"no jsonrpc":         `{"id":1,"result":{}}`,
		"batch":              `[{"jsonrpc":"2.0","id":1,"result":{}}]`,
		"lone surrogate":     `{"jsonrpc":"2.0","id":1,"result":{"x":"\ud800"}}`,
		"invalid UTF-8":      "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":\"\xff\"}}",
		"two messages":       `{"jsonrpc":"2.0","id":1,"result":{}} {"jsonrpc":"2.0","id":1,"result":{}}`,
		"params":             `{"jsonrpc":"2.0","id":1,"result":{},"params":{}}`,
		"method and result":  `{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`,
		"array params":       `{"jsonrpc":"2.0","method":"x","params":[]}`,
		"depth 1000":         `{"jsonrpc":"2.0","id":1,"result":{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}`,
		"10 MB":              `{"jsonrpc":"2.0","id":1,"result":{"x":"` + strings.Repeat("a", 10<<20) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mcp.ReadReply([]byte(body), mcp.Limits{})
			var e *mcp.Error
			require.ErrorAs(t, err, &e)
		})
	}
}

func TestSameIDSeesThroughEscapes(t *testing.T) {
	for _, same := range [][2]string{{`1`, `1`}, {`"a/b"`, `"a\/b"`}, {`"é"`, `"\u00e9"`}} {
		require.True(t, mcp.SameID(json.RawMessage(same[0]), json.RawMessage(same[1])), same)
	}
	for _, other := range [][2]string{{`1`, `"1"`}, {`1`, `2`}, {`"a"`, `"A"`}, {``, ``}, {`"a"`, ``}} {
		require.False(t, mcp.SameID(json.RawMessage(other[0]), json.RawMessage(other[1])), other)
	}
}

func TestAnswersAreOneStrictMessage(t *testing.T) {
	require.Equal(t, `{"jsonrpc":"2.0","id":"a","result":{"x":1}}`, string(mcp.Result(json.RawMessage(`"a"`), json.RawMessage(`{"x":1}`))))
	raw := mcp.ErrorReply(json.RawMessage(`1`), -32602, "Unknown tool: \"x\"\u2028\xff", map[string]any{"k": 1})
	require.True(t, mcp.Valid(raw))
	require.Equal(t, `{"k":1}`, string(mcp.Get(raw, "error", "data")))
}

func readAll(t *testing.T, r *mcp.EventReader) []mcp.Event {
	t.Helper()
	var out []mcp.Event
	for {
		ev, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		out = append(out, ev)
	}
}

func TestEventReaderReadsEveryLineEnd(t *testing.T) {
	for name, end := range map[string]string{"LF": "\n", "CR": "\r", "CRLF": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			stream := strings.ReplaceAll("\ufeff: hello\nid: 7\nevent: message\ndata: {\"a\":\ndata:1}\nretry: 5\nother\n\n\n"+
				": keep-alive\n\ndata:  two\n\ndata: cut off\n", "\n", end)
			for _, r := range []io.Reader{strings.NewReader(stream), iotest.OneByteReader(strings.NewReader(stream))} {
				events := readAll(t, mcp.NewEventReader(r, 0))
				require.Equal(t, []mcp.Event{{ID: "7", Type: "message", Data: []byte("{\"a\":\n1}")}, {Data: []byte(" two")}}, events)
			}
		})
	}
}

func TestEventReaderIsBounded(t *testing.T) {
	for name, stream := range map[string]string{
		"one line":       "data: " + strings.Repeat("a", 5000) + "\n\n",
		"many lines":     strings.Repeat("data: a\n", 1000) + "\n",
		"no data at all": strings.Repeat(": a\n", 1000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mcp.NewEventReader(strings.NewReader(stream), 1000).Next()
			require.ErrorIs(t, err, mcp.ErrEventTooLarge)
		})
	}
	require.Len(t, readAll(t, mcp.NewEventReader(strings.NewReader(strings.Repeat("data: a\n\n: ping\n\n", 1000)), 1000)), 1000, "the limit is of one event")
}

func TestWriteEventCannotBeBrokenOutOf(t *testing.T) {
	var out bytes.Buffer
	want := mcp.Event{ID: "1", Type: "message", Data: []byte("a\nb\n\nid: 2")}
	require.NoError(t, mcp.WriteEvent(&out, want))
	require.Equal(t, []mcp.Event{want}, readAll(t, mcp.NewEventReader(&out, 0)))
	require.Error(t, mcp.WriteEvent(&out, mcp.Event{ID: "1\ndata: x"}))
	require.Error(t, mcp.WriteEvent(&out, mcp.Event{Type: "a\rb"}))
}

func TestEventReaderKnowsWhereAStreamIsAndHowLongToWait(t *testing.T) {
	r := mcp.NewEventReader(strings.NewReader("id: 1\nretry: 250\n\ndata: a\n\nid: 2\ndata:\n\nretry: soon\nretry: -1\nretry: 99999999999999\n\nid: a\x00b\n\nid: 3\n"), 0)
	require.Empty(t, r.LastID())
	_, told := r.Retry()
	require.False(t, told)
	ev, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "a", string(ev.Data))
	require.Empty(t, ev.ID, "the id was another event's")
	require.Equal(t, "1", r.LastID(), "an event without data has an id too")
	wait, told := r.Retry()
	require.True(t, told)
	require.Equal(t, 250*time.Millisecond, wait)
	ev, err = r.Next()
	require.NoError(t, err)
	require.Empty(t, ev.Data)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "2", r.LastID(), "the event that the end cuts off is dropped with its id, and an id with NUL is none")
	wait, _ = r.Retry()
	require.Equal(t, 250*time.Millisecond, wait, "what is no number changes nothing")
	r = mcp.NewEventReader(strings.NewReader("id: 1\n\nid\n\n"), 0)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Empty(t, r.LastID(), "an empty id takes the last one back")
}

func TestASubscriptionsIDIsTakenOutOfANoticeAndNothingElse(t *testing.T) {
	const key = `"io.modelcontextprotocol/subscriptionId"`
	for in, want := range map[string]string{
		`{"jsonrpc":"2.0","method":"m","params":{"_meta":{` + key + `:7},"uri":"a"}}`:            `{"jsonrpc":"2.0","method":"m","params":{"uri":"a"}}`,
		`{"jsonrpc":"2.0","method":"m","params":{ "_meta":{"a":1, ` + key + `:"x"},"uri":"a" }}`: `{"jsonrpc":"2.0","method":"m","params":{ "_meta":{"a":1},"uri":"a" }}`,
		`{"jsonrpc":"2.0","method":"m","params":{"_meta":{},"uri":"a"}}`:                         `{"jsonrpc":"2.0","method":"m","params":{"_meta":{},"uri":"a"}}`,
		`{"jsonrpc":"2.0","method":"m"}`:                                                         `{"jsonrpc":"2.0","method":"m"}`,
	} {
		require.Equal(t, want, string(mcp.WithoutSubscription([]byte(in))))
	}
	require.Equal(t, `7`, string(mcp.Subscribed([]byte(`{"_meta":{`+key+`:7}}`))))
	require.Nil(t, mcp.Subscribed([]byte(`{"uri":"a"}`)))
	require.Equal(t, `{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}`,
		string(mcp.ErrorResult(json.RawMessage(`"a"`), json.RawMessage(`{"code":1,"message":""}`))))
}
