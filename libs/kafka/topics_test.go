package kafka_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/kafka"
)

func TestDeploymentsCarryTheSameFiles(t *testing.T) {
	for _, name := range []string{"topics.yaml", "acls.yaml"} {
		here, err := os.ReadFile(filepath.Join("files", name))
		if err != nil {
			t.Fatal(err)
		}
		there, err := os.ReadFile(filepath.Join("../../deployments/kafka", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(here) != string(there) {
			t.Errorf("deployments/kafka/%s differs from libs/kafka/files/%s: copy one over the other", name, name)
		}
	}
}

func TestTopicsAreAsTheFileSaysAndTheConfigurationChangesThem(t *testing.T) {
	groups := []string{kafka.IndexGroup, kafka.AnomalyGroup}
	shipped, err := kafka.Config{}.Topics(groups...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][3]string{
		"headgate.audit.v1": {"6", "1209600000", "2"}, "headgate.anomalies.v1": {"3", "2592000000", "2"},
		"headgate.audit.v1.index.dlq": {"1", "2592000000", "2"}, "headgate.audit.v1.anomaly.dlq": {"1", "2592000000", "2"},
	}
	check(t, shipped, want, 3)
	changed, err := kafka.Config{Topic: "eu.audit", Anomalies: "eu.alerts", Partitions: 12, Replicas: 1, Retention: 60 * 24 * time.Hour}.Topics(groups...)
	if err != nil {
		t.Fatal(err)
	}
	check(t, changed, map[string][3]string{
		"eu.audit": {"12", "5184000000", "1"}, "eu.alerts": {"3", "2592000000", "1"},
		"eu.audit.index.dlq": {"1", "5184000000", "1"}, "eu.audit.anomaly.dlq": {"1", "5184000000", "1"},
	}, 1)
}

func check(t *testing.T, topics []kafka.Topic, want map[string][3]string, replicas int) {
	t.Helper()
	got := map[string][3]string{}
	for _, topic := range topics {
		got[topic.Name] = [3]string{strconv.Itoa(topic.Partitions), topic.Settings["retention.ms"], topic.Settings["min.insync.replicas"]}
		if topic.Settings["cleanup.policy"] != "delete" || topic.Replicas != replicas {
			t.Errorf("%s: %v, %d replicas", topic.Name, topic.Settings, topic.Replicas)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("topics %v, want %v", got, want)
	}
}

// Nobody but audit reads records, nobody at all may delete or alter a topic or do everything, and every service can write its own.
func TestRightsAreTheLeastThatIsNeeded(t *testing.T) {
	rights, err := kafka.Config{Topic: "eu.audit"}.Rights()
	if err != nil {
		t.Fatal(err)
	}
	var readers, writers []string
	for _, r := range rights {
		for _, names := range []map[string][]string{r.Topics, r.Groups} {
			for name, operations := range names {
				for _, o := range operations {
					if slices.Contains([]string{"all", "any", "delete", "alter", "clusteraction"}, strings.ToLower(o)) || name == "*" {
						t.Errorf("%s may %s %s", r.User, o, name)
					}
				}
			}
		}
		if slices.Contains(r.Topics["eu.audit"], "read") {
			readers = append(readers, r.User)
		}
		if slices.Contains(r.Topics["eu.audit"], "write") {
			writers = append(writers, r.User)
		}
	}
	if !slices.Equal(readers, []string{"headgate-audit"}) {
		t.Errorf("%v read records", readers)
	}
	slices.Sort(writers)
	if want := []string{"headgate-audit", "headgate-authz", "headgate-console", "headgate-credentials", "headgate-edge", "headgate-identity", "headgate-replay",
		"headgate-trust"}; !slices.Equal(writers, want) {
		t.Errorf("%v write records, want %v", writers, want)
	}
}
