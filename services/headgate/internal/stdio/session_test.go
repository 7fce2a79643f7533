package stdio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/services/headgate/internal/stdio"
)

// forgetful is a server of 2025-11-25 that forgets its session when a test says so. Its session ids count up.
type forgetful struct {
	mu      sync.Mutex
	n       int
	version string
	refuse  bool        // initialize is refused
	events  chan string // what this session's own stream says; nil where there is none
}

func (f *forgetful) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.events != nil {
		close(f.events)
		f.events = make(chan string)
	}
}

// say lets the server say something by itself.
func (f *forgetful) say(event string) {
	f.mu.Lock()
	events := f.events
	f.mu.Unlock()
	events <- event
}

func (f *forgetful) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *forgetful) serve(w http.ResponseWriter, r request) {
	f.mu.Lock()
	current, version, refuse, events := fmt.Sprintf("s-%d", f.n), f.version, f.refuse, f.events
	f.mu.Unlock()
	switch {
	case r.Method == "initialize" && refuse:
		reply(w, http.StatusServiceUnavailable, ``)
	case r.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", current)
		result(w, r, `{"protocolVersion":"`+version+`","capabilities":{},"serverInfo":{"name":"gate","version":"1"}}`)
	case r.Header.Get("Mcp-Session-Id") != current:
		reply(w, http.StatusNotFound, `{"jsonrpc":"2.0","error":{"code":-32600,"message":"This session is not known."}}`)
	case r.Verb == http.MethodGet && events != nil:
		say := stream(w)
		for {
			select {
			case event, ok := <-events:
				if !ok {
					return
				}
				say("data: %s\n\n", event)
			case <-r.Gone.Done():
				return
			}
		}
	case r.Verb == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Method == "unknown":
		reply(w, http.StatusNotFound, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,"error":{"code":-32601,"message":"Method not found"}}`)
	case r.ID == nil || r.Method == "":
		w.WriteHeader(http.StatusAccepted)
	default:
		result(w, r, `{}`)
	}
}

func remembering(t *testing.T) (*forgetful, *gate, *wire) {
	t.Helper()
	f := &forgetful{version: "2025-11-25"}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.greet()
	eventually(t, "the session is asked for its own messages", func() bool { return len(g.all(http.MethodGet)) == 1 })
	return f, g, w
}

func TestASessionThatIsGoneIsBegunAgainUnseen(t *testing.T) {
	f, g, w := remembering(t)
	w.send(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}`)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	for i, line := range []string{`"resources/subscribe","params":{"uri":"a"}`, `"resources/subscribe","params":{"uri":"b"}`, `"resources/unsubscribe","params":{"uri":"a"}`} {
		w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%s}`, 10+i, line))
		w.want(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, 10+i))
	}
	f.forget()
	w.send(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	w.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	w.silent()

	first, again := g.all("initialize")[0], g.all("initialize")[1]
	if string(first.Params) != string(again.Params) || string(first.ID) == string(again.ID) || again.Header.Get("Mcp-Session-Id") != "" {
		t.Errorf("begun again with %s %v, at first with %s", again.Body, again.Header, first.Body)
	}
	for method, sessions := range map[string][]string{
		"notifications/initialized": {"s-0", "s-1"}, "tools/list": {"s-0", "s-1"}, "logging/setLevel": {"s-0", "s-1"}, "resources/subscribe": {"s-0", "s-0", "s-1"},
	} {
		var got []string
		for _, r := range g.all(method) {
			got = append(got, r.Header.Get("Mcp-Session-Id"))
		}
		if !slices.Equal(got, sessions) {
			t.Errorf("%s went to %v, want %v", method, got, sessions)
		}
	}
	if last := g.all("resources/subscribe")[2]; string(last.Params) != `{"uri":"b"}` {
		t.Errorf("the new session was told %s", last.Params)
	}
	eventually(t, "the new session is asked for its own messages", func() bool { return len(g.all(http.MethodGet)) == 2 })
}

func TestASessionIsBegunAgainOnceForAllWhoNotice(t *testing.T) {
	f, g, w := remembering(t)
	f.forget()
	const calls = 40
	for i := range calls {
		w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, i))
	}
	for range calls {
		if line := w.next(); !strings.Contains(line, `"result"`) {
			t.Error(line)
		}
	}
	if n := len(g.all("initialize")); n != 2 {
		t.Errorf("initialize was sent %d times", n)
	}
	f.forget()
	w.send(`{"jsonrpc":"2.0","method":"notifications/x"}`) // a notification notices too
	w.silent()
	if n := len(g.all("initialize")); n != 3 {
		t.Errorf("initialize was sent %d times", n)
	}
	if sent := g.all("notifications/x"); len(sent) != 2 || sent[1].Header.Get("Mcp-Session-Id") != "s-2" {
		t.Errorf("the notification went to %v", sent)
	}
}

func TestASessionThatCannotBeBegunAgainIsSaid(t *testing.T) {
	f, g, w := remembering(t)
	f.set(func() { f.n++; f.refuse = true })
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.refused("1", -32600, "ended the session", "no new one could be begun", "HTTP 503")
	f.set(func() { f.refuse, f.version = false, "2025-06-18" })
	w.send(`{"jsonrpc":"2.0","id":2,"method":"x"}`)
	w.refused("2", -32600, "2025-06-18", "2025-11-25", "start headgate again")
	f.set(func() { f.version = "2025-11-25" })
	w.send(`{"jsonrpc":"2.0","id":3,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","id":3,"result":{}}`)

	before := len(g.all("initialize"))
	w.send(`{"jsonrpc":"2.0","id":4,"method":"unknown"}`)
	w.want(`{"jsonrpc":"2.0","id":4,"error":{"code":-32601,"message":"Method not found"}}`)
	if n := len(g.all("initialize")); n != before {
		t.Error("an unknown method was taken for a session that is gone")
	}
}

func TestASessionIDThatNoHeaderMayCarryIsRefused(t *testing.T) {
	g := open(t, legacy("s 1", nil))
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(hello)
	w.refused(`"hello"`, -32603, "session id")
}

func TestT14TheServersQuestionsAreAnsweredByTheSessionThatAsked(t *testing.T) {
	f := &forgetful{version: "2025-11-25", events: make(chan string)}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Hour}) // the request below notices first that the session is gone
	w.greet()
	ask := func(id, what string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"elicitation/create","params":{"message":%q}}`, id, what)
	}
	answers := func() (all []string) {
		for _, r := range g.all(http.MethodPost) {
			all = append(all, r.Header.Get("Mcp-Session-Id")+" "+r.Body)
		}
		return all
	}
	f.say(ask("1", "Delete a draft?"))
	w.want(ask("1", "Delete a draft?"))
	f.say(ask("2", "Really?"))
	w.want(ask("2", "Really?"))
	const yes = `{"jsonrpc":"2.0","id":2,"result":{"action":"accept"} }`
	w.send(yes, yes, `{"jsonrpc":"2.0","id":77,"result":{}}`) // an answer counts once, and only where there is a question
	w.silent()
	if got := answers(); !slices.Equal(got, []string{"s-0 " + yes}) {
		t.Fatalf("the server was answered %v", got)
	}

	f.forget() // question 1 is still open
	w.send(`{"jsonrpc":"2.0","id":9,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"The session that asked has ended."}}`)
	w.want(`{"jsonrpc":"2.0","id":9,"result":{}}`)
	f.say(ask("1", "Delete everything?"))
	var renamed struct {
		ID     json.RawMessage
		Params json.RawMessage
	}
	line := w.next()
	if err := json.Unmarshal([]byte(line), &renamed); err != nil || string(renamed.ID) == "1" || string(renamed.Params) != `{"message":"Delete everything?"}` {
		t.Fatalf("the client was asked %s", line)
	}
	w.send(`{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}`) // to the draft
	w.silent()
	if got := answers(); len(got) != 1 {
		t.Fatalf("a yes to one question became the answer to another: %v", got)
	}
	f.say(ask("2", "Anything at all?"))
	w.want(ask("2", "Anything at all?"))
	f.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	w.send(`{"jsonrpc":"2.0","id":` + string(renamed.ID) + `,"result":{"action":"decline"}}`)
	eventually(t, "the new session is answered", func() bool { return len(answers()) == 2 })
	if got := answers()[1]; got != `s-1 {"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}` {
		t.Errorf("the server was answered %s", got)
	}
}

func TestAQuestionThatIsWithdrawnIsNotAnswered(t *testing.T) {
	f := &forgetful{version: "2025-11-25", events: make(chan string)}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.greet()
	const question, withdrawn = `{"jsonrpc":"2.0","id":"q","method":"roots/list"}`, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}`
	f.say(question)
	w.want(question)
	f.say(withdrawn)
	w.want(withdrawn)
	w.send(`{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}`)
	w.silent()
	if got := g.all(http.MethodPost); len(got) != 0 {
		t.Errorf("the server was answered %v", got)
	}
}

func TestAnAnswerOfTheClientThatCannotBeReadIsNotWaitedFor(t *testing.T) {
	f := &forgetful{version: "2025-11-25", events: make(chan string)}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL, MaxLine: 1000})
	w.greet()
	for id, answer := range map[string]string{
		`"a"`: `{"jsonrpc":"2.0","result":{"roots":["` + strings.Repeat("x", 5000) + `"]},"id":"a"}`,
		`8`:   `{"jsonrpc":"2.0","result":{},"error":{},"id":8}`,
	} {
		question := `{"jsonrpc":"2.0","id":` + id + `,"method":"roots/list"}`
		f.say(question)
		w.want(question)
		before := len(g.all(http.MethodPost))
		w.send(answer)
		eventually(t, "the server learns that there is no answer", func() bool { return len(g.all(http.MethodPost)) == before+1 })
		got := g.all(http.MethodPost)[before]
		if string(got.ID) != id || !strings.Contains(got.Body, `"error":{"code":-32603`) || got.Header.Get("Mcp-Session-Id") != "s-0" {
			t.Errorf("the server was answered %s", got.Body)
		}
		if id == `8` {
			w.refused("", -32600)
		}
	}
	w.silent()
}

func TestAQuestionUnderAnotherIDIsWithdrawnUnderIt(t *testing.T) {
	f := &forgetful{version: "2025-11-25", events: make(chan string)}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Hour})
	w.greet()
	const question = `{"jsonrpc":"2.0","id":"q","method":"roots/list"}`
	f.say(question)
	w.want(question)
	f.forget()
	w.send(`{"jsonrpc":"2.0","id":9,"method":"x"}`)
	w.next()
	w.next()
	f.say(question)
	var asked struct{ ID json.RawMessage }
	if err := json.Unmarshal([]byte(w.next()), &asked); err != nil || string(asked.ID) == `"q"` {
		t.Fatalf("asked under %s, %v", asked.ID, err)
	}
	f.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + string(asked.ID) + `}}`)
	w.send(`{"jsonrpc":"2.0","id":`+string(asked.ID)+`,"result":{}}`, `{"jsonrpc":"2.0","id":"q","result":{}}`)
	w.silent()
	if got := g.all(http.MethodPost); len(got) != 0 {
		t.Errorf("the server was answered %v", got)
	}
}

func TestAnIdleClientsSessionIsBegunAgainToo(t *testing.T) {
	f := &forgetful{version: "2025-11-25", events: make(chan string)}
	g := open(t, f.serve)
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Millisecond})
	w.greet()
	f.say(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/x"}`)
	f.set(func() { f.refuse = true })
	f.forget()
	eventually(t, "it is tried more than once", func() bool { return len(g.all("initialize")) > 3 })
	f.set(func() { f.refuse = false })
	f.say(`{"jsonrpc":"2.0","method":"notifications/y"}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/y"}`)
}

func TestTheClientMayBeginAgain(t *testing.T) {
	f, g, w := remembering(t)
	w.send(`{"jsonrpc":"2.0","id":0,"method":"logging/setLevel","params":{"level":"debug"}}`)
	w.want(`{"jsonrpc":"2.0","id":0,"result":{}}`)
	f.forget()
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	eventually(t, "the first session is ended", func() bool { return len(g.all(http.MethodDelete)) == 1 })
	f.forget()
	w.send(`{"jsonrpc":"2.0","id":2,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	if n := len(g.all("initialize")); n != 3 {
		t.Errorf("initialize was sent %d times", n)
	}
	g.only("logging/setLevel") // what was told before the client began again is not told to later sessions
}
