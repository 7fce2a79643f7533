package kafka

import (
	"context"
	_ "embed" // who may do what
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

//go:embed files/acls.yaml
var aclsFile []byte

// Right is what one user may do with topics and consumer groups. A name that ends in * is a prefix.
type Right struct {
	User   string              `yaml:"user"`
	Topics map[string][]string `yaml:"topics"`
	Groups map[string][]string `yaml:"groups"`
}

// Rights lists who may do what, as files/acls.yaml says it, with the names of topics that this configuration has.
func (c Config) Rights() ([]Right, error) {
	c = c.withDefaults()
	shipped, err := strictly[struct {
		ACLs []Right `yaml:"acls"`
	}](aclsFile)
	if err != nil {
		return nil, fmt.Errorf("acls.yaml: %w", err)
	}
	for i, r := range shipped.ACLs {
		topics := map[string][]string{}
		for name, operations := range r.Topics {
			topics[c.named(name)] = operations
		}
		shipped.ACLs[i].Topics = topics
	}
	return shipped.ACLs, nil
}

// named is a shipped topic's name in this configuration.
func (c Config) named(topic string) string {
	if rest, ok := strings.CutPrefix(topic, DefaultTopic); ok {
		return c.Topic + rest
	}
	if topic == DefaultAnomalies {
		return c.Anomalies
	}
	return topic
}

// InstallRights makes the rules of who may do what. To do it again changes nothing; a rule that is there besides is left. The user must be a superuser, or
// may alter the cluster.
func InstallRights(ctx context.Context, cfg Config, say func(sentence string)) error {
	client, cfg, err := admin(cfg)
	if err != nil {
		return err
	}
	defer client.end()
	rights, err := cfg.Rights()
	if err != nil {
		return err
	}
	entries, err := entries(rights)
	if err != nil {
		return err
	}
	answer, err := client.CreateACLs(ctx, &kafkago.CreateACLsRequest{ACLs: entries})
	if err != nil {
		return fmt.Errorf("make rules of access: %w", err)
	}
	err = errors.Join(answer.Errors...)
	switch {
	case errors.Is(err, kafkago.SecurityDisabled):
		say("This Kafka has no authorizer: whoever reaches it may read and write everything. Set authorizer.class.name, and allow.everyone.if.no.acl.found=false.")
		return nil
	case errors.Is(err, kafkago.ClusterAuthorizationFailed):
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Kafka does not let this user make rules of access. Use a superuser.").Because(err)
	case err != nil:
		return fmt.Errorf("make rules of access: %w", err)
	}
	say(fmt.Sprintf("Kafka holds the %d rules of access of %d users.", len(entries), len(rights)))
	return nil
}

// entries are rights in Kafka's own form, in a fixed order.
func entries(rights []Right) ([]kafkago.ACLEntry, error) {
	var out []kafkago.ACLEntry
	for _, r := range rights {
		for _, part := range []struct {
			kind  kafkago.ResourceType
			names map[string][]string
		}{{kafkago.ResourceTypeTopic, r.Topics}, {kafkago.ResourceTypeGroup, r.Groups}} {
			for _, name := range slices.Sorted(maps.Keys(part.names)) {
				for _, operation := range part.names[name] {
					e := kafkago.ACLEntry{
						ResourceType: part.kind, ResourceName: name, ResourcePatternType: kafkago.PatternTypeLiteral,
						Principal: "User:" + r.User, Host: "*", PermissionType: kafkago.ACLPermissionTypeAllow,
					}
					if prefix, ok := strings.CutSuffix(name, "*"); ok {
						e.ResourceName, e.ResourcePatternType = prefix, kafkago.PatternTypePrefixed
					}
					if err := e.Operation.UnmarshalText([]byte(operation)); err != nil {
						return nil, fmt.Errorf("acls.yaml: %s: %w", r.User, err)
					}
					out = append(out, e)
				}
			}
		}
	}
	return out, nil
}
