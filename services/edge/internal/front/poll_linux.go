package front

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poll tells when the other end of a stream goes away, for all streams with one goroutine and no thread: the kernel's event queue is itself
// something that Go's runtime waits for.
type poll struct {
	queue *os.File

	mu   sync.Mutex
	last int64
	of   map[int64]*idle
}

func newPoll() (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &poll{queue: os.NewFile(uintptr(fd), "streams"), of: map[int64]*idle{}}, nil
}

// add watches a stream's socket until it says something or ends, which happens once.
func (p *poll) add(s *idle) error {
	raw := rawOf(s.conn)
	if raw == nil {
		return errors.ErrUnsupported
	}
	p.mu.Lock()
	p.last++
	id := p.last
	p.of[id] = s
	p.mu.Unlock()
	s.watched = id
	queue, err := p.queue.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(id), Pad: int32(id >> 32)}
	if err := queue.Control(func(epfd uintptr) {
		err := raw.Control(func(fd uintptr) { failed = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, int(fd), &event) })
		failed = errors.Join(failed, err)
	}); err != nil {
		return err
	}
	return failed
}

// drop forgets a stream. Its socket leaves the queue when it is closed.
func (p *poll) drop(s *idle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, s.watched)
}

// run calls gone for each stream whose client went away, or sent something where nothing is expected, until close.
func (p *poll) run(gone func(*idle)) {
	raw, err := p.queue.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 128)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), events, 0)
			return n > 0 || err != nil && !errors.Is(err, syscall.EINTR)
		})
		if err != nil {
			return
		}
		for _, event := range events[:max(n, 0)] {
			p.mu.Lock()
			s := p.of[int64(uint32(event.Fd))|int64(event.Pad)<<32]
			p.mu.Unlock()
			if s != nil {
				gone(s)
			}
		}
	}
}

func (p *poll) close() { _ = p.queue.Close() }
