package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"headgate.dev/libs/journal"
)

const (
	// ReplayGroup is the consumer group of replays; each dead-letter topic has one that begins so.
	ReplayGroup = "headgate.audit.replay"

	letterPrefix  = "dlq."
	letterClass   = letterPrefix + "error.class"
	letterReason  = letterPrefix + "error.message"
	letterAttempt = letterPrefix + "attempt"
	letterTopic   = letterPrefix + "source.topic"
	letterPart    = letterPrefix + "source.partition"
	letterOffset  = letterPrefix + "source.offset"
	letterTime    = letterPrefix + "source.timestamp"
	letterGroup   = letterPrefix + "consumer.group"
	eventID       = "ce_id"

	replayBatch = 500
)

// Aside is a message for the dead-letter topic: its bytes and headers as they were, where it came from, and why. Class is one word, reason a sentence.
func Aside(m Message, group, class, reason string) journal.Message {
	attempt := 1
	if before, err := strconv.Atoi(header(m.Headers, letterAttempt)); err == nil {
		attempt = before + 1
	}
	out := journal.Message{Key: m.Key, Value: m.Value, Headers: own(m.Headers)}
	for _, h := range [][2]string{
		{letterClass, class}, {letterReason, reason}, {letterAttempt, strconv.Itoa(attempt)}, {letterTopic, m.Topic}, {letterPart, strconv.Itoa(m.Partition)},
		{letterOffset, strconv.FormatInt(m.Offset, 10)}, {letterTime, m.Time.UTC().Format(time.RFC3339Nano)}, {letterGroup, group},
	} {
		out.Headers = append(out.Headers, journal.Header{Key: h[0], Value: []byte(h[1])})
	}
	return out
}

// own are the headers that a message had before it was put aside.
func own(headers []Header) []journal.Header {
	var out []journal.Header
	for _, h := range headers {
		if !strings.HasPrefix(h.Key, letterPrefix) {
			out = append(out, journal.Header{Key: h.Key, Value: h.Value})
		}
	}
	return out
}

func header(headers []Header, key string) string {
	if i := slices.IndexFunc(headers, func(h Header) bool { return h.Key == key }); i >= 0 {
		return string(headers[i].Value)
	}
	return ""
}

// Letter is a message that a consumer put aside.
type Letter struct {
	// Event is the record's id, as far as its headers name it.
	Event string `json:"event"`
	// Class is one word, Reason a sentence.
	Class  string `json:"class"`
	Reason string `json:"reason"`
	// Attempt counts how often it was put aside.
	Attempt string `json:"attempt"`
	// Source is the place that it came from, as TOPIC/PARTITION@OFFSET.
	Source string `json:"source"`
	// Time is when it was put aside.
	Time time.Time `json:"time"`
	// Bytes is how many it has.
	Bytes int `json:"bytes"`
}

func letter(m Message) Letter {
	return Letter{
		Event: header(m.Headers, eventID), Class: header(m.Headers, letterClass), Reason: header(m.Headers, letterReason), Attempt: header(m.Headers, letterAttempt),
		Source: header(m.Headers, letterTopic) + "/" + header(m.Headers, letterPart) + "@" + header(m.Headers, letterOffset), Time: m.Time, Bytes: len(m.Value),
	}
}

// back is the message as it was, to be read again. How often it was put aside stays on it, so that one that never fits is known.
func back(m Message) journal.Message {
	out := journal.Message{Key: m.Key, Value: m.Value, Headers: own(m.Headers)}
	if attempt := header(m.Headers, letterAttempt); attempt != "" {
		out.Headers = append(out.Headers, journal.Header{Key: letterAttempt, Value: []byte(attempt)})
	}
	return out
}

// Replay brings what a consumer group put aside, and what no replay brought back before, to the end of the topic of records, in its order, and tells each of
// it to each. What is put aside again meanwhile waits for the next replay. Records are known by their ids: one that comes twice is stored once. With dry it
// only tells.
func Replay(ctx context.Context, cfg Config, group string, dry bool, each func(Letter)) error {
	p, err := NewPublisher(cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	r := &replay{publisher: p, topic: p.cfg.DeadLetter(group), dry: dry, each: each}
	r.group = ReplayGroup + strings.TrimPrefix(r.topic, p.cfg.Topic)
	spans, err := r.spans(ctx)
	if err != nil {
		return err
	}
	for _, s := range spans {
		if err := r.bring(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

type replay struct {
	publisher *Publisher
	topic     string
	group     string
	dry       bool
	each      func(Letter)
}

// span is a part of a partition: from the first offset up to the one before end.
type span struct {
	partition  int
	first, end int64
}

// spans is what each partition holds now and no replay has brought back.
func (r *replay) spans(ctx context.Context) ([]span, error) {
	client := r.publisher.client
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{r.topic}})
	if err != nil {
		return nil, fmt.Errorf("ask for topic %s: %w", r.topic, err)
	}
	if err := meta.Topics[0].Error; err != nil {
		return nil, told(fmt.Errorf("ask for topic %s: %w", r.topic, err), Topic{Name: r.topic})
	}
	var asked []kafkago.OffsetRequest
	var numbers []int
	for _, p := range meta.Topics[0].Partitions {
		asked = append(asked, kafkago.FirstOffsetOf(p.ID), kafkago.LastOffsetOf(p.ID))
		numbers = append(numbers, p.ID)
	}
	bounds, err := client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{r.topic: asked}})
	if err != nil {
		return nil, fmt.Errorf("ask how much %s holds: %w", r.topic, err)
	}
	committed, err := r.committed(ctx, numbers)
	if err != nil {
		return nil, fmt.Errorf("ask what group %s brought back: %w", r.group, err)
	}
	var out []span
	for _, p := range bounds.Topics[r.topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("ask how much %s holds: %w", r.topic, p.Error)
		}
		if s := (span{partition: p.Partition, first: max(p.FirstOffset, committed[p.Partition]), end: p.LastOffset}); s.first < s.end {
			out = append(out, s)
		}
	}
	return out, nil
}

// committed is up to where each partition was brought back. A group that never did that may not be known.
func (r *replay) committed(ctx context.Context, partitions []int) (map[int]int64, error) {
	done, err := r.publisher.client.OffsetFetch(ctx, &kafkago.OffsetFetchRequest{GroupID: r.group, Topics: map[string][]int{r.topic: partitions}})
	if err == nil {
		err = done.Error
	}
	if errors.Is(err, kafkago.GroupIdNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[int]int64{}
	for _, p := range done.Topics[r.topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		out[p.Partition] = p.CommittedOffset
	}
	return out, nil
}

// bring moves one span, a batch at a time: a batch counts as brought back when Kafka has it.
func (r *replay) bring(ctx context.Context, s span) error {
	wire := r.publisher.transport
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: r.publisher.cfg.Brokers, Topic: r.topic, Partition: s.partition, MinBytes: 1, MaxBytes: maxFetch, MaxWait: fetchWait,
		Dialer: &kafkago.Dialer{ClientID: clientID, Timeout: dialTimeout, DualStack: true, TLS: wire.TLS, SASLMechanism: wire.SASL},
	})
	defer func() { _ = reader.Close() }()
	if err := reader.SetOffset(s.first); err != nil {
		return fmt.Errorf("read %s: %w", r.topic, err)
	}
	var batch []journal.Message
	for at := s.first; at < s.end; {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			return fmt.Errorf("read %s: %w", r.topic, err)
		}
		at = m.Offset + 1
		r.each(letter(m))
		batch = append(batch, back(m))
		if len(batch) == replayBatch || at >= s.end {
			if err := r.settle(ctx, s.partition, at, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}

func (r *replay) settle(ctx context.Context, partition int, next int64, batch []journal.Message) error {
	if r.dry {
		return nil
	}
	if err := r.publisher.Publish(ctx, batch); err != nil {
		return err
	}
	answer, err := r.publisher.client.OffsetCommit(ctx, &kafkago.OffsetCommitRequest{
		GroupID: r.group, GenerationID: -1, Topics: map[string][]kafkago.OffsetCommit{r.topic: {{Partition: partition, Offset: next}}},
	})
	if err != nil {
		return fmt.Errorf("note what was brought back: %w", err)
	}
	var errs []error
	for _, p := range answer.Topics[r.topic] {
		errs = append(errs, p.Error)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("note what was brought back: %w", err)
	}
	return nil
}
