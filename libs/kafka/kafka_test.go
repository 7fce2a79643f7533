package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a journal with its shipper on the way to a broker.
type line struct {
	t      *testing.T
	writer *journal.Writer
	sent   int
	read   map[int]int64 // the last offset that was committed, by partition
}

func start(t *testing.T, cfg kafka.Config) *line {
	t.Helper()
	w, err := journal.Open(journal.Config{Dir: t.TempDir(), SyncEvery: 2 * time.Millisecond, SegmentBytes: 32 << 10}, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{w.Run, journal.NewShipper(w, p, quiet).Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		p.Close()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &line{t: t, writer: w, read: map[int]int64{}}
}

func (l *line) append(n int) {
	l.t.Helper()
	for range n {
		l.sent++
		ev := &eventsv1.Event{
			Id: fmt.Sprint(l.sent), Action: "tool-call", Tenant: "acme", Phase: eventsv1.Phase_PHASE_FINAL,
			Principal: &eventsv1.Principal{Person: fmt.Sprintf("person-%d", l.sent%7)},
		}
		if err := l.writer.Append(ev, journal.Spool); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *line) waitShipped() {
	l.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.writer.Status().Shipped < uint64(l.sent) {
		select {
		case <-deadline:
			l.t.Fatalf("%+v of %d shipped", l.writer.Status(), l.sent)
		case <-tick.C:
		}
	}
}

// arrivals reads the topic until every event that was sent is there and returns, by key, the sequences in the order of first arrival.
func (l *line) arrivals(cfg kafka.Config, group string) (byKey map[string][]uint64, duplicates int) {
	l.t.Helper()
	r, err := kafka.NewReader(cfg, group, quiet)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	byKey, seen := map[string][]uint64{}, map[string]bool{}
	for len(seen) < l.sent {
		m, err := r.FetchMessage(ctx)
		if err != nil {
			l.t.Fatalf("%d of %d events arrived: %v", len(seen), l.sent, err)
		}
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(m.Value, ev); err != nil {
			l.t.Fatal(err)
		}
		if seen[ev.GetId()] {
			duplicates++
			continue // a later commit covers it
		}
		seen[ev.GetId()] = true
		byKey[string(m.Key)] = append(byKey[string(m.Key)], ev.GetSequence())
		if err := r.CommitMessages(ctx, m); err != nil {
			l.t.Fatal(err)
		}
		l.read[m.Partition] = m.Offset
	}
	return byKey, duplicates
}

func checkOrder(t *testing.T, byKey map[string][]uint64) {
	t.Helper()
	if len(byKey) != 7 {
		t.Errorf("%d keys", len(byKey))
	}
	for key, sequences := range byKey {
		for i := 1; i < len(sequences); i++ {
			if sequences[i] <= sequences[i-1] {
				t.Errorf("%s: record %d arrived after %d", key, sequences[i], sequences[i-1])
			}
		}
	}
}

func TestRecordsArriveInOrderPerPersonAlthoughTheBrokerGoesAway(t *testing.T) {
	kafkatest.Each(t, recordsArriveInOrderPerPersonAlthoughTheBrokerGoesAway)
}

func recordsArriveInOrderPerPersonAlthoughTheBrokerGoesAway(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	l := start(t, b.Config()) // nobody has made the topic
	l.append(500)
	l.waitShipped()
	for range 3 {
		b.Down()
		l.append(700)
		b.Up()
		l.append(700)
		l.waitShipped()
	}
	byKey, duplicates := l.arrivals(b.Config(), "test")
	checkOrder(t, byKey)
	if duplicates > 0 {
		t.Logf("%d arrived twice", duplicates)
	}
}

func TestLostAnswersMakeDuplicatesButNeverDisorder(t *testing.T) {
	b := kafkatest.Start(t)
	if err := kafka.EnsureTopics(t.Context(), b.Config()); err != nil {
		t.Fatal(err)
	}
	b.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 3}, // written, but not acknowledged
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{2}, Err: kerr.NotEnoughReplicas, Count: 3},            // refused
	)
	l := start(t, b.Config())
	for range 20 {
		l.append(100)
		l.waitShipped()
	}
	byKey, duplicates := l.arrivals(b.Config(), "test")
	checkOrder(t, byKey)
	if duplicates == 0 {
		t.Error("the fault did not happen")
	}
}

func TestNothingIsShippedThatNotAllReplicasHave(t *testing.T) {
	b := kafkatest.Start(t)
	if err := kafka.EnsureTopics(t.Context(), b.Config()); err != nil {
		t.Fatal(err)
	}
	var acks []int16
	b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1, When: func(r kmsg.Request) bool {
		acks = append(acks, r.(*kmsg.ProduceRequest).Acks)
		return true
	}})
	l := start(t, b.Config())
	l.append(10)
	l.waitShipped()
	b.Down()
	for _, a := range acks {
		if a != -1 {
			t.Errorf("acks=%d", a)
		}
	}
	if len(acks) == 0 {
		t.Error("no produce request was seen")
	}
}

func TestGroupContinuesWhereItCommitted(t *testing.T) {
	kafkatest.Each(t, groupContinuesWhereItCommitted)
}

func groupContinuesWhereItCommitted(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	l := start(t, b.Config())
	l.append(50)
	l.waitShipped()
	l.arrivals(b.Config(), "group")
	first := uint64(l.sent)
	l.append(20)
	l.waitShipped()
	r, err := kafka.NewReader(b.Config(), "group", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	for fresh := map[uint64]bool{}; len(fresh) < 20; {
		m, err := r.FetchMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if last, some := l.read[m.Partition]; some && m.Offset <= last {
			t.Fatalf("offset %d of partition %d came again after %d was committed", m.Offset, m.Partition, last)
		}
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(m.Value, ev); err != nil {
			t.Fatal(err)
		}
		if ev.GetSequence() > first { // an older one was written twice, as may be
			fresh[ev.GetSequence()] = true
		}
	}
}

func TestReaderThatComesBeforeTheTopicReadsItAllTheSame(t *testing.T) {
	kafkatest.Each(t, readerThatComesBeforeTheTopicReadsItAllTheSame)
}

func readerThatComesBeforeTheTopicReadsItAllTheSame(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	cfg := b.Config()
	cfg.CreateTopics = false
	r, err := kafka.NewReader(cfg, "group", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := r.FetchMessage(t.Context()); err == nil {
		t.Fatal("a message of a topic that is not there")
	}
	l := start(t, b.Config())
	l.append(1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if m, err := r.FetchMessage(ctx); err == nil && len(m.Value) > 0 {
			return
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordIsReadWithinMillisecondsOfItsPublishing(t *testing.T) {
	kafkatest.Each(t, recordIsReadWithinMillisecondsOfItsPublishing)
}

func recordIsReadWithinMillisecondsOfItsPublishing(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	l := start(t, b.Config())
	l.append(1)
	l.waitShipped()
	r, err := kafka.NewReader(b.Config(), "group", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := r.FetchMessage(t.Context()); err != nil {
		t.Fatal(err)
	}
	var slowest time.Duration
	for range 10 {
		begin := time.Now()
		l.append(1)
		if _, err := r.FetchMessage(t.Context()); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > time.Second {
		t.Errorf("the slowest took %s", slowest)
	}
	t.Logf("the slowest took %s", slowest)
}

func TestEnsureTopicsIsRepeatableAndSaysWhenKafkaIsNotThere(t *testing.T) {
	b := kafkatest.Start(t)
	cfg := b.Config()
	for range 2 {
		if err := kafka.EnsureTopics(t.Context(), cfg, kafka.IndexGroup); err != nil {
			t.Fatal(err)
		}
	}
	for topic, partitions := range map[string]int{kafka.DefaultTopic: 4, kafka.DefaultTopic + ".index.dlq": 1} {
		if info := b.Cluster().PartitionInfos(topic); len(info) != partitions {
			t.Errorf("%s has %d partitions", topic, len(info))
		}
	}
	b.Down()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := kafka.EnsureTopics(ctx, cfg); err == nil {
		t.Error("topics made without a broker")
	}
}

func TestTopicsAreBroughtToWhatTheyShouldBeAndNeverKeepLess(t *testing.T) {
	kafkatest.Each(t, topicsAreBrought)
}

func topicsAreBrought(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	install := func(change func(cfg *kafka.Config)) string {
		cfg := b.Config()
		change(&cfg)
		var said []string
		if err := kafka.InstallTopics(t.Context(), cfg, []string{kafka.IndexGroup}, func(s string) { said = append(said, s) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(said, "\n")
	}
	if said := install(func(*kafka.Config) {}); said != "" {
		t.Errorf("at first: %s", said)
	}
	if said := install(func(*kafka.Config) {}); said != "" {
		t.Errorf("again: %s", said)
	}
	longer := install(func(cfg *kafka.Config) { cfg.Retention, cfg.MinInSync = 60*24*time.Hour, 1 })
	if !strings.Contains(longer, "headgate.audit.v1: retention.ms was 1209600000 and is 5184000000 now") ||
		!strings.Contains(longer, "headgate.audit.v1.index.dlq: retention.ms was 2592000000 and is 5184000000 now") {
		t.Errorf("longer: %s", longer)
	}
	shorter := install(func(cfg *kafka.Config) { cfg.Retention, cfg.Partitions = time.Hour, 9 })
	if !strings.Contains(shorter, "headgate.audit.v1: retention.ms is 5184000000, which keeps more than 3600000, and is left") || strings.Contains(shorter, "now") ||
		!strings.Contains(shorter, "has 4 partitions, not 9") {
		t.Errorf("shorter: %s", shorter)
	}
}

func TestCompressedRecordsArrive(t *testing.T) { kafkatest.Each(t, compressedRecordsArrive) }

func compressedRecordsArrive(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	for _, name := range []string{"gzip", "snappy", "lz4", "zstd"} {
		cfg := b.Config()
		cfg.Topic, cfg.Compression = "headgate."+name, name
		l := start(t, cfg)
		l.append(300)
		l.waitShipped()
		byKey, _ := l.arrivals(cfg, name)
		checkOrder(t, byKey)
	}
}

func TestMissingTopicIsNotMadeUnlessAskedFor(t *testing.T) {
	b := kafkatest.Start(t)
	cfg := b.Config()
	cfg.CreateTopics = false
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 {
		err := p.Publish(t.Context(), []journal.Message{{Key: []byte("k"), Value: []byte("v")}})
		if err == nil || !strings.Contains(err.Error(), kafka.DefaultTopic) {
			t.Fatalf("published: %v", err)
		}
	}
	if info := b.Cluster().PartitionInfos(kafka.DefaultTopic); len(info) != 0 {
		t.Errorf("the topic was made: %v", info)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	b := kafkatest.Start(t)
	cfg := b.Config()
	b.Down()
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Publish(ctx, []journal.Message{{Key: []byte("k")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("published: %v", err)
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	good := []string{"127.0.0.1:9092"}
	for name, cfg := range map[string]kafka.Config{
		"no broker":           {},
		"no port":             {Brokers: []string{"kafka"}},
		"negative":            {Brokers: good, Partitions: -1},
		"negative retention":  {Brokers: good, Retention: -1},
		"unknown compression": {Brokers: good, Compression: "brotli"},
		"unknown mechanism":   {Brokers: good, SASL: kafka.SASL{Mechanism: "GSSAPI"}},
		"no CA file":          {Brokers: good, TLS: kafka.TLS{CA: "/does/not/exist"}},
		"half a key pair":     {Brokers: good, TLS: kafka.TLS{Cert: "/does/not/exist"}},
	} {
		if _, err := kafka.NewPublisher(cfg); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("publisher, %s: %v", name, err)
		}
		if _, err := kafka.NewReader(cfg, "g", quiet); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("reader, %s: %v", name, err)
		}
	}
}
