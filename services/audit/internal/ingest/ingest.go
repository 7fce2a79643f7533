// Package ingest brings records from Kafka into the ledger and the index, each at least once, and none is forgotten before both have it.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

const (
	batchRecords = 5000
	batchBytes   = 16 << 20
	linger       = 50 * time.Millisecond
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	longestRest  = 400 * time.Millisecond
	// ahead is how many messages wait to be collected: enough that two goroutines need not take turns at each.
	ahead = 256

	// undecodable is the class of dead letters that are no record of a version that this program knows.
	undecodable = "undecodable"
	// unknownSchema is the class of those that say so themselves.
	unknownSchema = "unknown-schema"
	schemaHeader  = "schema"
	schema        = "headgate.events.v1.Event"
)

// Source is a consumer group's view of the topic. *kafka.Reader is one.
type Source interface {
	// FetchMessage waits for the next message until the context ends.
	FetchMessage(ctx context.Context) (kafka.Message, error)
	// CommitMessages says that everything up to these messages need not come again.
	CommitMessages(ctx context.Context, messages ...kafka.Message) error
	// DeadLetter puts messages aside and returns when they are safe.
	DeadLetter(ctx context.Context, messages []journal.Message) error
}

// Ledger keeps records for good. *ledger.Ledger is one.
type Ledger interface {
	// Append adds the records that are not there yet and returns when they survive a crash, and which of them it can never take.
	Append(ctx context.Context, records []index.Record) ([]ledger.Refusal, error)
}

// Store is where a loop brings records after the ledger: an index, or whoever waits for alerts.
type Store interface {
	// Add takes records, as index.Index has it.
	Add(ctx context.Context, records []index.Record) error
}

// Config is what a loop needs.
type Config struct {
	Source Source
	// Ledger may be nil: then records go to the store alone.
	Ledger Ledger
	Index  Store
	// Group is the consumer group's name, for the headers of dead letters.
	Group string
	// Share is the part of the time that the loop may work, above 0 up to 1. Below 1 it rests after each batch, so that it leaves the processor to others;
	// records then arrive later under load.
	Share float64
	// Sink takes the record that messages were put aside; nil writes none.
	Sink    record.Sink
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// Loop moves records until its context ends.
type Loop struct {
	cfg Config

	mu     sync.Mutex
	stands map[string]error // by complaint: what failed last and is tried again

	// Of the goroutine that settles batches: what was put aside and is not recorded yet, and until when nothing more is recorded of such records alone.
	untold     letters
	quietUntil time.Time
}

// New makes a loop.
func New(cfg Config) *Loop { return &Loop{cfg: cfg, stands: map[string]error{}} }

// Ready says what the loop tries again while records wait. Safe beside Run.
func (l *Loop) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, complaint := range slices.Sorted(maps.Keys(l.stands)) { // one is enough to act on
		err := l.stands[complaint]
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Records wait in Kafka and are tried again, because %s: %v", complaint, err).Because(err)
	}
	return nil
}

// complain remembers why something is tried again; nil says that it succeeded.
func (l *Loop) complain(complaint string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stands[complaint] = err; err == nil {
		delete(l.stands, complaint)
	}
}

// Run fetches, stores, puts aside what cannot be read, and then commits. What fails is tried again until it succeeds: the stream waits for the store. Three batches are
// under way at once: while one is brought to the index, the next is read and brought to the ledger, and the one after that is fetched. Each goes the whole way in its
// order, so that the index has nothing that the ledger does not have, and offsets are committed in the order of the stream.
func (l *Loop) Run(ctx context.Context) error {
	messages, fetched, logged := make(chan kafka.Message, ahead), make(chan []kafka.Message), make(chan *batch)
	var running sync.WaitGroup
	running.Go(func() { l.fetch(ctx, messages) })
	running.Go(func() { l.collect(ctx, messages, fetched) })
	running.Go(func() { l.logAll(ctx, fetched, logged) })
	defer running.Wait()
	for {
		var b *batch
		select {
		case <-ctx.Done():
			return nil
		case b = <-logged:
		}
		begun := l.cfg.Now()
		if !l.settle(ctx, b) {
			return nil
		}
		if !clock.Sleep(ctx, l.rest(b.worked, l.cfg.Now().Sub(begun))) {
			return nil
		}
	}
}

// batch is messages on their way together.
type batch struct {
	messages []kafka.Message
	records  []index.Record
	from     map[*eventsv1.Event]kafka.Message // by the record itself: several may claim one id
	dead     []journal.Message
	letters  letters
	worked   time.Duration // until the ledger had it
}

// fetch passes messages on one by one.
func (l *Loop) fetch(ctx context.Context, messages chan<- kafka.Message) {
	pause := firstPause
	for {
		m, err := l.cfg.Source.FetchMessage(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.cfg.Log.Warn("records cannot be fetched", "cause", err)
			clock.Sleep(ctx, pause)
			pause = min(2*pause, longestPause)
			continue
		}
		pause = firstPause
		select {
		case messages <- m:
		case <-ctx.Done():
			return
		}
	}
}

// collect passes on what comes within a moment, and more of it as long as nobody takes it, until the context ends.
func (l *Loop) collect(ctx context.Context, messages <-chan kafka.Message, to chan<- []kafka.Message) {
	var (
		some    []kafka.Message
		size    int
		expired <-chan time.Time
		take    chan<- []kafka.Message // nil until a moment has passed
	)
	for {
		more := messages
		if len(some) == batchRecords || size >= batchBytes {
			more, take = nil, to
		}
		select {
		case <-ctx.Done():
			return
		case <-expired:
			expired, take = nil, to
		case take <- some:
			some, size, expired, take = nil, 0, nil, nil
		case m := <-more:
			if some == nil {
				expired = time.After(linger)
			}
			some = append(some, m)
			size += len(m.Value)
		}
	}
}

// logAll reads batches and brings them to the ledger, until the context ends.
func (l *Loop) logAll(ctx context.Context, fetched <-chan []kafka.Message, logged chan<- *batch) {
	for {
		var some []kafka.Message
		select {
		case <-ctx.Done():
			return
		case some = <-fetched:
		}
		begun := l.cfg.Now()
		b := l.read(some)
		if !l.log(ctx, b) {
			return
		}
		b.worked = l.cfg.Now().Sub(begun)
		select {
		case <-ctx.Done():
			return
		case logged <- b:
		}
	}
}

// read decodes messages.
func (l *Loop) read(messages []kafka.Message) *batch {
	b := &batch{messages: messages, records: make([]index.Record, 0, len(messages)), from: make(map[*eventsv1.Event]kafka.Message, len(messages))}
	for _, m := range messages {
		ev, class, reason := decode(m)
		if ev == nil {
			l.aside(b, m, "", class, reason)
			continue
		}
		b.records = append(b.records, index.Record{Event: ev, Bytes: m.Value})
		b.from[ev] = m
	}
	return b
}

// settle returns true when every message of the batch is stored or put aside, false when the context ended before.
func (l *Loop) settle(ctx context.Context, b *batch) bool {
	refused, ok := l.store(ctx, b.records)
	if !ok {
		return false
	}
	for _, r := range refused {
		l.aside(b, b.from[r.Record.Event], r.Record.Event.GetAction(), r.Class, r.Reason)
	}
	if !l.putAside(ctx, b) {
		return false
	}
	l.cfg.Metrics.done(l.cfg.Group, len(b.messages))
	if err := l.cfg.Source.CommitMessages(ctx, b.messages...); err != nil && ctx.Err() == nil {
		// They come again, and the index knows them by their ids.
		l.cfg.Log.Warn("offsets cannot be committed", "cause", err)
	}
	return ctx.Err() == nil
}

// log brings records to the ledger, and puts aside those that the ledger refuses for good: what it does not have must not be found either. False when the context ended
// before.
func (l *Loop) log(ctx context.Context, b *batch) bool {
	if len(b.records) == 0 || l.cfg.Ledger == nil {
		return true
	}
	var refused []ledger.Refusal
	if !l.insist(ctx, "records cannot be brought to the ledger", func() (err error) {
		refused, err = l.cfg.Ledger.Append(ctx, b.records)
		return err
	}) {
		return false
	}
	for _, r := range slices.Backward(refused) {
		ev := b.records[r.At].Event
		l.aside(b, b.from[ev], ev.GetAction(), "refused-by-ledger", r.Why.Error())
		b.records = slices.Delete(b.records, r.At, r.At+1)
	}
	return true
}

// store adds records until the index has all that it ever can; it returns those that it cannot. False when the context ended before.
func (l *Loop) store(ctx context.Context, records []index.Record) ([]index.Rejection, bool) {
	if len(records) == 0 {
		return nil, true
	}
	var refused []index.Rejection
	stored := l.insist(ctx, "records cannot be stored", func() error {
		err := l.cfg.Index.Add(ctx, records)
		if rejected, ok := errors.AsType[*index.Rejected](err); ok {
			refused = rejected.Records
			return nil
		}
		return err
	})
	return refused, stored
}

// insist does something until it succeeds; false when the context ended before.
func (l *Loop) insist(ctx context.Context, complaint string, do func() error) bool {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := do()
		l.complain(complaint, err)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		l.cfg.Log.Error(complaint, "cause", err)
		l.cfg.Metrics.again(l.cfg.Group)
		if !clock.Sleep(ctx, pause) {
			return false
		}
	}
}

// decode reads a record, or says why it never can be: the class in one word, and a sentence.
func decode(m kafka.Message) (ev *eventsv1.Event, class, reason string) {
	for _, h := range m.Headers {
		if h.Key == schemaHeader && string(h.Value) != schema {
			return nil, unknownSchema, fmt.Sprintf("the record is a %.100q; this version of Headgate knows %s. Upgrade audit, and then run headgate audit replay.", h.Value, schema)
		}
	}
	ev, err := record.Decode(m.Value)
	if err != nil {
		return nil, undecodable, err.Error()
	}
	return ev, "", ""
}

// rest is how long to leave the processor to others after a batch that took so long before and so long in the index, which the next one's work runs beside.
func (l *Loop) rest(before, last time.Duration) time.Duration {
	if l.cfg.Share >= 1 {
		return 0
	}
	return min(time.Duration(float64(before+last)/l.cfg.Share)-last, longestRest)
}
