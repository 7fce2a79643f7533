// Package egresstest holds whatever reaches declared servers to one set of rules, so that all of them believe and refuse the same servers.
package egresstest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/rpc/rpctest"
)

// Declared is a server as the tenant acme declares it.
type Declared struct {
	URL, CA           string
	Pins              []string
	ClientCertificate string
}

// Reacher reaches servers with one configuration: it sends a request to one and answers with the sentence that a person is shown when that
// cannot be done, empty when the server answered.
type Reacher func(t *testing.T, d Declared) (sentence string)

// Start makes a Reacher with the operator's client certificates.
type Start func(t *testing.T, certificates egress.Certificates) Reacher

// site is servers of one authority, all of which answer with one handler.
type site struct {
	t         *testing.T
	authority *rpctest.Authority
	handler   http.Handler
	heard     atomic.Int64 // requests

	mu   sync.Mutex
	seen []string // common names of clients' certificates
}

func newSite(t *testing.T, handler http.Handler) *site {
	return &site{t: t, authority: rpctest.NewAuthority(t), handler: handler}
}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.heard.Add(1)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		s.mu.Lock()
		s.seen = append(s.seen, r.TLS.PeerCertificates[0].Subject.CommonName)
		s.mu.Unlock()
	}
	s.handler.ServeHTTP(w, r)
}

// lastClient is the common name of the certificate that the last client with one was.
func (s *site) lastClient() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return ""
	}
	return s.seen[len(s.seen)-1]
}

func (s *site) ca() string { return content(s.t, s.authority.File) }

// serve runs a server with a certificate from files and answers with its URL. clients is PEM of the authorities whose clients it takes; empty
// asks for none.
func (s *site) serve(certFile, keyFile, clients string) string {
	s.t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if clients != "" {
		server.TLS.ClientCAs = x509.NewCertPool()
		server.TLS.ClientCAs.AppendCertsFromPEM([]byte(clients))
		server.TLS.ClientAuth = tls.RequireAndVerifyClientCert
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	s.t.Cleanup(server.Close)
	return server.URL + "/mcp"
}

// issue makes a server's certificate, and says what its key is called as a pin.
func (s *site) issue(name string, change func(*x509.Certificate)) (certFile, keyFile, pin string) {
	s.t.Helper()
	certFile, keyFile = s.authority.IssueAs(s.t, name, change)
	return certFile, keyFile, pinOf(s.t, certFile)
}

func asIs(*x509.Certificate) {}

// expect reaches a server and wants it to answer (says is empty), or to be refused in these words before it heard a request.
func (s *site) expect(name string, reach Reacher, d Declared, says string) {
	s.t.Run(name, func(t *testing.T) {
		before := s.heard.Load()
		got := reach(t, d)
		if (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("wanted %q in what is said: %q", says, got)
		}
		if heard := s.heard.Load() > before; heard != (says == "") {
			t.Errorf("the server heard of it: %v", heard)
		}
	})
}

// Certificates holds a Reacher to whom it believes to be a server.
func Certificates(t *testing.T, handler http.Handler, start Start) {
	s, stranger := newSite(t, handler), newSite(t, handler)
	reach := start(t, nil)
	cert, key, pin := s.issue("server", asIs)
	url := s.serve(cert, key, "")
	s.expect("the system's authorities", reach, Declared{URL: url}, "authority that is not trusted")
	s.expect("the declared authority", reach, Declared{URL: url, CA: s.ca()}, "")
	s.expect("another authority", reach, Declared{URL: url, CA: stranger.ca()}, "authority that is not trusted")

	cert, key, _ = s.issue("expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	s.expect("an expired certificate", reach, Declared{URL: s.serve(cert, key, ""), CA: s.ca()}, "expired or is not good yet")
	cert, key, _ = s.issue("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	s.expect("a certificate of tomorrow", reach, Declared{URL: s.serve(cert, key, ""), CA: s.ca()}, "expired or is not good yet")
	cert, key, other := s.issue("elsewhere", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"elsewhere.example"}, nil })
	elsewhere := s.serve(cert, key, "")
	s.expect("a certificate of another host", reach, Declared{URL: elsewhere, CA: s.ca()}, "for another host")
	s.expect("another host with the right pin", reach, Declared{URL: elsewhere, CA: s.ca(), Pins: []string{other}}, "for another host")
	cert, key, _ = s.issue("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	s.expect("a client's certificate", reach, Declared{URL: s.serve(cert, key, ""), CA: s.ca()}, "not one that a server can have")

	nextCert, nextKey, next := s.issue("next", asIs)
	both := []string{pin, next}
	s.expect("the pinned key", reach, Declared{URL: url, CA: s.ca(), Pins: []string{pin}}, "")
	s.expect("the pinned authority", reach, Declared{URL: url, CA: s.ca(), Pins: []string{pinOf(t, s.authority.File)}}, "")
	s.expect("another key than the pinned", reach, Declared{URL: url, CA: s.ca(), Pins: []string{next}}, "spec.pins")
	s.expect("a pin does not replace the authority", reach, Declared{URL: url, CA: stranger.ca(), Pins: []string{pin}}, "authority that is not trusted")
	s.expect("this key and the next, before the change", reach, Declared{URL: url, CA: s.ca(), Pins: both}, "")
	s.expect("this key and the next, after the change", reach, Declared{URL: s.serve(nextCert, nextKey, ""), CA: s.ca(), Pins: both}, "")
	cert, key, _ = s.issue("third", asIs)
	s.expect("neither this key nor the next", reach, Declared{URL: s.serve(cert, key, ""), CA: s.ca(), Pins: both}, "spec.pins")

	plain := httptest.NewServer(s)
	t.Cleanup(plain.Close)
	s.expect("a server without TLS", reach, Declared{URL: strings.Replace(plain.URL, "http", "https", 1) + "/mcp", CA: s.ca()}, "does not speak TLS")
}

// ClientCertificates holds a Reacher to whom it shows itself as.
func ClientCertificates(t *testing.T, handler http.Handler, start Start) {
	s, clients := newSite(t, handler), newSite(t, handler)
	mine, mineKey := clients.authority.Issue(t, "headgate-1")
	foreign, foreignKey := s.authority.Issue(t, "foreign")
	reach := start(t, egress.Certificates{
		"core":    {Certificate: mine, Key: mineKey, Tenants: []string{"acme", "globex"}},
		"foreign": {Certificate: foreign, Key: foreignKey},
		"theirs":  {Certificate: mine, Key: mineKey, Tenants: []string{"globex"}},
	})
	cert, key, pin := s.issue("server", asIs)
	url := s.serve(cert, key, clients.ca())
	declared := func(name string) Declared {
		return Declared{URL: url, CA: s.ca(), Pins: []string{pin}, ClientCertificate: name}
	}
	s.expect("none where one is wanted", reach, declared(""), "wants a client certificate")
	s.expect("one of another authority", reach, declared("foreign"), "wants a client certificate")
	s.expect("a name that is not configured", reach, declared("nowhere"), `"nowhere"`)
	s.expect("a name of another tenant's", reach, declared("theirs"), `"theirs"`)
	s.expect("the configured one", reach, declared("core"), "")
	if got := s.lastClient(); got != "headgate-1" {
		t.Errorf("the server was shown %q", got)
	}
	open := s.serve(cert, key, "")
	s.expect("one where none is wanted", reach, Declared{URL: open, CA: s.ca(), ClientCertificate: "core"}, "")

	newer, newerKey := clients.authority.Issue(t, "headgate-2")
	for from, to := range map[string]string{newer: mine, newerKey: mineKey} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for again := 0; s.lastClient() != "headgate-2"; again++ {
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate is never shown")
		}
		// A server that is declared anew gets new connections.
		d := declared("core")
		d.Pins = append(d.Pins, fmt.Sprintf("sha256/%043d=", again))
		if said := reach(t, d); said != "" {
			t.Fatal(said)
		}
	}
}

// Addresses holds a Reacher to where it goes: never where the platform's own secrets are, and nowhere that a server sends it.
func Addresses(t *testing.T, handler http.Handler, start Start) {
	reach := start(t, nil)
	s := newSite(t, handler)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.expect("this machine, declared", reach, Declared{URL: server.URL + "/mcp"}, "")
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]", "[fe80::1]"} {
		s.expect(host, reach, Declared{URL: "http://" + host + ":" + port + "/mcp"}, "Nothing is sent there")
	}
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		redirects := httptest.NewServer(http.RedirectHandler(server.URL+"/mcp", status))
		t.Cleanup(redirects.Close)
		s.expect(fmt.Sprintf("a redirect with %d", status), reach, Declared{URL: redirects.URL + "/mcp"}, "server")
	}
}

func pinOf(t *testing.T, certFile string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(content(t, certFile)))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return egress.Pin(cert)
}

func content(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
