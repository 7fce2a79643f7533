package back

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	dialLimit  = 5 * time.Second
	idleLimit  = 90 * time.Second
	maxIdle    = 256
	headerRoom = 16 << 10
)

// conn is one connection to an upstream. It belongs to one call at a time.
type conn struct {
	net.Conn
	reader *bufio.Reader
	raw    syscall.RawConn
	idle   time.Time
}

// pool keeps connections to one upstream open between calls.
type pool struct {
	network string
	address string
	tls     *tls.Config

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(s *guard.Server, as egress.Identities) (*pool, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has a URL that cannot be used. An administrator must correct it.", s.Name)
	}
	p := &pool{network: "tcp", address: s.Address}
	if u.Scheme != "https" {
		return p, nil
	}
	p.tls, err = as.TLS(egress.Server{Tenant: s.Tenant, Host: u.Hostname(), CA: s.CA, Pins: s.Pins, ClientCertificate: s.ClientCertificate})
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s cannot be called: %s. Tell an administrator.", s.Name, err)
	}
	return p, nil
}

// get takes a live connection from the pool or dials one.
func (p *pool) get(ctx context.Context, now time.Time) (*conn, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return p.dial(ctx)
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if now.Sub(c.idle) < idleLimit && c.alive() {
			return c, nil
		}
		_ = c.Close() // it was closed by the other side or is too old: nothing is lost
	}
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	plain, err := egress.Dial(ctx, p.network, p.address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: plain}
	if sc, ok := plain.(syscall.Conn); ok {
		c.raw, err = sc.SyscallConn()
		if err != nil {
			return nil, errors.Join(err, plain.Close())
		}
	}
	if p.tls != nil {
		secured := tls.Client(plain, p.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		c.Conn = secured
	}
	c.reader = bufio.NewReaderSize(c.Conn, headerRoom)
	return c, nil
}

// put gives a connection back after an answer was read to its end.
func (p *pool) put(c *conn, now time.Time) {
	c.idle = now
	p.mu.Lock()
	if !p.closed && len(p.idle) < maxIdle && c.reader.Buffered() == 0 {
		p.idle = append(p.idle, c)
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// close ends all idle connections; those in use are closed when they come back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}

// alive reports whether a pooled connection can be used. A server that closed it, or that said something unasked, makes it useless: what it said
// would be taken for the answer to the next call.
func (c *conn) alive() bool {
	if c.raw == nil {
		return true
	}
	waiting, ok := false, true
	err := c.raw.Control(func(fd uintptr) { // Read would mind the deadline of the call before
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = n > 0
		ok = waiting || errors.Is(err, syscall.EAGAIN)
	})
	if err != nil || !ok {
		return false
	}
	if secured, is := c.Conn.(*tls.Conn); is {
		return silent(secured, waiting)
	}
	return !waiting
}

// settle is how long TLS may take with records that are there already.
const settle = 5 * time.Millisecond

// silent reads what came over TLS, that which waits in the socket and that which TLS has taken from it before. A session ticket is for TLS alone;
// anything else was said unasked.
func silent(c *tls.Conn, waiting bool) bool {
	until := time.Unix(1, 0) // long ago: nothing is waited for
	if waiting {
		until = time.Now().Add(settle)
	}
	if c.SetReadDeadline(until) != nil {
		return false
	}
	var b [1]byte
	n, err := c.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}
