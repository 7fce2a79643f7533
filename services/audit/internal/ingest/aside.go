package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// maxTold is how many messages the record of a batch tells one by one.
	maxTold = 20
	// ownTenant is the tenant of records that are about the deployment itself: whose a record is that cannot be read, nobody can say.
	ownTenant = "system"
	// maxReason is how much of a reason is told.
	maxReason = 300
)

// letters is what a batch's record says of those of its messages that were put aside.
type letters struct {
	classes map[string]int
	notes   []string
	told    int
}

// aside puts a message with those for the dead-letter topic, and tells whoever watches. The action is the record's, where it could be read.
func (l *Loop) aside(b *batch, m kafka.Message, action, class, reason string) {
	l.cfg.Log.Error("record is put aside", "consumer", l.cfg.Group, "topic", m.Topic, "partition", m.Partition, "offset", m.Offset, "class", class, "cause", reason)
	l.cfg.Metrics.aside(l.cfg.Group, class)
	b.dead = append(b.dead, kafka.Aside(m, l.cfg.Group, class, reason))
	if action == record.AuditAside {
		return // a record of such a record would be put aside for the same reason, without end
	}
	if b.letters.classes == nil {
		b.letters.classes = map[string]int{}
	}
	b.letters.classes[class]++
	b.letters.told++
	if len(b.letters.notes) < maxTold {
		b.letters.notes = append(b.letters.notes, fmt.Sprintf("%s/%d@%d: %s: %.*s", m.Topic, m.Partition, m.Offset, class, maxReason, reason))
	}
}

// putAside brings a batch's letters to the dead-letter topic, and writes that as an alert. False when the context ended before both were done: then they come again.
func (l *Loop) putAside(ctx context.Context, b *batch) bool {
	if len(b.dead) == 0 {
		return true
	}
	if !l.insist(ctx, "records cannot be put aside", func() error { return l.cfg.Source.DeadLetter(ctx, b.dead) }) {
		return false
	}
	if b.letters.told == 0 || l.cfg.Sink == nil {
		return true
	}
	ev := b.letters.event(l.cfg.Group)
	return l.insist(ctx, "that records were put aside cannot be recorded", func() error { return l.cfg.Sink.Append(ev, journal.Spool) })
}

func (s letters) event(group string) *eventsv1.Event {
	var classes []string
	for _, class := range slices.Sorted(maps.Keys(s.classes)) {
		classes = append(classes, fmt.Sprintf("%s (%d)", class, s.classes[class]))
	}
	notes := s.notes
	if more := s.told - len(notes); more > 0 {
		notes = append(notes, fmt.Sprintf("and %d more", more))
	}
	return &eventsv1.Event{
		Action: record.AuditAside, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Alert: true, Tenant: ownTenant, Principal: record.Service("audit"),
		Findings: &eventsv1.Findings{Notes: notes},
		Decision: &eventsv1.Decision{Stage: "dead-letter", Sentence: fmt.Sprintf("consumer %s put %d records aside: %s. Look at them with headgate audit replay --dry-run, and bring them back when the cause is gone.",
			group, s.told, strings.Join(classes, ", "))},
	}
}
