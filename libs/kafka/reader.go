package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
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
	// rebalance is how long the group waits for its members to join again: for a reader that died and is started again, as long as nothing is read.
	// The living notice with their next heartbeat.
	rebalance  = 3 * time.Second
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Message is one that was read.
type Message = kafkago.Message

// Header is one of its headers.
type Header = kafkago.Header

// Reader reads the topic as a member of a consumer group. A broker answers a fetch as soon as there is one record, so a record arrives within
// milliseconds. Nothing is committed but by CommitMessages. One goroutine fetches; the rest is safe for concurrent use.
type Reader struct {
	cfg   Config
	group string
	log   *slog.Logger
	dead  *Publisher

	mu     sync.Mutex
	reader *kafkago.Reader // nil before the group is joined
}

// NewReader checks the configuration; the first fetch joins the group. A group that has never committed begins with the oldest record.
func NewReader(cfg Config, group string, log *slog.Logger) (*Reader, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	dead, err := NewPublisher(cfg)
	if err != nil {
		return nil, err
	}
	dead.groups = []string{group}
	return &Reader{cfg: cfg, group: group, log: log, dead: dead}, nil
}

// FetchMessage waits for the next message. It fails when the context ends, and at first while the topic is not there.
func (r *Reader) FetchMessage(ctx context.Context) (Message, error) {
	joined, err := r.join(ctx)
	if err != nil {
		return Message{}, err
	}
	return joined.FetchMessage(ctx)
}

// CommitMessages says that everything up to these messages need not come again.
func (r *Reader) CommitMessages(ctx context.Context, messages ...Message) error {
	joined, err := r.join(ctx)
	if err != nil {
		return err
	}
	return joined.CommitMessages(ctx, messages...)
}

// join enters the group once the topic is there: the client never notices the partitions of a topic that is made while it joins.
func (r *Reader) join(ctx context.Context) (*kafkago.Reader, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reader != nil {
		return r.reader, nil
	}
	if err := r.Ping(ctx); err != nil {
		return nil, err
	}
	dialer := &kafkago.Dialer{ClientID: clientID, Timeout: dialTimeout, DualStack: true, TLS: r.dead.transport.TLS, SASLMechanism: r.dead.transport.SASL}
	r.reader = kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: r.cfg.Brokers, GroupID: r.group, Topic: r.cfg.Topic, Dialer: dialer,
		MinBytes: 1, MaxBytes: maxFetch, MaxWait: fetchWait, QueueCapacity: queueMessages,
		HeartbeatInterval: heartbeat, SessionTimeout: session, RebalanceTimeout: rebalance,
		JoinGroupBackoff: firstRetry * 4, ReadBackoffMin: firstRetry, ReadBackoffMax: lastRetry,
		StartOffset: kafkago.FirstOffset, WatchPartitionChanges: true, MaxAttempts: 3,
		ErrorLogger: &complaints{log: r.log, now: time.Now},
	})
	return r.reader, nil
}

// DeadLetter puts messages on the dead-letter topic and returns when they are acknowledged.
func (r *Reader) DeadLetter(ctx context.Context, messages []journal.Message) error {
	return r.dead.publishTo(ctx, r.cfg.DeadLetter(r.group), messages)
}

// Ping asks the cluster for the topic, and has it made where that is asked for.
func (r *Reader) Ping(ctx context.Context) error { return r.dead.publishTo(ctx, r.cfg.Topic, nil) }

// complaints passes the client's own errors to the log, one in a while: a broker that is away causes hundreds. That a fetch was not answered within its time is none,
// unless it happens again and again: with nothing to read, the broker answers when that time is about over.
type complaints struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	last time.Time
	late map[any]late // by partition
}

// late are fetches in a row that were not answered in time.
type late struct {
	count int
	last  time.Time
}

// Printf implements the client's Logger.
func (c *complaints) Printf(format string, args ...any) {
	const pause = 10 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.mayBe(now, format, args) {
		return
	}
	if now.Sub(c.last) >= pause {
		c.last = now
		c.log.Warn("kafka reader in trouble", "cause", fmt.Sprintf(format, args...))
	}
}

// mayBe reports whether what the client complains of may be: a fetch that was late, and not for long. The client says nothing of those that are answered; where more
// than row passes between two that are not, there were some.
func (c *complaints) mayBe(now time.Time, format string, args []any) bool {
	const (
		fetch = "the kafka reader got an unknown error reading partition "
		row   = 10 * fetchWait
		most  = 5
	)
	if len(args) == 0 || !strings.HasPrefix(format, fetch) {
		return false
	}
	if err, ok := args[len(args)-1].(error); !ok || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if c.late == nil {
		c.late = map[any]late{}
	}
	partition := c.late[args[0]]
	if now.Sub(partition.last) > row {
		partition.count = 0
	}
	partition.count, partition.last = partition.count+1, now
	c.late[args[0]] = partition
	return partition.count < most
}

// Close leaves the group.
func (r *Reader) Close() error {
	r.dead.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reader == nil {
		return nil
	}
	return r.reader.Close()
}
