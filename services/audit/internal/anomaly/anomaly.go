// Package anomaly passes alerts on to those who wait for them: a topic of their own, and a data stream where there is Elasticsearch. It is a consumer of
// its own, so that alerts do not wait for the ledger and the index of records.
package anomaly

import (
	"context"
	"errors"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

// Detector says which kind of alert a record is; empty for none. It is called for every record, each partition's in order, by one goroutine. A record may
// come again after a crash.
type Detector interface {
	Detect(ev *eventsv1.Event) (kind string)
}

// Recorded detects what its writer already knew to be an alert.
type Recorded struct{}

// Detect implements Detector.
func (Recorded) Detect(ev *eventsv1.Event) string { return record.Alert(ev) }

// Publisher writes to the topic of alerts. *kafka.Publisher is one.
type Publisher interface {
	// Publish returns when the messages are acknowledged. After an error some may be.
	Publish(ctx context.Context, batch []journal.Message) error
}

// Store keeps alerts where they are searched. An index is one.
type Store interface {
	Add(ctx context.Context, records []index.Record) error
}

// Road is the way of alerts: a store of an ingest loop, which calls it from one goroutine.
type Road struct {
	// Detectors are asked in their order; the first that knows a kind has it.
	Detectors []Detector
	Topic     Publisher
	Store     Store // nil where records and alerts are searched in one place

	sent map[string]bool // what the topic has of a batch that the store does not have yet
}

// Add implements ingest.Store: it passes on what is an alert, and is done when topic and store have it. Both know what comes again by the event's id.
func (r *Road) Add(ctx context.Context, records []index.Record) error {
	var alerts []index.Record
	var messages []journal.Message
	for _, one := range records {
		if kind := r.kind(one.Event); kind != "" {
			alerts = append(alerts, one)
			if !r.sent[one.Event.GetId()] {
				messages = append(messages, message(one, kind))
			}
		}
	}
	if len(alerts) == 0 {
		return nil
	}
	if len(messages) > 0 {
		if err := r.Topic.Publish(ctx, messages); err != nil {
			return err
		}
	}
	if r.Store == nil {
		return nil
	}
	err := r.Store.Add(ctx, alerts)
	if _, refused := errors.AsType[*index.Rejected](err); err == nil || refused {
		r.sent = nil
		return err
	}
	r.sent = map[string]bool{}
	for _, one := range alerts {
		r.sent[one.Event.GetId()] = true
	}
	return err
}

func (r *Road) kind(ev *eventsv1.Event) string {
	for _, d := range r.Detectors {
		if kind := d.Detect(ev); kind != "" {
			return kind
		}
	}
	return ""
}

// message is the record as it was journaled, with what a CloudEvents reader needs to know of the alert (binary mode).
func message(r index.Record, kind string) journal.Message {
	ev := r.Event
	who := record.PersonOf(ev)
	if who == "" {
		who = ev.GetPrincipal().GetService()
	}
	key := ev.GetTenant() + "/" + who
	m := journal.Message{Key: []byte(key), Value: r.Bytes}
	for _, h := range [][2]string{
		{"ce_specversion", "1.0"}, {"ce_id", ev.GetId()}, {"ce_type", "dev.headgate.anomaly." + kind + ".v1"}, {"ce_source", "/headgate/" + ev.GetService()},
		{"ce_time", ev.GetTime().AsTime().UTC().Format(time.RFC3339Nano)}, {"ce_subject", key}, {"content-type", "application/protobuf"}, {"schema", "headgate.events.v1.Event"},
	} {
		m.Headers = append(m.Headers, journal.Header{Key: h[0], Value: []byte(h[1])})
	}
	return m
}
