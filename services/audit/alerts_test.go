package audit_test

import (
	"context"
	"log/slog"
	"maps"
	"testing"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// alarm records what is an alert, and between it what is none.
func (h *house) alarm() {
	h.t.Helper()
	h.record("plain", "acme", "ana")
	h.record("mass", "acme", "ana", func(ev *eventsv1.Event) {
		ev.Outcome, ev.Alert, ev.Target.Labels = eventsv1.Outcome_OUTCOME_FAILURE, true, []string{"destructive"}
		ev.Decision = &eventsv1.Decision{Effect: "block", Rule: "tickets/no-mass-deletes", Reason: faultv1.Reason_REASON_RULE, Sentence: "It would delete 4,000 tickets."}
	})
	h.record("closed", "globex", "gus", func(ev *eventsv1.Event) {
		ev.Outcome, ev.Decision = eventsv1.Outcome_OUTCOME_FAILURE, &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_STALE, Sentence: "The policies are not fresh."}
	})
	h.record("denied", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_RULE}
	})
	h.record("drift", "acme", "", func(ev *eventsv1.Event) {
		ev.Action, ev.Alert, ev.Decision, ev.Change = "definition-changed", true, nil, &eventsv1.Change{Kind: "Tool", Name: "close_ticket", Action: "changed", OldHash: "a", NewHash: "b"}
	})
}

// alerts reads so many from their topic, and returns their types by id.
func (h *house) alerts(count int) map[string]string {
	h.t.Helper()
	cfg := h.config.Kafka
	cfg.Topic = kafka.DefaultAnomalies
	r, err := kafka.NewReader(cfg, "alerts.test", slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	out := map[string]string{}
	for len(out) < count {
		m, err := r.FetchMessage(ctx)
		if err != nil { // a group that is only being formed: once more, until the time is over
			if !clock.Sleep(ctx, 50*time.Millisecond) {
				h.t.Fatalf("%v after %v", err, out)
			}
			continue
		}
		headers := map[string]string{}
		for _, head := range m.Headers {
			headers[head.Key] = string(head.Value)
		}
		out[headers["ce_id"]] = headers["ce_type"]
	}
	return out
}

func wantAlerts() map[string]string {
	return map[string]string{
		"mass": "dev.headgate.anomaly.mass-change.v1", "closed": "dev.headgate.anomaly.fail-closed.v1", "drift": "dev.headgate.anomaly.definition-changed.v1",
	}
}

func TestAlertsReachTheirTopicAndAreFound(t *testing.T) {
	kafkatest.Each(t, alertsReachTheirTopicAndAreFound)
}

func alertsReachTheirTopicAndAreFound(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	h := &house{t: t, broker: b, config: config(t, b)}
	if err := kafka.EnsureTopics(t.Context(), h.config.Kafka, kafka.IndexGroup, kafka.AnomalyGroup); err != nil {
		t.Fatal(err)
	}
	h.ship()
	h.open()
	h.alarm()
	if got := h.alerts(3); !maps.Equal(got, wantAlerts()) {
		t.Errorf("in the topic: %v", got)
	}
	h.foundAlerts()
	// A broker that was away, and a service that was not there meanwhile, change nothing.
	h.stop()
	h.broker.Down()
	h.record("late", "acme", "ana", func(ev *eventsv1.Event) { ev.Alert = true })
	h.broker.Up()
	h.open()
	h.eventually("vera", &auditv1.SearchRequest{Alerts: true}, "late", "drift", "mass")
	h.eventually("vera", &auditv1.SearchRequest{Alerts: true, Action: "definition-changed"}, "drift")
}

// foundAlerts searches for them as everyone who may find some, or none.
func (h *house) foundAlerts() {
	h.t.Helper()
	only := &auditv1.SearchRequest{Alerts: true}
	h.eventually("admin", only, "drift", "closed", "mass")
	h.eventually("vera", only, "drift", "mass")
	h.eventually("gus", only, "closed")
	h.eventually("ana", only, "mass")
	h.eventually("vera", &auditv1.SearchRequest{Alerts: true, Text: "tickets delete"}, "mass")
	if _, err := h.search("vera", &auditv1.SearchRequest{Alerts: true, Tenant: "globex"}); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		h.t.Errorf("alerts of another tenant: %v", err)
	}
}
