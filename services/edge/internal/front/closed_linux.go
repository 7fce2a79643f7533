package front

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// closed reports whether the client has ended the connection, without taking from it. The kernel knows it also while what came before is unread:
// TLS says goodbye before it closes, and a client may send its next request and leave.
func closed(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		gone = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return gone || err != nil
}
