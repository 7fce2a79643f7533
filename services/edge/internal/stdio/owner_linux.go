package stdio

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"headgate.dev/libs/fault"
)

// mayBecome says what an edge lacks to run programs as another user, and to end them and clear up after them.
func mayBecome() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fault.Invalid("stdio.user cannot be used, because the edge's capabilities are not known.").Because(err)
	}
	var lacks []string
	for _, one := range []struct {
		name string
		bit  uint
	}{
		{"CAP_SETUID", unix.CAP_SETUID}, {"CAP_SETGID", unix.CAP_SETGID}, {"CAP_KILL", unix.CAP_KILL}, {"CAP_CHOWN", unix.CAP_CHOWN},
		{"CAP_DAC_OVERRIDE", unix.CAP_DAC_OVERRIDE},
	} {
		if sets[0].Effective&(1<<one.bit) == 0 {
			lacks = append(lacks, one.name)
		}
	}
	if len(lacks) > 0 {
		return fault.Invalid("This edge may not run programs as another user, which stdio.user wants: it lacks %s. Start it as root or give it these capabilities, or take "+
			"stdio.user away and run the programs in a container that holds no keys.", strings.Join(lacks, ", "))
	}
	return nil
}

// become makes a process another user's, with that user's group alone. The thread that starts it hands on no capabilities.
func (o owner) become(attr *syscall.SysProcAttr) error {
	if o == (owner{}) {
		return nil
	}
	attr.Credential = &syscall.Credential{Uid: o.uid, Gid: o.gid, Groups: []uint32{}}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

// own gives a folder to whom the process runs as.
func (o owner) own(dir string) error {
	if o == (owner{}) {
		return nil
	}
	return os.Chown(dir, int(o.uid), int(o.gid))
}
