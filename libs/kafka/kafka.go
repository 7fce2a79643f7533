// Package kafka moves audit records through Kafka: the one place that says how Headgate's topics are written and read.
//
// The client's own defaults are wrong for an audit trail (no acknowledgement, a second's delay, keys spread round robin), so nothing else makes one.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

const (
	// DefaultTopic holds the audit records of every service.
	DefaultTopic = "headgate.audit.v1"

	deadLetterSuffix  = ".dlq"
	defaultPartitions = 6
	dialTimeout       = 5 * time.Second
	requestTimeout    = 10 * time.Second
	clientID          = "headgate"
)

// Config says where Kafka is and who we are there.
type Config struct {
	// Brokers are host:port addresses to begin with; the cluster tells the others.
	Brokers []string `yaml:"brokers"`
	// Topic is where records go; empty means headgate.audit.v1. What cannot be read goes to the topic of the same name and ".dlq".
	Topic string `yaml:"topic"`
	// CreateTopics makes missing topics. Leave it off where topics are managed as code.
	CreateTopics bool `yaml:"createTopics"`
	// Partitions and Replicas are for topics that are made here; 0 means 6 partitions and the broker's own replication factor.
	Partitions int  `yaml:"partitions"`
	Replicas   int  `yaml:"replicas"`
	TLS        TLS  `yaml:"tls"`
	SASL       SASL `yaml:"sasl"`
}

// TLS names PEM files. With Enabled alone the system's roots are trusted.
type TLS struct {
	Enabled bool   `yaml:"enabled"`
	CA      string `yaml:"ca"`
	Cert    string `yaml:"cert"`
	Key     string `yaml:"key"`
}

// SASL is how we say who we are; an empty mechanism means not at all.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string        `yaml:"mechanism"`
	User      string        `yaml:"user"`
	Password  secret.String `yaml:"password"`
}

// DeadLetter is the topic for what the readers of Topic cannot read.
func (c Config) DeadLetter() string { return c.withDefaults().Topic + deadLetterSuffix }

func (c Config) withDefaults() Config {
	if c.Topic == "" {
		c.Topic = DefaultTopic
	}
	if c.Partitions == 0 {
		c.Partitions = defaultPartitions
	}
	return c
}

// Check says what is missing or cannot work.
func (c Config) Check() error {
	cfg, err := c.check()
	if err != nil {
		return err
	}
	_, err = cfg.transport()
	return err
}

func (c Config) check() (Config, error) {
	if len(c.Brokers) == 0 {
		return c, fault.Invalid("No Kafka broker is configured. Set kafka.brokers to at least one host:port.")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return c, fault.Invalid("The Kafka broker %q is not host:port. Correct kafka.brokers.", b).Because(err)
		}
	}
	if c.Partitions < 0 || c.Replicas < 0 {
		return c, fault.Invalid("kafka.partitions and kafka.replicas cannot be negative.")
	}
	return c.withDefaults(), nil
}

func (c Config) addr() net.Addr { return kafkago.TCP(c.Brokers...) }

func (c Config) tls() (*tls.Config, error) {
	if !c.TLS.Enabled && c.TLS.CA == "" && c.TLS.Cert == "" {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS.CA != "" {
		pem, err := os.ReadFile(c.TLS.CA)
		if err != nil {
			return nil, fault.Invalid("kafka.tls.ca cannot be read: %v.", err).Because(err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Invalid("kafka.tls.ca (%s) holds no certificate in PEM form.", c.TLS.CA)
		}
	}
	if c.TLS.Cert != "" || c.TLS.Key != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return nil, fault.Invalid("kafka.tls.cert and kafka.tls.key do not make a client certificate: %v.", err).Because(err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}

func (c Config) sasl() (sasl.Mechanism, error) {
	switch c.SASL.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Mechanism{Username: c.SASL.User, Password: c.SASL.Password.Reveal()}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, c.SASL.User, c.SASL.Password.Reveal())
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, c.SASL.User, c.SASL.Password.Reveal())
	default:
		return nil, fault.Invalid("kafka.sasl.mechanism is %q. It must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or empty.", c.SASL.Mechanism)
	}
}

func (c Config) transport() (*kafkago.Transport, error) {
	t, err := c.tls()
	if err != nil {
		return nil, err
	}
	s, err := c.sasl()
	if err != nil {
		return nil, err
	}
	return &kafkago.Transport{ClientID: clientID, DialTimeout: dialTimeout, TLS: t, SASL: s}, nil
}

// EnsureTopics makes the topic and its dead-letter topic where they are missing.
func EnsureTopics(ctx context.Context, cfg Config) error {
	cfg, err := cfg.check()
	if err != nil {
		return err
	}
	t, err := cfg.transport()
	if err != nil {
		return err
	}
	defer t.CloseIdleConnections()
	return ensureTopics(ctx, &kafkago.Client{Addr: cfg.addr(), Timeout: requestTimeout, Transport: t}, cfg)
}

func ensureTopics(ctx context.Context, client *kafkago.Client, cfg Config) error {
	replicas := cfg.Replicas
	if replicas == 0 {
		replicas = -1 // the broker's default.replication.factor
	}
	topics := []kafkago.TopicConfig{
		{Topic: cfg.Topic, NumPartitions: cfg.Partitions, ReplicationFactor: replicas},
		{Topic: cfg.Topic + deadLetterSuffix, NumPartitions: 1, ReplicationFactor: replicas},
	}
	answer, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for topic, err := range answer.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
	}
	return nil
}
