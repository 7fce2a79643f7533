// Package ledger is the log on disk: the records as they were journaled, the Merkle tree over their heads, and its signed checkpoints.
//
// The records in their segment files are the truth; they are on the disk before Append returns. Hashes, places and writers' numbers are derived from them and are
// derived again, from the last checkpoint on, when the ledger is opened after a crash.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	defaultEvery        = 10 * time.Second
	defaultEveryRecords = 10_000
	defaultSegment      = 256 << 20
)

// Config is what an operator sets.
type Config struct {
	// Dir holds the ledger; it belongs to one process at a time.
	Dir string `yaml:"dir"`
	// Origin names the log in its checkpoints and keys, for good; empty means one that is made at the first start.
	Origin string `yaml:"origin"`
	// CheckpointEvery and CheckpointRecords say how much may happen before the log is signed again; 0 means 10 s and 10,000 records.
	CheckpointEvery   time.Duration `yaml:"checkpointEvery"`
	CheckpointRecords int64         `yaml:"checkpointRecords"`
	// Publish is a second directory for checkpoints, tiles and entry bundles, best where the ledger's administrator cannot write again: nobody can then show another log.
	Publish string `yaml:"publish"`
	// Bucket gets the same files, in an object store.
	Bucket BucketConfig `yaml:"bucket"`
	// Witnesses are shown every checkpoint, beside Publish and Bucket.
	Witnesses []WitnessConfig `yaml:"witnesses"`
	// RotateAfter is how old the key may be before its successor is made; 0 means that keys stay.
	RotateAfter time.Duration `yaml:"rotateAfter"`
	// CheckAt is the time of day in UTC, as 02:00, at which the whole ledger is read and checked; empty means 02:00.
	CheckAt string `yaml:"checkAt"`
	// SegmentBytes is the size at which a new file of records is begun; 0 means 256 MiB.
	SegmentBytes int64 `yaml:"segmentBytes"`
}

// Check says what cannot work.
func (c Config) Check() error {
	switch {
	case c.Dir == "":
		return fault.Invalid("ledger.dir: the ledger has no directory; name one that belongs to this service alone")
	case c.CheckpointEvery < 0 || c.CheckpointRecords < 0 || c.RotateAfter < 0 || c.SegmentBytes < 0:
		return fault.Invalid("ledger: checkpointEvery, checkpointRecords, rotateAfter and segmentBytes must not be negative")
	case c.Publish != "" && filepath.Clean(c.Publish) == filepath.Join(c.Dir, publicDir):
		return fault.Invalid("ledger.publish: is where the ledger publishes already; name another directory, best on another machine's disk")
	}
	if _, err := time.Parse(clockTime, c.withDefaults().CheckAt); err != nil {
		return fault.Invalid("ledger.checkAt: must be a time of day in UTC as 02:00, is %q", c.CheckAt)
	}
	for _, w := range c.Witnesses {
		if err := w.check(); err != nil {
			return err
		}
	}
	if err := c.Bucket.check(); err != nil {
		return err
	}
	if c.Origin != "" {
		if err := base.CheckOrigin(c.Origin); err != nil {
			return fault.Invalid("ledger.origin: %v", err)
		}
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = defaultEvery
	}
	if c.CheckpointRecords == 0 {
		c.CheckpointRecords = defaultEveryRecords
	}
	if c.CheckAt == "" {
		c.CheckAt = "02:00"
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegment
	}
	return c
}

// Ledger appends, signs and reads. Safe for concurrent use.
type Ledger struct {
	cfg  Config
	log  *slog.Logger
	now  clock.Now
	lock *os.File

	mu       sync.Mutex // of what follows: one writer at a time
	files    *files
	frontier *base.Frontier
	closed   bool
	torn     error // what the last append left behind; the files are read again before the next
	stands   error // why the last append failed; nil when it did not
	keys     keys
	history  []Signed

	publishing sync.Mutex // of the folders: one publisher at a time; taken before mu
	folders    []folder
	outside    []outsider
	shown      *prometheus.GaugeVec

	size atomic.Int64
	// grown is closed and replaced when the log has grown; due asks for a checkpoint.
	growMu sync.Mutex
	grown  chan struct{}
	due    chan struct{}
	stood  chan error   // why the ledger began to stand still, until Watch has told it
	other  chan foreign // a folder that has another log, likewise
}

// Open takes the directory, repairs what a crash left behind and makes sure that the records are those that the last checkpoint signs.
func Open(cfg Config, log *slog.Logger, now clock.Now) (*Ledger, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, unusable(cfg.Dir, err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, log: log, now: now, lock: lock, grown: make(chan struct{}), due: make(chan struct{}, 1), stood: make(chan error, 1), other: make(chan foreign, 1), shown: newShown()}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Ledger) open() error {
	var err error
	if l.keys, err = openKeys(l.cfg, l.now); err != nil {
		return err
	}
	if l.history, err = readHistory(l.cfg.Dir); err != nil {
		return err
	}
	if err := l.recover(); err != nil {
		return err
	}
	l.folders = []folder{folder(filepath.Join(l.cfg.Dir, publicDir))}
	if l.cfg.Publish != "" {
		l.folders = append(l.folders, folder(l.cfg.Publish))
	}
	if l.outside, err = l.outsiders(); err != nil {
		return err
	}
	if err := l.agree(); err != nil || !l.keys.due {
		return err
	}
	return l.rotate() // after what the old key vouches for was looked at: the new one signs it again
}

// recover reads the files anew: everything since the last checkpoint is derived again. The ones before stay open until that has succeeded: it is tried again with the
// next append, and what was signed can be read meanwhile.
func (l *Ledger) recover() error {
	f, frontier, cut, err := openFiles(l.cfg, max(l.signedSize(), 0))
	if err != nil {
		return err
	}
	if cut > 0 {
		l.log.Warn("the ledger's last records were not written whole and are cut; they come again", "bytes", cut)
	}
	before := l.files
	l.files, l.frontier, l.torn = f, frontier, nil
	l.size.Store(frontier.Size())
	if before != nil {
		if err := before.close(); err != nil {
			l.log.Warn("the ledger's files from before a failed append could not be closed", "cause", err)
		}
	}
	return nil
}

func lost(dir string, size, signed int64) error {
	return broken("The ledger in %s has %d records, and its last checkpoint signs %d: records were lost. Restore the directory from a copy that is whole.", dir, size, signed)
}

// agree holds the records against the last checkpoint that was signed.
func (l *Ledger) agree() error {
	if len(l.history) == 0 {
		return l.unsigned()
	}
	last := l.history[len(l.history)-1]
	doubtful := l.history[len(l.history)-1:] // the check of each night looks at all
	if len(l.keys.handovers) > 0 {
		doubtful = l.history
	}
	if err := l.keys.vouch(doubtful); err != nil {
		return broken("The ledger in %s cannot be trusted: %v. Somebody changed the file. Keep the directory for an investigation and restore it from a copy.", l.cfg.Dir, err)
	}
	if last.Size > l.frontier.Size() {
		return lost(l.cfg.Dir, l.frontier.Size(), last.Size)
	}
	root, err := tlog.TreeHash(last.Size, l.files)
	if err != nil {
		return err
	}
	if root != last.Root {
		return broken("The first %d records of the ledger in %s are not those that its last checkpoint signs: they were changed. Keep the directory for an investigation and restore it from a copy.", last.Size, l.cfg.Dir)
	}
	return nil
}

// unsigned refuses a ledger that was signed and has no checkpoint any more: the first one is on the disk before the state is.
func (l *Ledger) unsigned() error {
	s, err := l.files.readState()
	if err == nil && s.Size > 0 {
		return broken("The ledger in %s was signed at %d records, and its checkpoints in %s are gone. Keep the directory for an investigation and restore it from a copy.", l.cfg.Dir, s.Size, historyFile)
	}
	return err
}

func broken(format string, args ...any) error {
	return fault.New(faultv1.Reason_REASON_CONFLICT, format, args...)
}

func unusable(dir string, err error) error {
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The ledger's directory %s cannot be used: %v. Check that it exists, is writable and has room.", dir, err).Because(err)
}

// Close gives the directory back.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var err error
	if l.files != nil {
		err = l.files.close()
		l.files = nil
	}
	return errors.Join(err, l.lock.Close())
}

// Ready reports whether the last append succeeded. One that failed is tried again, and records wait in Kafka meanwhile.
func (l *Ledger) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stands
}

// Size is how many records the log has.
func (l *Ledger) Size() int64 { return l.size.Load() }

// Grown is closed once the log has more than so many records.
func (l *Ledger) Grown(size int64) <-chan struct{} {
	l.growMu.Lock()
	defer l.growMu.Unlock()
	if l.size.Load() > size {
		done := make(chan struct{})
		close(done)
		return done
	}
	return l.grown
}

func (l *Ledger) grew(size int64) {
	l.growMu.Lock()
	defer l.growMu.Unlock()
	l.size.Store(size)
	close(l.grown)
	l.grown = make(chan struct{})
}

// Run signs the log until ctx ends, and then once more.
func (l *Ledger) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.cfg.CheckpointEvery)
	defer ticker.Stop()
	said := map[folder]error{}
	for {
		select {
		case <-ctx.Done():
			return l.Checkpoint()
		case <-ticker.C:
		case <-l.due:
		}
		if err := l.signGrown(); err != nil {
			l.log.Error("the ledger could not be signed", "cause", err)
			continue
		}
		l.complain(l.publish(l.folders), said)
	}
}

// complain says once of each folder why it could not be published to; what was said last is kept.
func (l *Ledger) complain(failed, said map[folder]error) {
	for _, f := range l.folders {
		why := failed[f]
		if why == nil || alike(said[f], why) {
			said[f] = why
			continue
		}
		if !errors.Is(why, errOtherLog) || l.tellOf(foreign{by: f, why: why}) {
			l.log.Error("the ledger could not be published; that is tried again", "folder", f, "cause", why)
			said[f] = why
		}
	}
}

// foreign is a folder that has another log.
type foreign struct {
	by  folder
	why error
}

// tellOf has Watch record that a folder has another log; false while it is at the one before.
func (l *Ledger) tellOf(other foreign) bool {
	select {
	case l.other <- other:
		return true
	default:
		return false
	}
}

// Signer is the current key.
func (l *Ledger) Signer() note.Signer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys.signer
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ledger: %s: %w", what, err)
}
