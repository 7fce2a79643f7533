package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	segmentExt   = ".seg"
	magic        = "HGJRNL1\n"
	headerFixed  = len(magic) + 8 + sha256.Size
	maxWriter    = 256
	reserveChunk = 1 << 20
)

// segment is one file of the journal.
type segment struct {
	path     string
	file     *os.File
	first    uint64 // sequence of its first record
	last     uint64 // sequence of its last record; first-1 when it has none
	base     int64  // where its own records begin, after header and carried records
	offset   int64  // where the next frame goes
	reserved int64  // bytes it takes on disk
	solid    bool   // they are really taken, so that its end can be written in memory
	window   window
}

// put puts a frame at the segment's end.
func (s *segment) put(frame []byte) error {
	if s.solid {
		if into := s.window.at(s.file, s.offset, int64(len(frame)), s.reserved); into != nil {
			return store(into, frame)
		}
	}
	_, err := s.file.WriteAt(frame, s.offset)
	return err
}

func (s *segment) close() {
	s.window.close()
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentExt))
}

// header is what a segment begins with: enough to continue the chain when every earlier file is gone.
type header struct {
	writer   string
	first    uint64
	previous [sha256.Size]byte // of record first-1; zeros when first is 1
}

func (h header) frame() []byte {
	frame := make([]byte, frameHead, frameHead+headerFixed+len(h.writer))
	frame = append(frame, magic...)
	frame = binary.LittleEndian.AppendUint64(frame, h.first)
	frame = append(frame, h.previous[:]...)
	frame = append(frame, h.writer...)
	seal(frame, kindHeader)
	return frame
}

func readHeader(body []byte) (header, error) {
	if len(body) <= headerFixed || len(body) > headerFixed+maxWriter || !bytes.HasPrefix(body, []byte(magic)) {
		return header{}, errors.New("the segment does not begin with a journal's header")
	}
	h := header{first: binary.LittleEndian.Uint64(body[len(magic):]), writer: string(body[headerFixed:])}
	copy(h.previous[:], body[len(magic)+8:])
	if h.first == 0 {
		return header{}, errors.New("the segment's header names the sequence 0")
	}
	return h, nil
}

// started is a call that a segment leaves open.
type started struct {
	at    place
	event *eventsv1.Event
}

// contents is what reading a segment's bytes gives.
type contents struct {
	header header
	base   int64              // where the segment's own records begin
	end    int64              // where its frames end in order
	last   uint64             // sequence of its last record
	tail   [sha256.Size]byte  // hash of its last record
	open   map[string]started // calls left open at the end
	cut    error              // why reading stopped before the reserved space, nil when it did not
}

// readSegment reads a segment's bytes up to the first frame that is not in order. It fails only when the header is not.
func readSegment(data []byte) (*contents, error) {
	kind, body, size, err := nextFrame(data)
	if err != nil {
		return nil, err
	}
	if kind != kindHeader {
		return nil, errors.New("the segment does not begin with a journal's header")
	}
	h, err := readHeader(body)
	if err != nil {
		return nil, err
	}
	c := &contents{header: h, base: int64(size), end: int64(size), last: h.first - 1, tail: h.previous, open: map[string]started{}}
	for {
		kind, body, size, err := nextFrame(data[c.end:])
		if errors.Is(err, errEnd) {
			if !allZero(data[c.end:]) {
				c.cut = errors.New("bytes follow the end of the records")
			}
			return c, nil
		}
		if err == nil {
			err = c.take(kind, body, place{offset: c.end, length: size})
		}
		if err != nil {
			c.cut = err
			return c, nil
		}
		c.end += int64(size)
		if kind == kindCarried {
			c.base = c.end
		}
	}
}

func (c *contents) take(kind byte, body []byte, at place) error {
	ev := &eventsv1.Event{}
	if err := proto.Unmarshal(body, ev); err != nil {
		return fmt.Errorf("a record is not an event: %w", err)
	}
	switch {
	case kind == kindCarried && c.last == c.header.first-1:
		c.open[ev.GetCallId()] = started{at: at, event: ev}
		return nil
	case kind != kindRecord:
		return fmt.Errorf("a frame of kind %d stands among the records", kind)
	case ev.GetWriter() != c.header.writer || ev.GetSequence() != c.last+1:
		return fmt.Errorf("record %d of %s stands where record %d of %s belongs", ev.GetSequence(), ev.GetWriter(), c.last+1, c.header.writer)
	case !bytes.Equal(ev.GetPreviousHash(), chain(ev.GetSequence(), &c.tail)):
		return fmt.Errorf("record %d does not continue the hash chain", ev.GetSequence())
	}
	c.last++
	c.tail = sha256.Sum256(body)
	switch {
	case ev.GetCallId() == "":
	case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
		c.open[ev.GetCallId()] = started{at: at, event: ev}
	case ev.GetPhase() == eventsv1.Phase_PHASE_FINAL:
		delete(c.open, ev.GetCallId())
	}
	return nil
}

// chain is the previous_hash of a record: the first record of a writer has none.
func chain(sequence uint64, previous *[sha256.Size]byte) []byte {
	if sequence <= 1 {
		return nil
	}
	return previous[:]
}

const (
	fieldWriter   = protowire.Number(100)
	fieldSequence = protowire.Number(101)
	fieldPrevious = protowire.Number(102)
)

func writerField(name string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, fieldWriter, protowire.BytesType), name)
}

// appendIntegrity adds the journal's fields to the bytes of an event.
func appendIntegrity(frame, writer []byte, sequence uint64, previous *[sha256.Size]byte) []byte {
	frame = append(frame, writer...)
	frame = protowire.AppendVarint(protowire.AppendTag(frame, fieldSequence, protowire.VarintType), sequence)
	if hash := chain(sequence, previous); hash != nil {
		frame = protowire.AppendBytes(protowire.AppendTag(frame, fieldPrevious, protowire.BytesType), hash)
	}
	return frame
}

// listSegments returns the segment files in order of their records.
func listSegments(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentExt))
	slices.Sort(paths)
	return paths, err
}
