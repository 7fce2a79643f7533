package serve

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Private closes the process to other processes of its user, as are the programs that an edge starts: they can read neither its environment nor its
// memory in /proc, nor trace it, and no core dump writes its secrets to a disk (prctl(2), PR_SET_DUMPABLE). Root, and who has CAP_SYS_PTRACE, still can.
func Private() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("the process cannot be closed to other processes of its user: %w", err)
	}
	return nil
}
