package ledger

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"headgate.dev/libs/wholefile"
)

// segments are the records, one frame after the other, in files that are named by the place of their first byte among all bytes.
type segments struct {
	dir   string
	limit int64

	mu  sync.RWMutex
	all []segment
}

type segment struct {
	from int64
	file *flat
}

// missingSegment says that a file of records is not there or shorter than it was.
type missingSegment struct{ from int64 }

func (m *missingSegment) Error() string {
	return fmt.Sprintf("the file of records that begins at byte %d is missing, or the one before it was cut", m.from)
}

// openSegments opens what is there, and begins the first file where there is none.
func openSegments(dir string, limit int64) (*segments, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := wholefile.SyncDir(filepath.Dir(dir)); err != nil { // records are safe once they are appended: their folder must be, too
		return nil, err
	}
	s, err := listSegments(dir, toWrite)
	if err != nil {
		return nil, err
	}
	if s.limit = limit; len(s.all) == 0 {
		return s, s.roll()
	}
	return s, nil
}

func listSegments(dir string, mode int) (*segments, error) {
	s := &segments{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, isSegment := strings.CutSuffix(e.Name(), ".seg")
		from, err := strconv.ParseInt(name, 10, 64)
		if !isSegment || err != nil {
			continue
		}
		file, err := openFlat(filepath.Join(dir, e.Name()), mode)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.all = append(s.all, segment{from: from, file: file})
	}
	slices.SortFunc(s.all, func(a, b segment) int { return int(min(max(a.from-b.from, -1), 1)) })
	next := int64(0)
	for _, one := range s.all {
		if one.from != next {
			return nil, errors.Join(&missingSegment{next}, s.close())
		}
		next += one.file.size
	}
	return s, nil
}

func (s *segments) close() error {
	var errs []error
	for _, one := range s.all {
		errs = append(errs, one.file.close())
	}
	return errors.Join(errs...)
}

func (s *segments) end() int64 {
	if len(s.all) == 0 {
		return 0
	}
	last := s.all[len(s.all)-1]
	return last.from + last.file.size
}

// roll begins a new file.
func (s *segments) roll() error {
	from := s.end()
	file, err := openFlat(filepath.Join(s.dir, fmt.Sprintf("%020d.seg", from)), toWrite)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, segment{from: from, file: file})
	return wholefile.SyncDir(s.dir)
}

// room begins a new file when the last one is full.
func (s *segments) room() error {
	if last := s.all[len(s.all)-1]; last.file.size < s.limit {
		return nil
	}
	return s.roll()
}

// append brings frames to the disk. After an error, none of them counts.
func (s *segments) append(frames []byte) error {
	file := s.all[len(s.all)-1].file
	before := file.size
	err := file.append(frames)
	if err == nil {
		err = file.sync()
	}
	if err != nil {
		return errors.Join(err, file.cut(before))
	}
	return nil
}

func (s *segments) holding(at int64) (segment, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.all), func(i int) bool { return s.all[i].from > at }) - 1
	if i < 0 {
		return segment{}, false
	}
	return s.all[i], true
}

// read reads the record whose frame begins there.
func (s *segments) read(at int64) ([]byte, error) {
	one, ok := s.holding(at)
	if !ok {
		return nil, fmt.Errorf("no file of records has byte %d", at)
	}
	var head [frameHead]byte
	if err := one.file.read(head[:], at-one.from); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[:])) + frameHead
	return readFrame(bufio.NewReader(io.NewSectionReader(one.file.file, at-one.from, length)))
}

// scan yields the records from a place on, and returns where the last whole one ends. Only the last file may end in the middle of one.
func (s *segments) scan(at int64, yield func(at int64, data []byte) error) (int64, error) {
	for i, one := range s.all {
		if at >= one.from+one.file.size && i < len(s.all)-1 {
			continue
		}
		r := bufio.NewReaderSize(io.NewSectionReader(one.file.file, at-one.from, one.from+one.file.size-at), 1<<20)
		for {
			data, err := readFrame(r)
			if errors.Is(err, io.EOF) && !errors.Is(err, errTorn) {
				break
			}
			if errors.Is(err, errTorn) && i == len(s.all)-1 {
				return at, nil
			}
			if err != nil {
				return at, err
			}
			if err := yield(at, data); err != nil {
				return at, err
			}
			at += frameHead + int64(len(data))
		}
	}
	return at, nil
}

// cutTail moves what follows the last whole record into a file of its own, for who wants to know what it was.
func (s *segments) cutTail(end int64) (int64, error) {
	last := s.all[len(s.all)-1]
	cut := s.end() - end
	if cut <= 0 {
		return 0, nil
	}
	rest := make([]byte, cut)
	if err := last.file.read(rest, end-last.from); err != nil {
		return 0, err
	}
	if err := wholefile.Replace(filepath.Join(s.dir, fmt.Sprintf("cut-%020d", end)), rest, 0o600); err != nil {
		return 0, err
	}
	return cut, errors.Join(last.file.cut(end-last.from), last.file.sync())
}

func hexHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
