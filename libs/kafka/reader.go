package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
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

// Header is one of its headers.
type Header = kafkago.Header

// Reader reads the topic as a member of a consumer group. A broker answers a fetch as soon as there is one record, so a record arrives within
// milliseconds. Nothing is committed but by CommitMessages.
type Reader struct {
	cfg    Config
	reader *kafkago.Reader
	dead   *Publisher
}

// NewReader joins the group. A group that has never committed begins with the oldest record.
func NewReader(cfg Config, group string, log *slog.Logger) (*Reader, error) {
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
		ErrorLogger: &complaints{log: log, now: time.Now},
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

// Ping asks the cluster for the topic.
func (r *Reader) Ping(ctx context.Context) error {
	_, err := r.dead.split(ctx, r.cfg.Topic, nil)
	return err
}

// complaints passes the client's own errors to the log, one in a while: a broker that is away causes hundreds.
type complaints struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	last time.Time
}

// Printf implements the client's Logger.
func (c *complaints) Printf(format string, args ...any) {
	const pause = 10 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.last) >= pause {
		c.last = now
		c.log.Warn("kafka reader in trouble", "cause", fmt.Sprintf(format, args...))
	}
}

// Close leaves the group.
func (r *Reader) Close() error {
	r.dead.Close()
	return r.reader.Close()
}
