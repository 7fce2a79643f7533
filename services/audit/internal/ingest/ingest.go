// Package ingest brings records from Kafka into the index, each at least once, and none is forgotten before the index has it.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	"headgate.dev/services/audit/internal/index"
)

const (
	batchRecords = 5000
	batchBytes   = 16 << 20
	linger       = 50 * time.Millisecond
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	longestRest  = 400 * time.Millisecond
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

// Config is what a loop needs.
type Config struct {
	Source Source
	Index  index.Index
	// Group is the consumer group's name, for the headers of dead letters.
	Group string
	// Share is the part of the time that the loop may work, above 0 up to 1. Below 1 it rests after each batch, so that it leaves the processor to others;
	// records then arrive later under load.
	Share float64
	Log   *slog.Logger
	Now   func() time.Time
}

// Loop moves records until its context ends.
type Loop struct{ cfg Config }

// New makes a loop.
func New(cfg Config) *Loop { return &Loop{cfg: cfg} }

// Run fetches, stores, puts aside what cannot be read, and then commits. What fails is tried again until it succeeds: the stream waits for the store.
func (l *Loop) Run(ctx context.Context) error {
	messages := make(chan kafka.Message)
	var fetching sync.WaitGroup
	fetching.Go(func() { l.fetch(ctx, messages) })
	defer fetching.Wait()
	for {
		batch := l.collect(ctx, messages)
		if len(batch) == 0 {
			return nil // the context ended
		}
		begun := l.cfg.Now()
		if !l.settle(ctx, batch) {
			return nil
		}
		if !wait(ctx, l.rest(l.cfg.Now().Sub(begun))) {
			return nil
		}
	}
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
			wait(ctx, pause)
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

// collect waits for a message and then takes what comes within a moment. It returns nothing when the context ends.
func (l *Loop) collect(ctx context.Context, messages <-chan kafka.Message) []kafka.Message {
	var batch []kafka.Message
	var expired <-chan time.Time
	for size := 0; len(batch) < batchRecords && size < batchBytes; {
		select {
		case <-ctx.Done():
			return nil
		case <-expired:
			return batch
		case m := <-messages:
			if batch == nil {
				timer := time.NewTimer(linger)
				defer timer.Stop()
				expired = timer.C
			}
			batch = append(batch, m)
			size += len(m.Value)
		}
	}
	return batch
}

// settle returns true when every message of the batch is stored or put aside, false when the context ended before.
func (l *Loop) settle(ctx context.Context, batch []kafka.Message) bool {
	records := make([]index.Record, 0, len(batch))
	var dead []journal.Message
	for _, m := range batch {
		ev, err := record.Decode(m.Value)
		if err != nil {
			dead = append(dead, l.letter(m, err))
			l.cfg.Log.Error("record cannot be read and is put aside", "topic", m.Topic, "partition", m.Partition, "offset", m.Offset, "cause", err)
			continue
		}
		records = append(records, index.Record{Event: ev, Bytes: m.Value})
	}
	if len(records) > 0 && !l.insist(ctx, "records cannot be stored", func() error { return l.cfg.Index.Add(ctx, records) }) {
		return false
	}
	if len(dead) > 0 && !l.insist(ctx, "records cannot be put aside", func() error { return l.cfg.Source.DeadLetter(ctx, dead) }) {
		return false
	}
	if err := l.cfg.Source.CommitMessages(ctx, batch...); err != nil && ctx.Err() == nil {
		// They come again, and the index knows them by their ids.
		l.cfg.Log.Warn("offsets cannot be committed", "cause", err)
	}
	return ctx.Err() == nil
}

// insist does something until it succeeds; false when the context ended before.
func (l *Loop) insist(ctx context.Context, complaint string, do func() error) bool {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := do()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		l.cfg.Log.Error(complaint, "cause", err)
		if !wait(ctx, pause) {
			return false
		}
	}
}

// letter is a message for the dead-letter topic: its bytes and headers as they were, and where it came from and why.
func (l *Loop) letter(m kafka.Message, cause error) journal.Message {
	out := journal.Message{Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, journal.Header{Key: h.Key, Value: h.Value})
	}
	for _, h := range [][2]string{
		{"dlq.error.class", "undecodable"},
		{"dlq.error.message", cause.Error()},
		{"dlq.source.topic", m.Topic},
		{"dlq.source.partition", strconv.Itoa(m.Partition)},
		{"dlq.source.offset", strconv.FormatInt(m.Offset, 10)},
		{"dlq.source.timestamp", m.Time.UTC().Format(time.RFC3339Nano)},
		{"dlq.consumer.group", l.cfg.Group},
	} {
		out.Headers = append(out.Headers, journal.Header{Key: h[0], Value: fmt.Append(nil, h[1])})
	}
	return out
}

// rest is how long to leave the processor to others after working so long.
func (l *Loop) rest(worked time.Duration) time.Duration {
	if l.cfg.Share >= 1 {
		return 0
	}
	return min(time.Duration(float64(worked)*(1/l.cfg.Share-1)), longestRest)
}

// wait returns false when the context ends first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
