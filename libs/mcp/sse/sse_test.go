package sse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/mcp/sse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers GET with what open writes, and remembers what is posted.
type server struct {
	*httptest.Server
	posted chan *http.Request
	bodies chan string
	status atomic.Int32
}

func serve(t *testing.T, open func(w http.ResponseWriter, r *http.Request)) *server {
	t.Helper()
	s := &server{posted: make(chan *http.Request, 4), bodies: make(chan string, 4)}
	s.status.Store(http.StatusAccepted)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			open(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.posted <- r
		s.bodies <- string(body)
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

// stream writes events and stays open until the client goes away.
func stream(events ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, event := range events {
			fmt.Fprint(w, event)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestMessagesArePostedToTheEndpointAndComeOnTheStream(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "k" || r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("%v", r.Header)
		}
		stream("event: endpoint\ndata: /messages?session=1\n\n", ": ping\n\n", "event: other\ndata: {}\n\n",
			"event: message\ndata: {\"a\":1}\n\n", "data: {\"b\":2}\n\n")(w, r)
	})
	opening, cancel := context.WithCancel(t.Context())
	c, err := sse.Open(opening, sse.Config{Client: client(t), URL: s.URL + "/sse"}, []mcp.Field{{Name: "X-Key", Value: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel() // the stream outlives the wait for it
	for _, want := range []string{`{"a":1}`, `{"b":2}`} {
		if got, err := c.Receive(); err != nil || string(got) != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := c.Send(t.Context(), []byte(`{"c":3}`), []mcp.Field{{Name: "X-Key", Value: "other"}}); err != nil {
		t.Fatal(err)
	}
	if r := <-s.posted; r.URL.RequestURI() != "/messages?session=1" || r.Header.Get("X-Key") != "other" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	if body := <-s.bodies; body != `{"c":3}` {
		t.Errorf("%q", body)
	}
	s.status.Store(http.StatusNotFound)
	var no *sse.StatusError
	if err := c.Send(t.Context(), []byte(`{}`), nil); !errors.As(err, &no) || no.Status != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	c.Close()
	if _, err := c.Receive(); err == nil {
		t.Error("a closed stream goes on")
	}
}

func TestT13AServerCannotHaveItsMessagesSentElsewhere(t *testing.T) {
	for _, said := range []string{
		"http://127.0.0.1:1/messages", "//evil.example/messages", "https://HOST/messages", "http://user@HOST/messages", "http://HOST.evil.example/",
		`http://HOST\@evil.example/`, "mailto:a@b", "http://HOST:/messages",
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			stream("event: endpoint\ndata: "+strings.ReplaceAll(said, "HOST", r.Host)+"\n\n")(w, r)
		})
		c, err := sse.Open(t.Context(), sse.Config{Client: client(t), URL: s.URL}, nil)
		if !errors.Is(err, sse.ErrElsewhere) && !errors.Is(err, sse.ErrOther) {
			t.Errorf("%s: %v", said, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

func TestT13ARedirectIsNotFollowed(t *testing.T) {
	target := serve(t, stream("event: endpoint\ndata: /m\n\n"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	})
	var no *sse.StatusError
	if _, err := sse.Open(t.Context(), sse.Config{Client: client(t), URL: s.URL}, nil); !errors.As(err, &no) || no.Status != http.StatusTemporaryRedirect {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoServerOfThisTransportIsSaid(t *testing.T) {
	for name, open := range map[string]func(http.ResponseWriter, *http.Request){
		"a page":             func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"another stream":     stream("data: {\"jsonrpc\":\"2.0\"}\n\n"),
		"a stream that ends": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/event-stream") },
	} {
		s := serve(t, open)
		if _, err := sse.Open(t.Context(), sse.Config{Client: client(t), URL: s.URL}, nil); !errors.Is(err, sse.ErrOther) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		stream()(w, r)
	})
	if _, err := sse.Open(ctx, sse.Config{Client: client(t), URL: s.URL}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a stream that says nothing: %v", err)
	}
}

// FuzzEndpoint holds the endpoint to the origin of the stream, as another reader of URLs sees both.
func FuzzEndpoint(f *testing.F) {
	for _, seed := range []string{"/messages?s=1", "messages", "//a.example/", "http://b.example:8080/x", `http://b.example:8080\@c.example`, "?s", "http:/x", "..//..//x"} {
		f.Add(seed)
	}
	base, err := url.Parse("http://b.example:8080/sse/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said string) {
		got, err := sse.Endpoint(base, said)
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodPost, got, http.NoBody)
		if err == nil && (req.URL.Scheme != "http" || req.URL.Host != "b.example:8080" || req.Host != "b.example:8080") || !strings.HasPrefix(got, "http://b.example:8080") {
			t.Errorf("%q leads to %s", said, got)
		}
	})
}
