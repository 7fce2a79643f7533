package stdio_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headgate.dev/services/headgate/internal/stdio"
)

func TestT19LinesThatAreNotStrictMessagesAreRefusedAndNotSent(t *testing.T) {
	g := open(t, func(_ http.ResponseWriter, r request) { t.Errorf("the gate was sent %q", r.Body) })
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for line, want := range map[string]struct {
		id   string
		code int
	}{
		`hello`:                                {"", -32700},
		`{"jsonrpc":"2.0","id":1,"method":"x"`: {"", -32700},
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}`:                         {"", -32700},
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}":                   {"1", -32700},
		`{"jsonrpc":"2.0","id":"7","method":"x","params":{"a":"\ud83d"}}`:      {`"7"`, -32700}, // as programs cut a text inside a character
		`{"jsonrpc":"2.0","id":8,"result":{"a":"\ud83d"}}`:                     {"", -32700},
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"x","params":{"a":"\ud83d"}}`: {"", -32700},
		`{"jsonrpc":"2.0","id":1,"method":"x"}{}`:                              {"", -32700},
		`"x"`:                                      {"", -32600},
		`{"jsonrpc":"2.0","id":1,"Method":"x"}`:    {"", -32600},
		`{"jsonrpc":"1.0","id":1,"method":"x"}`:    {"1", -32600},
		`{"jsonrpc":"2.0","id":1.5,"method":"x"}`:  {"", -32600},
		`{"jsonrpc":"2.0","id":null,"method":"x"}`: {"", -32600},
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":""}}`:             {"2", -32602},
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"a","Name":"b"}}`: {"3", -32600},
		`{"jsonrpc":"2.0","id":4,"result":{},"error":{}}`:                                 {"", -32600},
	} {
		w.send(line)
		w.refused(want.id, want.code)
	}
	w.send(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a notification that is not in order"},"x":1}`,
		`{"jsonrpc":"2.0","method":"notifications/x","params":[]}`) // nobody waits for an answer to a notification
	w.silent()
}

func TestT19WhatTheGatewaySaysOutsideTheProtocolNeverReachesTheClient(t *testing.T) {
	bodies := []string{
		`<html>welcome</html>`, `{"jsonrpc":"2.0","id":ID,"result":{},"result":{}}`, `{"jsonrpc":"2.0","id":ID,"result":[]}`, `{"id":ID,"result":{}}`,
		`{"jsonrpc":"2.0","id":ID}`, `[]`, `[7]`, `null`, `{"jsonrpc":"2.0","id":ID,"result":{"a":"` + "\xed\xa0\x80" + `"}}`, "{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"a\":\"\n\"}}",
	}
	g := open(t, func(w http.ResponseWriter, r request) {
		var n int
		var events bool
		if _, err := fmt.Sscanf(string(r.Params), `{"n":%d,"events":%t}`, &n, &events); err != nil {
			t.Error(err)
		}
		body := strings.ReplaceAll(bodies[n], "ID", string(r.ID))
		if !events {
			reply(w, http.StatusOK, body)
			return
		}
		stream(w)("data: %s\n\n", strings.ReplaceAll(body, "\n", "\ndata: "))
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for i := range bodies {
		for _, events := range []bool{false, true} {
			w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":"a%d%t","method":"x","params":{"n":%d,"events":%t}}`, i, events, i, events))
			w.refused(fmt.Sprintf(`"a%d%t"`, i, events), -32603, "is no MCP message", "HEADGATE_MCP")
		}
	}
	w.silent()
}

func TestAnAnswerToAnotherRequestIsNotPassedOn(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "json" {
			reply(w, http.StatusOK, `{"jsonrpc":"2.0","id":99,"result":{}}`)
			return
		}
		stream(w)("data: {\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", r.ID)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(`{"jsonrpc":"2.0","id":1,"method":"json"}`)
	w.refused("1", -32603, "without an answer")
	w.send(`{"jsonrpc":"2.0","id":2,"method":"stream"}`)
	w.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	w.silent()
}

func TestT14AModernRequestIsAnsweredByItsOwnStreamAlone(t *testing.T) {
	asked, answered := make(chan struct{}), make(chan struct{})
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "slow" {
			close(asked)
			<-answered
			result(w, r, `{"own":true}`)
			return
		}
		stream(w)("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"own\":false}}\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"elicitation/create\"}\n\n"+
			"data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", r.ID)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(modern("1", "slow", ""))
	<-asked
	w.send(modern("2", "quick", ""))
	w.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	close(answered)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"own":true}}`)
}

func TestHTTPErrorsBecomeErrorsOfTheRequest(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		code   int
		words  []string
	}{
		{"an error without an id", 403, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"Not from here.","data":{"reason":"origin"}}}`, -32600, []string{"Not from here."}},
		{"an error with an id that is null", 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad."}}`, -32000, []string{"Bad."}},
		{"an error with its own id", 404, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}`, -32601, []string{"Method not found"}},
		{"an error with another id", 400, `{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"Other"}}`, -32600, []string{"HTTP 400", "Other"}},
		{"a result that is an error", 500, `{"jsonrpc":"2.0","id":1,"result":{}}`, -32603, []string{"HTTP 500", "took effect"}},
		{"words", 502, `Bad gateway`, -32603, []string{"HTTP 502", "took effect"}},
		{"nothing there", 404, ``, -32600, []string{"no MCP endpoint", "--server"}},
		{"busy", 429, ``, -32600, []string{"HTTP 429", "Call again after 7s."}},
		{"down", 503, `no`, -32600, []string{"HTTP 503", "Call again after 7s."}},
		{"elsewhere", 307, ``, -32600, []string{"somewhere else", "access token"}},
		{"refused", 415, ``, -32600, []string{"HTTP 415"}},
		{"accepted without an answer", 202, ``, -32603, []string{"HTTP 202"}},
		{"empty", 200, ``, -32603, []string{"HTTP 200"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := open(t, func(w http.ResponseWriter, _ request) {
				w.Header().Set("Retry-After", "7")
				w.Header().Set("Location", "https://elsewhere.example/mcp")
				reply(w, test.status, test.body)
			})
			w := dial(t, stdio.Config{Endpoint: g.URL})
			w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
			w.refused("1", test.code, test.words...)
			w.silent()
			if n := len(g.all("x")); n != 1 {
				t.Errorf("the request was sent %d times", n)
			}
		})
	}
}

func TestAnErrorKeepsItsBytesWhenItGetsItsID(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, _ request) {
		reply(w, http.StatusBadRequest, `{"error":{"message":"No.","code":-32000,"data":{"n":1.0}}, "jsonrpc":"2.0"}`)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(`{"jsonrpc":"2.0","id":"é\u0301","method":"x"}`)
	w.want(`{"error":{"message":"No.","code":-32000,"data":{"n":1.0}}, "jsonrpc":"2.0","id":"é\u0301"}`)
}

func TestADeadGatewayIsAnErrorForEachRequestAndNotTheEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	w := dial(t, stdio.Config{Endpoint: "http://" + address + "/mcp"})
	w.send(hello, initialized, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, modern("2", "server/discover", ""))
	w.refused(`"hello"`, -32603, "cannot be reached", address, "was not made")
	seen := map[string]bool{w.next(): true, w.next(): true}
	if len(seen) != 2 {
		t.Errorf("one answer each: %v", seen)
	}

	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, `{"jsonrpc":"2.0","id":3,"result":{}}`)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	w.send(`{"jsonrpc":"2.0","id":3,"method":"tools/list"}`)
	w.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)
}

func TestAConnectionThatBreaksSaysThatTheCallMayHaveHappened(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		switch r.Method {
		case "before":
			panic(http.ErrAbortHandler)
		case "inside":
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"jsonrpc":`)
			panic(http.ErrAbortHandler)
		default:
			stream(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\ndata: {\"jsonrpc\"")
			panic(http.ErrAbortHandler)
		}
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for _, method := range []string{"before", "inside", "events"} {
		w.send(`{"jsonrpc":"2.0","id":"` + method + `","method":"` + method + `"}`)
		if method == "events" {
			w.want(`{"jsonrpc":"2.0","method":"notifications/message"}`)
		}
		w.refused(`"`+method+`"`, -32603, "Look whether the call took effect")
		if n := len(g.all(method)); n != 1 {
			t.Errorf("%s: a call that may have happened was sent %d times", method, n)
		}
	}
}

func TestT18TheTokenCrossesNoNetworkInTheClear(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"http://gateway.example/mcp": false, "http://10.0.0.7:8080/mcp": false, "http://[2001:db8::1]/mcp": false, "http://localhost.example/mcp": false,
		"http://127.0.0.1:1/mcp": true, "http://[::1]:1/mcp": true, "http://localhost:1/mcp": true, "https://gateway.example/mcp": true,
		"ftp://127.0.0.1/mcp": false, "127.0.0.1:8080/mcp": false, "http://user:pass@127.0.0.1/mcp": false, "http://127.0.0.1/mcp?token=x": false, "http://127.0.0.1/mcp#x": false,
		"": false, "http://": false,
	} {
		_, err := stdio.New(stdio.Config{Endpoint: endpoint, Tokens: given(t, good)})
		if (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
		if err != nil && len(err.Error()) < 30 {
			t.Errorf("%q: %q says too little", endpoint, err)
		}
	}
}

func TestT18ARedirectDoesNotCarryTheTokenAway(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	t.Cleanup(other.Close)
	g := open(t, func(w http.ResponseWriter, _ request) {
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.refused("1", -32600, "somewhere else")
}
