package stdio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/services/headgate/internal/stdio"
)

func TestALineThatIsTooLongIsRefusedUnderItsID(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) { result(w, r, `{}`) })
	w := dial(t, stdio.Config{Endpoint: g.URL, MaxLine: 100_000})
	padding := strings.Repeat(`x\"{}[],:`, 20_000)
	for _, test := range []struct {
		line, id string
		code     int
	}{
		{`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"id":99,"text":"` + padding + `"}}}`, `1`, -32600},
		{`{"method":"tools/call","params":{"id":98,"deep":[[{"id":97}]],"text":"` + padding + `"} , "jsonrpc":"2.0", "id" : "a\"b" }`, `"a\"b"`, -32600},
		{`{"method":"x","text":"` + padding + `","id":-12}`, `-12`, -32600},
		{`{"jsonrpc":"2.0","method":"no/id","params":{"id":5,"text":"` + padding + `"}}`, ``, -32700},
		{`{"jsonrpc":"2.0","id":1,"method":"x","params":"` + padding + `","id":2}`, ``, -32700},
		{`{"jsonrpc":"2.0","id":{"a":1},"method":"x","params":"` + padding + `"}`, ``, -32700},
		{`{"jsonrpc":"2.0","id":1.5,"method":"x","params":"` + padding + `"}`, ``, -32700},
		{`{"jsonrpc":"2.0","id":"` + strings.Repeat("y", 200_000) + `","method":"x"}`, ``, -32700},
		{`[{"jsonrpc":"2.0","id":1,"method":"x","params":"` + padding + `"}]`, ``, -32700},
		{padding, ``, -32700},
	} {
		w.send(test.line)
		w.refused(test.id, test.code, "100000 bytes")
	}
	exact := `{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":""}}`
	exact = strings.Replace(exact, `""`, `"`+strings.Repeat("z", 100_000-len(exact))+`"`, 1)
	w.send(exact)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	if g.only("x").Body != exact {
		t.Error("the longest message that is taken did not arrive as it was sent")
	}
}

func TestAnAnswerThatIsTooLargeIsAnError(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, r request) {
		piece := strings.Repeat("a", 100_000)
		if r.Method == "stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: ")
		}
		for range 11 {
			_, _ = io.WriteString(w, piece)
		}
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, MaxReply: 1_000_000})
	for _, method := range []string{"body", "stream"} {
		w.send(`{"jsonrpc":"2.0","id":1,"method":"` + method + `"}`)
		w.refused("1", -32603, "longer than 1000000 bytes")
	}
}

func TestRequestsRunSideBySideAndNoMoreThanAllowed(t *testing.T) {
	const parallel, calls = 8, 32
	var now, most atomic.Int32
	release := make(chan struct{})
	big := strings.Repeat("payload ", 2_000)
	g := open(t, func(w http.ResponseWriter, r request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		now.Add(-1)
		say := stream(w)
		for range 3 {
			say("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":%q}}\n\n", big)
		}
		say("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"big\":%q}}\n\n", r.ID, big)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, Parallel: parallel})
	for i := range calls {
		w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, i))
	}
	w.send(`{"jsonrpc":"2.0","id":"one too many","method":"x"}`)
	w.refused(`"one too many"`, -32603, "32 requests wait")
	eventually(t, "as many as are allowed run", func() bool { return now.Load() == parallel })
	close(release)
	answers := map[string]int{}
	for range 4 * calls { // the wire holds each line to be a message: none is inside another
		line := w.next()
		answers[line[:strings.Index(line, "payload")]]++
	}
	if len(answers) != calls+1 || most.Load() != parallel {
		t.Errorf("%d kinds of lines, at most %d calls at once", len(answers), most.Load())
	}
}

func TestAWaitingRequestThatIsCancelledIsNeverSent(t *testing.T) {
	release := make(chan struct{})
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "first" {
			<-release
		}
		result(w, r, `{}`)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, Parallel: 1})
	w.send(`{"jsonrpc":"2.0","id":1,"method":"first"}`)
	eventually(t, "the first runs", func() bool { return len(g.all("first")) == 1 })
	w.send(`{"jsonrpc":"2.0","id":2,"method":"second"}`, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	w.send(`{"jsonrpc":"2.0","id":3,"method":"third"}`)
	eventually(t, "the cancellation was read", func() bool { return w.read() })
	close(release)
	got := []string{w.next(), w.next()}
	slices.Sort(got)
	if !slices.Equal(got, []string{`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":3,"result":{}}`}) {
		t.Errorf("answered %v", got)
	}
	if len(g.all("second")) != 0 || len(g.all("notifications/cancelled")) != 0 {
		t.Error("a request that was cancelled while it waited was sent")
	}
}

// read reports that everything sent so far was read: writes to the bridge return when they are.
func (w *wire) read() bool {
	w.t.Helper()
	w.send("", "")
	return true
}

func TestAnIDThatIsInUseIsRefusedWithoutTouchingItsRequest(t *testing.T) {
	release := make(chan struct{})
	g := open(t, func(w http.ResponseWriter, r request) {
		<-release
		result(w, r, `{}`)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(`{"jsonrpc":"2.0","id":"a","method":"x"}`, `{"jsonrpc":"2.0","id":"\u0061","method":"x"}`)
	w.refused("", -32600, "not answered yet")
	close(release)
	w.want(`{"jsonrpc":"2.0","id":"a","result":{}}`)
	if n := len(g.all("x")); n != 1 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestTheEndOfStandardInputLetsCallsFinishAndEndsTheSession(t *testing.T) {
	release := make(chan struct{})
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		switch r.Method {
		case "slow":
			<-release
			result(w, r, `{}`)
		case "":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL, Grace: time.Minute})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"slow"}`)
	_ = w.in.Close()
	close(release)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	w.wait()
	if w.err != nil || g.only(http.MethodDelete).Header.Get("Mcp-Session-Id") != "s-1" {
		t.Errorf("ended with %v", w.err)
	}
}

func TestACallThatNeverEndsHoldsTheEndUpForTheGraceOnly(t *testing.T) {
	for name, reason := range map[string]func(*wire){"standard input ends": func(w *wire) { _ = w.in.Close() }, "SIGTERM": func(w *wire) { w.stop() }} {
		t.Run(name, func(t *testing.T) {
			begun := make(chan struct{}, 2)
			g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
				if r.Method == "forever" || r.Method == "subscriptions/listen" {
					begun <- struct{}{}
					<-r.Gone.Done()
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			w := dial(t, stdio.Config{Endpoint: g.URL, Grace: 50 * time.Millisecond})
			w.greet()
			w.send(`{"jsonrpc":"2.0","id":1,"method":"forever"}`, modern("2", "subscriptions/listen", ""))
			<-begun
			<-begun
			reason(w)
			got := []string{w.next(), w.next()}
			slices.Sort(got)
			for i, line := range got {
				if !strings.Contains(line, fmt.Sprintf(`"id":%d,"error"`, i+1)) || !strings.Contains(line, "ended before the answer came") {
					t.Errorf("the client was told %s", line)
				}
			}
			w.wait()
			if w.err != nil || len(g.all(http.MethodDelete)) != 1 {
				t.Errorf("ended with %v, %d times DELETE", w.err, len(g.all(http.MethodDelete)))
			}
		})
	}
}

func TestASubscriptionDoesNotHoldTheEndUp(t *testing.T) {
	begun := make(chan struct{})
	g := open(t, func(_ http.ResponseWriter, r request) {
		close(begun)
		<-r.Gone.Done()
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, Grace: time.Hour})
	w.send(modern("1", "subscriptions/listen", ""))
	<-begun
	_ = w.in.Close()
	w.wait()
}

func TestASecondReasonToEndEndsAtOnce(t *testing.T) {
	begun := make(chan struct{})
	g := open(t, func(_ http.ResponseWriter, r request) {
		close(begun)
		<-r.Gone.Done()
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, Grace: time.Hour})
	w.send(`{"jsonrpc":"2.0","id":1,"method":"forever"}`)
	<-begun
	_ = w.in.Close()
	w.stop()
	w.wait()
}

// deaf takes some bytes and then nothing more.
type deaf struct {
	mu   sync.Mutex
	left int
}

func (d *deaf) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left -= len(p); d.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestABrokenStandardOutputIsTheEnd(t *testing.T) {
	g := open(t, legacy("s-1", nil))
	b, err := stdio.New(stdio.Config{Endpoint: g.URL, Tokens: given(t, good), Grace: time.Hour, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(t.Context(), in, &deaf{left: len(welcome) + 1}) }()
	for _, line := range []string{hello, initialized, `{"jsonrpc":"2.0","id":1,"method":"ping"}`} {
		if _, err := io.WriteString(feed, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "standard output") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
	_ = feed.Close()
	if len(g.all(http.MethodDelete)) != 1 {
		t.Error("the session was not ended")
	}
}

func TestOneWriteIsOneLine(t *testing.T) {
	g := open(t, nil)
	b, err := stdio.New(stdio.Config{Endpoint: g.URL, Tokens: given(t, good), Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	var writes pieces
	var in bytes.Buffer
	for i := range 30 {
		fmt.Fprintf(&in, `{"jsonrpc":"2.0","id":%d,"method":"ping"}`+"\n", i)
	}
	if err := b.Run(t.Context(), &in, &writes); err != nil {
		t.Fatal(err)
	}
	if len(writes) != 30 {
		t.Fatalf("%d writes for 30 answers", len(writes))
	}
	for _, piece := range writes {
		if strings.Count(piece, "\n") != 1 || !strings.HasSuffix(piece, "}\n") {
			t.Errorf("a write that is not one line: %q", piece)
		}
	}
}

// pieces keeps what each write wrote. The bridge writes one after the other.
type pieces []string

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, string(b))
	return len(b), nil
}

func TestAClientThatReadsNothingDoesNotHoldTheEndUp(t *testing.T) {
	g := open(t, legacy("s-1", nil))
	r := start(t, stdio.Config{Endpoint: g.URL, Grace: time.Millisecond})
	if _, err := io.WriteString(r.in, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	_ = r.in.Close()
	r.wait()
	if r.err == nil || !strings.Contains(r.err.Error(), "does not read its messages") {
		t.Errorf("ended with %v", r.err)
	}
}
