package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// frames are reused between appends: a record's bytes are only needed until the kernel has them.
type framePool struct{ pool sync.Pool }

func (p *framePool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 2048)
	return &b
}

func (p *framePool) put(b *[]byte) {
	if cap(*b) <= 64<<10 {
		p.pool.Put(b)
	}
}

// Append writes one event and returns when mode is satisfied. It fills id, time and service where they are empty, and sets writer, sequence and
// previous_hash. A started and a final record with one call id belong together; they are two events and need two ids.
// An error is a fault with REASON_JOURNAL: the event is then not in the journal, and what it was to record must not happen.
func (w *Writer) Append(ev *eventsv1.Event, mode Mode) error {
	w.fill(ev)
	buffer := w.frames.get()
	defer w.frames.put(buffer)
	frame := appendEvent((*buffer)[:frameHead], ev)
	var hash [sha256.Size]byte
	w.mu.Lock()
	sequence := w.sequence + 1
	hash = w.previous
	frame = appendIntegrity(frame, w.suffix, sequence, &hash)
	err := w.put(frame, ev)
	w.refused = err
	w.mu.Unlock()
	*buffer = frame
	if err != nil {
		return err
	}
	ev.Writer, ev.Sequence, ev.PreviousHash = w.name, sequence, slices.Clone(chain(sequence, &hash))
	if mode == Strict {
		return w.await(sequence)
	}
	return nil
}

func (w *Writer) fill(ev *eventsv1.Event) {
	if ev.GetId() == "" {
		ev.Id = w.ids.New()
	}
	if ev.GetTime() == nil {
		ev.Time = timestamppb.New(w.now())
	}
	if ev.GetService() == "" {
		ev.Service = w.service
	}
	ev.Writer, ev.Sequence, ev.PreviousHash = "", 0, nil
}

// put writes a frame as the next record. The caller holds the lock.
func (w *Writer) put(frame []byte, ev *eventsv1.Event) error {
	_, closes := w.open[ev.GetCallId()]
	closes = closes && ev.GetPhase() == eventsv1.Phase_PHASE_FINAL
	switch {
	case w.closed:
		return refused("the journal is closed", nil)
	case w.broken != nil:
		return refused("its files can no longer be trusted since an earlier write failed; restart the service", w.broken)
	case int64(len(frame)) > min(MaxRecord, w.cfg.SegmentBytes/2):
		return refused(fmt.Sprintf("it has %d bytes, more than a record may have", len(frame)), nil)
	}
	s, err := w.room(int64(len(frame)), closes)
	if err != nil {
		return err
	}
	seal(frame, kindRecord)
	if err := w.write(s, frame); err != nil {
		return err
	}
	at := place{offset: s.offset, length: len(frame)}
	s.offset += int64(len(frame))
	w.sequence++
	s.last = w.sequence
	w.previous = sha256.Sum256(frame[frameHead:])
	w.written.Store(w.sequence)
	switch {
	case closes:
		delete(w.open, ev.GetCallId())
	case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetCallId() != "":
		w.open[ev.GetCallId()] = at
	}
	return nil
}

// write gives the kernel a frame at the segment's end. What it leaves behind when it fails does not read as a record.
func (w *Writer) write(s *segment, frame []byte) error {
	err := s.put(frame)
	if err == nil {
		return nil
	}
	if errors.Is(err, errFault) {
		w.broken = err
	} else if _, undo := s.file.WriteAt(make([]byte, frameHead), s.offset); undo != nil {
		w.broken = errors.Join(err, undo)
	}
	return refused("the disk does not take it", err)
}

// finalBytes is what is kept free for the final record of each open call.
const finalBytes = 1024

// room returns the segment that has room for a frame, beginning a new one where the last is full. Some room is kept back for records that end a call,
// so that a call that was let through can be settled when no other is let through any more.
func (w *Writer) room(size int64, closes bool) (*segment, error) {
	s := w.segments[len(w.segments)-1]
	left := w.cfg.MaxBytes - w.total + s.reserved - s.offset - size
	if left < 0 || !closes && left < w.chunk()+int64(len(w.open))*finalBytes {
		return nil, w.full()
	}
	if s.offset-s.base >= w.cfg.SegmentBytes {
		next, err := w.roll()
		if err != nil && !closes {
			return nil, err
		}
		if err == nil {
			s = next
		}
	}
	if s.offset+size <= s.reserved {
		return s, nil
	}
	return s, w.grow(s, size)
}

func (w *Writer) full() error {
	return refused(fmt.Sprintf("it is full: %d of %d bytes wait to be shipped. Check that Kafka answers, or raise journal.maxBytes",
		w.total, w.cfg.MaxBytes), nil)
}

func (w *Writer) chunk() int64 { return min(reserveChunk, w.cfg.SegmentBytes) }

// grow takes disk space for a frame, in chunks as long as there is room for one.
func (w *Writer) grow(s *segment, size int64) error {
	chunk := w.chunk()
	exact := s.offset + size - s.reserved
	need := (exact + chunk - 1) / chunk * chunk
	if w.total+need > w.cfg.MaxBytes {
		need = exact
	}
	if w.total+need > w.cfg.MaxBytes {
		return w.full()
	}
	solid, err := w.disk.reserve(s.file, s.reserved, need)
	if err != nil {
		return refused(fmt.Sprintf("the disk under %s has no room. Make some, and it goes on by itself", w.cfg.Dir), err)
	}
	s.solid = solid
	s.reserved += need
	w.total += need
	return nil
}

// roll begins a new segment. The started records of open calls are carried into it, so that the older files can go once they are shipped.
func (w *Writer) roll() (*segment, error) {
	old := w.segments[len(w.segments)-1]
	carried := make(map[string]place, len(w.open))
	content := header{writer: w.name, first: w.sequence + 1, previous: w.previous}.frame()
	for id, at := range w.open {
		frame := make([]byte, at.length)
		if _, err := old.file.ReadAt(frame, at.offset); err != nil {
			return nil, refused("its own records cannot be read", err)
		}
		seal(frame, kindCarried)
		carried[id] = place{offset: int64(len(content)), length: at.length}
		content = append(content, frame...)
	}
	s, err := w.create(w.sequence+1, content)
	if err != nil {
		return nil, err
	}
	old.window.close()
	if err := old.file.Truncate(old.offset); err == nil { // give back what was reserved in vain
		w.total -= old.reserved - old.offset
		old.reserved = old.offset
	}
	w.open = carried
	w.unsynced = append(w.unsynced, old)
	w.segments = append(w.segments, s)
	return s, nil
}

// create makes the file of a segment that begins with content.
func (w *Writer) create(first uint64, content []byte) (*segment, error) {
	path := segmentPath(w.cfg.Dir, first)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, refused("a new file cannot be made", err)
	}
	s := &segment{path: path, file: file, first: first, last: first - 1}
	if err := w.grow(s, int64(len(content))); err != nil {
		return nil, errors.Join(err, s.discard())
	}
	if _, err := file.WriteAt(content, 0); err != nil {
		w.total -= s.reserved
		return nil, errors.Join(refused("the disk does not take a new file", err), s.discard())
	}
	s.base, s.offset = int64(len(content)), int64(len(content))
	return s, nil
}

func (s *segment) discard() error {
	s.close()
	return os.Remove(s.path)
}

func refused(why string, cause error) error {
	err := fault.New(faultv1.Reason_REASON_JOURNAL,
		"The audit journal cannot take the record: %s. What is not recorded does not happen; an operator must look at the journal.", why)
	if cause != nil {
		return err.Because(cause)
	}
	return err
}
