package front

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// handshakeLimit bounds how long a client may take for its TLS handshake.
const handshakeLimit = 10 * time.Second

// secured is a listener whose connections speak TLS.
type secured struct {
	net.Listener
	config *tls.Config
	limit  time.Duration
}

// Secured makes the connections of a listener speak HTTP/1.1 over TLS 1.2 or 1.3, each with the certificate of its moment. Accept never waits for
// a client: the handshake happens where the connection is first read, and one that is slow is cut.
func Secured(ln net.Listener, certificate func() *tls.Certificate) net.Listener {
	return &secured{Listener: ln, limit: handshakeLimit, config: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(), nil },
		NextProtos:     []string{"http/1.1"},
		MinVersion:     tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2, those with forward secrecy and authenticated encryption (RFC 9325, 4.2); all of 1.3 are
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}}
}

// Accept implements net.Listener.
func (s *secured) Accept() (net.Conn, error) {
	plain, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &securedConn{Conn: tls.Server(plain, s.config), limit: s.limit}, nil
}

// securedConn is a connection that handshakes when it is first read.
type securedConn struct {
	*tls.Conn
	limit  time.Duration
	once   sync.Once
	failed bool
}

// Read implements net.Conn. A connection whose handshake failed is at its end: there was no request, so there is nothing to answer or to record.
func (c *securedConn) Read(p []byte) (int, error) {
	c.once.Do(c.handshake)
	if c.failed {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

func (c *securedConn) handshake() {
	ctx, cancel := context.WithTimeout(context.Background(), c.limit)
	defer cancel()
	err := c.HandshakeContext(ctx)
	c.failed = err != nil
	var strange tls.RecordHeaderError
	if errors.As(err, &strange) && strange.Conn != nil && plainHTTP(strange.RecordHeader) {
		// Whoever forgot the s of https is told so; that they may be gone does not matter.
		_, _ = io.WriteString(strange.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+
			"This port speaks TLS. Use https.\n")
	}
}

// plainHTTP reports whether what stands where a TLS record should begin is the beginning of a request.
func plainHTTP(begin [5]byte) bool {
	switch string(begin[:]) {
	case "GET /", "POST ", "HEAD ", "DELET", "PUT /", "OPTIO":
		return true
	}
	return false
}
