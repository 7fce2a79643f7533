package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Letter is a record that a consumer put aside.
type Letter = kafka.Letter

// maxReplayed is how many letters the record of a replay tells one by one.
const maxReplayed = 100

// Replay brings the records that one consumer put aside (index or anomaly) back to the topic, and tells each of them. What is stored already is not stored
// again. It is recorded before the first comes back, and how it ended afterwards. With dry it only tells.
func Replay(ctx context.Context, cfg Config, consumer string, dry bool, each func(Letter)) error {
	for _, group := range cfg.groups() {
		if group[strings.LastIndexByte(group, '.')+1:] != consumer {
			continue
		}
		if dry {
			return kafka.Replay(ctx, cfg.Kafka, group, true, each)
		}
		return replay(ctx, cfg.Kafka, group, each)
	}
	return fault.Invalid("There is no consumer %q. It is index or anomaly, or what stands last in service.group.", consumer)
}

func replay(ctx context.Context, cfg kafka.Config, group string, each func(Letter)) error {
	waiting := 0
	if err := kafka.Replay(ctx, cfg, group, true, func(Letter) { waiting++ }); err != nil || waiting == 0 {
		return err
	}
	p, err := kafka.NewPublisher(cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	r := replayed{topic: p, writer: "audit-replay-" + ids.New(), call: ids.Prefixed("call"), group: group, user: cfg.SASL.User}
	if err := r.record(ctx, eventsv1.Phase_PHASE_STARTED, nil); err != nil {
		return fmt.Errorf("nothing was brought back, because that cannot be recorded: %w", err)
	}
	err = kafka.Replay(ctx, cfg, group, false, func(l Letter) {
		r.letter(l)
		each(l)
	})
	if recordErr := r.record(context.WithoutCancel(ctx), eventsv1.Phase_PHASE_FINAL, err); recordErr != nil && err == nil {
		return fmt.Errorf("%d records were brought back, and how that ended cannot be recorded: %w", r.count, recordErr)
	}
	return err
}

// replayed is what is recorded of one replay. It is no service's work, so it writes with a name of its own, straight to the topic that it brings records to.
type replayed struct {
	topic               journal.Publisher
	writer, call, group string
	user                string // who it is in Kafka
	sequence            uint64
	previous            []byte
	count               int
	notes               []string
}

func (r *replayed) letter(l Letter) {
	r.count++
	if len(r.notes) < maxReplayed {
		r.notes = append(r.notes, fmt.Sprintf("event %q from %s, put aside as %s, attempt %s", l.Event, l.Source, l.Class, l.Attempt))
	}
}

func (r *replayed) record(ctx context.Context, phase eventsv1.Phase, failed error) error {
	who := "somebody who has no user in Kafka"
	if r.user != "" {
		who = "Kafka's user " + r.user
	}
	ev := &eventsv1.Event{
		Id: ids.New(), Action: record.AuditReplay, Phase: phase, Outcome: eventsv1.Outcome_OUTCOME_UNKNOWN, Time: timestamppb.New(time.Now()), Tenant: record.SystemTenant, Service: "audit",
		CallId: r.call, Principal: record.Service("audit-replay"), Writer: r.writer, Sequence: r.sequence + 1, PreviousHash: r.previous,
		Decision: &eventsv1.Decision{Effect: record.Allow, Stage: "replay", Sentence: fmt.Sprintf("%s brings back what consumer %s put aside", who, r.group)},
	}
	if phase == eventsv1.Phase_PHASE_FINAL {
		ev.Outcome, ev.Findings = eventsv1.Outcome_OUTCOME_SUCCESS, &eventsv1.Findings{Notes: r.notes}
		ev.Decision.Sentence = fmt.Sprintf("%s brought back %d records that consumer %s had put aside", who, r.count, r.group)
		if failed != nil {
			ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
			ev.Decision.Sentence += "; it broke off: " + failed.Error()
		}
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(ev)
	if err != nil {
		return err
	}
	message, err := journal.NewMessage(value)
	if err != nil {
		return err
	}
	if err := r.topic.Publish(ctx, []journal.Message{message}); err != nil {
		return err
	}
	r.sequence, r.previous = r.sequence+1, record.Hash(value)
	return nil
}
