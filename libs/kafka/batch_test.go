package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"headgate.dev/libs/journal"
)

func TestABatchIsReadAsItWasWritten(t *testing.T) {
	for _, codec := range []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		t.Run(codec.String(), func(t *testing.T) { batchIsReadAsItWasWritten(t, codec) })
	}
}

func batchIsReadAsItWasWritten(t *testing.T, codec compress.Compression) {
	t.Helper()
	at := time.UnixMilli(1_790_000_000_123)
	for _, count := range []int{1, 2, 63, 64, 65, 9000} {
		messages := make([]journal.Message, count)
		for i := range messages {
			messages[i] = journal.Message{Key: fmt.Append(nil, "acme/", i), Value: bytes.Repeat([]byte{byte(i)}, i%200)}
			for h := range i % 5 {
				messages[i].Headers = append(messages[i].Headers, journal.Header{Key: strings.Repeat("h", 60*h), Value: fmt.Append(nil, h)})
			}
		}
		messages[0].Key, messages[0].Value = nil, bytes.Repeat([]byte("large"), 30_000)
		var set protocol.RecordSet
		encoded, err := appendRecordSet(nil, messages, codec, at)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := set.ReadFrom(bytes.NewReader(encoded)); err != nil || int(n) != len(encoded) {
			t.Fatalf("%d messages: %d of %d bytes, %v", count, n, len(encoded), err)
		}
		for i, want := range messages {
			got, err := set.Records.ReadRecord()
			if err != nil {
				t.Fatalf("%d messages: message %d: %v", count, i, err)
			}
			if got.Offset != int64(i) || !got.Time.Equal(at) || len(got.Headers) != len(want.Headers) {
				t.Errorf("message %d has the offset %d, the time %s and %d headers", i, got.Offset, got.Time, len(got.Headers))
			}
			for h := range want.Headers {
				if got.Headers[h].Key != want.Headers[h].Key || !bytes.Equal(got.Headers[h].Value, want.Headers[h].Value) {
					t.Errorf("message %d: header %d is %v", i, h, got.Headers[h])
				}
			}
			same(t, got.Key, want.Key)
			same(t, got.Value, want.Value)
		}
		if _, err := set.Records.ReadRecord(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the last message: %v", err)
		}
	}
}

func same(t *testing.T, got protocol.Bytes, want []byte) {
	t.Helper()
	if got == nil {
		if want != nil {
			t.Errorf("%.20q became nothing", want)
		}
		return
	}
	read, err := io.ReadAll(got)
	if err != nil || !bytes.Equal(read, want) || want == nil {
		t.Errorf("%.20q became %.20q (%v)", want, read, err)
	}
}

// BenchmarkBatch puts a batch as it leaves the journal into Kafka's form; the figure is for one record.
func BenchmarkBatch(b *testing.B) {
	m := journal.Message{Key: []byte("acme/ana"), Value: make([]byte, 700), Headers: make([]journal.Header, 8)}
	for i := range m.Headers {
		m.Headers[i] = journal.Header{Key: "ce_specversion", Value: make([]byte, 24)}
	}
	batch := make([]journal.Message, 500)
	for i := range batch {
		batch[i] = m
	}
	var room []byte
	b.ReportAllocs()
	for i := 0; i < b.N; i += len(batch) {
		var err error
		if room, err = appendRecordSet(room[:0], batch, compress.None, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
