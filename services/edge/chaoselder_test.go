package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// badElder is a server of 2024-11-05 (HTTP+SSE) that answers a call as badly as its text says. Each stream has its own address for messages.
type badElder struct {
	mu      sync.Mutex
	streams map[string]*elderStream
}

type elderStream struct {
	mu   sync.Mutex // of its writer
	w    http.ResponseWriter
	gone <-chan struct{}
	end  chan struct{} // closed when it breaks off
	once sync.Once
}

func (b *badElder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		b.open(w, r)
	case http.MethodPost:
		b.mu.Lock()
		s := b.streams[r.URL.Query().Get("stream")]
		b.mu.Unlock()
		body, err := io.ReadAll(r.Body)
		m, bad := mcp.Read(body, mcp.DefaultLimits())
		if s == nil || err != nil || bad != nil {
			w.WriteHeader(http.StatusBadRequest) // also what is not meant for this transport
			return
		}
		w.WriteHeader(http.StatusAccepted)
		go s.answer(m)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (b *badElder) open(w http.ResponseWriter, r *http.Request) {
	s := &elderStream{w: w, gone: r.Context().Done(), end: make(chan struct{})}
	b.mu.Lock()
	name := fmt.Sprint(len(b.streams))
	b.streams[name] = s
	b.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	s.say("event: endpoint\ndata: /?stream=" + name + "\n\n")
	select {
	case <-s.gone:
	case <-s.end:
	}
	s.mu.Lock() // nobody writes to it any more
	s.w = nil
	s.mu.Unlock()
}

// say writes to the stream, and reports whether it is still there.
func (s *elderStream) say(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		return false
	}
	_, err := io.WriteString(s.w, text)
	s.w.(http.Flusher).Flush()
	return err == nil
}

func (s *elderStream) event(data []byte) bool {
	return s.say("event: message\ndata: " + string(data) + "\n\n")
}

func (s *elderStream) breakOff() { s.once.Do(func() { close(s.end) }) }

func (s *elderStream) answer(m *mcp.Message) {
	switch {
	case m.Kind != mcp.Request:
	case m.Method == mcp.MethodInitialize:
		s.event(mcp.Result(m.ID, []byte(`{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"elder","version":"1"}}`)))
	case m.Method == mcp.MethodToolsList:
		s.event(mcp.Result(m.ID, []byte(`{"tools":[`+echoTool+`]}`)))
	case m.Method == mcp.MethodToolsCall:
		badness, _ := mcp.Text(m.Arguments, "text")
		s.misbehave(badness, m)
	default:
		s.event(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found", nil))
	}
}

func (s *elderStream) misbehave(badness string, m *mcp.Message) {
	answer := string(mcp.Result(m.ID, textResult("fine", "}")))
	switch badness {
	case "never":
	case "byte by byte":
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		s.say("data: ")
		for i := range len(answer) {
			if !s.say(answer[i : i+1]) {
				return
			}
			<-tick.C
		}
	case "ends in the middle":
		s.say("data: " + answer[:len(answer)/2] + "\n")
		s.breakOff()
	case "comments without an end":
		for s.say(": still there\n\n") {
		}
	case "an event without an end":
		for s.say("data: " + strings.Repeat("x", 64<<10) + "\n") {
		}
	case "100 MB":
		s.say("data: " + answer[:len(answer)-3])
		for range 100 << 20 / (64 << 10) {
			if !s.say(strings.Repeat(" ", 64<<10)) {
				return
			}
		}
		s.say(answer[len(answer)-3:] + "\n\n")
	case "no text":
		s.event([]byte(strings.Replace(answer, "fine", "\xff\xfe", 1)))
	case "another id":
		s.event([]byte(strings.Replace(answer, `"id":`, `"id":9`, 1)))
	case "two in one event":
		s.event([]byte(answer + answer))
	default:
		s.event([]byte(answer))
	}
}

// TestT22AServerOfTheFirstRevisionThatBehavesBadlyCostsNobodyElse: as the others, with the one stream that all its answers come down.
func TestT22AServerOfTheFirstRevisionThatBehavesBadlyCostsNobodyElse(t *testing.T) {
	late, large, upstream := faultv1.Reason_REASON_UPSTREAM_TIMEOUT, faultv1.Reason_REASON_INSPECTION, faultv1.Reason_REASON_UPSTREAM
	for badness, reasons := range map[string][]faultv1.Reason{
		"never": {late}, "byte by byte": {upstream, late}, "ends in the middle": {upstream, late}, "comments without an end": {late},
		"an event without an end": {upstream, large, late}, "100 MB": {upstream, large, late}, "no text": {upstream, late}, "another id": {late},
		"two in one event": {upstream, late},
	} {
		t.Run(badness, func(t *testing.T) {
			at := httptest.NewServer(&badElder{streams: map[string]*elderStream{}})
			t.Cleanup(func() {
				at.CloseClientConnections()
				at.Close()
			})
			good := newUpstream(t, echoTool)
			w := newWorld(t)
			w.server("acts", at.URL, []string{echoTool}, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "700ms" })
			w.server("echo", good.url(), []string{echoTool}, nil)
			for person, server := range map[string]string{"ana": "acts", "bob": "echo"} {
				w.person(person, nil)
				w.grant("person/"+person, server, "*", "call")
			}
			h := start(t, w, func(c *edge.Config) { c.MaxResult = 1 << 20 })
			h.costsNobodyElse(badness, func(r faultv1.Reason) bool { return slices.Contains(reasons, r) })
		})
	}
}
