package journal

import (
	"context"
	"sync"
	"time"

	"headgate.dev/libs/wholefile"
)

// syncState lets the goroutines that wait for the disk share one sync.
type syncState struct {
	mu      sync.Mutex
	done    *sync.Cond
	running bool
	failed  error
	changed chan struct{} // closed and replaced when more is synced
}

func (s *syncState) init() {
	s.done = sync.NewCond(&s.mu)
	s.changed = make(chan struct{})
}

// Run syncs what was appended, every SyncEvery, until the context ends; then once more. It fails when the disk does: the service must then stop.
func (w *Writer) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.SyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.sync()
		case <-tick.C:
			if err := w.sync(); err != nil {
				return err
			}
		}
	}
}

func (w *Writer) sync() error {
	w.mu.Lock()
	target := w.sequence
	w.mu.Unlock()
	return w.await(target)
}

// await returns when the record is on the disk. Whoever finds no sync running runs one for all that is written by then.
func (w *Writer) await(sequence uint64) error {
	s := &w.syncing
	s.mu.Lock()
	defer s.mu.Unlock()
	for w.synced.Load() < sequence && s.failed == nil {
		if s.running {
			s.done.Wait()
			continue
		}
		s.running = true
		s.mu.Unlock()
		target, err := w.flush()
		s.mu.Lock()
		s.running = false
		if err != nil {
			s.failed = refused("the disk does not confirm it", err)
			w.distrust(err)
		} else if target > w.synced.Load() {
			w.synced.Store(target)
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.done.Broadcast()
	}
	return s.failed
}

// flush syncs every file that has unsynced records, oldest first, and returns the last record that is surely on disk.
func (w *Writer) flush() (uint64, error) {
	w.mu.Lock()
	target := w.sequence
	sealed := w.unsynced
	w.unsynced = nil
	active := w.segments[len(w.segments)-1]
	w.mu.Unlock()
	for _, s := range sealed {
		if err := w.disk.sync(s.file); err != nil {
			return 0, err
		}
	}
	if err := w.disk.sync(active.file); err != nil {
		return 0, err
	}
	if len(sealed) > 0 { // the active file is new
		if err := wholefile.SyncDir(w.cfg.Dir); err != nil {
			return 0, err
		}
	}
	w.mu.Lock()
	for _, s := range sealed {
		s.close()
	}
	w.mu.Unlock()
	return target, nil
}

// distrust makes every later append fail: after a sync that failed, the kernel may show bytes that the disk does not have.
func (w *Writer) distrust(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = err
		w.log.Error("journal cannot be synced, it takes no more records", "cause", err)
	}
}

// more returns a channel that is closed when a record after sequence is on the disk.
func (w *Writer) more(sequence uint64) <-chan struct{} {
	w.syncing.mu.Lock()
	defer w.syncing.mu.Unlock()
	if w.synced.Load() > sequence {
		now := make(chan struct{})
		close(now)
		return now
	}
	return w.syncing.changed
}
