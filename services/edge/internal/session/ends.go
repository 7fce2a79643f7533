package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/wholefile"
)

const (
	// remembered is how many ended sessions are known at most; the oldest are forgotten first.
	remembered = 1 << 16
	fileName   = "ended-sessions"
	// mostLines is how long the file grows before it is written anew with what is still of use.
	mostLines = 2 * remembered
)

// digest stands for an id: an id is long, and is a part of all that its request brought.
type digest [16]byte

// end is a session that was ended before its time.
type end struct {
	of    digest
	until int64 // the second from which its id is too old by itself
}

// ends are the sessions that were ended before their time, in memory to be asked and in a file to survive the process. The file has a line for each,
// written and synced before its client hears that the session is over; it is written anew, whole, when it has grown or a write has failed.
type ends struct {
	path string

	mu      sync.Mutex // of memory
	until   map[digest]int64
	order   []digest
	waiting []byte // lines that are in no file yet
	added   uint64 // ends so far

	disk  sync.Mutex
	kept  uint64 // of those added, how many are on disk
	lines int
	whole bool // the file must be written anew
}

// openEnds reads what was kept. What a crash tore off at the end was never confirmed to its client, and is left out.
func openEnds(dir string, now time.Time) (*ends, error) {
	e := &ends{path: filepath.Join(dir, fileName), until: map[digest]int64{}}
	text, err := os.ReadFile(e.path)
	if errors.Is(err, fs.ErrNotExist) {
		e.whole = true
		return e, nil
	}
	if err != nil {
		return nil, fault.Invalid("The file %s of sessions that were ended cannot be read. Give the edge's user access to it.", e.path).Because(err)
	}
	e.whole = len(text) > 0 && text[len(text)-1] != '\n' // what is appended would stand on the last line
	for number := 1; len(text) > 0; number++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		one, ok := readEnd(line)
		if !ok && len(text) > 0 {
			return nil, fault.Invalid("Line %d of %s is damaged, so it is not known which sessions were ended. Put the file back from a copy; or remove it, "+
				"which lets sessions that were ended in the last seven days live again, each for its own caller with a valid token.", number, e.path)
		}
		e.lines++
		e.whole = e.whole || !ok
		if ok && one.until > now.Unix() {
			e.put(one)
		}
	}
	e.whole = e.whole || e.lines > 2*len(e.until)+1024
	return e, nil
}

// over reports whether a session was ended.
func (e *ends) over(of digest) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, over := e.until[of]
	return over
}

// add ends a session at once, and answers when that is on disk.
func (e *ends) add(one end, now time.Time) error {
	e.mu.Lock()
	e.put(one)
	e.waiting = append(e.waiting, one.line()...)
	e.added++
	mine := e.added
	e.mu.Unlock()
	e.disk.Lock()
	defer e.disk.Unlock()
	if e.kept >= mine {
		return nil // another's write took it along
	}
	return e.keep(now)
}

// put remembers one. The lock of memory is held, or nobody else has these ends yet.
func (e *ends) put(one end) {
	if _, known := e.until[one.of]; !known {
		e.order = append(e.order, one.of)
	}
	e.until[one.of] = one.until
	if len(e.order) > remembered {
		delete(e.until, e.order[0])
		e.order = e.order[1:]
	}
}

// keep writes what is in no file yet. The lock of the disk is held.
func (e *ends) keep(now time.Time) error {
	e.mu.Lock()
	lines, added := e.waiting, e.added
	count := bytes.Count(lines, []byte("\n"))
	e.waiting = nil
	if e.whole = e.whole || e.lines+count > mostLines; e.whole {
		lines, count = e.all(now)
	}
	e.mu.Unlock()
	var err error
	if e.whole {
		err = wholefile.Replace(e.path, lines, 0o600)
		e.lines = 0
	} else {
		err = appendSynced(e.path, lines)
	}
	if err != nil {
		e.whole = true // whatever is in the file now
		return err
	}
	e.kept, e.whole = added, false
	e.lines += count
	return nil
}

// all are the lines of what is still of use, in order; the rest is forgotten. The lock of memory is held.
func (e *ends) all(now time.Time) (lines []byte, count int) {
	maps.DeleteFunc(e.until, func(_ digest, until int64) bool { return until <= now.Unix() })
	order := make([]digest, 0, len(e.until))
	for _, of := range e.order {
		if until, ok := e.until[of]; ok {
			order = append(order, of)
			lines = append(lines, end{of, until}.line()...)
		}
	}
	e.order = order
	return lines, len(order)
}

func appendSynced(path string, lines []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(lines)
	return errors.Join(err, file.Sync(), file.Close())
}

// line is an end as the file has it: the digest, the second until which it counts, and a sum over both.
func (e end) line() []byte {
	text := fmt.Sprintf("%x %d", e.of, e.until)
	return fmt.Appendf(nil, "%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

func readEnd(line []byte) (end, bool) {
	var one end
	fields := bytes.Split(line, []byte(" "))
	if len(fields) != 3 || len(fields[0]) != hex.EncodedLen(len(one.of)) {
		return end{}, false
	}
	if _, err := hex.Decode(one.of[:], fields[0]); err != nil {
		return end{}, false
	}
	until, err := strconv.ParseInt(string(fields[1]), 10, 64)
	one.until = until
	return one, err == nil && bytes.Equal(one.line(), append(bytes.Clone(line), '\n'))
}
