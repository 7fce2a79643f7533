//go:build external

package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"headgate.dev/libs/smalldisk"
)

func TestExternalARealDiskThatIsFullRefusesAndLosesNothing(t *testing.T) {
	const room = 2 << 20
	disk := smalldisk.Mount(t, 2*room)
	disk.FillBut(room / smalldisk.Page)
	dir := filepath.Join(disk.Dir, "journal")
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
	disk.Free()
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
	disk := smalldisk.Mount(t, 4<<20)
	if err := syscall.Mount("tmpfs", disk.Dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: filepath.Join(disk.Dir, "journal")}, "edge", quiet, nil)
	if !refusedFor(err, "writable") || !errors.Is(err, syscall.EROFS) {
		t.Errorf("opened: %v", err)
	}
}
