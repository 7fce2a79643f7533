package ledger

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	// slotsPerFile bounds how long one file of slots may be, whatever number a writer claims: 32 GiB, nearly all of it holes that take no room.
	slotsPerFile = 1 << 32
	slotBytes    = 8
)

// slots say of each number of each writer which record of the log has it: eight bytes each, the index plus one.
type slots struct {
	dir   string
	mode  int // to open files with
	mu    sync.Mutex
	files map[string]*os.File
	last  map[string]uint64 // the highest number, by the writer's file
}

func openSlots(dir string) (*slots, error) {
	s := &slots{dir: dir, mode: os.O_RDWR, files: map[string]*os.File{}, last: map[string]uint64{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		base, part, _ := strings.Cut(e.Name(), ".")
		number, err := strconv.ParseUint("0"+part, 10, 32)
		if err != nil || info.Size() < slotBytes {
			continue
		}
		s.last[base] = max(s.last[base], number*slotsPerFile+uint64(info.Size()/slotBytes)-1)
	}
	return s, nil
}

// slotFile is the name of the first file of a writer; those after it carry their number behind it.
func slotFile(writer string) string {
	name := hex.EncodeToString([]byte(writer))
	if len(name) > 200 { // longer than a file's name may be
		name = name[:100] + "-" + hexHash(writer)
	}
	return name
}

// file is the file that has the writer's number, and where in it. One that is only looked into is not made.
func (s *slots) file(writer string, sequence uint64, flags int) (*os.File, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, at := slotFile(writer), int64(sequence%slotsPerFile)*slotBytes
	if part := sequence / slotsPerFile; part > 0 {
		name = fmt.Sprintf("%s.%d", name, part)
	}
	if f := s.files[name]; f != nil {
		return f, at, nil
	}
	f, err := os.OpenFile(filepath.Join(s.dir, name), s.mode|flags, 0o600)
	if err == nil {
		s.files[name] = f
	}
	return f, at, err
}

// highest is the highest number of a writer that was set; 0 when none was.
func (s *slots) highest(writer string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last[slotFile(writer)]
}

func (s *slots) set(writer string, sequence uint64, index int64) error {
	f, at, err := s.file(writer, sequence, os.O_CREATE)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(index+1)), at); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := slotFile(writer)
	s.last[name] = max(s.last[name], sequence)
	return nil
}

// get returns the index; -1 when the log does not have that number below size.
func (s *slots) get(writer string, sequence uint64, size int64) (int64, error) {
	f, at, err := s.file(writer, sequence, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	var slot [slotBytes]byte
	if _, err := f.ReadAt(slot[:], at); err != nil {
		if errors.Is(err, io.EOF) {
			return -1, nil
		}
		return -1, err
	}
	if index := int64(binary.BigEndian.Uint64(slot[:])) - 1; index < size {
		return index, nil
	}
	return -1, nil
}

// ends names the files whose last slot is not that of a record: is says so, of the writer's first file, the number and the index.
func (s *slots) ends(is func(name string, sequence uint64, index int64) bool) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			out = append(out, filepath.Join(filepath.Base(s.dir), e.Name()))
			continue
		}
		data, at, err := lastSlot(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		name, part, _ := strings.Cut(e.Name(), ".")
		number, err := strconv.ParseUint("0"+part, 10, 32)
		if err != nil || at < 0 || !is(name, number*slotsPerFile+uint64(at), data-1) {
			out = append(out, filepath.Join(filepath.Base(s.dir), e.Name()))
		}
	}
	return out, nil
}

// lastSlot reads the last slot of a file, and says its place; -1 for a file that does not end with one.
func lastSlot(path string) (data, at int64, err error) {
	f, err := openFlat(path, toRead)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.close() }()
	if f.size < slotBytes || f.size%slotBytes != 0 {
		return 0, -1, nil
	}
	var slot [slotBytes]byte
	at = f.size/slotBytes - 1
	err = f.read(slot[:], at*slotBytes)
	return int64(binary.BigEndian.Uint64(slot[:])), at, err
}

func (s *slots) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Sync())
	}
	return errors.Join(errs...)
}

func (s *slots) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
