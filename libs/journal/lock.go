package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// lockDir keeps other processes out. The kernel gives the lock back when the process dies.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.New(faultv1.Reason_REASON_CONFLICT, "The journal directory %s is in use by process %s. Stop that process or name another directory.",
				dir, strings.TrimSpace(string(holder)))
		}
		return nil, unusable(dir, err)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, unusable(dir, err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		_ = f.Close()
		return nil, unusable(dir, err)
	}
	return f, nil
}
