package ledger

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/wholefile"
	"headgate.dev/services/audit/internal/index"
)

const (
	frameHead  = 8  // length and CRC-32C of a record
	spotBytes  = 16 // where a record and its leaf begin
	blockBytes = 16 // first and last time of a block of records
	stateFile  = "state.json"
)

// BlockSize is how many records share the times that a reader may skip them by.
const BlockSize = 256

// files are a ledger's files. Those below records are the truth, the others follow from them.
type files struct {
	dir      string
	segments *segments
	hashes   *flat // 32 bytes each, in the order of tlog.StoredHashes
	spots    *flat // of every record: where its frame begins, where its leaf begins
	leaves   *flat // each with its length in two bytes before it
	times    *flat // of every block of records: the earliest and the latest time
	writers  *slots
	block    block
}

// derivation is the version of what is derived from records. Who changes that for records that may be in a ledger already adds one, and every ledger derives it again.
const derivation = 1

// state is up to where the derived files are on the disk.
type state struct {
	Version int   `json:"version"`
	Size    int64 `json:"size"`
	Record  int64 `json:"record"`
	Leaf    int64 `json:"leaf"`
}

// openFiles opens or makes the files and derives again what may not have reached the disk. cut is how many bytes of a torn record were removed,
// which is never one of the first that a checkpoint signs.
func openFiles(cfg Config, signed int64) (*files, *base.Frontier, int64, error) {
	f := &files{dir: cfg.Dir}
	err := f.openFlats(toWrite)
	if err != nil {
		return nil, nil, 0, errors.Join(unusable(cfg.Dir, err), f.close())
	}
	if f.segments, err = openSegments(filepath.Join(cfg.Dir, "records"), cfg.SegmentBytes); err == nil {
		f.writers, err = openSlots(filepath.Join(cfg.Dir, "writers"))
	}
	if err != nil {
		return nil, nil, 0, errors.Join(unusable(cfg.Dir, err), f.close())
	}
	frontier, cut, err := f.derive(signed)
	if err != nil {
		return nil, nil, 0, errors.Join(err, f.close())
	}
	return f, frontier, cut, nil
}

func (f *files) openFlats(mode int) error {
	for _, one := range []struct {
		at   **flat
		name string
	}{{&f.hashes, "hashes"}, {&f.spots, "spots"}, {&f.leaves, "leaves"}, {&f.times, "times"}} {
		var err error
		if *one.at, err = openFlat(filepath.Join(f.dir, one.name), mode); err != nil {
			return err
		}
	}
	return nil
}

func (f *files) close() error {
	var errs []error
	for _, one := range []*flat{f.hashes, f.spots, f.leaves, f.times} {
		if one != nil {
			errs = append(errs, one.close())
		}
	}
	if f.segments != nil {
		errs = append(errs, f.segments.close())
	}
	if f.writers != nil {
		errs = append(errs, f.writers.close())
	}
	return errors.Join(errs...)
}

// derive goes back to the last state that is on the disk and forward again over the records.
func (f *files) derive(signed int64) (*base.Frontier, int64, error) {
	s, err := f.readState()
	if err != nil {
		return nil, 0, err
	}
	if s.Record > f.segments.end() {
		return nil, 0, broken("The records of the ledger in %s end at byte %d and reached byte %d: records were lost. Restore the directory from a copy that is whole.",
			f.dir, f.segments.end(), s.Record)
	}
	renewed := s.Size > 0 && s.Version != derivation
	if renewed {
		s = state{}
	}
	blocks := (s.Size + BlockSize - 1) / BlockSize
	err = errors.Join(f.hashes.cut(tlog.StoredHashCount(s.Size)*tlog.HashSize), f.spots.cut(s.Size*spotBytes), f.leaves.cut(s.Leaf), f.times.cut(blocks*blockBytes))
	if err != nil {
		return nil, 0, broken("The ledger in %s lacks files that its records' order is in: %v. Remove %s, so that they are made again from the records.", f.dir, err, stateFile)
	}
	frontier, err := base.NewFrontier(s.Size, f)
	if err != nil {
		return nil, 0, err
	}
	if err := f.readBlock(s.Size); err != nil {
		return nil, 0, err
	}
	d := &deriving{files: f, frontier: frontier}
	end, err := f.segments.scan(s.Record, d.take)
	if d.flush(); d.unwritten != nil { // nothing is wrong with the records
		return nil, 0, unusable(f.dir, d.unwritten)
	}
	if err != nil {
		return nil, 0, broken("The ledger in %s cannot be read after record %d: %v. Keep the directory for an investigation and restore it from a copy.", f.dir, frontier.Size(), err)
	}
	if frontier.Size() < signed {
		return nil, 0, lost(f.dir, frontier.Size(), signed)
	}
	cut, err := f.segments.cutTail(end)
	if err == nil && renewed {
		err = f.sync(frontier.Size())
	}
	if err != nil {
		return nil, 0, unusable(f.dir, err)
	}
	return frontier, cut, nil
}

func (f *files) readState() (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(f.dir, stateFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, nil
	case err != nil:
		return s, unusable(f.dir, err)
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Size < 0 || s.Record < 0 || s.Leaf < 0 {
		return state{}, nil // as if there were none: everything is derived again
	}
	return s, nil
}

// deriving makes again what is derived from records, and remembers now and then how far it came: what is interrupted goes on there.
type deriving struct {
	files     *files
	frontier  *base.Frontier
	waiting   []addition
	since     int // records since that was remembered
	unwritten error
}

// rememberEvery is after how many records.
var rememberEvery = 1 << 16

func (d *deriving) take(at int64, data []byte) error {
	if len(d.waiting) == BlockSize {
		if d.flush(); d.unwritten == nil && d.since >= rememberEvery {
			d.since = 0
			d.unwritten = errors.Join(d.files.syncDerived(), d.files.remember(d.frontier.Size(), at))
		}
	}
	if d.unwritten != nil {
		return d.unwritten
	}
	head, ev, err := base.HeadOf(data)
	if err != nil {
		return err
	}
	d.waiting = append(d.waiting, addition{head: head, at: at, time: index.Nanos(ev.GetTime().AsTime())})
	return nil
}

// flush writes what waits.
func (d *deriving) flush() {
	if d.unwritten == nil && len(d.waiting) > 0 {
		d.unwritten = d.files.follow(d.frontier, d.waiting)
		d.since += len(d.waiting)
		d.waiting = d.waiting[:0]
	}
}

func (f *files) syncDerived() error {
	return errors.Join(f.hashes.sync(), f.spots.sync(), f.leaves.sync(), f.times.sync(), f.writers.sync())
}

// sync brings the derived files to the disk and remembers how far they go.
func (f *files) sync(size int64) error {
	if err := f.syncDerived(); err != nil {
		return err
	}
	return f.remember(size, f.segments.end())
}

// remember writes how far the derived files go: so many records, which end at that byte.
func (f *files) remember(size, record int64) error {
	data, err := json.Marshal(state{Version: derivation, Size: size, Record: record, Leaf: f.leaves.size})
	if err != nil {
		return err
	}
	return wholefile.Replace(filepath.Join(f.dir, stateFile), data, 0o600)
}

// addition is a record that is in its segment, and now follows in the other files.
type addition struct {
	head base.Head
	at   int64
	time int64
}

// follow writes what is derived from records.
func (f *files) follow(frontier *base.Frontier, all []addition) error {
	first := frontier.Size()
	var stored []tlog.Hash
	var spots, leaves []byte
	for _, a := range all {
		leaf := a.head.Leaf()
		stored = frontier.AppendStored(stored, tlog.RecordHash(leaf))
		spots = binary.BigEndian.AppendUint64(spots, uint64(a.at))
		spots = binary.BigEndian.AppendUint64(spots, uint64(f.leaves.size+int64(len(leaves))))
		leaves = append(binary.BigEndian.AppendUint16(leaves, uint16(len(leaf))), leaf...)
	}
	hashes := make([]byte, 0, len(stored)*tlog.HashSize)
	for _, h := range stored {
		hashes = append(hashes, h[:]...)
	}
	if err := errors.Join(f.hashes.append(hashes), f.leaves.append(leaves), f.spots.append(spots)); err != nil {
		return err
	}
	for i, a := range all {
		if err := f.writers.set(a.head.Writer, a.head.Sequence, first+int64(i)); err != nil {
			return err
		}
		if err := f.note(first+int64(i), a.time); err != nil {
			return err
		}
	}
	return f.writeBlock()
}

// ReadHashes implements tlog.HashReader.
func (f *files) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if err := f.hashes.read(out[i][:], index*tlog.HashSize); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// head reads the head of a record.
func (f *files) head(index int64) (base.Head, error) {
	leaf, err := f.leaf(index)
	if err != nil {
		return base.Head{}, err
	}
	return base.ParseLeaf(leaf)
}

func (f *files) leaf(index int64) ([]byte, error) {
	var at [8]byte
	if err := f.spots.read(at[:], index*spotBytes+8); err != nil {
		return nil, err
	}
	from := int64(binary.BigEndian.Uint64(at[:]))
	var length [2]byte
	if err := f.leaves.read(length[:], from); err != nil {
		return nil, err
	}
	leaf := make([]byte, binary.BigEndian.Uint16(length[:]))
	return leaf, f.leaves.read(leaf, from+2)
}

// leavesOf reads leaves that follow each other, each with its length before it.
func (f *files) leavesOf(first, count int64) ([]byte, error) {
	spots := make([]byte, count*spotBytes)
	if err := f.spots.read(spots, first*spotBytes); err != nil {
		return nil, err
	}
	from := int64(binary.BigEndian.Uint64(spots[8:]))
	last := int64(binary.BigEndian.Uint64(spots[len(spots)-8:]))
	var length [2]byte
	if err := f.leaves.read(length[:], last); err != nil {
		return nil, err
	}
	end := last + 2 + int64(binary.BigEndian.Uint16(length[:]))
	if end-from < 0 || end-from > count*(2+math.MaxUint16) {
		return nil, fmt.Errorf("the places of the leaves from %d on are not in their order", first)
	}
	leaves := make([]byte, end-from)
	return leaves, f.leaves.read(leaves, from)
}

// record reads the bytes of a record, and where its frame begins.
func (f *files) record(index int64) (at int64, data []byte, err error) {
	var spot [8]byte
	if err := f.spots.read(spot[:], index*spotBytes); err != nil {
		return 0, nil, err
	}
	at = int64(binary.BigEndian.Uint64(spot[:]))
	data, err = f.segments.read(at)
	return at, data, err
}

// fits refuses a record of a size that no journal writes. It is the one limit of what is appended and of what is read again.
func fits(length int) error {
	if length == 0 || length > journal.MaxRecord {
		return fmt.Errorf("it has %d bytes, and a record of the ledger has 1 to %d", length, journal.MaxRecord)
	}
	return nil
}

// unsigned names the files that go on behind what follows from the first records.
func (f *files) unsigned(size int64) ([]string, error) {
	var out []string
	leaves := int64(0)
	if size > 0 {
		var at [8]byte
		if err := f.spots.read(at[:], (size-1)*spotBytes+8); err != nil {
			return nil, err
		}
		leaf, err := f.leaf(size - 1)
		if err != nil {
			return nil, nil // it is told where it is read
		}
		leaves = int64(binary.BigEndian.Uint64(at[:])) + 2 + int64(len(leaf))
	}
	for _, one := range []struct {
		file *flat
		size int64
	}{{f.hashes, tlog.StoredHashCount(size) * tlog.HashSize}, {f.spots, size * spotBytes}, {f.leaves, leaves}, {f.times, (size + BlockSize - 1) / BlockSize * blockBytes}} {
		if one.file.size > one.size {
			out = append(out, filepath.Base(one.file.file.Name()))
		}
	}
	writers, err := f.writers.ends(func(name string, sequence uint64, index int64) bool {
		head, err := f.head(index)
		return index < size && err == nil && head.Sequence == sequence && slotFile(head.Writer) == name
	})
	return append(out, writers...), err
}

func frame(dst, data []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(data)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	return append(dst, data...)
}

// errTorn is a frame that is not whole.
var errTorn = errors.New("the record is not whole")

// readFrame reads one frame; io.EOF at the end.
func readFrame(r *bufio.Reader) ([]byte, error) {
	var head [frameHead]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) && n == 0 {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if err := fits(int(length)); err != nil {
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	if crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("%w: its checksum is another", errTorn)
	}
	return data, nil
}
