// Package kafka moves audit records through Kafka: the one place that says how Headgate's topics are written and read.
//
// The client's own defaults are wrong for an audit trail (no acknowledgement, a second's delay, keys spread round robin), so nothing else makes one.
package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

const (
	// DefaultTopic holds the audit records of every service.
	DefaultTopic = "headgate.audit.v1"
	// DefaultAnomalies holds those of them that are alerts.
	DefaultAnomalies = "headgate.anomalies.v1"
	// IndexGroup brings records to ledger and index, AnomalyGroup alerts to those who wait for them. Each is a consumer group of the records' topic.
	IndexGroup   = "headgate.audit.index"
	AnomalyGroup = "headgate.audit.anomaly"

	deadLetterSuffix = ".dlq"
	dialTimeout      = 5 * time.Second
	requestTimeout   = 10 * time.Second
	clientID         = "headgate"
)

// Config says where Kafka is and who we are there.
type Config struct {
	// Brokers are host:port addresses to begin with; the cluster tells the others.
	Brokers []string `yaml:"brokers"`
	// Topic is where records go; empty means headgate.audit.v1. What a consumer cannot use goes to its own topic, as headgate.audit.v1.index.dlq.
	Topic string `yaml:"topic"`
	// Anomalies is where alerts go; empty means headgate.anomalies.v1.
	Anomalies string `yaml:"anomalies"`
	// CreateTopics makes missing topics. Leave it off where topics are managed as code.
	CreateTopics bool `yaml:"createTopics"`
	// Partitions of the topic of records and Replicas of all, for topics that are made here; 0 means what files/topics.yaml says: 6 and 3.
	Partitions int `yaml:"partitions"`
	Replicas   int `yaml:"replicas"`
	// Retention is how long the topic keeps records; 0 means 14 days. Dead letters are kept for 30 days at least.
	Retention time.Duration `yaml:"retention"`
	// MinInSync is how many replicas must have a record before it counts as written; 0 means 2, or all but one where there are fewer than 3.
	MinInSync int `yaml:"minInSync"`
	// Compression of what is written: gzip, snappy, lz4, zstd or empty for none.
	Compression string `yaml:"compression"`
	TLS         TLS    `yaml:"tls"`
	SASL        SASL   `yaml:"sasl"`
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

// DeadLetter is the topic for what a consumer group cannot use: after the topic's name the last part of the group's, so that each group has its own.
func (c Config) DeadLetter(group string) string {
	return c.withDefaults().Topic + "." + group[strings.LastIndexByte(group, '.')+1:] + deadLetterSuffix
}

func (c Config) withDefaults() Config {
	if c.Topic == "" {
		c.Topic = DefaultTopic
	}
	if c.Anomalies == "" {
		c.Anomalies = DefaultAnomalies
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
	if c.Retention < 0 || c.MinInSync < 0 {
		return c, fault.Invalid("kafka.retention and kafka.minInSync cannot be negative.")
	}
	if _, err := c.codec(); err != nil {
		return c, err
	}
	return c.withDefaults(), nil
}

// codec is the number of the compression in the protocol; 0 is none.
func (c Config) codec() (compress.Compression, error) {
	switch c.Compression {
	case "":
		return compress.None, nil
	case "gzip":
		return compress.Gzip, nil
	case "snappy":
		return compress.Snappy, nil
	case "lz4":
		return compress.Lz4, nil
	case "zstd":
		return compress.Zstd, nil
	default:
		return compress.None, fault.Invalid("kafka.compression is %q. It must be gzip, snappy, lz4, zstd or empty.", c.Compression)
	}
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
