// Package journal is a service's own record on disk: every audit event is written here first and leaves for Kafka from here.
//
// Records lie in segment files, each framed with its length and a CRC-32C. Within one writer the sequence starts at 1 and has no gap, and each
// record carries the SHA-256 of the bytes of the record before. Append returns once the bytes are in the kernel's hands (Spool: they survive the
// death of the process, and the disk has them within SyncEvery) or on the disk (Strict: they survive the death of the machine).
// Only what the disk has is shipped, so that a machine that dies cannot number two different records alike.
package journal

import (
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	defaultSegmentBytes = 16 << 20
	defaultMaxBytes     = 1 << 30
	defaultSyncEvery    = 100 * time.Millisecond

	// MaxRecord is the largest record, in bytes. It leaves room for Kafka's one MiB a batch.
	MaxRecord = 512 << 10
)

// Config says where a journal lies and how much of the disk it may take.
type Config struct {
	// Dir belongs to one process at a time.
	Dir string `yaml:"dir"`
	// SegmentBytes is the size at which a new file is begun; 0 means 16 MiB.
	SegmentBytes int64 `yaml:"segmentBytes"`
	// MaxBytes bounds all files together; beyond it records are refused until the shipper has made room. At least four segments; 0 means 1 GiB.
	MaxBytes int64 `yaml:"maxBytes"`
	// SyncEvery is how long a record may be in the kernel's hands only; 0 means 100 ms.
	SyncEvery time.Duration `yaml:"syncEvery"`
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, fault.Invalid("The journal has no directory. Set journal.dir.")
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = defaultSyncEvery
	}
	if c.SegmentBytes < 4096 || c.MaxBytes < 4*c.SegmentBytes || c.SyncEvery < 0 {
		return c, fault.Invalid(
			"The journal's sizes do not fit: segmentBytes (%d) must be at least 4096, maxBytes (%d) four times that, syncEvery (%s) not negative.",
			c.SegmentBytes, c.MaxBytes, c.SyncEvery)
	}
	return c, nil
}

// Mode is how much must have happened to a record before Append returns.
type Mode int

const (
	// Spool returns when the kernel has the bytes.
	Spool Mode = iota
	// Strict returns when the disk has them.
	Strict
)

// Status is where a journal stands. Sequences start at 1; 0 means none.
type Status struct {
	Writer  string
	Written uint64
	Synced  uint64
	Shipped uint64
	// Bytes is what the files take on disk.
	Bytes int64
	// Refused is why the last record was not taken; nil when it was.
	Refused error
}

// Recovery is what Open found and repaired.
type Recovery struct {
	// Cut is how many bytes of a record that was not written whole were removed.
	Cut int64
	// Crashed is how many calls had started and not ended; each now has its final record.
	Crashed int
}

// Writer appends records. Safe for concurrent use.
type Writer struct {
	cfg     Config
	service string
	name    string
	suffix  []byte // the writer field, as it stands at the end of every record
	log     *slog.Logger
	now     clock.Now
	lock    *os.File
	ship    *position
	disk    disk

	mu       sync.Mutex
	segments []*segment // the last one is appended to
	total    int64      // bytes that the segments take
	sequence uint64
	previous [32]byte
	open     map[string]place // started calls without their final, by call id: where the started record lies in the last segment
	unsynced []*segment       // sealed, but perhaps not yet on disk
	refused  error            // why the last record was not taken
	broken   error            // set once the files can no longer be trusted; every later append is refused with it
	closed   bool

	ids     ids.Source
	frames  framePool
	syncing syncState
	written atomic.Uint64
	synced  atomic.Uint64

	recovered Recovery
}

// disk is what a journal needs of a file system beyond reading and writing files: datasync and reserve, unless a test has faults for it.
type disk struct {
	sync    func(f *os.File) error
	reserve func(f *os.File, from, length int64) (solid bool, err error)
}

// place is where a record's frame lies in its segment.
type place struct {
	offset int64
	length int
}

// Open takes the directory, repairs what a crash left behind and continues sequence and hash chain. Every call that had started and not ended
// gets its final record here: outcome unknown, reason crash.
func Open(cfg Config, service string, log *slog.Logger, now clock.Now) (*Writer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, unusable(cfg.Dir, err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, service: service, log: log, now: now, lock: lock, open: map[string]place{}, disk: disk{sync: datasync, reserve: reserve}}
	w.syncing.init()
	if err := w.recover(); err != nil {
		w.release()
		return nil, err
	}
	return w, nil
}

// Dir is the journal's directory, which is its process's alone.
func (w *Writer) Dir() string { return w.cfg.Dir }

// Recovered says what Open repaired.
func (w *Writer) Recovered() Recovery { return w.recovered }

// Status says where the journal stands.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Status{Writer: w.name, Written: w.sequence, Synced: w.synced.Load(), Shipped: w.ship.get(), Bytes: w.total, Refused: w.refused}
}

// Close syncs and gives the directory back. Later appends are refused.
func (w *Writer) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()
	err := w.sync()
	w.release()
	return err
}

func (w *Writer) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range append(slices.Clone(w.segments), w.unsynced...) {
		s.close()
	}
	if w.ship != nil {
		w.ship.close()
	}
	_ = w.lock.Close() // closing gives the lock back
}

func unusable(dir string, err error) error {
	return fault.New(faultv1.Reason_REASON_JOURNAL, "The journal directory %s cannot be used: %v. Check that it exists, is writable and has room.",
		dir, err).Because(err)
}
