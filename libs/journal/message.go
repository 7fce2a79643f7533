package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Publisher hands records on. Publish returns nil only when every message of the batch is acknowledged by all in-sync replicas; after an error the same
// batch comes again, so a message may arrive twice, but never before one of the same key that stands earlier. Once it has returned nil, nothing of the
// batch is read any more: its memory is used again.
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
	var w wrapper
	w.begin(1)
	if err := w.message(value); err != nil {
		return Message{}, err
	}
	return w.batch[0], nil
}

// wrapper makes the messages of a batch in a few pieces of memory, which it uses again for the next batch.
type wrapper struct {
	batch   []Message
	text    []byte
	headers []Header

	version, content, schema []byte // the same in every message
}

const (
	// headerCount is how many headers a message has; headerText is room for the texts that are its own.
	headerCount = 8
	headerText  = 160
)

// begin begins a batch of at most so many messages. The last batch is gone then.
func (w *wrapper) begin(count int) {
	w.batch, w.text, w.headers = w.batch[:0], w.text[:0], w.headers[:0]
	w.batch, w.headers = slices.Grow(w.batch, count), slices.Grow(w.headers, count*headerCount)
	if need := count * headerText; cap(w.text) < need {
		w.text = make([]byte, 0, need)
	}
	if w.version == nil {
		w.version, w.content, w.schema = []byte("1.0"), []byte("application/protobuf"), []byte("headgate.events.v1.Event")
	}
}

// message adds a message to the batch. The value becomes a part of it.
func (w *wrapper) message(value []byte) error {
	e, err := readEnvelope(value)
	if err != nil {
		return err
	}
	start := len(w.text)
	w.text = append(append(append(w.text, e.tenant...), '/'), e.principal...)
	key := w.since(start)
	start = len(w.text)
	w.text = append(append(append(w.text, "dev.headgate."...), e.action...), ".v1"...)
	kind := w.since(start)
	start = len(w.text)
	w.text = append(append(w.text, "/headgate/"...), e.service...)
	source := w.since(start)
	start = len(w.text)
	w.text = e.at.AppendFormat(w.text, time.RFC3339Nano)
	from := len(w.headers)
	w.headers = append(w.headers,
		Header{"ce_specversion", w.version},
		Header{"ce_id", e.id},
		Header{"ce_type", kind},
		Header{"ce_source", source},
		Header{"ce_time", w.since(start)},
		Header{"ce_subject", key},
		Header{"content-type", w.content},
		Header{"schema", w.schema},
	)
	w.batch = append(w.batch, Message{Key: key, Value: value, Headers: w.headers[from:len(w.headers):len(w.headers)]})
	return nil
}

// since is the text that was written from start on. Later writing leaves it alone.
func (w *wrapper) since(start int) []byte { return w.text[start:len(w.text):len(w.text)] }

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
