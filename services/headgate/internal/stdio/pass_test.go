package stdio_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"headgate.dev/services/headgate/internal/stdio"
)

func TestBytesPassUnchangedBothWays(t *testing.T) {
	const odd = `{ "params" :{"zeta":1.50e+2,"big":12345678901234567890.123,"text":"\u00e9\n√ \/","alpha":[ ],"nested":{"b":null,"a":-0}}, "method":"x/odd" ,"id":7, "jsonrpc":"2.0"}`
	const answer = "{ \"result\":{\"n\":9007199254740993,\n\"z\":1.0,\r\n\t\"a\":\"line\\nbreak\\u2028\",\"unknown\":{}} , \"jsonrpc\":\"2.0\",\"id\":7 }"
	g := open(t, func(w http.ResponseWriter, r request) { reply(w, http.StatusOK, answer+"\n") })
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(odd)
	w.want(strings.NewReplacer("\n", " ", "\r", " ").Replace(answer))
	if got := g.only("x/odd").Body; got != odd {
		t.Errorf("sent %s\nwant %s", got, odd)
	}
}

func TestALastLineNeedsNoLineBreakAndBlankLinesAreNone(t *testing.T) {
	g := open(t, nil)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send("", "  \r", "\t")
	if _, err := w.in.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	_ = w.in.Close()
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	w.wait()
	if w.err != nil {
		t.Errorf("the end of standard input is the end of the work, not %v", w.err)
	}
}

func TestT20AModernRequestSaysInHeadersWhatItsBodySays(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "tools/list" {
			result(w, r, `{"tools":[],"resultType":"complete"}`)
			return
		}
		result(w, r, `{}`)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for i, test := range []struct{ method, params, name string }{
		{"tools/call", `"name":"plain"`, "plain"},
		{"prompts/get", `"name":"Grüße"`, "=?base64?R3LDvMOfZQ==?="},
		{"resources/read", `"uri":"file:///a b"`, "file:///a b"},
		{"tasks/get", `"taskId":"t-1"`, "t-1"},
		{"completion/complete", `"name":"no target"`, ""},
		{"server/discover", "", ""},
	} {
		w.send(modern(fmt.Sprint(i), test.method, test.params))
		w.want(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, i))
		h := g.only(test.method).Header
		if h.Get("Mcp-Method") != test.method || h.Get("Mcp-Name") != test.name || h.Get("Mcp-Protocol-Version") != "2026-07-28" || h.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s: headers %v", test.method, h)
		}
		if h.Get("Accept") != "application/json, text/event-stream" || h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer "+good {
			t.Errorf("%s: headers %v", test.method, h)
		}
	}
}

func TestARevisionThatNobodyKnowsIsTheGatewaysToRefuse(t *testing.T) {
	const unsupported = `"error":{"code":-32022,"message":"Unsupported protocol version","data":{"supported":["2026-07-28"],"requested":"x"}}`
	g := open(t, func(w http.ResponseWriter, r request) {
		reply(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,`+unsupported+`}`)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for id, version := range map[string]string{"1": "2031-01-01", "2": "2026\\r\\nX-Evil: 1"} {
		w.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"` + version + `"}}}`)
		w.want(`{"jsonrpc":"2.0","id":` + id + `,` + unsupported + `}`)
	}
	for _, r := range g.all("tools/list") {
		if v := r.Header.Get("Mcp-Protocol-Version"); r.Header.Get("X-Evil") != "" || v != "2031-01-01" && !strings.HasPrefix(v, "=?base64?") {
			t.Errorf("headers %v", r.Header)
		}
	}
}

func TestASessionIsKeptAndEnded(t *testing.T) {
	g := open(t, legacy("s-1", nil))
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(hello, initialized, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`) // as a script does, without waiting
	w.want(welcome)
	w.silent()
	eventually(t, "the stream of the server's own messages is asked for", func() bool { return len(g.all(http.MethodGet)) == 1 })
	if h := g.only("initialize").Header; h.Get("Mcp-Session-Id") != "" || h.Get("Mcp-Protocol-Version") != "" {
		t.Errorf("initialize: headers %v", h)
	}
	_ = w.in.Close()
	w.wait()
	for _, method := range []string{"notifications/initialized", "notifications/roots/list_changed", "ping", http.MethodGet, http.MethodDelete} {
		if h := g.only(method).Header; h.Get("Mcp-Session-Id") != "s-1" || h.Get("Mcp-Protocol-Version") != "2025-11-25" {
			t.Errorf("%s: headers %v", method, h)
		}
	}
	if len(g.all(http.MethodGet)) != 1 {
		t.Error("405 means that there is no stream: it was asked for again")
	}
}

func TestTheVersionHeaderIsOfTheRevisionsThatKnowIt(t *testing.T) {
	for version, want := range map[string]string{"2024-11-05": "", "2025-03-26": "", "2025-06-18": "2025-06-18"} {
		g := open(t, func(w http.ResponseWriter, r request) { result(w, r, `{"protocolVersion":"`+version+`"}`) })
		w := dial(t, stdio.Config{Endpoint: g.URL})
		w.send(strings.Replace(hello, "2025-11-25", version, 1))
		w.want(`{"jsonrpc":"2.0","id":"hello","result":{"protocolVersion":"` + version + `"}}`)
		w.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		w.next()
		if got := g.only("tools/list").Header.Get("Mcp-Protocol-Version"); got != want {
			t.Errorf("%s: the header says %q, want %q", version, got, want)
		}
	}
}

func TestEventsComeInOrderAndTheAnswerOnce(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		say := stream(w)
		say(": keep-alive\n\nid: 1\ndata:\n\n")
		for i := range 50 {
			say("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":%d}}\n\n", i)
		}
		say("event: close\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"not/a/message\"}\n\n")
		for range 2 {
			say("event: message\r\ndata: {\"jsonrpc\":\"2.0\",\r\ndata: \"id\":1,\"result\":{}}\r\n\r\n")
		}
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	for i := range 50 {
		w.want(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d}}`, i))
	}
	w.want(`{"jsonrpc":"2.0", "id":1,"result":{}}`)
	w.silent()
}

func TestABatchPassesAsItIs(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		switch {
		case strings.Contains(r.Body, `"one"`):
			reply(w, http.StatusOK, "[{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}},\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]")
		case strings.Contains(r.Body, `"two"`):
			say := stream(w)
			say("data: {\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n\n")
		case strings.Contains(r.Body, `"three"`):
			reply(w, http.StatusBadRequest, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"A batch is not taken."}}`)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	const batch = `[{"jsonrpc":"2.0","id":1,"method":"one"}, {"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"b"}]`
	w.send(batch)
	w.want(`[{"jsonrpc":"2.0","id":2,"result":{}}, {"jsonrpc":"2.0","id":1,"result":{}}]`)
	w.send(`[{"jsonrpc":"2.0","id":3,"method":"two"},{"jsonrpc":"2.0","id":4,"method":"two"}]`)
	w.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
	w.refused("4", -32603, "without an answer")
	w.send(`[{"jsonrpc":"2.0","id":5,"method":"three"},{"jsonrpc":"2.0","id":6,"method":"three"}]`)
	w.refused("5", -32600, "A batch is not taken.")
	w.refused("6", -32600, "A batch is not taken.")
	w.send(`[{"jsonrpc":"2.0","method":"notifications/x"}]`)
	w.silent()
	if got := g.all(http.MethodPost); len(got) != 4 || got[0].Body != batch {
		t.Errorf("the gate was sent %v", got)
	}
	w.send(`[]`, `[{"jsonrpc":"2.0","id":7,"method":"x"},{"jsonrpc":"2.0","id":8}]`, `[1]`, `[{"jsonrpc":"2.0","id":9,"result":{}}]`, `[{]`)
	w.refused("", -32700)
	w.refused("7", -32600, "The batch was not sent")
	w.refused("", -32600, "The batch was not sent")
	w.refused("", -32600, "nobody made")
	w.refused("", -32700)
	if got := g.all(http.MethodPost); len(got) != 4 {
		t.Errorf("a batch that was refused was sent: %v", got)
	}
}
