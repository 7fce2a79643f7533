package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"headgate.dev/libs/journal"
)

// Publisher writes batches of journal records. It asks every in-sync replica for an acknowledgement and keeps the order of each key.
// Safe for concurrent use, but order holds only among the batches of one caller.
type Publisher struct {
	cfg       Config
	transport *kafkago.Transport
	client    *kafkago.Client
	balancer  kafkago.Balancer
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
	return &Publisher{
		cfg:       cfg,
		transport: t,
		client:    &kafkago.Client{Addr: cfg.addr(), Timeout: requestTimeout, Transport: t},
		balancer:  kafkago.Murmur2Balancer{Consistent: true}, // what Java's producers do, so that others can write the same keys
	}, nil
}

// Close gives the connections back.
func (p *Publisher) Close() { p.transport.CloseIdleConnections() }

// Publish sends each partition's part of the batch in one request, all at once, and waits for all of them. It does not try again: the caller does, with
// the same batch, before it sends a later one. That is what keeps the order, and why a message may arrive twice.
func (p *Publisher) Publish(ctx context.Context, batch []journal.Message) error {
	return p.publishTo(ctx, p.cfg.Topic, batch)
}

func (p *Publisher) publishTo(ctx context.Context, topic string, batch []journal.Message) error {
	parts, err := p.split(ctx, topic, batch)
	if errors.Is(err, kafkago.UnknownTopicOrPartition) && p.cfg.CreateTopics {
		if err := ensureTopics(ctx, p.client, p.cfg); err != nil {
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
	parts := map[int][]journal.Message{}
	for _, m := range batch {
		n := p.balancer.Balance(kafkago.Message{Key: m.Key}, numbers...)
		parts[n] = append(parts[n], m)
	}
	return parts, nil
}

func (p *Publisher) send(ctx context.Context, topic string, parts map[int][]journal.Message) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for n, part := range parts {
		wg.Go(func() {
			if err := p.produce(ctx, topic, n, part); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("write %d messages to %s/%d: %w", len(part), topic, n, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (p *Publisher) produce(ctx context.Context, topic string, partition int, part []journal.Message) error {
	answer, err := p.client.Produce(ctx, &kafkago.ProduceRequest{
		Topic: topic, Partition: partition, RequiredAcks: kafkago.RequireAll, Records: &records{left: part},
	})
	if err != nil {
		return err
	}
	return answer.Error
}

// records gives messages to the client one by one.
type records struct {
	left    []journal.Message
	current protocol.Record
	headers []protocol.Header
}

// ReadRecord implements protocol.RecordReader.
func (r *records) ReadRecord() (*protocol.Record, error) {
	if len(r.left) == 0 {
		return nil, io.EOF
	}
	m := r.left[0]
	r.left = r.left[1:]
	r.headers = r.headers[:0] // the client has written one record before it reads the next
	for _, h := range m.Headers {
		r.headers = append(r.headers, protocol.Header{Key: h.Key, Value: h.Value})
	}
	r.current = protocol.Record{Key: protocol.NewBytes(m.Key), Value: protocol.NewBytes(m.Value), Headers: r.headers}
	return &r.current, nil
}
