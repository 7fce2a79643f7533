package duplex_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the other end of a channel in memory. It speaks one era and answers each request with what the test says.
type server struct {
	t      *testing.T
	modern bool
	older  string // its revision where it is not modern
	says   string // its capabilities
	answer func(s *server, m *mcp.Message)

	out    chan []byte
	closed chan struct{}
	once   sync.Once

	mu  sync.Mutex
	got []*mcp.Message
}

func serve(t *testing.T, modern bool, answer func(s *server, m *mcp.Message)) *server {
	return &server{t: t, modern: modern, older: mcp.V20251125, says: `{"tools":{}}`, answer: answer, out: make(chan []byte, 1024), closed: make(chan struct{})}
}

// Send implements duplex.Channel.
func (s *server) Send(_ context.Context, m duplex.Message) error {
	select {
	case <-s.closed:
		return io.ErrClosedPipe
	default:
	}
	read, err := mcp.Read(bytes.Clone(m.Body), mcp.DefaultLimits())
	if err != nil {
		s.t.Errorf("%s: %v", m.Body, err)
		return err
	}
	s.mu.Lock()
	s.got = append(s.got, read)
	s.mu.Unlock()
	switch {
	case read.Method == mcp.MethodDiscover && s.modern:
		s.result(read, `{"supportedVersions":["2025-11-25","2026-07-28"],"capabilities":`+s.says+`,"resultType":"complete","instructions":"be kind"}`)
	case read.Method == mcp.MethodDiscover:
		s.say(string(mcp.ErrorReply(read.ID, -32602, "Received request before initialization was complete", nil)))
	case read.Method == mcp.MethodInitialize && !s.modern:
		s.result(read, `{"protocolVersion":"`+s.older+`","capabilities":`+s.says+`,"serverInfo":{"name":"s","version":"1"}}`)
	case s.answer != nil:
		s.answer(s, read)
	}
	return nil
}

// Receive implements duplex.Channel.
func (s *server) Receive() ([]byte, error) {
	select {
	case raw := <-s.out:
		return raw, nil
	case <-s.closed:
		return nil, io.EOF
	}
}

// Close implements duplex.Channel.
func (s *server) Close() { s.once.Do(func() { close(s.closed) }) }

func (s *server) say(raw string) { s.out <- []byte(raw) }
func (s *server) result(m *mcp.Message, raw string) {
	s.say(string(mcp.Result(m.ID, json.RawMessage(raw))))
}
func (s *server) notice(method, params string) {
	s.say(string(mcp.Notice(method, json.RawMessage(params))))
}
func (s *server) ask(id int, method, params string) {
	s.say(string(mcp.NewRequest(mcp.NewID(uint64(id)), method, json.RawMessage(params))))
}

// heard are the messages of a method so far; with "" the answers of the client.
func (s *server) heard(method string) []*mcp.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*mcp.Message
	for _, m := range s.got {
		if m.Method == method {
			out = append(out, m)
		}
	}
	return out
}

func (s *server) open(cfg duplex.Config) *duplex.Conversation {
	s.t.Helper()
	cfg.Server = "files"
	cfg.Limits = mcp.ReplyLimits()
	c, err := duplex.Open(s.t.Context(), s, cfg, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// call is one call of a tool, with "_meta" and more of the client's as params.
func call(params string) guard.Exchange {
	return guard.Exchange{Server: &guard.Server{Name: "files", Timeout: 5 * time.Second}, Method: mcp.MethodToolsCall, Name: "read", Params: json.RawMessage(params)}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for tick := time.NewTicker(time.Millisecond); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// eras runs a test with servers of both.
func eras(t *testing.T, run func(t *testing.T, modern bool)) {
	for _, modern := range []bool{true, false} {
		t.Run(fmt.Sprintf("modern %v", modern), func(t *testing.T) { run(t, modern) })
	}
}

type ctx = context.Context

func timeout(t *testing.T, limit time.Duration) (ctx, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), limit)
}
