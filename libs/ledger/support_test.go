package ledger_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const origin = "bank.example/audit"

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// entry is one record of the tests' log.
type entry struct {
	head ledger.Head
	ev   *eventsv1.Event
	data []byte
}

// log is a small log in memory, with its keys.
type log struct {
	t       *testing.T
	entries []entry
	stored  []tlog.Hash
	tree    ledger.Frontier
	signer  note.Signer
	public  string
	// handovers are those that lead to the key.
	handovers []string
	writers   map[string]*eventsv1.Event
	hashes    map[string][]byte
}

func newLog(t *testing.T) *log {
	t.Helper()
	private, public, err := ledger.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &log{t: t, signer: signer, public: public, writers: map[string]*eventsv1.Event{}, hashes: map[string][]byte{}}
}

// fork is another log that says the same of itself and has the same key.
func (l *log) fork() *log {
	return &log{t: l.t, signer: l.signer, public: l.public, writers: map[string]*eventsv1.Event{}, hashes: map[string][]byte{}}
}

// event makes the writer's next record without adding it.
func (l *log) event(writer, tenant, person string) entry {
	l.t.Helper()
	sequence := l.writers[writer].GetSequence() + 1
	ev := &eventsv1.Event{
		Id: fmt.Sprintf("%s-%d", writer, sequence), Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: tenant, Service: "edge",
		Time: timestamppb.New(noon.Add(time.Duration(len(l.entries)) * time.Second)), Principal: &eventsv1.Principal{Person: person},
		Target: &eventsv1.Target{Server: "tickets", Tool: "close_ticket"},
		Writer: writer, Sequence: sequence, PreviousHash: l.hashes[writer],
	}
	e := l.seal(ev)
	l.writers[writer], l.hashes[writer] = ev, record.Hash(e.data)
	return e
}

func (l *log) seal(ev *eventsv1.Event) entry {
	l.t.Helper()
	data, err := proto.Marshal(ev)
	if err != nil {
		l.t.Fatal(err)
	}
	head, _, err := ledger.HeadOf(data)
	if err != nil {
		l.t.Fatal(err)
	}
	return entry{head: head, ev: ev, data: data}
}

func (l *log) add(entries ...entry) {
	for _, e := range entries {
		l.entries = append(l.entries, e)
		l.stored = l.tree.AppendStored(l.stored, e.head.LeafHash())
	}
}

// fill adds records of two writers in turn, for two tenants.
func (l *log) fill(n int) *log {
	for i := range n {
		l.add(l.event([]string{"edge-1", "edge-2"}[i%2], []string{"acme", "acme", "globex"}[i%3], []string{"ana", "bob"}[i%2]))
	}
	return l
}

func (l *log) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = l.stored[at]
	}
	return out, nil
}

func (l *log) checkpoint() string {
	l.t.Helper()
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: origin, Size: l.tree.Size(), Root: l.tree.Root()}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return text
}

// kind is how a record stands in an export.
type kind int

const (
	whole kind = iota
	head
	hash
)

// export writes what the log would. How says how each record stands in it.
func (l *log) export(how func(i int, e entry) kind, change ...func(s *ledger.Statement)) [][]byte {
	l.t.Helper()
	s := ledger.Statement{Origin: origin, Size: l.tree.Size(), Settled: l.tree.Size(), Made: noon, By: "vera"}
	s.Filter, s.LeftOut = l.narrowed(how)
	for _, c := range change {
		c(&s)
	}
	var tally ledger.Tally
	lines := [][]byte{must(l.t)(ledger.HeaderLine(s, l.checkpoint(), l.handovers, l.signer))}
	first := -1
	for i, e := range l.entries {
		switch how(i, e) {
		case hash:
			if first < 0 {
				first = i
			}
			if i+1 < len(l.entries) && how(i+1, l.entries[i+1]) == hash {
				continue
			}
			lines = append(lines, l.hashesLine(first, i+1))
			first = -1
		case head:
			lines = append(lines, must(l.t)(ledger.HeadLine(int64(i), e.head)))
		default:
			tally.Record(int64(i))
			lines = append(lines, must(l.t)(ledger.RecordLine(int64(i), e.head, e.ev, e.data)))
		}
	}
	return append(lines, l.end(s, tally.End(0)))
}

// narrowed is a filter that wants the records that stand whole, and how the others are left out.
func (l *log) narrowed(how func(i int, e entry) kind) (filter map[string]string, leftOut string) {
	for i, e := range l.entries {
		switch how(i, e) {
		case head:
			return map[string]string{"tenant": "acme"}, ledger.Heads
		case hash:
			return map[string]string{"person": "ana"}, ledger.Hashes
		default:
		}
	}
	return map[string]string{}, ledger.Heads
}

func (l *log) end(s ledger.Statement, e ledger.End) []byte {
	l.t.Helper()
	return must(l.t)(ledger.EndLine(s, e, l.handovers, l.signer))
}

// inside adds lines before the last one.
func inside(lines [][]byte, more ...[]byte) [][]byte {
	return slices.Insert(slices.Clone(lines), len(lines)-1, more...)
}

func (l *log) hashesLine(from, end int) []byte {
	l.t.Helper()
	var indexes []int64
	for _, p := range ledger.Cover(int64(from), int64(end)) {
		indexes = append(indexes, tlog.StoredHashIndex(p.Level, p.Index))
	}
	hashes, _ := l.ReadHashes(indexes)
	return must(l.t)(ledger.HashesLine(int64(from), int64(end-from), hashes))
}

func (l *log) proof(i int64) []byte {
	l.t.Helper()
	p, err := tlog.ProveRecord(l.tree.Size(), i, l)
	if err != nil {
		l.t.Fatal(err)
	}
	e := l.entries[i]
	return must(l.t)(ledger.ProofLine(i, e.head, e.ev, e.data, p, l.checkpoint(), l.handovers))
}

func must(t *testing.T) func(line []byte, err error) []byte {
	return func(line []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
}

func everything(int, entry) kind { return whole }

func acme(_ int, e entry) kind {
	if e.ev.GetTenant() == "acme" {
		return whole
	}
	return head
}

func verify(t *testing.T, public string, lines [][]byte, checkpoints ...string) *ledger.Report {
	t.Helper()
	keys, err := ledger.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ledger.Verify(bytes.NewReader(bytes.Join(lines, nil)), keys, checkpoints...)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wants holds the problems against what is expected, word for word; a star stands for what no test can know.
func wants(t *testing.T, report *ledger.Report, want ...string) {
	t.Helper()
	if len(report.Problems) != len(want) {
		t.Fatalf("problems:\n%s\nwant:\n%s", strings.Join(report.Problems, "\n"), strings.Join(want, "\n"))
	}
	for i, w := range want {
		before, after, star := strings.Cut(w, "*")
		got := report.Problems[i]
		if !star && got != w || star && (!strings.HasPrefix(got, before) || !strings.HasSuffix(got, after)) {
			t.Errorf("problem:\n%s\nwant:\n%s", got, w)
		}
	}
}
