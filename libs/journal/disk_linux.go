package journal

import (
	"errors"
	"os"
	"syscall"
)

// datasync puts the file's bytes, and the size that is needed to read them, on the disk.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// reserve takes disk space ahead, so that a full disk shows before a record is half written and a sync has no size to write. It answers false on a file
// system that reserves nothing.
func reserve(f *os.File, from, length int64) (bool, error) {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, from, length)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return false, nil // writing extends the file
		default:
			return err == nil, err
		}
	}
}
