package kafka

import (
	"context"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"headgate.dev/libs/journal"
)

const (
	maxFetch      = 4 << 20
	fetchWait     = 500 * time.Millisecond
	queueMessages = 2000
	heartbeat     = time.Second
	session       = 10 * time.Second
	firstRetry    = 50 * time.Millisecond
	lastRetry     = time.Second
)

// Message is one that was read.
type Message = kafkago.Message

// Reader reads the topic as a member of a consumer group. A broker answers a fetch as soon as there is one record, so a record arrives within
// milliseconds. Nothing is committed but by CommitMessages.
type Reader struct {
	cfg    Config
	reader *kafkago.Reader
	dead   *Publisher
}

// NewReader joins the group. A group that has never committed begins with the oldest record.
func NewReader(cfg Config, group string) (*Reader, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	dead, err := NewPublisher(cfg)
	if err != nil {
		return nil, err
	}
	dialer := &kafkago.Dialer{ClientID: clientID, Timeout: dialTimeout, DualStack: true, TLS: dead.transport.TLS, SASLMechanism: dead.transport.SASL}
	r := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: cfg.Brokers, GroupID: group, Topic: cfg.Topic, Dialer: dialer,
		MinBytes: 1, MaxBytes: maxFetch, MaxWait: fetchWait, QueueCapacity: queueMessages,
		HeartbeatInterval: heartbeat, SessionTimeout: session, RebalanceTimeout: session,
		JoinGroupBackoff: firstRetry * 4, ReadBackoffMin: firstRetry, ReadBackoffMax: lastRetry,
		StartOffset: kafkago.FirstOffset, WatchPartitionChanges: true, MaxAttempts: 3,
	})
	return &Reader{cfg: cfg, reader: r, dead: dead}, nil
}

// FetchMessage waits for the next message. It fails when the context ends or the reader is closed.
func (r *Reader) FetchMessage(ctx context.Context) (Message, error) {
	return r.reader.FetchMessage(ctx)
}

// CommitMessages says that everything up to these messages need not come again.
func (r *Reader) CommitMessages(ctx context.Context, messages ...Message) error {
	return r.reader.CommitMessages(ctx, messages...)
}

// DeadLetter puts messages on the dead-letter topic and returns when they are acknowledged.
func (r *Reader) DeadLetter(ctx context.Context, messages []journal.Message) error {
	return r.dead.publishTo(ctx, r.cfg.DeadLetter(), messages)
}

// Close leaves the group.
func (r *Reader) Close() error {
	r.dead.Close()
	return r.reader.Close()
}
