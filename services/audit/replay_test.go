package audit_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit"
)

// letters waits until a consumer has put so many aside, and returns them.
func (h *house) letters(consumer string, want int) []audit.Letter {
	h.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := h.replay(consumer, true)
		if len(got) == want {
			return got
		}
		select {
		case <-deadline:
			h.t.Fatalf("%d records are aside, want %d: %v", len(got), want, got)
		case <-tick.C:
		}
	}
}

func (h *house) replay(consumer string, dry bool) []audit.Letter {
	h.t.Helper()
	var out []audit.Letter
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*time.Minute)
	defer cancel()
	if err := audit.Replay(ctx, h.config, consumer, dry, func(l audit.Letter) { out = append(out, l) }); err != nil {
		h.t.Fatal(err)
	}
	return out
}

// aside puts a record aside as the index would, had it refused it.
func (h *house) aside(id, person string) {
	h.t.Helper()
	value, err := proto.Marshal(&eventsv1.Event{
		Id: id, Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: "acme", Time: timestamppb.Now(), Principal: &eventsv1.Principal{Person: person},
		Writer: "w-" + id, Sequence: 1,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := kafka.NewReader(h.config.Kafka, kafka.IndexGroup, slog.New(slog.DiscardHandler))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	m := kafka.Message{Topic: kafka.DefaultTopic, Partition: 1, Offset: 7, Key: []byte("acme/" + person), Value: value, Headers: []kafka.Header{{Key: "ce_id", Value: []byte(id)}}}
	if err := r.DeadLetter(h.t.Context(), []journal.Message{kafka.Aside(m, kafka.IndexGroup, "document_parsing_exception", "not a long")}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) publish(messages ...journal.Message) {
	h.t.Helper()
	p, err := kafka.NewPublisher(h.config.Kafka)
	if err != nil {
		h.t.Fatal(err)
	}
	defer p.Close()
	if err := p.Publish(h.t.Context(), messages); err != nil {
		h.t.Fatal(err)
	}
}

func TestPoisonIsPutAsideStopsNothingAndComesBack(t *testing.T) {
	kafkatest.Each(t, poisonIsPutAsideStopsNothingAndComesBack)
}

func poisonIsPutAsideStopsNothingAndComesBack(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	h := startOn(t, b)
	if err := kafka.EnsureTopics(t.Context(), h.config.Kafka, kafka.IndexGroup, kafka.AnomalyGroup); err != nil {
		t.Fatal(err)
	}
	h.record("1", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "1")
	h.publish(journal.Message{Key: []byte("acme/ana"), Value: []byte("poison")})
	h.record("2", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "2", "1")
	first := h.letters("index", 1)
	if first[0].Class != "undecodable" || first[0].Attempt != "1" || first[0].Bytes != 6 || !strings.HasPrefix(first[0].Source, "headgate.audit.v1/") {
		t.Errorf("aside: %+v", first[0])
	}
	h.tellsOfPoison(first[0].Source)
	h.aside("3", "ana")
	h.aside("1", "ana") // audit has another one of this id
	if got := h.letters("index", 3); got[1].Event != "3" || got[1].Reason != "not a long" {
		t.Errorf("aside: %+v", got)
	}
	if got := h.replay("index", false); len(got) != 3 {
		t.Errorf("brought back: %+v", got)
	}
	h.eventually("vera", &auditv1.SearchRequest{}, "3", "2", "1")
	again := h.letters("index", 2) // what still cannot be taken is aside again, and nothing else
	classes := map[string]string{again[0].Class: again[0].Attempt, again[1].Class: again[1].Attempt}
	if !maps.Equal(classes, map[string]string{"undecodable": "2", "id-taken": "2"}) {
		t.Errorf("aside again: %+v", again)
	}
	h.tellsOfReplay()
	if err := audit.Replay(t.Context(), h.config, "nobody", true, func(audit.Letter) {}); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a consumer that is none: %v", err)
	}
	if got := h.ids("vera", &auditv1.SearchRequest{}); !slices.Equal(got, []string{"3", "2", "1"}) {
		t.Errorf("found %v", got)
	}
}

// tellsOfPoison looks for the alerts that both consumers write of a message that they cannot use, in the index and on the road of alerts.
func (h *house) tellsOfPoison(source string) {
	h.t.Helper()
	told := map[string]bool{}
	h.await("admin", &auditv1.SearchRequest{Alerts: true, Action: "audit-aside"}, func(found []*eventsv1.Event) bool {
		for _, ev := range found {
			if ev.GetTenant() != "system" || len(ev.GetFindings().GetNotes()) != 1 || !strings.HasPrefix(ev.GetFindings().GetNotes()[0], source+": undecodable: ") {
				h.t.Fatalf("recorded %v", ev)
			}
			told[ev.GetDecision().GetSentence()] = true
		}
		return len(found) == 2
	})
	for _, consumer := range []string{"headgate.audit.index", "headgate.audit.anomaly"} {
		if !told["consumer "+consumer+" put 1 records aside: undecodable (1). Look at them with headgate audit replay --dry-run, and bring them back when the cause is gone."] {
			h.t.Errorf("of %s: %v", consumer, told)
		}
	}
	for id, kind := range h.alerts(2) {
		if kind != "dev.headgate.anomaly.dead-letter.v1" {
			h.t.Errorf("alert %s is %s", id, kind)
		}
	}
	if found := h.ids("vera", &auditv1.SearchRequest{Action: "audit-aside"}); len(found) > 0 {
		h.t.Errorf("a tenant's auditor finds %v", found)
	}
}

// tellsOfReplay looks for what is recorded of the replay: that it began, before anything came back, and how it ended. One that only looked is not recorded.
func (h *house) tellsOfReplay() {
	h.t.Helper()
	h.await("admin", &auditv1.SearchRequest{Action: "audit-replay"}, func(found []*eventsv1.Event) bool {
		if len(found) == 0 {
			return false
		}
		ev := found[0]
		notes := strings.Join(ev.GetFindings().GetNotes(), "\n")
		if len(found) != 1 || !strings.HasSuffix(ev.GetDecision().GetSentence(), " brought back 3 records that consumer headgate.audit.index had put aside") || !strings.Contains(notes, `event "3" from headgate.audit.v1/1@7`) ||
			ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || ev.GetSequence() != 2 || len(ev.GetPreviousHash()) == 0 {
			h.t.Fatalf("recorded %v", found)
		}
		return true
	})
}

func TestNothingIsBroughtBackFromATopicThatIsNotThere(t *testing.T) {
	h := start(t)
	h.record("1", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "1")
	cfg := h.config
	cfg.Kafka.Topic = "elsewhere"
	if err := audit.Replay(t.Context(), cfg, "index", false, func(audit.Letter) {}); err == nil || !strings.Contains(err.Error(), "elsewhere.index.dlq") {
		t.Errorf("replay: %v", err)
	}
}
