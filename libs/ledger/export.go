package ledger

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Rendering names the readable form of records that this version writes and can check.
const Rendering = "ecs-9.5.0/1"

// ExportVersion is the form of exports that this version writes. Those of form 1 have no last line that says what they hold, and were narrowed by fewer words of a record.
const (
	ExportVersion = 2
	firstForm     = 1
)

// How an export shows that a record was left out.
const (
	// Heads gives the head of every record that was left out: the chain of each writer can be followed through it.
	Heads = "heads"
	// Hashes gives hashes of whole subtrees: small, but the chains of writers end there.
	Hashes = "hashes"
)

// Statement is what the log says of an export, signed with its key.
type Statement struct {
	Version int    `json:"version"`
	Origin  string `json:"origin"`
	// Size is the length of the log that the export covers, from its first record.
	Size int64 `json:"size"`
	// Settled is a length that the log had minutes before: what the writers of the records before it wrote until then must have arrived.
	Settled int64     `json:"settled"`
	Made    time.Time `json:"made"`
	// By is the person who asked.
	By string `json:"by"`
	// Filter says which records are in it, field by field; empty fields narrow nothing.
	Filter map[string]string `json:"filter"`
	// LeftOut is Heads or Hashes.
	LeftOut   string `json:"leftOut"`
	Rendering string `json:"rendering"`
}

// entry is what stands under "ledger" in each line. What is set says what kind of line it is.
type entry struct {
	// The first line.
	Export *Statement `json:"export,omitempty"`
	// The last line.
	End *End `json:"end,omitempty"`
	// Signature is that of the statement, or of the end.
	Signature  string   `json:"signature,omitempty"`
	Checkpoint string   `json:"checkpoint,omitempty"`
	Handovers  []string `json:"handovers,omitempty"`

	// Index is the place in the log, from 0.
	Index *int64 `json:"index,omitempty"`
	// Leaf is the hash in the tree.
	Leaf *tlog.Hash `json:"leaf,omitempty"`
	// Record is the bytes as journaled.
	Record []byte `json:"record,omitempty"`
	// Head stands for a record that was left out.
	Head *Head `json:"head,omitempty"`
	// Count and Hashes stand for as many records that were left out.
	Count  int64       `json:"count,omitempty"`
	Hashes []tlog.Hash `json:"hashes,omitempty"`
	// Proof shows that a record is in the log.
	Proof *[]tlog.Hash `json:"proof,omitempty"`
}

type line struct {
	Ledger entry `json:"ledger"`
}

func encode(e entry) ([]byte, error) {
	data, err := json.Marshal(line{e})
	return append(data, '\n'), err
}

// current is the statement as this version writes it.
func (s Statement) current() Statement {
	s.Version, s.Rendering = ExportVersion, Rendering
	return s
}

func statementText(s Statement) (string, error) {
	data, err := json.Marshal(s)
	return exportTitle + "\n" + string(data) + "\n", err
}

// HeaderLine is the first line of an export.
func HeaderLine(s Statement, checkpoint string, handovers []string, signer note.Signer) ([]byte, error) {
	s = s.current()
	text, err := statementText(s)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return nil, err
	}
	return encode(entry{Export: &s, Signature: strings.TrimPrefix(string(signed), text), Checkpoint: checkpoint, Handovers: handovers})
}

// RecordLine is a record: its ECS document, and beside it under "ledger" its place and its bytes.
func RecordLine(index int64, head Head, ev *eventsv1.Event, data []byte) ([]byte, error) {
	return recordLine(ev, entry{Index: &index, Leaf: hashOf(head), Record: data})
}

func recordLine(ev *eventsv1.Event, e entry) ([]byte, error) {
	document := record.ECS(ev)
	document["ledger"] = e
	out, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("event %s cannot be written as JSON: %w", ev.GetId(), err)
	}
	return append(out, '\n'), nil
}

// HeadLine stands for one record that was left out.
func HeadLine(index int64, head Head) ([]byte, error) {
	return encode(entry{Index: &index, Leaf: hashOf(head), Head: &head})
}

// HashesLine stands for the records from index on, count of them; hashes are those of their Cover.
func HashesLine(index, count int64, hashes []tlog.Hash) ([]byte, error) {
	return encode(entry{Index: &index, Count: count, Hashes: hashes})
}

// ElsewhereLine shows that a record that a writer's chain lacks is in the log, among those that stand as hashes. Such lines follow all others but the last.
func ElsewhereLine(index int64, head Head, proof tlog.RecordProof) ([]byte, error) {
	return encode(entry{Index: &index, Head: &head, Proof: hashesOf(proof)})
}

// ProofLine is a record with all that shows it to be in the log: a file of its own.
func ProofLine(index int64, head Head, ev *eventsv1.Event, data []byte, proof tlog.RecordProof, checkpoint string, handovers []string) ([]byte, error) {
	return recordLine(ev, entry{Index: &index, Leaf: hashOf(head), Record: data, Proof: hashesOf(proof), Checkpoint: checkpoint, Handovers: handovers})
}

func hashOf(h Head) *tlog.Hash {
	hash := h.LeafHash()
	return &hash
}

func hashesOf(proof tlog.RecordProof) *[]tlog.Hash {
	out := append([]tlog.Hash{}, proof...)
	return &out
}

// ParseStatement reads the first line of an export without checking a signature: for who continues an export.
func ParseStatement(first []byte) (Statement, error) {
	var l line
	if err := json.Unmarshal(first, &l); err != nil || l.Ledger.Export == nil {
		return Statement{}, fmt.Errorf("the first line is not the beginning of an export")
	}
	return *l.Ledger.Export, nil
}

// CarriedCheckpoint is the checkpoint that the first line of an export or a proof carries, unchecked; empty for other lines.
func CarriedCheckpoint(first []byte) string {
	var l line
	if err := json.Unmarshal(first, &l); err != nil || l.Ledger.Export == nil && l.Ledger.Proof == nil {
		return ""
	}
	return l.Ledger.Checkpoint
}

// NextIndex is the index that follows a line of an export; false for its first and last line, and for lines before the last that show a place among hashes.
func NextIndex(text []byte) (int64, bool) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil || l.Ledger.Index == nil || (l.Ledger.Proof != nil && l.Ledger.Record == nil) {
		return 0, false
	}
	return *l.Ledger.Index + max(l.Ledger.Count, 1), true
}

// Short is a hash as people compare it.
func Short(h tlog.Hash) string { return base64.StdEncoding.EncodeToString(h[:]) }
