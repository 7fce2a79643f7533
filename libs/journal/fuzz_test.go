package journal

import (
	"os"
	"testing"

	"headgate.dev/libs/clock"
)

// segmentBytes are those of a journal with a few records and an open call that was carried.
func segmentBytes(tb testing.TB) []byte {
	tb.Helper()
	dir := tb.TempDir()
	w, err := Open(Config{Dir: dir, SegmentBytes: 4096}, "edge", quiet, clock.System)
	if err != nil {
		tb.Fatal(err)
	}
	mustAppend(tb, w, call("s", "open", start))
	for len(w.segments) < 2 {
		mustAppend(tb, w, call("f", "1", final))
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	paths, _ := listSegments(dir)
	data, err := os.ReadFile(paths[1])
	if err != nil {
		tb.Fatal(err)
	}
	_, end := lastFrame(tb, data)
	return data[:end+16]
}

// Whatever lies in a file, reading it ends, keeps to its bounds and gives only what continues the chain.
func FuzzReadSegment(f *testing.F) {
	good := segmentBytes(f)
	f.Add(good)
	f.Add(good[:len(good)-30])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readSegment(data)
		if err != nil {
			return
		}
		if c.base > c.end || c.end > int64(len(data)) || c.last < c.header.first-1 {
			t.Fatalf("contents %+v of %d bytes", c, len(data))
		}
		if again, err := readSegment(data[:c.end]); err != nil || again.cut != nil || again.last != c.last || again.tail != c.tail {
			t.Fatalf("what is in order is not: %+v %v", again, err)
		}
	})
}

// Whatever bytes are given as an event, wrapping them ends.
func FuzzNewMessage(f *testing.F) {
	for _, ev := range records(f, segmentBytes(f)) {
		f.Add(appendEvent(nil, ev))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := NewMessage(data)
		if err == nil && (len(m.Headers) == 0 || len(m.Key) == 0) {
			t.Fatalf("message %+v", m)
		}
	})
}
