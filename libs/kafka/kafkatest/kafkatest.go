// Package kafkatest runs a Kafka broker for a test: one linked in, and with the build tag external a real one as well. It keeps its data and its port
// while it is down.
package kafkatest

import (
	"net"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"headgate.dev/libs/kafka"
)

// Broker is one broker that can go away and come back.
type Broker struct {
	tb      testing.TB
	dir     string
	port    int
	cluster *kfake.Cluster // nil while it is down, and of a real broker
	home    string         // where the programs of a real broker are; empty for one that is linked in
}

// Each runs a test on every kind of broker there is. With the build tag external that includes a real one, started by what tools/engines/kafka/install.sh
// put into the folder HEADGATE_TEST_KAFKA; it fails when that is not set.
func Each(t *testing.T, run func(t *testing.T, b *Broker)) {
	t.Helper()
	t.Run("linked in", func(t *testing.T) { run(t, Start(t)) })
	external(t, run)
}

// Start runs the broker that is linked in until the test ends.
func Start(tb testing.TB) *Broker {
	tb.Helper()
	b := &Broker{tb: tb, dir: tb.TempDir()}
	b.Up()
	tb.Cleanup(b.Down)
	return b
}

// Config is how to reach it.
func (b *Broker) Config() kafka.Config {
	return kafka.Config{Brokers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))}, CreateTopics: true, Partitions: 4, Replicas: 1}
}

// Cluster is the broker itself, for faults; nil while it is down, and for a real one.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Down stops the broker; every connection breaks.
func (b *Broker) Down() { b.end("TERM") }

// Kill ends it in the midst of what it does. The broker that is linked in only stops.
func (b *Broker) Kill() { b.end("KILL") }

func (b *Broker) end(signal string) {
	switch {
	case b.home != "":
		b.script("stop.sh", b.dir, signal)
	case b.cluster != nil:
		b.cluster.Close()
		b.cluster = nil
	}
}

// Up starts it with the data and on the port that it had.
func (b *Broker) Up() {
	b.tb.Helper()
	if b.home != "" {
		b.script("start.sh", b.dir)
		return
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(b.port), kfake.DataDir(b.dir))
	if err != nil {
		b.tb.Fatal(err)
	}
	_, port, err := net.SplitHostPort(cluster.ListenAddrs()[0])
	if err != nil {
		b.tb.Fatal(err)
	}
	if b.port, err = strconv.Atoi(port); err != nil {
		b.tb.Fatal(err)
	}
	b.cluster = cluster
}
