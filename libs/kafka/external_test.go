//go:build external

package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/libs/secret"
)

// guarded is a real broker with the topics, the rules of access and the users that they name.
type guarded struct {
	t      *testing.T
	broker *kafkatest.Broker
}

func guard(t *testing.T) *guarded {
	t.Helper()
	b := kafkatest.Real(t)
	if err := kafka.InstallTopics(t.Context(), b.Config(), []string{kafka.IndexGroup, kafka.AnomalyGroup}, func(s string) { t.Error(s) }); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time changes nothing
		if err := kafka.InstallRights(t.Context(), b.Config(), func(s string) { t.Log(s) }); err != nil {
			t.Fatal(err)
		}
	}
	return &guarded{t: t, broker: b}
}

// as is a configuration of a user with TLS and SCRAM.
func (g *guarded) as(user string) kafka.Config {
	g.t.Helper()
	return g.broker.Secure(g.broker.User(user, "the password of "+user))
}

func (g *guarded) publish(cfg kafka.Config, topic string) error {
	g.t.Helper()
	cfg.Topic = topic
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	return p.Publish(ctx, []journal.Message{{Key: []byte("acme/ana"), Value: []byte("record")}})
}

// told passes on that a reader complains of having no right. Of a group that is only being formed it also complains.
type told chan string

func (c told) Enabled(context.Context, slog.Level) bool { return true }
func (c told) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c told) WithGroup(string) slog.Handler            { return c }
func (c told) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), kafkago.GroupAuthorizationFailed.Title()) {
			select {
			case c <- a.Value.String():
			default:
			}
		}
		return true
	})
	return nil
}

// read returns nil when a message comes, and otherwise what the broker said.
func (g *guarded) read(cfg kafka.Config, topic, group string) error {
	g.t.Helper()
	cfg.Topic = topic
	complaints := make(told, 10)
	r, err := kafka.NewReader(cfg, group, slog.New(complaints))
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.FetchMessage(ctx)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-complaints:
		cancel()
		<-done
		return kafkago.GroupAuthorizationFailed
	}
}

// refused reports whether that was for want of a right. A topic that a user may not even describe is not there for them.
func refused(err error) bool {
	return errors.Is(err, kafkago.GroupAuthorizationFailed) || errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) ||
		errors.Is(err, kafkago.UnknownTopicOrPartition)
}

func TestExternalUsersCanDoWhatTheirRightsSayAndNothingElse(t *testing.T) {
	g := guard(t)
	const records, alerts, letters = kafka.DefaultTopic, kafka.DefaultAnomalies, "headgate.audit.v1.index.dlq"
	edge, audit, siem, replay, mallory := g.as("headgate-edge"), g.as("headgate-audit"), g.as("headgate-alerts"), g.as("headgate-replay"), g.as("mallory")
	for name, err := range map[string]error{
		"the edge writes records":      g.publish(edge, records),
		"audit writes dead letters":    g.publish(audit, letters),
		"audit writes alerts":          g.publish(audit, alerts),
		"audit reads records":          g.read(audit, records, kafka.IndexGroup),
		"audit reads them for alerts":  g.read(audit, records, kafka.AnomalyGroup),
		"a SIEM reads alerts":          g.read(siem, alerts, "alerts.siem"),
		"who replays reads letters":    g.read(replay, letters, "headgate.audit.replay.1"),
		"who replays writes them back": g.publish(replay, records),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"the edge reads records":             g.read(edge, records, "edge"),
		"the edge reads in audit's name":     g.read(edge, records, kafka.IndexGroup),
		"the edge writes alerts":             g.publish(edge, alerts),
		"audit reads in another group":       g.read(audit, records, "other"),
		"audit reads dead letters":           g.read(audit, letters, kafka.IndexGroup),
		"a SIEM reads records":               g.read(siem, records, "alerts.siem"),
		"a SIEM reads in audit's name":       g.read(siem, alerts, kafka.AnomalyGroup),
		"a SIEM writes alerts":               g.publish(siem, alerts),
		"a user without a right writes":      g.publish(mallory, records),
		"a user without a right reads":       g.read(mallory, records, "mallory"),
		"a user without a right, alerts":     g.read(mallory, alerts, "alerts.mallory"),
		"a user without a right, letters":    g.read(mallory, letters, "mallory"),
		"who replays reads records":          g.read(replay, records, "headgate.audit.replay.1"),
		"a user without a right makes rules": kafka.InstallRights(t.Context(), mallory, func(string) {}),
		"a service makes topics":             kafka.EnsureTopics(t.Context(), audit, "headgate.audit.new"),
	} {
		if !refused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExternalOnlyWhoProvesWhoTheyAreIsLetIn(t *testing.T) {
	g := guard(t)
	good := g.as("headgate-edge")
	if err := g.publish(good, kafka.DefaultTopic); err != nil {
		t.Fatal(err)
	}
	wrong, unknown, nobody, unknownCA, plain := good, good, good, good, good
	wrong.SASL.Password = secret.New("the password of someone else")
	unknown.SASL.User = "never-made"
	nobody.SASL = kafka.SASL{}
	unknownCA.TLS = kafka.TLS{Enabled: true} // the system's roots do not know the broker's
	plain.TLS = kafka.TLS{}
	for name, cfg := range map[string]kafka.Config{"a wrong password": wrong, "an unknown user": unknown, "without a user": nobody, "a broker nobody vouches for": unknownCA,
		"without TLS": plain} {
		if err := g.publish(cfg, kafka.DefaultTopic); err == nil {
			t.Errorf("%s: let in", name)
		} else if strings.Contains(err.Error(), "the password of") {
			t.Errorf("%s: the error holds the password: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	if err := g.publish(wrong, kafka.DefaultTopic); !errors.Is(err, kafkago.SASLAuthenticationFailed) {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestExternalTopicsAreInstalledByWhoMayDoThatAlone(t *testing.T) {
	g := guard(t)
	install := g.as("headgate-install")
	install.Partitions, install.Replicas = 4, 1
	var said []string
	if err := kafka.InstallTopics(t.Context(), install, []string{kafka.IndexGroup, "headgate.audit.new"}, func(s string) { said = append(said, s) }); err != nil || len(said) > 0 {
		t.Errorf("installed: %v, %q", err, said)
	}
	install.Replicas = 3 // there is one broker
	err := kafka.InstallTopics(t.Context(), install, []string{"headgate.audit.newer"}, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "fewer brokers than the 3 replicas") {
		t.Errorf("three replicas on one broker: %v", err)
	}
	if err := g.publish(install, kafka.DefaultTopic); !refused(err) {
		t.Errorf("the installer writes records: %v", err)
	}
}

// A broker refuses a record batch of more than 1 MiB: what is published at once may be more.
func TestExternalWhatIsPublishedAtOnceMayBeMoreThanABrokerTakesAtOnce(t *testing.T) {
	b := kafkatest.Real(t)
	cfg := b.Config()
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	messages := make([]journal.Message, 40)
	for i := range messages {
		messages[i] = journal.Message{Key: []byte("acme/ana"), Value: []byte(strings.Repeat("x", 100<<10))}
	}
	for err = p.Publish(ctx, messages); err != nil && ctx.Err() == nil; err = p.Publish(ctx, messages) {
		if strings.Contains(err.Error(), kafkago.MessageSizeTooLarge.Error()) {
			break // any other passes: the topic may have to be made first
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
