package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

// windowBytes is how much of a file is in memory at once.
const windowBytes = 1 << 20

// window is a part of a file in memory. What is stored into it is in the kernel's hands as what is written: it survives the death of the process, and
// syncing the file puts it on the disk. It only saves the call. It belongs to one goroutine at a time.
type window struct {
	bytes []byte
	from  int64
}

// at answers the place in memory for length bytes at an offset of the file, of which reserved bytes are surely on the disk; nil when there is none.
func (w *window) at(file *os.File, offset, length, reserved int64) []byte {
	if end := w.from + int64(len(w.bytes)); offset < w.from || offset+length > end {
		w.close()
		page := int64(os.Getpagesize())
		from := offset / page * page
		size := min(windowBytes, reserved-from)
		if offset+length > from+size {
			return nil
		}
		bytes, err := syscall.Mmap(int(file.Fd()), from, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			return nil // writing does it too
		}
		w.bytes, w.from = bytes, from
	}
	return w.bytes[offset-w.from : offset-w.from+length]
}

func (w *window) close() {
	if w.bytes != nil {
		_ = syscall.Munmap(w.bytes) // it fails for what is not mapped only
	}
	w.bytes, w.from = nil, 0
}

// store puts a frame into memory that is a file's. When the disk does not take it, the processor says so, and that is an error here.
func store(into, frame []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		broken := recover()
		if broken == nil {
			return
		}
		if fault, ok := broken.(runtime.Error); ok {
			if _, ok := fault.(interface{ Addr() uintptr }); ok {
				err = errors.Join(errFault, fault)
				return
			}
		}
		panic(broken)
	}()
	copy(into, frame)
	return nil
}

// errFault says that a file's memory could not be written. What is in it then is not known.
var errFault = fmt.Errorf("the disk did not take what was stored: %w", syscall.EIO)
