package dev

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
)

// startBroker runs a broker that speaks Kafka's protocol on loopback and keeps its topics in dir. It is for this machine only: production names real brokers.
func startBroker(dir string) (*kfake.Cluster, string, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(dir))
	if err != nil {
		return nil, "", fmt.Errorf("start the embedded broker: %w", err)
	}
	return cluster, cluster.ListenAddrs()[0], nil
}
