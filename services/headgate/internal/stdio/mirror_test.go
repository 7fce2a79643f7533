package stdio_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"headgate.dev/services/headgate/internal/stdio"
)

func schema(properties string) string {
	return `"inputSchema":{"type":"object","properties":{` + properties + `}}`
}

// annotated is a server of 2026-07-28 with a list of tools of two pages; it wants of each call of deploy the header that the definition asks for now.
type annotated struct {
	mu     sync.Mutex
	header string
}

func (a *annotated) ask(header string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.header = header
}

func (a *annotated) serve(w http.ResponseWriter, r request) {
	a.mu.Lock()
	header := a.header
	a.mu.Unlock()
	switch {
	case r.Method == "tools/list" && !strings.Contains(string(r.Params), `"cursor":""`):
		result(w, r, `{"tools":[{"name":"plain",`+schema(``)+`}],"nextCursor":"","resultType":"complete"}`)
	case r.Method == "tools/list":
		result(w, r, `{"tools":[{"name":"deploy",`+schema(`"env":{"type":"string","x-mcp-header":"`+header+`"},"dry":{"type":"boolean","x-mcp-header":"Dry"},"n":{"type":"integer","x-mcp-header":"N"}`)+
			`},{"name":"broken",`+schema(`"a":{"type":"number","x-mcp-header":"A"}`)+`}],"resultType":"complete"}`)
	case r.Method == "tools/call" && strings.Contains(string(r.Params), `"deploy"`) && strings.Contains(string(r.Params), `"env"`) && r.Header.Get("Mcp-Param-"+header) == "":
		reply(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,"error":{"code":-32020,"message":"The header Mcp-Param-`+header+` is missing."}}`)
	default:
		result(w, r, `{"content":[],"resultType":"complete"}`)
	}
}

func call(id int, name, arguments string) string {
	return modern(fmt.Sprint(id), "tools/call", fmt.Sprintf(`"name":%q,"arguments":%s`, name, arguments))
}

func done(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[],"resultType":"complete"}}`, id)
}

func TestArgumentsAreMirroredForAToolThatTheClientNeverListed(t *testing.T) {
	a := &annotated{header: "Region"}
	g := open(t, a.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(call(1, "deploy", `{"env":"Zürich","dry":true,"n":42.0}`))
	w.want(done(1))
	h := g.only("tools/call").Header
	if h.Get("Mcp-Param-Region") != "=?base64?WsO8cmljaA==?=" || h.Get("Mcp-Param-Dry") != "true" || h.Get("Mcp-Param-N") != "42" || h.Get("Mcp-Name") != "deploy" {
		t.Errorf("headers %v", h)
	}
	for i, name := range []string{"plain", "deploy", "nothing", "nothing"} { // known now, or not worth another look
		w.send(call(10+i, name, `{"dry":null}`))
		w.want(done(10 + i))
	}
	if n := len(g.all("tools/list")); n != 2 {
		t.Errorf("%d pages of the list were asked for, there are 2", n)
	}
	for _, r := range g.all("tools/list") {
		if h := r.Header; h.Get("Mcp-Method") != "tools/list" || h.Get("Mcp-Protocol-Version") != "2026-07-28" || !strings.Contains(r.Body, "clientCapabilities") {
			t.Errorf("asked with %v %s", h, r.Body)
		}
	}
}

func TestListsThatTheClientSawAreNotAskedForAgain(t *testing.T) {
	a := &annotated{header: "Region"}
	g := open(t, a.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(modern("1", "tools/list", `"cursor":""`))
	if list := w.next(); strings.Contains(list, "broken") || !strings.Contains(list, `{"name":"deploy",`+schema(`"env":{"type":"string","x-mcp-header":"Region"}`)[:40]) {
		t.Errorf("a tool with broken annotations is left out of the list and nothing else is: %s", list)
	}
	if !strings.Contains(w.log.String(), "broken") {
		t.Errorf("the log does not name the tool that was left out: %s", w.log)
	}
	w.send(call(2, "deploy", `{"env":"eu"}`))
	w.want(done(2))
	if h := g.only("tools/call").Header; h.Get("Mcp-Param-Region") != "eu" || len(g.all("tools/list")) != 1 {
		t.Errorf("headers %v", h)
	}
	w.send(call(3, "broken", `{"a":1}`))
	w.refused("3", -32602, "broken", "was not made")
	w.send(call(4, "deploy", `{"env":"eu","n":1.5}`))
	w.refused("4", -32602, "was not made", "Mcp-Param-N")
	if n := len(g.all("tools/call")); n != 1 {
		t.Errorf("%d calls were sent", n)
	}
}

func TestADefinitionThatChangedIsLearnedFromTheRefusal(t *testing.T) {
	a := &annotated{header: "Region"}
	g := open(t, a.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(call(1, "deploy", `{"env":"eu"}`))
	w.want(done(1))
	a.ask("Zone")
	w.send(call(2, "deploy", `{"env":"eu"}`))
	w.want(done(2))
	calls := g.all("tools/call")
	if len(calls) != 3 || calls[2].Header.Get("Mcp-Param-Zone") != "eu" || calls[2].Header.Get("Mcp-Param-Region") != "" || calls[2].Body != calls[1].Body {
		t.Errorf("%d calls were sent, the last with %v", len(calls), calls[len(calls)-1].Header)
	}
}

func TestAMismatchThatTheListDoesNotExplainIsPassedOnOnce(t *testing.T) {
	const refusal = `"error":{"code":-32020,"message":"Something else."}}`
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "tools/list" {
			result(w, r, `{"tools":[{"name":"a",`+schema(``)+`}]}`)
			return
		}
		reply(w, http.StatusBadRequest, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,`+refusal)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(call(1, "a", `{}`))
	w.want(`{"jsonrpc":"2.0","id":1,` + refusal)
	if n := len(g.all("tools/call")); n != 1 {
		t.Errorf("%d calls were sent", n)
	}
}

func TestAListThatCannotBeReadIsLeftToTheServerToJudge(t *testing.T) {
	for name, list := range map[string]string{
		"refused": `"error":{"code":-32603,"message":"No."}`, "the same name twice": `"result":{"tools":[{"name":"a"},{"name":"a"}]}`, "no list": `"result":{"tools":1}`,
		"endless": `"result":{"tools":[],"nextCursor":"again"}`,
	} {
		t.Run(name, func(t *testing.T) {
			g := open(t, func(w http.ResponseWriter, r request) {
				if r.Method == "tools/list" {
					reply(w, http.StatusOK, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,`+list+`}`)
					return
				}
				result(w, r, `{}`)
			})
			w := dial(t, stdio.Config{Endpoint: g.URL})
			w.send(call(1, "a", `{}`))
			w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
			w.send(modern("2", "tools/list", ""))
			w.want(`{"jsonrpc":"2.0","id":2,` + list + `}`)
			if n := len(g.all("tools/list")); n > 3 {
				t.Errorf("the list was asked for %d times", n)
			}
		})
	}
}
