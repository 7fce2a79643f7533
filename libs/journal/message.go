package journal

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Publisher hands records on. Publish returns nil only when every message of the batch is acknowledged by all in-sync replicas; after an error the same
// batch comes again, so a message may arrive twice, but never before one of the same key that stands earlier.
type Publisher interface {
	Publish(ctx context.Context, batch []Message) error
}

// Message is one record on its way: the bytes of the event as journaled, and what a CloudEvents reader needs to know of it (binary mode).
type Message struct {
	// Key is tenant/principal: the records of one person stay in order.
	Key     []byte
	Value   []byte
	Headers []Header
}

// Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}

// envelope is the part of an event that its message repeats outside.
type envelope struct {
	id, action, tenant, service, principal []byte
	at                                     time.Time
}

// NewMessage wraps the bytes of a journaled event.
func NewMessage(value []byte) (Message, error) {
	e, err := readEnvelope(value)
	if err != nil {
		return Message{}, err
	}
	key := make([]byte, 0, len(e.tenant)+1+len(e.principal))
	key = append(append(append(key, e.tenant...), '/'), e.principal...)
	return Message{Key: key, Value: value, Headers: []Header{
		{"ce_specversion", []byte("1.0")},
		{"ce_id", e.id},
		{"ce_type", append(append([]byte("dev.headgate."), e.action...), ".v1"...)},
		{"ce_source", append([]byte("/headgate/"), e.service...)},
		{"ce_time", e.at.AppendFormat(nil, time.RFC3339Nano)},
		{"ce_subject", key},
		{"content-type", []byte("application/protobuf")},
		{"schema", []byte("headgate.events.v1.Event")},
	}}, nil
}

// readEnvelope picks the few fields from the wire form: decoding the whole event would cost as much as shipping it.
func readEnvelope(value []byte) (envelope, error) {
	var e envelope
	err := fields(value, func(number protowire.Number, raw []byte) error {
		switch number {
		case 1:
			e.id = raw
		case 2:
			e.action = raw
		case 5:
			e.tenant = raw
		case 6:
			e.service = raw
		case 4:
			return e.readTime(raw)
		case 10:
			return e.readPrincipal(raw)
		}
		return nil
	})
	return e, err
}

func (e *envelope) readPrincipal(raw []byte) error {
	return fields(raw, func(number protowire.Number, raw []byte) error {
		if number == 1 || (number == 10 && len(e.principal) == 0) { // the person, or else the service
			e.principal = raw
		}
		return nil
	})
}

func (e *envelope) readTime(raw []byte) error {
	var seconds, nanos uint64
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 || kind != protowire.VarintType {
			return fmt.Errorf("the event's time is not one: %w", protowire.ParseError(min(n, -1)))
		}
		value, m := protowire.ConsumeVarint(raw[n:])
		if m < 0 {
			return fmt.Errorf("the event's time is not one: %w", protowire.ParseError(m))
		}
		if number == 1 {
			seconds = value
		} else {
			nanos = value
		}
		raw = raw[n+m:]
	}
	e.at = time.Unix(int64(seconds), int64(nanos)).UTC()
	return nil
}

// fields calls yield for every length-delimited field.
func fields(data []byte, yield func(protowire.Number, []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("the event's bytes are not a message: %w", protowire.ParseError(n))
		}
		m := protowire.ConsumeFieldValue(number, kind, data[n:])
		if m < 0 {
			return fmt.Errorf("the event's bytes are not a message: %w", protowire.ParseError(m))
		}
		if kind == protowire.BytesType {
			raw, _ := protowire.ConsumeBytes(data[n:])
			if err := yield(number, raw); err != nil {
				return err
			}
		}
		data = data[n+m:]
	}
	return nil
}
