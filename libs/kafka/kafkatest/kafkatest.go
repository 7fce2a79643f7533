// Package kafkatest runs a Kafka broker inside a test. It keeps its data and its port while it is down.
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
	cluster *kfake.Cluster
}

// Start runs a broker until the test ends.
func Start(tb testing.TB) *Broker {
	tb.Helper()
	b := &Broker{tb: tb, dir: tb.TempDir()}
	b.Up()
	tb.Cleanup(b.Down)
	return b
}

// Config is how to reach it.
func (b *Broker) Config() kafka.Config {
	return kafka.Config{Brokers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))}, CreateTopics: true, Partitions: 4}
}

// Cluster is the broker itself, for faults; nil while it is down.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Down stops the broker; every connection breaks.
func (b *Broker) Down() {
	if b.cluster != nil {
		b.cluster.Close()
		b.cluster = nil
	}
}

// Up starts it with the data and on the port that it had.
func (b *Broker) Up() {
	b.tb.Helper()
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
