package audit

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
	"headgate.dev/services/audit/internal/index/elastic"
)

// Installation says what is put where.
type Installation struct {
	// Elasticsearch gets its templates, when the configuration has it.
	Elasticsearch bool
	// Topics are made in Kafka.
	Topics bool
	// Rights in Kafka are made: who may read and write which topic. That takes a superuser.
	Rights bool
}

// Install puts things where they belong, or brings them to this version. To do it again changes nothing. What differs and is left, and what the clusters
// lack, is told to say, one sentence each.
func Install(ctx context.Context, cfg Config, what Installation, say func(sentence string)) error {
	if what.Elasticsearch && !what.Topics && !what.Rights && !cfg.Elasticsearch.Used() {
		return fault.Invalid("elasticsearch.addresses: is empty, so there is nothing to install: the embedded index installs itself.")
	}
	if what.Elasticsearch && cfg.Elasticsearch.Used() {
		if err := elastic.Install(ctx, cfg.Elasticsearch, say); err != nil {
			return err
		}
	}
	if what.Topics {
		if err := kafka.InstallTopics(ctx, cfg.Kafka, cfg.groups(), say); err != nil {
			return err
		}
	}
	if what.Rights {
		return kafka.InstallRights(ctx, cfg.Kafka, say)
	}
	return nil
}

// groups are the consumers of the topic of records.
func (c Config) groups() []string { return []string{c.withDefaults().Group, kafka.AnomalyGroup} }

// Print writes what Install would put where: of Elasticsearch in the form that Kibana's console takes, of Kafka as the commands of its own programs.
func Print(cfg Config, what Installation, to io.Writer) error {
	var b strings.Builder
	if what.Elasticsearch {
		parts, err := elastic.Parts(cfg.Elasticsearch)
		if err != nil {
			return err
		}
		for _, p := range parts {
			method, path := p.Request()
			fmt.Fprintf(&b, "%s %s\n%s\n", method, path, p.Body)
		}
	}
	if what.Topics {
		topics, err := cfg.Kafka.Topics(cfg.groups()...)
		if err != nil {
			return err
		}
		for _, t := range topics {
			fmt.Fprintf(&b, "# kafka-topics.sh --create --if-not-exists --topic %s --partitions %d --replication-factor %d", t.Name, t.Partitions, t.Replicas)
			for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
				fmt.Fprintf(&b, " --config %s=%s", name, t.Settings[name])
			}
			b.WriteByte('\n')
		}
	}
	if what.Rights {
		if err := printRights(cfg.Kafka, &b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}

func printRights(cfg kafka.Config, b *strings.Builder) error {
	rights, err := cfg.Rights()
	if err != nil {
		return err
	}
	for _, r := range rights {
		for _, part := range []struct {
			flag  string
			names map[string][]string
		}{{"--topic", r.Topics}, {"--group", r.Groups}} {
			for _, name := range slices.Sorted(maps.Keys(part.names)) {
				pattern := ""
				name, prefix := strings.CutSuffix(name, "*")
				operations := part.names[name]
				if prefix {
					pattern, operations = " --resource-pattern-type prefixed", part.names[name+"*"]
				}
				fmt.Fprintf(b, "# kafka-acls.sh --add --allow-principal User:%s --operation %s %s %s%s\n", r.User, strings.Join(operations, " --operation "), part.flag, name, pattern)
			}
		}
	}
	return nil
}
