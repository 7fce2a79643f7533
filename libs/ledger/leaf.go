// Package ledger is what a sceptic needs of the audit log: its leaves, its tree, its signed checkpoints, the form of its exports, and the verifier that
// works with an export and a public key alone. It opens no file and no connection.
//
// The log is a Merkle tree as in RFC 6962. Its leaves are the heads of records: writer, number, hash of the record before and hash of the record. A record that
// a reader may not see can so be left out and still be counted, and the chain of every writer can be followed through it.
package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	leafVersion = 1
	// maxWriter is the most bytes that a writer's name has: a head must fit into an entry bundle of the tile form, which counts in 16 bits.
	maxWriter = 1024
)

// Head is what the log says of a record.
type Head struct {
	Writer   string `json:"writer"`
	Sequence uint64 `json:"sequence"`
	// Previous is the SHA-256 of the writer's record before; empty for its first.
	Previous []byte `json:"previous,omitempty"`
	// Hash is the SHA-256 of the record's bytes.
	Hash []byte `json:"hash"`
}

// HeadOf reads a journaled record. One without a writer, a number or a hash of the record before has no place in the log.
func HeadOf(data []byte) (Head, *eventsv1.Event, error) {
	ev, err := record.Decode(data)
	if err != nil {
		return Head{}, nil, err
	}
	h, err := HeadFor(ev, data)
	return h, ev, err
}

// HeadFor is HeadOf for bytes that are decoded already.
func HeadFor(ev *eventsv1.Event, data []byte) (Head, error) {
	h := Head{Writer: ev.GetWriter(), Sequence: ev.GetSequence(), Previous: ev.GetPreviousHash(), Hash: record.Hash(data)}
	if err := h.check(); err != nil {
		return Head{}, fmt.Errorf("event %s cannot stand in the ledger: %w", ev.GetId(), err)
	}
	return h, nil
}

func (h Head) check() error {
	switch {
	case h.Writer == "":
		return errors.New("it names no writer")
	case len(h.Writer) > maxWriter:
		return fmt.Errorf("its writer's name has %d bytes, at most %d can be kept", len(h.Writer), maxWriter)
	case h.Sequence == 0:
		return errors.New("its writer has not numbered it")
	case h.Sequence == 1 && len(h.Previous) != 0:
		return errors.New("it is its writer's first and names one before it")
	case h.Sequence > 1 && len(h.Previous) != sha256.Size:
		return errors.New("it does not carry the hash of its writer's record before")
	case len(h.Hash) != sha256.Size:
		return errors.New("its hash is not a SHA-256")
	}
	return nil
}

// Leaf is the head's one form in bytes: version, length and bytes of the writer's name, number, length and bytes of the hash before, hash.
func (h Head) Leaf() []byte {
	b := make([]byte, 0, 1+2+len(h.Writer)+8+1+2*sha256.Size)
	b = append(b, leafVersion)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Writer)))
	b = append(b, h.Writer...)
	b = binary.BigEndian.AppendUint64(b, h.Sequence)
	b = append(b, byte(len(h.Previous)))
	b = append(b, h.Previous...)
	return append(b, h.Hash...)
}

// ParseLeaf reads what Leaf wrote, and nothing else.
func ParseLeaf(leaf []byte) (Head, error) {
	refused := errors.New("the bytes are not a leaf of the ledger")
	if len(leaf) < 3 || leaf[0] != leafVersion {
		return Head{}, refused
	}
	length := int(binary.BigEndian.Uint16(leaf[1:]))
	rest := leaf[3:]
	if len(rest) < length+9 {
		return Head{}, refused
	}
	h := Head{Writer: string(rest[:length]), Sequence: binary.BigEndian.Uint64(rest[length:])}
	before := int(rest[length+8])
	rest = rest[length+9:]
	if len(rest) != before+sha256.Size {
		return Head{}, refused
	}
	h.Previous, h.Hash = bytes.Clone(rest[:before]), bytes.Clone(rest[before:])
	if before == 0 {
		h.Previous = nil
	}
	if h.check() != nil {
		return Head{}, refused
	}
	return h, nil
}

// LeafHash is the head's hash in the tree.
func (h Head) LeafHash() tlog.Hash { return tlog.RecordHash(h.Leaf()) }
