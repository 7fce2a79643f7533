//go:build linux

// Package smalldisk gives tests a file system of a few MiB that they can fill. It takes the right to mount one.
package smalldisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Page is the least that a file takes of the disk, in bytes.
const Page = 4096

// Disk is mounted until the test ends.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	t       testing.TB
	ballast string
}

// Mount mounts a disk of so many bytes. What lies on it must be closed when the test ends.
func Mount(t testing.TB, bytes int) *Disk {
	t.Helper()
	d := &Disk{Dir: t.TempDir(), t: t}
	d.ballast = filepath.Join(d.Dir, "ballast")
	if err := syscall.Mount("tmpfs", d.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.Dir, 0); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Fill leaves no room.
func (d *Disk) Fill() {
	d.t.Helper()
	file, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, size := range []int{16 * Page, Page} {
		for err = nil; err == nil; {
			_, err = file.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			d.t.Fatal(err)
		}
	}
}

// FillBut leaves room for so many pages.
func (d *Disk) FillBut(pages int64) {
	d.t.Helper()
	d.Fill()
	info, err := os.Stat(d.ballast)
	if err == nil {
		err = os.Truncate(d.ballast, max(0, (info.Size()/Page-pages)*Page))
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Free takes away what Fill put there.
func (d *Disk) Free() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}
