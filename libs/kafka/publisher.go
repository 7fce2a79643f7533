package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"headgate.dev/libs/journal"
)

// perMessage and perHeader are what the format adds at most, in bytes.
const perMessage, perHeader = 64, 16

// Publisher writes batches of journal records. It asks every in-sync replica for an acknowledgement and keeps the order of each key.
// Safe for concurrent use, but order holds only among the batches of one caller.
type Publisher struct {
	cfg       Config
	topic     string
	groups    []string // whose dead-letter topics are made with the topic
	codec     compress.Compression
	transport *kafkago.Transport
	client    *kafkago.Client
	balancer  kafkago.Balancer
	buffers   sync.Pool // of *[]byte, each for one part of a batch
}

var _ journal.Publisher = (*Publisher)(nil)

// NewPublisher checks the configuration; it connects with the first batch.
func NewPublisher(cfg Config) (*Publisher, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	codec, err := cfg.codec()
	if err != nil {
		return nil, err
	}
	return &Publisher{
		cfg:       cfg,
		topic:     cfg.Topic,
		codec:     codec,
		transport: t,
		client:    &kafkago.Client{Addr: cfg.addr(), Timeout: requestTimeout, Transport: t},
		balancer:  kafkago.Murmur2Balancer{Consistent: true}, // what Java's producers do, so that others can write the same keys
	}, nil
}

// NewAlertPublisher is the same for the topic of alerts.
func NewAlertPublisher(cfg Config) (*Publisher, error) {
	p, err := NewPublisher(cfg)
	if err != nil {
		return nil, err
	}
	p.topic = p.cfg.Anomalies
	return p, nil
}

// Close gives the connections back.
func (p *Publisher) Close() { p.transport.CloseIdleConnections() }

// Publish sends each partition's part of the batch in one request, all at once, and waits for all of them. It does not try again: the caller does, with
// the same batch, before it sends a later one. That is what keeps the order, and why a message may arrive twice.
func (p *Publisher) Publish(ctx context.Context, batch []journal.Message) error {
	err := p.publishTo(ctx, p.topic, batch)
	if err != nil && ctx.Err() != nil { // the client says of a broker that is away that it is, also to who has stopped asking
		return errors.Join(ctx.Err(), err)
	}
	return err
}

func (p *Publisher) publishTo(ctx context.Context, topic string, batch []journal.Message) error {
	parts, err := p.split(ctx, topic, batch)
	if errors.Is(err, kafkago.UnknownTopicOrPartition) && p.cfg.CreateTopics {
		if err := ensureTopics(ctx, p.client, p.cfg, p.groups); err != nil {
			return err
		}
		return fmt.Errorf("topic %s was missing and is made now: %w", topic, err)
	}
	if err != nil {
		return err
	}
	return p.send(ctx, topic, parts)
}

// split sorts the messages by partition, in their order.
func (p *Publisher) split(ctx context.Context, topic string, batch []journal.Message) (map[int][]journal.Message, error) {
	answer, err := p.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	if len(answer.Topics) != 1 {
		return nil, fmt.Errorf("ask for topic %s: the answer names %d topics", topic, len(answer.Topics))
	}
	if err := answer.Topics[0].Error; err != nil {
		return nil, fmt.Errorf("ask for topic %s: %w", topic, err)
	}
	numbers := make([]int, len(answer.Topics[0].Partitions))
	for i := range numbers {
		numbers[i] = i
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("ask for topic %s: it has no partition", topic)
	}
	return p.sorted(batch, numbers), nil
}

// sorted puts the messages in the order of their partitions.
func (p *Publisher) sorted(batch []journal.Message, numbers []int) map[int][]journal.Message {
	of, sizes := make([]int, len(batch)), make([]int, len(numbers))
	for i, m := range batch {
		if i > 0 && bytes.Equal(m.Key, batch[i-1].Key) {
			of[i] = of[i-1]
		} else {
			of[i] = p.balancer.Balance(kafkago.Message{Key: m.Key}, numbers...)
		}
		sizes[of[i]]++
	}
	parts := map[int][]journal.Message{}
	for n, size := range sizes {
		if size > 0 {
			parts[n] = make([]journal.Message, 0, size)
		}
	}
	for i, m := range batch {
		parts[of[i]] = append(parts[of[i]], m)
	}
	return parts
}

func (p *Publisher) send(ctx context.Context, topic string, parts map[int][]journal.Message) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for n, part := range parts {
		wg.Go(func() {
			for len(part) > 0 { // in their order, and none after one that did not arrive
				size := fitting(part)
				if err := p.produce(ctx, topic, n, part[:size]); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("write %d messages to %s/%d: %w", len(part), topic, n, err))
					return
				}
				part = part[size:]
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fitting is how many messages go into one record batch: brokers refuse one of more than 1 MiB (max.message.bytes), and a single message is smaller.
func fitting(part []journal.Message) int {
	size := 0
	for i, m := range part {
		size += len(m.Key) + len(m.Value) + perMessage
		for _, h := range m.Headers {
			size += len(h.Key) + len(h.Value) + perHeader
		}
		if i > 0 && size > journal.BatchBytes {
			return i
		}
	}
	return len(part)
}

func (p *Publisher) produce(ctx context.Context, topic string, partition int, part []journal.Message) error {
	buffer, ok := p.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	var err error
	if *buffer, err = appendRecordSet((*buffer)[:0], part, p.codec, time.Now()); err != nil {
		return err
	}
	answer, err := p.client.RawProduce(ctx, &kafkago.RawProduceRequest{
		Topic: topic, Partition: partition, RequiredAcks: kafkago.RequireAll, RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(*buffer)},
	})
	if err != nil {
		return err // the client may still write the buffer
	}
	p.buffers.Put(buffer)
	return answer.Error
}
