package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	clockTime = "15:04"
	// tellPause is how long to wait for a journal that did not take that the ledger stands still.
	tellPause = 10 * time.Second
	// maxNotes is how many problems one record of a self-check tells.
	maxNotes = 20
	// arrival is how long a record may be on its way before its number is called missing.
	arrival = 5 * time.Minute
)

// Check reads everything that was signed: each record must have the head that the log has of it, and lie within the times that readers skip it by; the tree must have
// been at each checkpoint what was signed, with the log's key, and its kept hashes those that follow from the heads; and no number of a writer may be missing that should have arrived. It returns how many records it read, and what does not hold. Safe beside everything else.
func (l *Ledger) Check(ctx context.Context) (int64, []string, error) {
	l.mu.Lock()
	history, signing := l.history, l.keys
	l.mu.Unlock()
	if len(history) == 0 {
		return 0, nil, nil
	}
	settled := l.Settled(l.now().Add(-arrival))
	view, err := l.View(history[len(history)-1].Size)
	if err != nil {
		return 0, nil, err
	}
	var problems []string
	c := checker{view: view, signed: []*source{listed(history)}, problem: func(format string, args ...any) {
		if len(problems) < maxNotes {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}}
	if err := signing.vouch(history); err != nil {
		c.problem("%v", err)
	}
	read, err := c.all(ctx)
	if err != nil {
		return read, problems, err
	}
	for _, gap := range c.chains.Gaps(settled) {
		c.problem("%s", gap)
	}
	return read, problems, nil
}

// checker reads a log from its first record on. What does not hold is told to problem.
type checker struct {
	view     *View
	signed   []*source                             // checkpoints that the tree must have been
	seen     func(index int64, happened time.Time) // is told the time of each record, unless it is nil
	problem  func(format string, args ...any)
	tree     base.Frontier
	chains   base.Tracker
	end      int64 // where the frame of the last record ends
	mistimed int64 // where the block ends whose times were told
	gone     error // the files were closed meanwhile: nothing can be said of the rest
	apart    bool  // the kept hashes are not those that follow
}

func (c *checker) all(ctx context.Context) (int64, error) {
	for index := range c.view.Size {
		c.compare()
		if err := ctx.Err(); err != nil {
			return index, err
		}
		c.one(index)
		if c.gone != nil {
			return index, c.gone
		}
	}
	c.compare()
	return c.view.Size, nil
}

// unread tells what could not be read. Files that were closed, because they are read anew after a failed append or the service ends, say nothing of the ledger.
func (c *checker) unread(err error, what string) {
	if errors.Is(err, os.ErrClosed) {
		c.gone = err
		return
	}
	c.problem("%s cannot be read: %v", what, err)
}

// one reads a record. What the tree has of it is its head: the tree goes on with that, so that each problem is told once.
func (c *checker) one(index int64) {
	name := fmt.Sprintf("record %d", index)
	at, data, unread := c.view.files.record(index)
	ev, undecoded := record.Decode(data)
	if unread == nil && undecoded == nil {
		name = fmt.Sprintf("record %d (event %s)", index, ev.GetId())
	}
	kept, err := c.view.Head(index)
	if err != nil {
		c.unread(err, "the head of "+name)
		return
	}
	c.kept(kept, name)
	for _, wrong := range c.chains.Add(kept, index, name) {
		c.problem("%s", wrong)
	}
	c.found(kept, index, name)
	switch {
	case unread != nil:
		c.unread(unread, name)
		c.end = -1 // who knows
		return
	case at != c.end && c.end >= 0:
		c.problem("%s begins at byte %d of the files of records, and the one before it ends at byte %d: something was added, dropped or moved", name, at, c.end)
	}
	c.end = at + frameHead + int64(len(data))
	switch {
	case !bytes.Equal(record.Hash(data), kept.Hash):
		c.problem("%s was changed: its bytes do not have the hash that the log has", name)
	case undecoded != nil:
		c.problem("%s cannot be read: %v", name, undecoded)
	default:
		c.times(index, name, ev.GetTime().AsTime())
		if c.seen != nil {
			c.seen(index, ev.GetTime().AsTime())
		}
	}
}

// kept holds the hashes that proofs are made of against those that follow from the heads.
func (c *checker) kept(head base.Head, name string) {
	first := tlog.StoredHashCount(c.tree.Size())
	follow := c.tree.AppendStored(nil, head.LeafHash())
	indexes := make([]int64, len(follow))
	for i := range follow {
		indexes[i] = first + int64(i)
	}
	have, err := c.view.files.ReadHashes(indexes)
	switch {
	case err != nil:
		c.unread(err, "the hashes of "+name)
	case !slices.Equal(have, follow) && !c.apart:
		c.apart = true // what follows is apart for the same reason
		c.problem("the hashes that the log keeps do not follow from its heads from %s on: proofs and exports with them do not hold", name)
	}
}

// times holds the time of a record against those of its block: who changes these hides records from exports and reports of a period.
func (c *checker) times(index int64, name string, at time.Time) {
	from, to, next, err := c.view.Block(index)
	switch {
	case err != nil:
		c.unread(err, "the times of "+name)
	case (at.Before(from) || at.After(to)) && c.mistimed <= index: // once for a block
		c.mistimed = next
		c.problem("the times that the log keeps of the block of %s were changed: exports and reports of its period leave it out", name)
	}
}

// found looks whether the record is found by its writer's number. One that was given twice, which the chain tells, is found at one of its places.
func (c *checker) found(head base.Head, index int64, name string) {
	at, err := c.view.Find(head.Writer, head.Sequence)
	if err == nil && at >= 0 && at != index {
		var other base.Head
		if other, err = c.view.Head(at); err == nil && other.Writer == head.Writer && other.Sequence == head.Sequence {
			return
		}
	}
	if errors.Is(err, os.ErrClosed) {
		c.gone = err
		return
	}
	if err != nil || at != index {
		c.problem("%s is not found by its number %d of writer %s: a file in the ledger's folder writers was changed; remove state.json with audit stopped, so that it is made again",
			name, head.Sequence, head.Writer)
	}
}

// compare holds the tree against the checkpoints of its size. One that is smaller stands behind a larger one, which is told where that is read.
func (c *checker) compare() {
	for _, from := range c.signed {
		for ; from.ok && from.head.Size <= c.tree.Size(); from.advance() {
			switch one := from.head; {
			case one.Size < c.tree.Size() || one.Root == c.tree.Root():
			case one.At.IsZero():
				c.problem("the log's first %d records are not those of a checkpoint from elsewhere (%s and %s): the log was forked", one.Size, base.Short(c.tree.Root()), base.Short(one.Root))
			default:
				c.problem("the first %d records are not those that the checkpoint of %s signs", c.tree.Size(), one.At.Format(time.RFC3339))
			}
		}
	}
}

// Watch checks the ledger each day at the time that the configuration says, and writes what it found as an event: one that does not hold is an alert. So is
// one that stands still.
func (l *Ledger) Watch(ctx context.Context, journal record.Sink) error {
	for {
		timer := time.NewTimer(l.untilCheck())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case why := <-l.stood:
			timer.Stop()
			l.tell(ctx, journal, "the ledger stands still", standing(why))
			continue
		case other := <-l.other:
			timer.Stop()
			l.accused(ctx, "the folder "+other.by.String(), other.why, journal)
			continue
		case <-timer.C:
		}
		if err := l.checkNow(ctx, journal); err != nil {
			l.log.Error("the ledger's check could not be recorded", "cause", err)
		}
	}
}

// tell writes an alert. The journal may be on the same full disk: it is tried again until it takes that, or ctx ends.
func (l *Ledger) tell(ctx context.Context, sink record.Sink, what string, alert *eventsv1.Event) {
	for {
		err := sink.Append(proto.CloneOf(alert), journal.Spool)
		if err == nil {
			return
		}
		l.log.Error("an alert could not be recorded; it is tried again", "alert", what, "cause", err)
		if !clock.Sleep(ctx, tellPause) {
			return
		}
	}
}

// standing says that records wait before the ledger. The event waits there too, and goes to the alerts on its own way.
func standing(why error) *eventsv1.Event {
	return &eventsv1.Event{
		Action: record.LedgerStands, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Alert: true, Tenant: record.SystemTenant, Principal: record.Service("audit"),
		Decision: &eventsv1.Decision{Stage: "self-check",
			Sentence: "the ledger takes no records, which wait in Kafka and are tried again. " + why.Error()},
	}
}

// untilCheck is how long it is to the next check; never nothing, so that a check that ends within its minute does not begin again.
func (l *Ledger) untilCheck() time.Duration {
	now := l.now().UTC()
	at, _ := time.Parse(clockTime, l.cfg.CheckAt) // Config.Check has read it
	next := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
	if !next.After(now) {
		next = next.AddDate(0, 0, 1)
	}
	return next.Sub(now)
}

func (l *Ledger) checkNow(ctx context.Context, sink record.Sink) error {
	begun := l.now()
	read, problems, err := l.Check(ctx)
	if errors.Is(err, context.Canceled) {
		return nil // the service ends; the next one checks
	}
	ev := &eventsv1.Event{
		Action: record.LedgerCheck, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: record.SystemTenant, Principal: record.Service("audit"),
		DurationNs: l.now().Sub(begun).Nanoseconds(), Decision: &eventsv1.Decision{Stage: "self-check", Sentence: fmt.Sprintf("the ledger holds: %d records and all checkpoints were read", read)},
	}
	switch {
	case len(problems) > 0:
		ev.Outcome, ev.Alert, ev.Findings = eventsv1.Outcome_OUTCOME_FAILURE, true, &eventsv1.Findings{Notes: problems}
		ev.Decision.Sentence = "the ledger does not hold: " + problems[0] + ". Keep its folder for an investigation and compare it with what was published."
		l.log.Error("the ledger does not hold", "problems", strings.Join(problems, "; "))
	case err != nil:
		ev.Outcome, ev.Alert = eventsv1.Outcome_OUTCOME_UNKNOWN, true
		ev.Decision.Sentence = "the ledger could not be checked to its end: " + err.Error()
		l.log.Error("the ledger could not be checked", "cause", err)
	}
	return sink.Append(ev, journal.Spool)
}
