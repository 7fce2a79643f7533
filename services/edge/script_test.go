package edge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
)

// script is an upstream whose every word a test chooses. It remembers what it was sent.
type script struct {
	*httptest.Server
	t testing.TB
	// version is the one revision that it speaks; capabilities are a JSON object.
	version, capabilities string
	tools                 []string

	mu    sync.Mutex
	on    map[string]func(*turn)
	seen  []sent
	waits map[string]chan []byte // answers of clients, by the raw id of the question
	next  int                    // session
	asked int
	open  map[chan string]string // standing streams and subscriptions, with their sessions or ids
}

// newScript starts a server of one revision with one tool, act, that answers its arguments until the test says otherwise.
func newScript(t testing.TB, version string) *script {
	s := &script{
		t: t, version: version, capabilities: `{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}`,
		tools: []string{actTool}, on: map[string]func(*turn){}, waits: map[string]chan []byte{},
	}
	s.does("tools/call", func(c *turn) { c.result(string(textResult(string(c.m.Arguments), "}"))) })
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

const actTool = `{"name":"act","description":"Acts.","inputSchema":{"type":"object","additionalProperties":true}}`

// scripted is a world in which ana and bob may use everything of a script, at /mcp/acts.
func scripted(t testing.TB, s *script) *world {
	w := newWorld(t)
	for _, person := range []string{"ana", "bob"} {
		w.person(person, nil)
		w.grant("person/"+person, "acts", "*", "call")
	}
	w.server("acts", s.URL+"/mcp", s.tools, nil)
	return w
}

// does says what happens when a method comes.
func (s *script) does(method string, what func(*turn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on[method] = what
}

// sent answers what came of one method, oldest first.
func (s *script) sent(method string) []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(one sent) bool { return one.method != method })
}

// turn is one request that the script answers: with one body, or with a stream once it has said something before.
type turn struct {
	s       *script
	w       http.ResponseWriter
	r       *http.Request
	m       *mcp.Message
	streams bool
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c := &turn{s: s, w: w, r: r}
	method := r.Method
	if r.Method == http.MethodPost {
		if c.m, err = mcp.Read(body, mcp.ReplyLimits()); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		method = c.m.Method
	}
	s.mu.Lock()
	s.seen = append(s.seen, sent{method, r.Header.Clone(), string(body)})
	what := s.on[method]
	s.mu.Unlock()
	switch {
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case what != nil:
		what(c)
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case c.m.Kind == mcp.Response:
		s.answered(string(c.m.ID), body)
		w.WriteHeader(http.StatusAccepted)
	case c.m.Kind == mcp.Notification:
		w.WriteHeader(http.StatusAccepted)
	default:
		c.usual()
	}
}

// usual answers what every server answers.
func (c *turn) usual() {
	modern := mcp.Modern(c.s.version)
	switch {
	case c.m.Method == "initialize" && !modern:
		c.s.mu.Lock()
		c.s.next++
		session := "session-" + strconv.Itoa(c.s.next)
		c.s.mu.Unlock()
		c.w.Header().Set("Mcp-Session-Id", session)
		c.result(`{"protocolVersion":"` + c.s.version + `","capabilities":` + c.s.capabilities + `,"serverInfo":{"name":"script","version":"1"}}`)
	case c.m.Method == "server/discover" && modern:
		c.result(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + c.s.capabilities + `,"ttlMs":0,"cacheScope":"public"}`)
	case c.m.Method == "tools/list":
		c.result(`{"tools":[` + strings.Join(c.s.tools, ",") + `]}`)
	default:
		c.fails(-32601, "Method not found", "")
	}
}

// speaksUp lets the script say things by itself: on the standing streams of its sessions, or the subscriptions of 2026-07-28.
func (s *script) speaksUp() {
	hold := func(c *turn, of string, first string) {
		c.w.Header().Set("Content-Type", "text/event-stream")
		c.streams = true
		c.w.WriteHeader(http.StatusOK)
		c.w.(http.Flusher).Flush()
		if first != "" {
			c.says(first)
		}
		says := make(chan string, 1024)
		s.mu.Lock()
		if s.open == nil {
			s.open = map[chan string]string{}
		}
		s.open[says] = of
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			delete(s.open, says)
			s.mu.Unlock()
		}()
		for {
			select {
			case message := <-says:
				c.says(message)
			case <-c.r.Context().Done():
				return
			}
		}
	}
	s.does("GET", func(c *turn) { hold(c, c.r.Header.Get("Mcp-Session-Id"), "") })
	s.does("resources/subscribe", func(c *turn) { c.result(`{}`) })
	s.does("resources/unsubscribe", func(c *turn) { c.result(`{}`) })
	s.does("subscriptions/listen", func(c *turn) {
		hold(c, string(c.m.ID), `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":`+
			string(mcp.Get(c.m.Params, "notifications"))+`,"_meta":{"`+mcp.MetaSubscription+`":`+string(c.m.ID)+`}}}`)
	})
}

// tellsAll says a notice on every stream that is open. It answers how many those are.
func (s *script) tellsAll(method, members string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for says, of := range s.open {
		params := `{` + members + `}`
		if mcp.Modern(s.version) {
			params = `{"_meta":{"` + mcp.MetaSubscription + `":` + of + `}`
			if members != "" {
				params += "," + members
			}
			params += `}`
		}
		says <- `{"jsonrpc":"2.0","method":"` + method + `","params":` + params + `}`
	}
	return len(s.open)
}

// answered hands a client's answer to who asked.
func (s *script) answered(id string, body []byte) {
	s.mu.Lock()
	wait := s.waits[id]
	delete(s.waits, id)
	s.mu.Unlock()
	if wait != nil {
		wait <- body
	}
}

// result answers with a result as it stands here.
func (c *turn) result(raw string) { c.whole(mcp.Result(c.m.ID, json.RawMessage(raw))) }

// fails answers with an error; data is JSON or empty.
func (c *turn) fails(code int, message, data string) {
	var with any
	if data != "" {
		with = json.RawMessage(data)
	}
	c.whole(mcp.ErrorReply(c.m.ID, code, message, with))
}

func (c *turn) whole(body []byte) {
	if c.streams {
		c.says(string(body))
		return
	}
	status := http.StatusOK
	if mcp.Modern(c.s.version) && string(mcp.Get(body, "error", "code")) == "-32601" {
		status = http.StatusNotFound
	}
	write(c.w, status, string(body))
}

// says streams one message.
func (c *turn) says(message string) {
	if !c.streams {
		c.streams = true
		c.w.Header().Set("Content-Type", "text/event-stream")
	}
	fmt.Fprintf(c.w, "data: %s\n\n", message)
	c.w.(http.Flusher).Flush()
}

// asks sends a request to the client and waits for its answer, the whole message; nil when the call is over before.
func (c *turn) asks(method, params string) []byte {
	select {
	case answer := <-c.puts(method, params):
		return answer
	case <-c.r.Context().Done():
		return nil
	}
}

// puts sends a request to the client, whose answer comes down the channel.
func (c *turn) puts(method, params string) <-chan []byte {
	wait := make(chan []byte, 1)
	c.s.mu.Lock()
	c.s.asked++
	id := strconv.Itoa(c.s.asked)
	c.s.waits[id] = wait
	c.s.mu.Unlock()
	c.says(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`)
	return wait
}

// form is the params of an elicitation.
func form(question string) string {
	return `{"message":"` + question + `","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}}}}`
}

// guest is a plain client of one revision with capabilities, a JSON object.
func (h *harness) guest(person, path, version, capabilities string) *client {
	h.t.Helper()
	c := &client{h: h, token: h.tokenFor(person, h.base+"/mcp", nil), path: path, modern: mcp.Modern(version), version: version, capabilities: capabilities}
	if !c.modern {
		r := c.send("initialize", `{"protocolVersion":"`+version+`","capabilities":`+capabilities+`,"clientInfo":{"name":"check","version":"3"}}`)
		c.session = r.header.Get("Mcp-Session-Id")
		if got, _ := mcp.Text(r.result(), "protocolVersion"); r.status != 200 || got != version || c.session == "" {
			h.t.Fatalf("initialize: %d %s", r.status, r.body)
		}
		c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`, c.header("", ""))
	}
	return c
}

const asks = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`

// talk is one request whose answer comes as a stream, read message by message.
type talk struct {
	t      testing.TB
	id     string
	res    *http.Response
	events chan mcp.Event // nil when the answer is one body
	after  string         // id of the event that was read last
	body   []byte
	cancel context.CancelFunc
}

// begin sends a request and answers as soon as the head of its answer is there. It ends with the test.
func (c *client) begin(method, params string) *talk {
	c.h.t.Helper()
	body, id := c.body(method, params)
	name, _ := mcp.Text([]byte(params), "name")
	if uri, ok := mcp.Text([]byte(params), "uri"); ok {
		name = uri
	}
	return c.exchange(http.MethodPost, body, id, c.header(method, name))
}

// stands opens the standing stream of a session; after is the last event of a stream to take up again, or empty.
func (c *client) stands(after string) *talk {
	c.h.t.Helper()
	header := c.header("", "")
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	return c.exchange(http.MethodGet, "", "", header)
}

func (c *client) exchange(verb, body, id string, header http.Header) *talk {
	c.h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	q, err := http.NewRequestWithContext(ctx, verb, c.h.base+c.path, strings.NewReader(body))
	must(c.h.t, err)
	q.Header = header
	client := &http.Client{Transport: c.h.http.Transport} // a stream has no end that could be too late
	res, err := client.Do(q)
	must(c.h.t, err)
	k := &talk{t: c.h.t, id: id, res: res, cancel: cancel}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		k.events = make(chan mcp.Event) // what is not read stays on the way
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.pump(ctx)
		}()
		c.h.t.Cleanup(func() {
			cancel()
			<-done
		})
		return k
	}
	defer cancel()
	k.body, err = io.ReadAll(res.Body)
	must(c.h.t, err)
	must(c.h.t, res.Body.Close())
	return k
}

// pump reads the stream to its end, message by message.
func (k *talk) pump(ctx context.Context) {
	defer close(k.events)
	defer func() { _ = k.res.Body.Close() }()
	events := mcp.NewEventReader(k.res.Body, 0)
	for {
		ev, err := events.Next()
		if err != nil {
			if err != io.EOF && ctx.Err() == nil {
				k.t.Errorf("the stream broke: %v", err)
			}
			return
		}
		if len(ev.Data) == 0 {
			continue
		}
		ev.Data, ev.ID = slices.Clone(ev.Data), events.LastID()
		select {
		case k.events <- ev:
		case <-ctx.Done():
			return
		}
	}
}

// next is the next message; nil at the end of the stream. It fails the test when nothing comes.
func (k *talk) next() []byte {
	k.t.Helper()
	message, came := k.within(10 * time.Second)
	if !came {
		k.t.Fatal("nothing comes")
	}
	return message
}

// within is next with patience of one's own; false when nothing came.
func (k *talk) within(patience time.Duration) (message []byte, came bool) {
	if k.events == nil {
		body := k.body
		k.body = nil
		return body, true
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case ev, ok := <-k.events:
		if ok {
			k.after = ev.ID
		}
		return ev.Data, true
	case <-limit.C:
		return nil, false
	}
}

// told is the next notice; empty when the stream ends.
func (k *talk) told() (method string, params json.RawMessage) {
	k.t.Helper()
	message := k.next()
	method, _ = mcp.Text(message, "method")
	return method, mcp.Get(message, "params")
}

// asked is the next message, which has to be a request of a method. It answers its raw id and its params.
func (k *talk) asked(method string) (id string, params json.RawMessage) {
	k.t.Helper()
	message := k.next()
	if got, _ := mcp.Text(message, "method"); got != method || mcp.Get(message, "id") == nil {
		k.t.Fatalf("%s, not a request of %s", message, method)
	}
	return string(mcp.Get(message, "id")), mcp.Get(message, "params")
}

// last is the answer, which has to be the next message.
func (k *talk) last() reply {
	k.t.Helper()
	message := k.next()
	if string(mcp.Get(message, "id")) != k.id {
		k.t.Fatalf("%s, not the answer to %s", message, k.id)
	}
	return reply{status: k.res.StatusCode, header: k.res.Header, body: message, id: k.id}
}

// answers sends what a person said to a question.
func (c *client) answers(id, result string) reply {
	c.h.t.Helper()
	return c.post(`{"jsonrpc":"2.0","id":`+id+`,"result":`+result+`}`, c.header("", ""))
}
