package export_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	base "headgate.dev/libs/ledger"
)

// damage changes a byte of some records where they lie, so that they cannot be read.
func damage(t *testing.T, dir string, which func(index int) bool) {
	t.Helper()
	path := filepath.Join(dir, "records", "00000000000000000000.seg")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for index, at := 0, 0; at < len(data); index++ {
		if which(index) {
			if _, err := file.WriteAt([]byte{data[at+8] ^ 1}, int64(at+8)); err != nil {
				t.Fatal(err)
			}
		}
		at += 8 + int(binary.BigEndian.Uint32(data[at:]))
	}
}

// Of a ledger of years, who asks for a week waits for that week: no record is read but those of blocks that have some of it. That such an export holds shows that
// what stands for the others is right.
func TestAnExportOfATimeReadsTheRecordsOfThatTimeAlone(t *testing.T) {
	dir := t.TempDir()
	l := filledIn(t, dir, 10_000)
	damage(t, dir, func(index int) bool { return index < 3840 || index >= 6144 && index < 9984 })
	// Left are the blocks of 256 records around those from 4,000 on and before 6,000, and the last one, which still grows.
	since, until := start.Add(4*time.Second), start.Add(6*time.Second)
	for name, c := range map[string]struct {
		filter  base.Filter
		records int64
	}{
		"everything":    {base.Filter{Since: since, Until: until}, 2000},
		"a tenant":      {base.Filter{Tenant: "acme", Since: since, Until: until}, 1000},
		"a person":      {base.Filter{Person: "person-7", Since: since, Until: until}, 20},
		"after its end": {base.Filter{Since: start.Add(time.Hour)}, 0},
	} {
		got := pass(t, l, c.filter)
		if got.records != c.records || got.records+got.leftOut != 10_000 {
			t.Errorf("%s: %+v", name, got)
		}
		t.Logf("%s: %d bytes in %s", name, got.bytes, got.took)
	}
}
