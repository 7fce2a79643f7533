package front

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	lingerBytes = 32 << 20
	lingerTime  = 2 * time.Second
)

// patient is a connection that can be closed in a way that its client still reads the last answer: a socket that is closed with bytes unread
// is reset, and the reset overtakes the answer. What the client goes on sending is read and dropped, up to a bound.
type patient struct {
	net.Conn
	linger atomic.Bool
	// idle says that no request of the connection is under way.
	idle atomic.Bool
	// watcher is of the last call; the goroutine that serves the connection alone uses it.
	watcher *watcher
}

// Close implements net.Conn.
func (p *patient) Close() error {
	if p.linger.Load() {
		p.drain()
	}
	return p.Conn.Close()
}

func (p *patient) drain() {
	half, ok := p.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || p.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, p.Conn, lingerBytes) // an error is the client's end of it
}

// SyscallConn implements syscall.Conn, for whoever looks at the socket.
func (p *patient) SyscallConn() (syscall.RawConn, error) {
	raw, ok := p.Conn.(syscall.Conn)
	if !ok {
		return nil, syscall.EINVAL
	}
	return raw.SyscallConn()
}
