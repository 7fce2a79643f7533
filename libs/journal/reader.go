package journal

import (
	"errors"
	"fmt"
	"os"
)

// readBytes is how much of a file is read at once: more than a batch takes.
const readBytes = 1 << 20

// reader walks the segments in order. It reads only what is synced, so every record it asks for is whole in its file. Its memory is used again for each
// batch.
type reader struct {
	w      *Writer
	file   *os.File
	offset int64
	next   uint64
	space  []byte
	buffer []byte // bytes of the file from offset on, in space
	wrap   wrapper
}

// batch returns the next records, beginning with sequence, as many as fit. They are good until the next call.
func (r *reader) batch(sequence uint64) ([]Message, error) {
	if r.file == nil || r.next != sequence {
		if err := r.seek(sequence); err != nil {
			return nil, err
		}
	}
	limit := r.w.synced.Load()
	r.wrap.begin(min(batchRecords, int(limit-sequence)+1))
	r.buffer = nil // what was read ahead is read again: then the batch is in one piece
	for size := 0; r.next <= limit && len(r.wrap.batch) < batchRecords; {
		body, err := r.record(len(r.wrap.batch) == 0)
		if errors.Is(err, errEnd) || errors.Is(err, errPartial) {
			break // the rest is in the next batch
		}
		if err != nil {
			return nil, err
		}
		if size += len(body) + 512; size > BatchBytes && len(r.wrap.batch) > 0 {
			break
		}
		if err := r.wrap.message(body); err != nil {
			return nil, err
		}
		r.advance(len(body) + frameHead)
		r.next++
	}
	return r.wrap.batch, nil
}

// record returns the body of the next record without going past it. Only the first of a batch may read more: the others are in the same memory.
func (r *reader) record(first bool) ([]byte, error) {
	for {
		kind, body, size, err := nextFrame(r.buffer)
		if err != nil && first {
			if kind, body, size, err = r.fill(); errors.Is(err, errEnd) {
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

// fill reads the file from offset on. Where memory begins, a record is whole: none is larger than what is read.
func (r *reader) fill() (kind byte, body []byte, size int, err error) {
	left := max(0, r.w.end(r.file.Name())-r.offset)
	if want := int(min(readBytes, left)); cap(r.space) < want {
		r.space = make([]byte, want)
	}
	n, _ := r.file.ReadAt(r.space[:min(int64(cap(r.space)), left)], r.offset)
	r.buffer = r.space[:n]
	return nextFrame(r.buffer)
}

// renew lets go of the memory of the last batch, which somebody may still read.
func (r *reader) renew() { r.space, r.buffer, r.wrap = nil, nil, wrapper{} }

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
	r.file, r.offset, r.next, r.buffer = file, 0, s.first, nil
	for r.next < sequence {
		body, err := r.record(true)
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
