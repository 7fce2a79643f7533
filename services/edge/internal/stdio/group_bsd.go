//go:build unix && !linux

package stdio

import "syscall"

// ownGroup puts a process at the head of a group of its own. That it ends with an edge that is killed is only known on Linux; elsewhere it sees its
// input end.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// wait waits until the process has ended, and ends whom it left behind at once: as long as there is one, nobody else gets the number of the group.
func (p *Process) wait() error {
	err := p.cmd.Wait()
	p.signal(killSignal())
	p.reap()
	return err
}
