package journal

import (
	"errors"
	"fmt"
	"os"
)

const readBytes = 256 << 10

// reader walks the segments in order. It reads only what is synced, so every record it asks for is whole in its file; what it read ahead may not be.
type reader struct {
	w      *Writer
	file   *os.File
	offset int64
	next   uint64
	buffer []byte // bytes of the file from offset on
	wrap   wrapper
}

// batch returns the next records, beginning with sequence. The messages share bytes that nobody changes.
func (r *reader) batch(sequence uint64) ([]Message, error) {
	if r.file == nil || r.next != sequence {
		if err := r.seek(sequence); err != nil {
			return nil, err
		}
	}
	limit := r.w.synced.Load()
	count := min(batchRecords, int(limit-sequence)+1)
	batch := make([]Message, 0, count)
	r.wrap.begin(count)
	for size := 0; r.next <= limit && len(batch) < batchRecords; {
		body, err := r.record()
		if err != nil {
			return nil, err
		}
		if size += len(body) + 512; size > batchBytes && len(batch) > 0 {
			break
		}
		m, err := r.wrap.message(body)
		if err != nil {
			return nil, err
		}
		batch = append(batch, m)
		r.advance(len(body) + frameHead)
		r.next++
	}
	return batch, nil
}

// record returns the body of the next record without going past it. It is good until the next call.
func (r *reader) record() ([]byte, error) {
	for {
		kind, body, size, err := nextFrame(r.buffer)
		if err != nil {
			if kind, body, size, err = r.again(); errors.Is(err, errEnd) {
				if err := r.seek(r.next); err != nil {
					return nil, err
				}
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if kind == kindRecord {
			return body, nil
		}
		r.advance(size)
	}
}

func (r *reader) advance(size int) {
	r.offset += int64(size)
	r.buffer = r.buffer[size:]
}

// again reads the file from offset on. Bytes that were read ahead may have been in the middle of being written.
func (r *reader) again() (kind byte, body []byte, size int, err error) {
	for want := readBytes; ; want *= 4 {
		left := max(0, r.w.end(r.file.Name())-r.offset)
		space := make([]byte, min(int64(want), left)) // new each time: messages keep parts of what was read before
		n, _ := r.file.ReadAt(space, r.offset)
		r.buffer = space[:n]
		kind, body, size, err = nextFrame(r.buffer)
		if !errors.Is(err, errPartial) || n < want {
			return kind, body, size, err
		}
	}
}

// seek opens the file that holds the record and skips to it.
func (r *reader) seek(sequence uint64) error {
	s, ok := r.w.holding(sequence)
	if !ok || r.file != nil && r.next == sequence && s.path == r.file.Name() {
		return fmt.Errorf("record %d is not in the journal", sequence)
	}
	r.close()
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	r.file, r.offset, r.next = file, 0, s.first
	for r.next < sequence {
		body, err := r.record()
		if err != nil {
			return err
		}
		r.advance(len(body) + frameHead)
		r.next++
	}
	return nil
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.buffer = nil, nil
}

// end is where the records of a segment end; 0 when it is not the journal's any more.
func (w *Writer) end(path string) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.segments {
		if s.path == path {
			return s.offset
		}
	}
	return 0
}

// holding returns the segment that a record is in.
func (w *Writer) holding(sequence uint64) (segment, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.segments {
		if s.first <= sequence && sequence <= s.last {
			return segment{path: s.path, first: s.first, last: s.last}, true
		}
	}
	return segment{}, false
}
