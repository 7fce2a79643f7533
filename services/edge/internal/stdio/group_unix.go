//go:build unix

package stdio

import (
	"os"
	"syscall"
)

func termSignal() os.Signal { return syscall.SIGTERM }

func killSignal() os.Signal { return syscall.SIGKILL }

// signalGroup sends a signal to a process and all who are in its group. Who is gone already is no error.
func signalGroup(process *os.Process, s os.Signal) {
	if number, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(-process.Pid, number)
	}
}
