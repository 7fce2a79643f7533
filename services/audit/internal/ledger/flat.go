package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"headgate.dev/libs/dirlock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// flat is a file that grows at its end and is read anywhere.
type flat struct {
	file *os.File
	size int64 // of the writer alone
}

// How files are opened: by who appends, and by who verifies what may lie on a disk that takes no writing.
const (
	toWrite = os.O_RDWR | os.O_CREATE
	toRead  = os.O_RDONLY
)

func openFlat(path string, mode int) (*flat, error) {
	file, err := os.OpenFile(path, mode, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &flat{file: file, size: info.Size()}, nil
}

// cut makes the file so long; it is an error when it is shorter.
func (f *flat) cut(size int64) error {
	if f.size < size {
		return fmt.Errorf("%s has %d bytes and should have %d", filepath.Base(f.file.Name()), f.size, size)
	}
	f.size = size
	return f.file.Truncate(size)
}

func (f *flat) append(data []byte) error {
	if _, err := f.file.WriteAt(data, f.size); err != nil {
		return err
	}
	f.size += int64(len(data))
	return nil
}

func (f *flat) read(into []byte, at int64) error {
	_, err := f.file.ReadAt(into, at)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s ends before byte %d", filepath.Base(f.file.Name()), at+int64(len(into)))
	}
	return err
}

func (f *flat) sync() error  { return f.file.Sync() }
func (f *flat) close() error { return f.file.Close() }

// lockDir keeps other processes out.
func lockDir(dir string) (*os.File, error) {
	f, err := dirlock.Take(dir)
	if held, ok := errors.AsType[*dirlock.Held](err); ok {
		return nil, fault.New(faultv1.Reason_REASON_CONFLICT, "The ledger's directory %s is in use by process %s. Stop that process or name another directory.",
			dir, held.Process)
	}
	if err != nil {
		return nil, unusable(dir, err)
	}
	return f, nil
}
