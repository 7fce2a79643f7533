package front

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/rpc/rpctest"
)

// door accepts on a secured listener and says "hello" to whoever has sent a byte. It ends with the test.
func door(t *testing.T, limit time.Duration) (address string) {
	t.Helper()
	cert, key := rpctest.NewAuthority(t).Issue(t, "door")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := Secured(plain, func() *tls.Certificate { return &pair })
	ln.(*secured).limit = limit
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				if n, _ := c.Read(make([]byte, 1)); n == 1 {
					_, _ = io.WriteString(c, "hello")
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = plain.Close()
		all.Wait()
	})
	return plain.Addr().String()
}

// knock handshakes, sends a byte and reads the answer.
func knock(address string, cfg *tls.Config) (tls.ConnectionState, error) {
	cfg.InsecureSkipVerify = true
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return tls.ConnectionState{}, err
	}
	said, err := io.ReadAll(c)
	if string(said) != "hello" {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

func TestT22ClientsThatDoNotHandshakeNeitherBlockOthersNorStay(t *testing.T) {
	address := door(t, time.Second)
	silent := make([]net.Conn, 20)
	for i := range silent {
		var err error
		if silent[i], err = net.Dial("tcp", address); err != nil {
			t.Fatal(err)
		}
		defer silent[i].Close()
	}
	drip := func(c net.Conn, ended chan<- struct{}) { // one byte of a hello at a time never gets it done
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte("\x16\x03\x01\x02\x00\x01" + strings.Repeat("\x00", 500)) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			<-tick.C
		}
	}
	ended := make(chan struct{})
	go drip(silent[0], ended)
	began := time.Now()
	if _, err := knock(address, &tls.Config{}); err != nil || time.Since(began) > 900*time.Millisecond {
		t.Errorf("another client got %v after %s", err, time.Since(began))
	}
	for i, c := range silent {
		if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("client %d is still there", i)
		}
	}
	<-ended
}

func TestTheDoorSpeaksHTTP1OverTLSFrom12OnWithForwardSecrecy(t *testing.T) {
	address := door(t, 5*time.Second)
	for name, c := range map[string]struct {
		cfg  *tls.Config
		fine bool
	}{
		"1.3":                 {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"1.2":                 {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"1.1":                 {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"http/1.1":            {&tls.Config{NextProtos: []string{"h2", "http/1.1"}}, true},
		"h2 alone":            {&tls.Config{NextProtos: []string{"h2"}}, false},
		"1.2 without secrecy": {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		"1.2 with CBC":        {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
	} {
		state, err := knock(address, c.cfg)
		if (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
		if name == "http/1.1" && state.NegotiatedProtocol != "http/1.1" {
			t.Errorf("negotiated %q", state.NegotiatedProtocol)
		}
	}
}

func TestPlainHTTPAtTheTLSPortIsToldToUseTLS(t *testing.T) {
	c, err := net.Dial("tcp", door(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /mcp HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if said, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusBadRequest || !strings.Contains(string(said), "https") {
		t.Errorf("%d %s", res.StatusCode, said)
	}
}
