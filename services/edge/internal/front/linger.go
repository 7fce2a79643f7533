package front

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	lingerBytes = 32 << 20
	lingerTime  = 2 * time.Second
	// writeLimit bounds how long a client may take to take a portion of what is written to it. Who reads slowly gets everything, who reads nothing is cut.
	writeLimit = 30 * time.Second
	portion    = 64 << 10
	// slowest is how many bytes a client has to take in a second of waiting for it, on the average of an answer: portions that are each taken just in time
	// would keep a large answer in memory for hours.
	slowest = 32 << 10
	// prompt is what writing takes where nobody is waited for, on a busy machine.
	prompt = 50 * time.Millisecond
)

// pace is how a client takes an answer: what it took, and how long it was waited for.
type pace struct {
	taken  int64
	waited time.Duration
}

// left is how long the client may take for the next portion; nothing is left for one that was too slow.
func (p *pace) left(limit time.Duration) time.Duration {
	return min(limit, limit+time.Duration(p.taken)*time.Second/slowest-p.waited)
}

func (p *pace) took(bytes int, waited time.Duration) {
	p.taken += int64(bytes)
	if waited > prompt {
		p.waited += waited
	}
}

// patient is a connection that can be closed in a way that its client still reads the last answer: a socket that is closed with bytes unread
// is reset, and the reset overtakes the answer. What the client goes on sending is read and dropped, up to a bound.
type patient struct {
	net.Conn
	linger atomic.Bool
	// idle says that no request of the connection is under way.
	idle atomic.Bool
	// watcher is of the last call; the goroutine that serves the connection alone uses it.
	watcher *watcher
	// limit is another writeLimit; 0 for that.
	limit time.Duration
	// pace is that of the answer that is written; who writes has it alone.
	pace pace
	// framing is of what is read, broken says that it ended there; who reads has them alone.
	framing framing
	broken  bool
}

// Read implements net.Conn.
func (p *patient) Read(into []byte) (int, error) {
	if p.broken {
		return 0, errFraming
	}
	n, err := p.Conn.Read(into)
	good := p.framing.take(into[:n])
	if p.broken = good < n; p.broken {
		err = nil
		if good == 0 {
			err = errFraming
		}
	}
	return good, err
}

// Write implements net.Conn. Each portion has its own time, and all of them have their pace.
func (p *patient) Write(data []byte) (written int, err error) {
	limit := p.limit
	if limit <= 0 {
		limit = writeLimit
	}
	for {
		left, began := p.pace.left(limit), time.Now()
		if left <= 0 {
			return written, os.ErrDeadlineExceeded
		}
		n, err := p.within(left, data[:min(len(data), portion)])
		p.pace.took(n, time.Since(began))
		written += n
		if data = data[n:]; err != nil || len(data) == 0 {
			return written, err
		}
	}
}

func (p *patient) within(limit time.Duration, data []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	return p.Conn.Write(data)
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

// SyscallConn implements syscall.Conn, for whoever looks at the socket, which is below TLS.
func (p *patient) SyscallConn() (syscall.RawConn, error) {
	socket := p.Conn
	if secured, ok := socket.(interface{ NetConn() net.Conn }); ok {
		socket = secured.NetConn()
	}
	raw, ok := socket.(syscall.Conn)
	if !ok {
		return nil, syscall.EINVAL
	}
	return raw.SyscallConn()
}
