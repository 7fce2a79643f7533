package conformance_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/conformance"
)

// forwarded starts a server behind a forwarder and returns the forwarder's address and the server's.
func forwarded(t *testing.T, serve http.HandlerFunc) (address, server string) {
	t.Helper()
	behind := httptest.NewServer(serve)
	t.Cleanup(behind.Close)
	server = strings.TrimPrefix(behind.URL, "http://")
	f, err := conformance.Forward(server, "t0ken")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f.Address, server
}

func TestForwarderAddsTheTokenToEveryRequestOfAConnection(t *testing.T) {
	address, server := forwarded(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, strings.Join([]string{r.Method, r.Host, r.Header.Get("Origin"), r.Header.Get("Authorization"), string(body)}, "|"))
	})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	for _, one := range []struct{ host, origin, want string }{
		{address, "http://" + address, "POST|" + server + "|http://" + server + "|Bearer t0ken|hé"},
		{"evil.example", "http://evil.example", "POST|evil.example|http://evil.example|Bearer t0ken|hé"},
	} {
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nhost: "+one.host+"\r\nOrigin: "+one.origin+"\r\nContent-Length: 3\r\n\r\nhé"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || string(body) != one.want {
			t.Errorf("the server saw %q, not %q (%v)", body, one.want, err)
		}
	}
}

func TestForwarderStreamsAndTellsTheServerThatTheClientLeft(t *testing.T) {
	left := make(chan struct{})
	address, _ := forwarded(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "data: first\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		close(left)
	})
	response, err := http.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("data: first\n\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "data: first\n\n" {
		t.Errorf("the client read %q before the end (%v)", first, err)
	}
	_ = response.Body.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the server did not see that the client left")
	}
}
