package front

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// answering is a Guard that does what a test says.
type answering func(ctx context.Context, in *guard.Inbound) guard.Answer

func (a answering) Call(ctx context.Context, in *guard.Inbound) guard.Answer { return a(ctx, in) }
func (answering) CutOff()                                                    {}
func (answering) EndStreams()                                                {}

// opened serves a guard until the test ends.
func opened(t *testing.T, g answering, change func(*Front)) (at string) {
	t.Helper()
	f, err := New(Config{Base: "http://h", Issuer: "http://i"}, g, func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(f)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, ln, 10*time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// dialed is a client's connection with a window of so many bytes, on which one request was sent.
func dialed(t *testing.T, at, request string, window int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := errors.Join(c.(*net.TCPConn).SetReadBuffer(window), c.SetDeadline(time.Now().Add(60*time.Second))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

func post(method, more string) string {
	body := `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"x","notifications":{}}}`
	return fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", more, len(body), body)
}

const takesEvents = "Accept: application/json, text/event-stream\r\n"

var large = []byte(`{"jsonrpc":"2.0","id":1,"result":{"x":"` + strings.Repeat("x", 24<<20) + `"}}`) // more than what the system takes by itself

// TestT22WhoReadsNothingOfAnAnswerIsCut: an answer that nobody takes is not kept.
func TestT22WhoReadsNothingOfAnAnswerIsCut(t *testing.T) {
	for name, more := range map[string]string{"one body": "", "a stream": takesEvents} {
		t.Run(name, func(t *testing.T) {
			var front *Front
			at := opened(t, func(_ context.Context, in *guard.Inbound) guard.Answer {
				if more != "" {
					if err := in.Send("", []byte("{}")); err != nil {
						t.Error(err)
					}
				}
				return guard.Answer{Status: http.StatusOK, Body: large}
			}, func(f *Front) { f.limit, front = 200*time.Millisecond, f })
			dialed(t, at, post(mcp.MethodToolsCall, more), 4<<10) // and reads nothing
			waits(t, "it came", func() bool { return held(front) == 1 })
			waits(t, "it was cut", func() bool { return held(front) == 0 })
		})
	}
}

func held(f *Front) int {
	f.open.mu.Lock()
	defer f.open.mu.Unlock()
	return len(f.open.all)
}

// Who reads slowly but steadily gets everything, though all of it takes longer than a portion may.
func TestWhoReadsSlowlyGetsTheWholeAnswer(t *testing.T) {
	const limit = 2 * time.Second
	at := opened(t, func(context.Context, *guard.Inbound) guard.Answer {
		return guard.Answer{Status: http.StatusOK, Body: large}
	}, func(f *Front) { f.limit = limit })
	c := dialed(t, at, post(mcp.MethodToolsCall, ""), 256<<10)
	began := time.Now()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, pause := &bytes.Buffer{}, time.NewTicker(300*time.Millisecond)
	defer pause.Stop()
	for err == nil {
		<-pause.C
		_, err = io.CopyN(got, response.Body, 1<<20)
	}
	if !errors.Is(err, io.EOF) || !bytes.Equal(got.Bytes(), large) {
		t.Errorf("%d of %d bytes, %v", got.Len(), len(large), err)
	}
	if took := time.Since(began); took <= limit {
		t.Errorf("it took %s, which shows nothing", took)
	}
}

// TestALongCallKeepsItsConnection: something goes down it while the answer is awaited.
func TestALongCallKeepsItsConnection(t *testing.T) {
	release := make(chan struct{})
	at := opened(t, func(_ context.Context, in *guard.Inbound) guard.Answer {
		if bytes.Contains(in.Body, []byte("x/notice")) {
			if err := in.Send("", []byte(`{"notice":1}`)); err != nil {
				t.Error(err)
			}
		}
		<-release
		return guard.Answer{Status: http.StatusNotFound, Body: json.RawMessage(`{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}`)}
	}, func(f *Front) { f.idles.every, f.after = 30*time.Millisecond, 60*time.Millisecond })
	var events []*http.Response
	for _, method := range []string{mcp.MethodToolsCall, "x/notice"} {
		events = append(events, tended(t, dialed(t, at, post(method, takesEvents), 64<<10)))
	}
	batch := "[" + `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}` + "]"
	events = append(events, tended(t, dialed(t, at, fmt.Sprintf("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", takesEvents, len(batch), batch), 64<<10)))
	plain := []net.Conn{
		dialed(t, at, post(mcp.MethodToolsCall, ""), 64<<10),
		dialed(t, at, post(mcp.MethodInitialize, takesEvents), 64<<10),
		dialed(t, at, post(mcp.MethodListen, takesEvents), 64<<10),
	}
	close(release)
	for _, response := range events {
		rest, err := io.ReadAll(response.Body)
		if err != nil || !strings.HasSuffix(string(rest), "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"no\"}}\n\n") {
			t.Errorf("%q %v", rest, err)
		}
	}
	for _, c := range plain {
		if response, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || response.StatusCode != http.StatusNotFound {
			t.Errorf("%v %v", response, err)
		}
	}
}

// tended reads a stream up to its third comment.
func tended(t *testing.T, c net.Conn) *http.Response {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v %v", response, err)
	}
	for lines, comments := bufio.NewScanner(response.Body), 0; comments < 3; {
		if !lines.Scan() {
			t.Fatal("the stream ended")
		}
		if lines.Text() == ":" {
			comments++
		}
	}
	return response
}

func TestWhichAnswersMayBecomeStreams(t *testing.T) {
	request := func(method string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{"name":"x"}}`)
	}
	for name, one := range map[string]struct {
		in   guard.Inbound
		want bool
	}{
		"a call":         {guard.Inbound{Verb: http.MethodPost, Body: request(mcp.MethodToolsCall)}, true},
		"initialize":     {guard.Inbound{Verb: http.MethodPost, Body: request(mcp.MethodInitialize)}, false},
		"a subscription": {guard.Inbound{Verb: http.MethodPost, Body: request(mcp.MethodListen)}, false},
		"a notice":       {guard.Inbound{Verb: http.MethodPost, Body: []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)}, false},
		"an answer":      {guard.Inbound{Verb: http.MethodPost, Body: []byte(`{"jsonrpc":"2.0","id":1,"result":{}}`)}, false},
		"a batch":        {guard.Inbound{Verb: http.MethodPost, Body: []byte(` [{"jsonrpc":"2.0","method":"x"},` + string(request(mcp.MethodToolsCall)) + `]`)}, true},
		"of notices":     {guard.Inbound{Verb: http.MethodPost, Body: []byte(`[{"jsonrpc":"2.0","method":"x"}]`)}, false},
		"of nothing":     {guard.Inbound{Verb: http.MethodPost, Body: []byte(`[]`)}, false},
		"no batch":       {guard.Inbound{Verb: http.MethodPost, Body: []byte(`[1,` + string(request(mcp.MethodToolsCall)) + `]`)}, false},
		"of initialize":  {guard.Inbound{Verb: http.MethodPost, Body: []byte(`[` + string(request(mcp.MethodToolsCall)) + `,` + string(request(mcp.MethodInitialize)) + `]`)}, false},
		"no request":     {guard.Inbound{Verb: http.MethodPost, Body: request(mcp.MethodToolsCall), Unfit: guard.AtHTTP(400, faultv1.Reason_REASON_PARSE, "no")}, false},
		"a stream":       {guard.Inbound{Verb: http.MethodGet}, false},
	} {
		if got := answered(&one.in); got != one.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// backlog is a guard.Stream that has much to give at once, as one that is taken up again.
type backlog int

func (b backlog) Attach(to guard.Sink) {
	for i := range int(b) {
		if to.Send(fmt.Sprintf("%0100d", i), []byte(`{"n":1}`)) != nil {
			return
		}
	}
	to.End()
}
func (backlog) Gone() {}

// What a client takes up again comes whole, however much there is and however slowly it is read.
func TestAStreamThatIsTakenUpAgainComesWhole(t *testing.T) {
	const all = 50_000 // with their ids, many times what may wait for a client otherwise
	at := opened(t, func(context.Context, *guard.Inbound) guard.Answer { return guard.Answer{Stream: backlog(all)} }, nil)
	c := dialed(t, at, "GET /mcp HTTP/1.1\r\nHost: h\r\n"+takesEvents+"\r\n", 256<<10)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if count := strings.Count(string(text), "data: "); err != nil || count != all {
		t.Errorf("%d events, %v", count, err)
	}
}
