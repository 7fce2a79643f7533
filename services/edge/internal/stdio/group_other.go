//go:build !unix

package stdio

import (
	"os"
	"syscall"
)

// ownGroup is nothing where there are no process groups.
func ownGroup() *syscall.SysProcAttr { return nil }

func termSignal() os.Signal { return os.Kill }

func killSignal() os.Signal { return os.Kill }

// signalGroup ends the process alone: its children are not known here.
func signalGroup(process *os.Process, _ os.Signal) { _ = process.Kill() }

func (p *Process) wait() error {
	err := p.cmd.Wait()
	p.reap()
	return err
}
