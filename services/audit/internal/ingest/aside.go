package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// maxTold is how many messages the record of a batch tells one by one.
	maxTold = 20
	// maxReason is how much of a reason is told.
	maxReason = 300
	// quiet is how long nothing is recorded of such records alone that were put aside, after that was recorded: the record of them may be put aside for the same reason,
	// and recording that again would go on without end.
	quiet = time.Hour
)

// letters is what a batch's record says of those of its messages that were put aside.
type letters struct {
	classes map[string]int
	notes   []string
	told    int
	own     int // of these, how many say themselves that records were put aside
}

func (s *letters) count(class string, n int) {
	if s.classes == nil {
		s.classes = map[string]int{}
	}
	s.classes[class] += n
	s.told += n
}

func (s *letters) note(notes ...string) {
	s.notes = append(s.notes, notes[:min(len(notes), maxTold-len(s.notes))]...)
}

// with are these letters and those of others.
func (s letters) with(others letters) letters {
	out := letters{own: s.own + others.own}
	for _, from := range []letters{s, others} {
		for class, n := range from.classes {
			out.count(class, n)
		}
		out.note(from.notes...)
	}
	return out
}

// aside puts a message with those for the dead-letter topic, and tells whoever watches. The action is the record's, where it could be read.
func (l *Loop) aside(b *batch, m kafka.Message, action, class, reason string) {
	l.cfg.Log.Error("record is put aside", "consumer", l.cfg.Group, "topic", m.Topic, "partition", m.Partition, "offset", m.Offset, "class", class, "cause", reason)
	l.cfg.Metrics.aside(l.cfg.Group, class)
	b.dead = append(b.dead, kafka.Aside(m, l.cfg.Group, class, reason))
	b.letters.count(class, 1)
	b.letters.note(fmt.Sprintf("%s/%d@%d: %s: %.*s", m.Topic, m.Partition, m.Offset, class, maxReason, reason))
	if action == record.AuditAside {
		b.letters.own++
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
	if l.cfg.Sink == nil {
		return true
	}
	all, now := l.untold.with(b.letters), l.cfg.Now()
	if b.letters.own == b.letters.told {
		if now.Before(l.quietUntil) {
			l.untold = all // with the next that are told
			return true
		}
		l.quietUntil = now.Add(quiet)
	}
	ev := all.event(l.cfg.Group)
	if !l.insist(ctx, "that records were put aside cannot be recorded", func() error { return l.cfg.Sink.Append(ev, journal.Spool) }) {
		return false
	}
	l.untold = letters{}
	return true
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
		Action: record.AuditAside, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Alert: true, Tenant: record.SystemTenant, Principal: record.Service("audit"),
		Findings: &eventsv1.Findings{Notes: notes},
		Decision: &eventsv1.Decision{Stage: "dead-letter", Sentence: fmt.Sprintf("consumer %s put %d records aside: %s. Look at them with headgate audit replay --dry-run, and bring them back when the cause is gone.",
			group, s.told, strings.Join(classes, ", "))},
	}
}
