package stdio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup puts a process at the head of a group of its own, which ends with the edge, however the edge ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// wait waits until the process has ended, and ends whom it left behind while its number is still its own.
func (p *Process) wait() error {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break // any other error says that there is nothing to wait for
		}
	}
	p.signal(killSignal())
	p.traces.group = p.cmd.Process.Pid
	if left := p.traces.sweep(); left > 0 {
		p.log.Warn("a server left processes that were not of its group any more, and they were ended", "processes", left)
	}
	p.reap()
	return p.cmd.Wait()
}
