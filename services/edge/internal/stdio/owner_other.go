//go:build !linux

package stdio

import (
	"syscall"

	"headgate.dev/libs/fault"
)

func mayBecome() error {
	return fault.Invalid("stdio.user works on Linux alone. Take it away, and run programs that you do not trust on another machine than the edge's keys.")
}

func (owner) become(*syscall.SysProcAttr) error { return nil }

func (owner) own(string) error { return nil }
