package kafka

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/segmentio/kafka-go/compress"

	"headgate.dev/libs/journal"
)

// castagnoli is the polynomial of Kafka's checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where the fields of a record batch stand that are known only at its end, and where what the checksum covers begins.
const (
	batchLengthAt   = 8
	batchChecksumAt = 17
	batchCovered    = 21
	batchLastAt     = 23
	batchFirstTime  = 27
	batchMaxTime    = 35
	batchCountAt    = 57
	batchHead       = 61
)

// appendRecordSet appends what a produce request carries for one partition: a batch, with its length before.
func appendRecordSet(b []byte, messages []journal.Message, codec compress.Compression, now time.Time) ([]byte, error) {
	start := len(b)
	b, err := appendBatch(append(b, 0, 0, 0, 0), messages, codec, now)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, nil
}

// appendBatch appends a record batch of version 2 (Kafka protocol guide, "Record Batch"), from no transaction and no idempotent producer.
// The client could make it record by record from an interface; most of what shipping costs would be that.
func appendBatch(b []byte, messages []journal.Message, codec compress.Compression, now time.Time) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, batchHead)...)
	for i, m := range messages {
		b = appendRecord(b, i, m)
	}
	if codec != compress.None {
		var err error
		if b, err = compressed(b, start+batchHead, codec); err != nil {
			return nil, err
		}
	}
	head := b[start:]
	binary.BigEndian.PutUint32(head[batchLengthAt:], uint32(len(head)-12)) // what follows the length
	binary.BigEndian.PutUint32(head[12:], 1<<32-1)                         // partition leader epoch: none
	head[16] = 2                                                           // magic
	binary.BigEndian.PutUint16(head[batchCovered:], uint16(codec))         // attributes: the compression alone
	binary.BigEndian.PutUint32(head[batchLastAt:], uint32(len(messages)-1))
	binary.BigEndian.PutUint64(head[batchFirstTime:], uint64(now.UnixMilli()))
	binary.BigEndian.PutUint64(head[batchMaxTime:], uint64(now.UnixMilli()))
	for i := 43; i < batchCountAt; i++ {
		head[i] = 0xff // producer id, producer epoch and base sequence: none
	}
	binary.BigEndian.PutUint32(head[batchCountAt:], uint32(len(messages)))
	binary.BigEndian.PutUint32(head[batchChecksumAt:], crc32.Checksum(head[batchCovered:], castagnoli))
	return b, nil
}

// compressed replaces what stands from there on by its compressed form.
func compressed(b []byte, from int, codec compress.Compression) ([]byte, error) {
	var out bytes.Buffer
	w := codec.Codec().NewWriter(&out)
	if _, err := w.Write(b[from:]); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress records: %w", err)
	}
	return append(b[:from], out.Bytes()...), nil
}

// appendRecord appends one record. Its length, which stands before it, is known from its parts.
func appendRecord(b []byte, number int, m journal.Message) []byte {
	length := 1 + 1 + varintSize(number) + bytesSize(m.Key) + bytesSize(m.Value) + varintSize(len(m.Headers)) // attributes, time, offset, ...
	for _, h := range m.Headers {
		length += varintSize(len(h.Key)) + len(h.Key) + bytesSize(h.Value)
	}
	b = binary.AppendVarint(b, int64(length))
	b = append(b, 0, 0) // attributes; the time is the batch's
	b = binary.AppendVarint(b, int64(number))
	b = appendBytes(b, m.Key)
	b = appendBytes(b, m.Value)
	b = binary.AppendVarint(b, int64(len(m.Headers)))
	for _, h := range m.Headers {
		b = append(binary.AppendVarint(b, int64(len(h.Key))), h.Key...)
		b = appendBytes(b, h.Value)
	}
	return b
}

// appendBytes appends bytes with their length before; nil, which is not empty, has the length -1.
func appendBytes(b, data []byte) []byte {
	if data == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(data))), data...)
}

func bytesSize(data []byte) int {
	if data == nil {
		return 1
	}
	return varintSize(len(data)) + len(data)
}

// varintSize is how many bytes a number that is not negative takes, in the encoding that keeps signs small.
func varintSize(n int) int {
	size := 1
	for n >= 1<<6 {
		n >>= 7
		size++
	}
	return size
}
