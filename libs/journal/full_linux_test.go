//go:build external

package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// small mounts a file system of so many bytes, which needs the right to.
func small(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestExternalARealDiskThatIsFullRefusesAndLosesNothing(t *testing.T) {
	disk := small(t, 4<<20)
	ballast, dir := filepath.Join(disk, "ballast"), filepath.Join(disk, "journal")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := openAt(t, Config{Dir: dir, SegmentBytes: 256 << 10})
	var ids []string
	var err error
	for i := 0; err == nil && i < 100_000; i++ {
		id := fmt.Sprint("before-", i)
		if err = w.Append(call(id, id, final), Strict); err == nil {
			ids = append(ids, id)
		}
	}
	if !refusedFor(err, "no room") && !refusedFor(err, "new file") {
		t.Fatalf("after %d records: %v", len(ids), err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		id := fmt.Sprint("after-", i)
		mustAppend(t, w, call(id, id, final))
		ids = append(ids, id)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	numbered(t, dir, ids...)
}

func TestExternalAReadOnlyDiskIsNotOpened(t *testing.T) {
	disk := small(t, 4<<20)
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: filepath.Join(disk, "journal")}, "edge", quiet, nil)
	if !refusedFor(err, "writable") || !errors.Is(err, syscall.EROFS) {
		t.Errorf("opened: %v", err)
	}
}
