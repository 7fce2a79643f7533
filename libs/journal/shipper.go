package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"
)

const (
	batchRecords = 1000
	// BatchBytes is about how many bytes of records go to a Publisher at once, and into one batch at a broker, whatever compression makes of them. Brokers refuse one
	// of more than 1 MiB.
	BatchBytes = 768 << 10
	// pace is the least time between two batches that are not full: where every record is synced by itself, each would else be a batch of its own.
	pace         = 20 * time.Millisecond
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Shipper moves a journal's records to a Publisher, in order, and lets go of what was acknowledged.
type Shipper struct {
	w    *Writer
	p    Publisher
	log  *slog.Logger
	read reader
}

// NewShipper makes the one shipper of a journal.
func NewShipper(w *Writer, p Publisher, log *slog.Logger) *Shipper {
	return &Shipper{w: w, p: p, log: log, read: reader{w: w}}
}

// Run ships until the context ends. While the publisher fails it tries the same batch again; the journal grows meanwhile, up to its bound.
func (s *Shipper) Run(ctx context.Context) error {
	defer s.read.close()
	shipped := s.w.ship.get()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.w.more(shipped):
		}
		if !s.gather(ctx, shipped, last) {
			return nil
		}
		last = time.Now()
		batch, err := s.read.batch(shipped + 1)
		if err != nil {
			return fmt.Errorf("read the journal after record %d: %w", shipped, err)
		}
		if !s.publish(ctx, batch, shipped) {
			return nil
		}
		shipped += uint64(len(batch))
		if err := s.w.acknowledge(shipped); err != nil {
			return fmt.Errorf("remember that record %d is shipped: %w", shipped, err)
		}
	}
}

// gather lets a batch grow for a moment when the last one has just gone. It returns false when the context ended.
func (s *Shipper) gather(ctx context.Context, shipped uint64, last time.Time) bool {
	wait := pace - time.Since(last)
	if wait <= 0 || s.w.synced.Load()-shipped >= batchRecords {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// publish returns true when the batch is acknowledged, false when the context ended before.
func (s *Shipper) publish(ctx context.Context, batch []Message, shipped uint64) bool {
	pause := firstPause
	for failures := 0; ; failures++ {
		err := s.p.Publish(ctx, batch)
		if err == nil {
			if failures > 0 {
				s.read.renew() // an attempt that was given up may still read it
				s.log.Info("journal is shipped again", "after", shipped, "attempts", failures+1)
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if failures == 0 {
			s.log.Warn("journal cannot be shipped, it waits on disk", "after", shipped, "cause", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
		pause = min(2*pause, longestPause)
	}
}

// acknowledge remembers the position and deletes the files that hold nothing else.
func (w *Writer) acknowledge(sequence uint64) error {
	if err := w.ship.set(sequence); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.segments) > 1 && w.segments[0].last <= sequence {
		s := w.segments[0]
		if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		w.total -= s.reserved // its file, where it is still open, is closed by the sync that will come upon it
		w.segments = w.segments[1:]
	}
	return nil
}
