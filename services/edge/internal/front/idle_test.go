package front

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/services/edge/internal/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attached is a guard.Stream that keeps its sink and counts how often it was told that its client is gone.
type attached struct {
	sink chan guard.Sink
	gone atomic.Int64
}

func (a *attached) Attach(to guard.Sink) { a.sink <- to }
func (a *attached) Gone()                { a.gone.Add(1) }

// standing opens a stream between two ends of a connection, with a comment as often as it says.
func standing(t *testing.T, every time.Duration) (stream *attached, sink guard.Sink, client net.Conn) {
	t.Helper()
	streams, err := newIdles()
	if err != nil {
		t.Fatal(err)
	}
	streams.every = every
	over, running := make(chan struct{}), sync.WaitGroup{}
	running.Go(func() { streams.run(over) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(over)
		running.Wait()
		streams.end(0)
		_ = client.Close()
		_ = ln.Close()
	})
	stream = &attached{sink: make(chan guard.Sink, 1)}
	streams.open(&patient{Conn: server}, stream, streamHead(""))
	return stream, <-stream.sink, client
}

// told reads the stream as a client does.
func told(t *testing.T, client net.Conn) *bufio.Reader {
	t.Helper()
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%v %v", response, err)
	}
	return bufio.NewReader(response.Body)
}

func TestAStreamSaysThatItIsThere(t *testing.T) {
	_, sink, client := standing(t, 10*time.Millisecond)
	events := told(t, client)
	comments := 0
	for comments < 3 {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(line) == ":" {
			comments++
		}
	}
	if err := sink.Send("7", []byte("{\n}")); err != nil {
		t.Fatal(err)
	}
	var said []string
	for len(said) < 2 {
		line, err := events.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.TrimSuffix(line, "\n"); line != "" && line != ":" {
			said = append(said, line)
		}
	}
	if said[0] != "id: 7" || said[1] != "data: { }" {
		t.Errorf("%q", said)
	}
}

// TestAStreamIsKeptThatMissesAComment lets a client take nothing for a while: a busy moment costs it no stream, not reading at all does.
func TestAStreamIsKeptThatMissesAComment(t *testing.T) {
	streams, err := newIdles()
	if err != nil {
		t.Fatal(err)
	}
	defer streams.poll.close()
	server, client := net.Pipe() // it holds nothing: what is not read is not written
	read := make(chan string, 16)
	next := make(chan struct{})
	go func() {
		room := make([]byte, 1024)
		for range next {
			n, err := client.Read(room)
			if err != nil {
				break
			}
			read <- string(room[:n])
		}
		close(read)
	}()
	stream := &attached{sink: make(chan guard.Sink, 1)}
	next <- struct{}{}
	streams.open(&patient{Conn: server}, stream, streamHead(""))
	<-read
	<-stream.sink
	s := streams.list()[0]
	for round := range 3 {
		streams.bound = 10 * time.Millisecond
		for range mostMissed {
			s.remind()
		}
		streams.bound = time.Minute
		if stream.gone.Load() != 0 {
			t.Fatalf("round %d: the stream was closed", round)
		}
		next <- struct{}{}
		if s.remind(); <-read != comment {
			t.Error("not the comment")
		}
	}
	streams.bound = 10 * time.Millisecond
	for range mostMissed + 1 {
		s.remind()
	}
	if stream.gone.Load() != 1 {
		t.Errorf("told %d times that a client is gone that reads nothing", stream.gone.Load())
	}
	close(next)
	_ = client.Close()
}

func TestAStreamEndsAfterWhatWasQueued(t *testing.T) {
	stream, sink, client := standing(t, time.Hour)
	for range 100 {
		if err := sink.Send("", []byte(strings.Repeat("x", 1000))); err != nil {
			t.Fatal(err)
		}
	}
	sink.End()
	if err := sink.Send("", []byte("late")); err == nil {
		t.Error("something was taken after the end")
	}
	text, err := io.ReadAll(told(t, client))
	if err != nil || strings.Count(string(text), "data: ") != 100 || strings.Contains(string(text), "late") {
		t.Errorf("%d events, %v", strings.Count(string(text), "data: "), err)
	}
	waits(t, "the stream is told", func() bool { return stream.gone.Load() == 1 })
}

// A stream that nothing of this edge ends, as one that another edge holds, ends in order at shutdown: its client takes it up elsewhere.
func TestAStreamOfAnotherEdgeEndsInOrderAtShutdown(t *testing.T) {
	stream, sink, client := standing(t, time.Hour)
	if err := sink.Send("1", []byte("last")); err != nil {
		t.Fatal(err)
	}
	sink.(*idle).of.finish()
	text, err := io.ReadAll(told(t, client)) // an end that is no HTTP end would be an error
	if err != nil || !strings.Contains(string(text), "data: last") {
		t.Errorf("%q, %v", text, err)
	}
	waits(t, "the stream is told", func() bool { return stream.gone.Load() == 1 })
}

// TestT22AClientThatTakesNothingIsCutOff: sending never blocks, and what waits is bounded.
func TestT22AClientThatTakesNothingIsCutOff(t *testing.T) {
	stream, sink, client := standing(t, time.Hour)
	message := []byte(strings.Repeat("x", 64<<10))
	began, sent := time.Now(), 0
	for sink.Send("", message) == nil {
		if sent++; sent > 4096 {
			t.Fatalf("it took %d MiB", sent/16)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("sending took %s", took)
	}
	waits(t, "the stream is told", func() bool { return stream.gone.Load() == 1 })
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, client); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestAClientThatGoesAwayIsNoticedAtOnce(t *testing.T) {
	stream, _, client := standing(t, time.Hour)
	told(t, client)
	_ = client.Close()
	waits(t, "the stream is told", func() bool { return stream.gone.Load() == 1 })
}

func waits(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not in time: %s", what)
		}
	}
}
