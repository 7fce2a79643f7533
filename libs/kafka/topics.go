package kafka

import (
	"bytes"
	"context"
	_ "embed" // the topics as they should be
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"
	"go.yaml.in/yaml/v3"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

//go:embed files/topics.yaml
var topicsFile []byte

const (
	retentionSetting = "retention.ms"
	inSyncSetting    = "min.insync.replicas"
)

// Topic is one as it should be.
type Topic struct {
	Name       string `yaml:"name"`
	Partitions int    `yaml:"partitions"`
	Replicas   int    `yaml:"replicas"`
	// Settings are Kafka's own names and values.
	Settings map[string]string `yaml:"settings"`
}

// Topics lists what should be there, as files/topics.yaml says it and this configuration changes it: the topic of records, the topic of alerts and the
// dead-letter topic of each consumer group.
func (c Config) Topics(groups ...string) ([]Topic, error) {
	c = c.withDefaults()
	shipped, err := strictly[struct {
		Topics []Topic `yaml:"topics"`
	}](topicsFile)
	if err != nil {
		return nil, fmt.Errorf("topics.yaml: %w", err)
	}
	byName := map[string]Topic{}
	for _, t := range shipped.Topics {
		byName[t.Name] = t
	}
	records := c.adapted(byName[DefaultTopic], c.Topic)
	if c.Partitions > 0 {
		records.Partitions = c.Partitions
	}
	if c.Retention > 0 {
		records.Settings[retentionSetting] = strconv.FormatInt(c.Retention.Milliseconds(), 10)
	}
	out := []Topic{records, c.adapted(byName[DefaultAnomalies], c.Anomalies)}
	for _, group := range groups {
		letters, ok := byName[Config{}.DeadLetter(group)]
		if !ok {
			letters = byName[Config{}.DeadLetter(IndexGroup)]
		}
		letters = c.adapted(letters, c.DeadLetter(group))
		if kept, err := strconv.ParseInt(letters.Settings[retentionSetting], 10, 64); err == nil && c.Retention.Milliseconds() > kept {
			letters.Settings[retentionSetting] = records.Settings[retentionSetting] // what was put aside stays no shorter than what was not
		}
		out = append(out, letters)
	}
	return out, nil
}

// adapted is a shipped topic under its name here, with the replicas that this cluster is to have. Fewer replicas need fewer that are in sync: with as many
// as there are, one broker that restarts would stop every call.
func (c Config) adapted(t Topic, name string) Topic {
	t.Name, t.Settings = name, maps.Clone(t.Settings)
	if c.Replicas > 0 {
		t.Replicas = c.Replicas
	}
	inSync := c.MinInSync
	if inSync == 0 {
		shipped, err := strconv.Atoi(t.Settings[inSyncSetting])
		if err != nil {
			shipped = 1
		}
		inSync = min(shipped, max(1, t.Replicas-1))
	}
	t.Settings[inSyncSetting] = strconv.Itoa(inSync)
	return t
}

// strictly reads YAML that may hold nothing unknown.
func strictly[T any](data []byte) (T, error) {
	var out T
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	err := decoder.Decode(&out)
	return out, err
}

// EnsureTopics makes the topics where they are missing, with the dead-letter topics of these groups.
func EnsureTopics(ctx context.Context, cfg Config, groups ...string) error {
	client, cfg, err := admin(cfg)
	if err != nil {
		return err
	}
	defer client.end()
	return ensureTopics(ctx, client.Client, cfg, groups)
}

// InstallTopics makes the topics that are missing and brings the settings of the others to what they should be, where that keeps more. What it leaves
// as it is, and why, it says.
func InstallTopics(ctx context.Context, cfg Config, groups []string, say func(sentence string)) error {
	client, cfg, err := admin(cfg)
	if err != nil {
		return err
	}
	defer client.end()
	if err := ensureTopics(ctx, client.Client, cfg, groups); err != nil {
		return err
	}
	topics, err := cfg.Topics(groups...)
	if err != nil {
		return err
	}
	for _, want := range topics {
		if err := client.settle(ctx, want, say); err != nil {
			return err
		}
	}
	return nil
}

// administrator is a client with its connections.
type administrator struct {
	*kafkago.Client

	end func()
}

func admin(cfg Config) (*administrator, Config, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, cfg, err
	}
	t, err := cfg.transport()
	if err != nil {
		return nil, cfg, err
	}
	return &administrator{Client: &kafkago.Client{Addr: cfg.addr(), Timeout: requestTimeout, Transport: t}, end: t.CloseIdleConnections}, cfg, nil
}

func ensureTopics(ctx context.Context, client *kafkago.Client, cfg Config, groups []string) error {
	wanted, err := cfg.Topics(groups...)
	if err != nil {
		return err
	}
	topics := make([]kafkago.TopicConfig, len(wanted))
	for i, t := range wanted {
		topics[i] = kafkago.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replicas}
		for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
			topics[i].ConfigEntries = append(topics[i].ConfigEntries, kafkago.ConfigEntry{ConfigName: name, ConfigValue: t.Settings[name]})
		}
	}
	answer, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: topics})
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	for _, t := range wanted {
		if err := answer.Errors[t.Name]; err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return told(fmt.Errorf("create topic %s: %w", t.Name, err), t)
		}
	}
	return nil
}

// told says what to do about a topic that Kafka would not make or show.
func told(err error, t Topic) error {
	switch {
	case errors.Is(err, kafkago.TopicAuthorizationFailed), errors.Is(err, kafkago.ClusterAuthorizationFailed):
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Kafka does not let this user make or change the topic %s. Use one with the rights of headgate-install (deployments/kafka/acls.yaml).", t.Name).Because(err)
	case errors.Is(err, kafkago.InvalidReplicationFactor):
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Kafka has fewer brokers than the %d replicas that the topic %s is to have. Add brokers, or set kafka.replicas to as many as there are.", t.Replicas, t.Name).Because(err)
	default:
		return err
	}
}

// settle compares a topic that is there with what it should be.
func (a *administrator) settle(ctx context.Context, want Topic, say func(string)) error {
	meta, err := a.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{want.Name}})
	if err != nil {
		return fmt.Errorf("ask for topic %s: %w", want.Name, err)
	}
	if len(meta.Topics) == 1 && meta.Topics[0].Error == nil {
		compare(meta.Topics[0], want, say)
	}
	have, err := a.settings(ctx, want.Name)
	if err != nil {
		return told(err, want)
	}
	var changes []kafkago.IncrementalAlterConfigsRequestConfig
	for _, name := range slices.Sorted(maps.Keys(want.Settings)) {
		switch value := want.Settings[name]; {
		case have[name] == value:
		case keepsMore(name, have[name], value):
			say(fmt.Sprintf("%s: %s is %s, which keeps more than %s, and is left.", want.Name, name, have[name], value))
		default:
			say(fmt.Sprintf("%s: %s was %s and is %s now.", want.Name, name, have[name], value))
			changes = append(changes, kafkago.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafkago.ConfigOperationSet})
		}
	}
	return told(a.change(ctx, want.Name, changes), want)
}

// compare says what only a person can change.
func compare(have kafkago.Topic, want Topic, say func(string)) {
	if len(have.Partitions) != want.Partitions {
		say(fmt.Sprintf("%s: has %d partitions, not %d. They are left: with another number the records of one person would change their partition, and their order.",
			want.Name, len(have.Partitions), want.Partitions))
	}
	fewest := want.Replicas
	for _, p := range have.Partitions {
		fewest = min(fewest, len(p.Replicas))
	}
	if fewest < want.Replicas {
		say(fmt.Sprintf("%s: has %d replicas, not %d. They are left: add replicas with kafka-reassign-partitions.sh.", want.Name, fewest, want.Replicas))
	}
}

// keepsMore reports whether what a topic has is safer than what it should have: records are never thrown away sooner because of a configuration file.
func keepsMore(name, have, want string) bool {
	h, errH := strconv.ParseInt(have, 10, 64)
	w, errW := strconv.ParseInt(want, 10, 64)
	if errH != nil || errW != nil {
		return false
	}
	return h > w || name == retentionSetting && h < 0 // -1 is for ever
}

func (a *administrator) settings(ctx context.Context, topic string) (map[string]string, error) {
	answer, err := a.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{Resources: []kafkago.DescribeConfigRequestResource{
		{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic},
	}})
	if err != nil {
		return nil, fmt.Errorf("read the settings of topic %s: %w", topic, err)
	}
	out := map[string]string{}
	for _, r := range answer.Resources {
		if r.Error != nil {
			return nil, fmt.Errorf("read the settings of topic %s: %w", topic, r.Error)
		}
		for _, e := range r.ConfigEntries {
			out[e.ConfigName] = e.ConfigValue
		}
	}
	return out, nil
}

func (a *administrator) change(ctx context.Context, topic string, changes []kafkago.IncrementalAlterConfigsRequestConfig) error {
	if len(changes) == 0 {
		return nil
	}
	answer, err := a.IncrementalAlterConfigs(ctx, &kafkago.IncrementalAlterConfigsRequest{Resources: []kafkago.IncrementalAlterConfigsRequestResource{
		{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic, Configs: changes},
	}})
	if err != nil {
		return fmt.Errorf("change the settings of topic %s: %w", topic, err)
	}
	for _, r := range answer.Resources {
		if r.Error != nil {
			return fmt.Errorf("change the settings of topic %s: %w", topic, r.Error)
		}
	}
	return nil
}
