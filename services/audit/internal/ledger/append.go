package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	"headgate.dev/services/audit/internal/index"
)

const (
	// maxSequence is the highest number that a writer can have reached: at a million records a second, that takes nine years.
	maxSequence = 1 << 48
	// maxJump is how far a writer's number may be beyond its last one. What lies between did not arrive; more than this is nothing that a service wrote.
	maxJump = 1 << 32
)

// Refusal is a record that the ledger cannot take, whatever is tried again.
type Refusal struct {
	// At is its place in what Append was given.
	At  int
	Why error
}

// Append adds the records that the log does not have yet, in their order, and returns when the disk has them. A record that comes again is not added again: it is
// known by its writer's number and its bytes. After an error nothing was added, and the same records may come again; until then the ledger is not ready.
func (l *Ledger) Append(_ context.Context, records []index.Record) ([]Refusal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	refused, err := l.append(records)
	if err == nil {
		l.stands = nil
		return refused, nil
	}
	err = l.failed(err)
	if l.stands == nil {
		select {
		case l.stood <- err:
		default: // one that is not told yet is enough
		}
	}
	l.stands = err
	return refused, err
}

// failed says what to do about an append that failed; what the files say of themselves stays as it is.
func (l *Ledger) failed(err error) error {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	return unusable(l.cfg.Dir, err)
}

func (l *Ledger) append(records []index.Record) ([]Refusal, error) {
	if l.closed {
		return nil, fmt.Errorf("ledger: it is closed")
	}
	if l.torn != nil {
		if err := l.recover(); err != nil {
			return nil, wrap("read again after "+l.torn.Error(), err)
		}
	}
	fresh, frames, refused, err := l.sift(records)
	if err != nil || len(fresh) == 0 {
		return refused, wrap("look for records", err)
	}
	if err := l.files.segments.room(); err != nil {
		return nil, wrap("begin a file of records", err)
	}
	if err := l.files.segments.append(frames); err != nil {
		l.torn = err
		return nil, wrap("write records", err)
	}
	if err := l.files.follow(l.frontier, fresh); err != nil {
		l.torn = err
		return nil, wrap("write what follows from records", err)
	}
	l.grew(l.frontier.Size())
	if l.frontier.Size()-l.signedSize() >= l.cfg.CheckpointRecords {
		select {
		case l.due <- struct{}{}:
		default:
		}
	}
	return refused, nil
}

type number struct {
	writer   string
	sequence uint64
}

// sift picks the records that are new, as frames.
func (l *Ledger) sift(records []index.Record) ([]addition, []byte, []Refusal, error) {
	var (
		fresh   []addition
		frames  []byte
		refused []Refusal
	)
	at, batch, highest := l.files.segments.end(), map[number][]byte{}, map[string]uint64{}
	for i, r := range records {
		head, err := l.head(r, highest)
		if err != nil {
			refused = append(refused, Refusal{At: i, Why: err})
			continue
		}
		known, err := l.known(head, batch)
		switch {
		case err != nil:
			return nil, nil, nil, err
		case known == nil && !believable(r.Event.GetTime().AsTime()):
			refused = append(refused, Refusal{At: i, Why: fmt.Errorf("event %s says that it happened at %s, and no computer's clock shows a time before 1970 or from 2200 on: set the clock of writer %s, "+
				"or look who may write to the topic", r.Event.GetId(), r.Event.GetTime().AsTime().Format(time.RFC3339), head.Writer)})
		case known == nil:
			batch[number{head.Writer, head.Sequence}] = head.Hash
			highest[head.Writer] = max(highest[head.Writer], head.Sequence)
			fresh = append(fresh, addition{head: head, at: at + int64(len(frames)), time: index.Nanos(r.Event.GetTime().AsTime())})
			frames = frame(frames, r.Bytes)
		case !bytes.Equal(known, head.Hash):
			refused = append(refused, Refusal{At: i, Why: fmt.Errorf("writer %s gave the number %d to another record before this one (event %s): its journal was restored from a copy, or somebody writes in its name",
				head.Writer, head.Sequence, r.Event.GetId())})
		}
	}
	return fresh, frames, refused, nil
}

// head is the head of a record that the ledger can take. The highest numbers are those of the batch so far, by writer.
func (l *Ledger) head(r index.Record, highest map[string]uint64) (base.Head, error) {
	if err := fits(len(r.Bytes)); err != nil {
		return base.Head{}, fmt.Errorf("event %s cannot stand in the ledger: %w", r.Event.GetId(), err)
	}
	head, err := base.HeadFor(r.Event, r.Bytes)
	if err == nil {
		err = plausible(head, max(highest[head.Writer], l.files.writers.highest(head.Writer)))
	}
	return head, err
}

// plausible refuses a number that no service can have given. A writer whose first record this is may be old, and the ledger new.
func plausible(head base.Head, highest uint64) error {
	switch {
	case head.Sequence > maxSequence:
		return fmt.Errorf("writer %s gave it the number %d, and no writer can have come beyond %d: somebody writes in its name; look who may write to the topic",
			head.Writer, head.Sequence, uint64(maxSequence))
	case highest > 0 && head.Sequence > highest && head.Sequence-highest > maxJump:
		return fmt.Errorf("writer %s gave it the number %d, and its last one here is %d: somebody writes in its name; look who may write to the topic",
			head.Writer, head.Sequence, highest)
	}
	return nil
}

// known is the hash of the record that has the writer's number already; nil when none has.
func (l *Ledger) known(head base.Head, batch map[number][]byte) ([]byte, error) {
	if hash := batch[number{head.Writer, head.Sequence}]; hash != nil {
		return hash, nil
	}
	at, err := l.files.writers.get(head.Writer, head.Sequence, l.frontier.Size())
	if err != nil || at < 0 {
		return nil, err
	}
	other, err := l.files.head(at)
	if err != nil || other.Writer != head.Writer || other.Sequence != head.Sequence {
		return nil, err // a slot from before a crash, of a record that was cut
	}
	return other.Hash, nil
}
