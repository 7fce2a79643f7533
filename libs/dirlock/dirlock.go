// Package dirlock keeps a directory for one process at a time.
package dirlock

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Held says that another process has the directory.
type Held struct {
	// Process is the id that the other process wrote; empty when it has not yet.
	Process string
}

// Error implements error.
func (h *Held) Error() string { return "in use by process " + h.Process }

// Take takes the directory, which must be there. Closing the file gives it back; so does the kernel when the process dies. An error is a *Held, or says
// why the lock file cannot be used.
func Take(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := os.ReadFile(path) // only for the words
		return nil, errors.Join(&Held{strings.TrimSpace(string(holder))}, f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
