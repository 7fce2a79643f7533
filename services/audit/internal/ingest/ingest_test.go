package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
	"headgate.dev/services/audit/internal/index/sqlite"
	"headgate.dev/services/audit/internal/ingest"
	"headgate.dev/services/audit/internal/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("down")

// diary notes in which order things happened.
type diary struct {
	mu      sync.Mutex
	entries []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

// source gives messages and fails as often as it is told to.
type source struct {
	diary     *diary
	messages  chan kafka.Message
	failFetch int
	failDead  int
	dead      []journal.Message
	committed chan int64
	counts    *prometheus.Registry
	schema    string
}

func newSource(d *diary) *source {
	return &source{diary: d, messages: make(chan kafka.Message, 100), committed: make(chan int64, 100), counts: prometheus.NewRegistry(), schema: "headgate.events.v1.Event"}
}

func (s *source) send(values ...[]byte) {
	for _, v := range values {
		s.messages <- kafka.Message{Topic: "t", Partition: 3, Offset: int64(len(s.messages)), Key: []byte("acme/ana"), Value: v, Time: time.Unix(1, 0),
			Headers: []kafka.Header{{Key: "ce_id", Value: []byte("x")}, {Key: "schema", Value: []byte(s.schema)}}}
	}
}

func (s *source) FetchMessage(ctx context.Context) (kafka.Message, error) {
	if s.failFetch > 0 {
		s.failFetch--
		return kafka.Message{}, errDown
	}
	select {
	case m := <-s.messages:
		return m, nil
	case <-ctx.Done():
		return kafka.Message{}, ctx.Err()
	}
}

func (s *source) CommitMessages(_ context.Context, messages ...kafka.Message) error {
	s.diary.note("commit %d", len(messages))
	s.committed <- messages[len(messages)-1].Offset
	return errDown // that a commit fails changes nothing: the messages come again
}

func (s *source) DeadLetter(_ context.Context, messages []journal.Message) error {
	if s.failDead > 0 {
		s.failDead--
		s.diary.note("dead letter fails")
		return errDown
	}
	s.diary.note("dead letter %d", len(messages))
	s.dead = append(s.dead, messages...)
	return nil
}

// flaky is an index that fails at first, and that never takes records of the person mallory.
type flaky struct {
	index.Index

	diary      *diary
	fail       int
	failLedger int
	told       *sink
}

func refusing(records []index.Record) (taken []index.Record, err error) {
	var rejected index.Rejected
	for _, r := range records {
		if r.Event.GetPrincipal().GetPerson() == "mallory" {
			rejected.Records = append(rejected.Records, index.Rejection{Record: r, Class: "document_parsing_exception", Reason: "not a long"})
		} else {
			taken = append(taken, r)
		}
	}
	if len(rejected.Records) > 0 {
		return taken, &rejected
	}
	return taken, nil
}

func (f *flaky) Add(ctx context.Context, records []index.Record) error {
	if f.fail > 0 {
		f.fail--
		f.diary.note("add fails")
		return errDown
	}
	f.diary.note("add %d", len(records))
	taken, refused := refusing(records)
	return errors.Join(f.Index.Add(ctx, taken), refused)
}

// Append is the ledger of the tests: it refuses what says that it is forged.
func (f *flaky) Append(_ context.Context, records []index.Record) ([]ledger.Refusal, error) {
	if f.failLedger > 0 {
		f.failLedger--
		f.diary.note("append fails")
		return nil, errDown
	}
	var refused []ledger.Refusal
	for i, r := range records {
		if r.Event.GetAction() == "forged" {
			refused = append(refused, ledger.Refusal{At: i, Why: errors.New("forged")})
		}
	}
	f.diary.note("append %d", len(records)-len(refused))
	return refused, nil
}

// start runs a loop until the test ends.
func start(t *testing.T, s *source, fail int) *flaky {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	x := &flaky{Index: store, diary: s.diary, fail: fail, failLedger: fail, told: &sink{diary: s.diary, fail: fail}}
	metrics, err := ingest.NewMetrics(s.counts)
	if err != nil {
		t.Fatal(err)
	}
	loop := ingest.New(ingest.Config{Source: s, Ledger: x, Index: x, Group: "g", Share: 0.5, Sink: x.told, Metrics: metrics, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
	return x
}

func waitCommit(t *testing.T, s *source) {
	t.Helper()
	select {
	case <-s.committed:
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing was committed: %v", s.diary.all())
	}
}

func ids(t *testing.T, x index.Index) []string {
	t.Helper()
	page, err := x.Search(t.Context(), indextest.All())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, ev := range page.Events {
		out = append(out, ev.GetId())
	}
	return out
}

func TestOffsetsAreCommittedOnlyWhenLedgerAndIndexHaveTheRecords(t *testing.T) {
	s := newSource(&diary{})
	s.failFetch = 2
	x := start(t, s, 3)
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes)
	waitCommit(t, s)
	if got, want := s.diary.all(), []string{"append fails", "append fails", "append fails", "append 1", "add fails", "add fails", "add fails", "add 1", "commit 1"}; !slices.Equal(got, want) {
		t.Errorf("happened: %v", got)
	}
	if got := ids(t, x); !slices.Equal(got, []string{"1"}) {
		t.Errorf("found %v", got)
	}
}

func TestWhatCannotBeReadIsPutAsideAndTheStreamGoesOn(t *testing.T) {
	s := newSource(&diary{})
	s.failDead = 1
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes, []byte("poison"), nil, indextest.Event("2", "acme", "ana", 2).Bytes)
	x := start(t, s, 0)
	waitCommit(t, s)
	if got, want := s.diary.all(), []string{"append 2", "add 2", "dead letter fails", "dead letter 2", "record", "commit 4"}; !slices.Equal(got, want) {
		t.Errorf("happened: %v", got)
	}
	if got := ids(t, x); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("found %v", got)
	}
	letter := s.dead[0]
	if string(letter.Value) != "poison" || string(letter.Key) != "acme/ana" {
		t.Errorf("letter %q %q", letter.Key, letter.Value)
	}
	headers := map[string]string{}
	for _, h := range letter.Headers {
		headers[h.Key] = string(h.Value)
	}
	for key, want := range map[string]string{
		"ce_id": "x", "dlq.error.class": "undecodable", "dlq.source.topic": "t", "dlq.source.partition": "3", "dlq.source.offset": "1",
		"dlq.consumer.group": "g", "dlq.attempt": "1", "dlq.source.timestamp": "1970-01-01T00:00:01Z",
	} {
		if headers[key] != want {
			t.Errorf("header %s is %q, want %q", key, headers[key], want)
		}
	}
	if headers["dlq.error.message"] == "" {
		t.Error("the letter does not say why")
	}
	if n, err := testutil.GatherAndCount(s.counts, "headgate_audit_dead_letters_total"); err != nil || n != 1 {
		t.Errorf("dead letters are not counted: %d, %v", n, err)
	}
	want := `# HELP headgate_audit_dead_letters_total Messages that a consumer put aside because it can never use them.
# TYPE headgate_audit_dead_letters_total counter
headgate_audit_dead_letters_total{class="undecodable",consumer="g"} 2
`
	if err := testutil.GatherAndCompare(s.counts, strings.NewReader(want), "headgate_audit_dead_letters_total"); err != nil {
		t.Error(err)
	}
}

// A record of a version to come may read like one of this version and mean something else.
func TestARecordOfAVersionToComeIsPutAside(t *testing.T) {
	s := newSource(&diary{})
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes)
	s.schema = "headgate.events.v2.Event"
	s.send(indextest.Event("2", "acme", "ana", 2).Bytes)
	x := start(t, s, 0)
	waitCommit(t, s)
	if got := ids(t, x); !slices.Equal(got, []string{"1"}) {
		t.Errorf("found %v", got)
	}
	if len(s.dead) != 1 {
		t.Fatalf("put aside: %v", s.dead)
	}
	headers := map[string]string{}
	for _, h := range s.dead[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["dlq.error.class"] != "unknown-schema" || !strings.Contains(headers["dlq.error.message"], `"headgate.events.v2.Event"`) || headers["schema"] != "headgate.events.v2.Event" {
		t.Errorf("headers %v", headers)
	}
}

func TestMessagesThatComeAgainAreStoredOnce(t *testing.T) {
	s := newSource(&diary{})
	x := start(t, s, 0)
	one := indextest.Event("1", "acme", "ana", 1).Bytes
	s.send(one, one)
	waitCommit(t, s)
	s.send(one, indextest.Event("2", "acme", "ana", 2).Bytes)
	waitCommit(t, s)
	if got := ids(t, x); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("found %v", got)
	}
}

func TestWhatTheIndexRefusesForGoodIsPutAsideWithItsReason(t *testing.T) {
	s := newSource(&diary{})
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes, indextest.Event("2", "acme", "mallory", 2).Bytes, indextest.Event("3", "acme", "ana", 3).Bytes)
	x := start(t, s, 1)
	waitCommit(t, s)
	if got, want := s.diary.all(), []string{"append fails", "append 3", "add fails", "add 3", "dead letter 1", "record fails", "record", "commit 3"}; !slices.Equal(got, want) {
		t.Errorf("happened: %v", got)
	}
	if got := ids(t, x); !slices.Equal(got, []string{"3", "1"}) {
		t.Errorf("found %v", got)
	}
	headers := map[string]string{}
	for _, h := range s.dead[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers["dlq.error.class"] != "document_parsing_exception" || headers["dlq.error.message"] != "not a long" || headers["dlq.source.offset"] != "1" {
		t.Errorf("headers %v", headers)
	}
}

func TestWhatTheLedgerRefusesIsPutAsideAndNotFound(t *testing.T) {
	s := newSource(&diary{})
	forged := func(ev *eventsv1.Event) { ev.Action = "forged" }
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes, indextest.Event("2", "acme", "ana", 2, forged).Bytes, indextest.Event("3", "acme", "ana", 3).Bytes)
	x := start(t, s, 0)
	waitCommit(t, s)
	if got := ids(t, x); !slices.Equal(got, []string{"3", "1"}) {
		t.Errorf("found %v", got)
	}
	if len(s.dead) != 1 {
		t.Fatalf("put aside: %v", s.dead)
	}
	if !slices.ContainsFunc(s.dead[0].Headers, func(h journal.Header) bool {
		return h.Key == "dlq.error.class" && string(h.Value) == "refused-by-ledger"
	}) {
		t.Errorf("put aside with %v", s.dead[0].Headers)
	}
}

// full is an index that takes nothing until there is room.
type full struct {
	*flaky

	room atomic.Bool
}

func (f *full) Add(ctx context.Context, records []index.Record) error {
	if !f.room.Load() {
		return errDown
	}
	return f.flaky.Add(ctx, records)
}

func TestALoopThatTriesAgainSaysWhatStandsInItsWay(t *testing.T) {
	s := newSource(&diary{})
	store, err := sqlite.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	x := &full{flaky: &flaky{Index: store, diary: s.diary}}
	loop := ingest.New(ingest.Config{Source: s, Ledger: x, Index: x, Group: "g", Share: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	if err := loop.Ready(); err != nil {
		t.Errorf("nothing has failed: %v", err)
	}
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes)
	for loop.Ready() == nil && ctx.Err() == nil { // the loop tells nobody
		time.Sleep(time.Millisecond)
	}
	if err := loop.Ready(); !errors.Is(err, errDown) || !strings.Contains(err.Error(), "records cannot be stored: down") {
		t.Errorf("it says %v", err)
	}
	if summed(s.diary.all(), "commit") != 0 {
		t.Errorf("committed what was not stored: %v", s.diary.all())
	}
	x.room.Store(true)
	waitCommit(t, s)
	if err := loop.Ready(); err != nil {
		t.Errorf("it goes on: %v", err)
	}
	cancel()
	if err := errors.Join(<-done, store.Close()); err != nil {
		t.Error(err)
	}
}

// held is an index that waits to be let go on.
type held struct {
	*flaky

	entered, let chan struct{}
}

func (h held) Add(ctx context.Context, records []index.Record) error {
	h.entered <- struct{}{}
	select {
	case <-h.let:
	case <-ctx.Done():
		return ctx.Err()
	}
	return h.flaky.Add(ctx, records)
}

// The next batch reaches the ledger while the index still has this one, and nothing is committed out of turn.
func TestTheLedgerGoesOnWhileTheIndexWorks(t *testing.T) {
	s := newSource(&diary{})
	store, err := sqlite.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	x := held{flaky: &flaky{Index: store, diary: s.diary}, entered: make(chan struct{}), let: make(chan struct{})}
	loop := ingest.New(ingest.Config{Source: s, Ledger: x, Index: x, Group: "g", Share: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	done := make(chan error, 1)
	go func() { done <- loop.Run(ctx) }()
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes)
	<-x.entered
	s.send(indextest.Event("2", "acme", "ana", 2).Bytes, indextest.Event("3", "acme", "ana", 3).Bytes)
	for summed(s.diary.all(), "append") < 3 && ctx.Err() == nil { // the ledger of the tests tells nobody
		time.Sleep(time.Millisecond)
	}
	before := s.diary.all()
	x.let <- struct{}{}
	waitCommit(t, s)
	for summed(s.diary.all(), "commit") < 3 && ctx.Err() == nil { // the two come together or one after the other
		<-x.entered
		x.let <- struct{}{}
		waitCommit(t, s)
	}
	cancel()
	if err := errors.Join(<-done, store.Close()); err != nil {
		t.Error(err)
	}
	got := s.diary.all()
	if summed(before, "append") != 3 || summed(before, "add") != 0 || summed(got, "add") != 3 || summed(got, "commit") != 3 {
		t.Errorf("happened: %v, before the index went on %v", got, before)
	}
}

// summed is how many records a diary tells that of.
func summed(diary []string, what string) int {
	sum := 0
	for _, line := range diary {
		var n int
		if _, err := fmt.Sscanf(line, what+" %d", &n); err == nil {
			sum += n
		}
	}
	return sum
}

// Who writes a record under an id that another record has must not get that one's bytes put aside in its place.
func TestALetterHoldsTheBytesThatWereRefusedAlsoWhereAnIdIsThereTwice(t *testing.T) {
	s := newSource(&diary{})
	forged := indextest.Event("1", "acme", "ana", 1, func(ev *eventsv1.Event) { ev.Action = "forged" }).Bytes
	good := indextest.Event("1", "acme", "ana", 1).Bytes
	unfit := indextest.Event("2", "acme", "mallory", 2).Bytes
	fit := indextest.Event("2", "acme", "ana", 2).Bytes
	s.send(forged, good, unfit, fit)
	x := start(t, s, 0)
	waitCommit(t, s)
	if got := ids(t, x); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("found %v", got)
	}
	if len(s.dead) != 2 {
		t.Fatalf("put aside: %v", s.dead)
	}
	for i, want := range []struct {
		value         []byte
		offset, class string
	}{{forged, "0", "refused-by-ledger"}, {unfit, "2", "document_parsing_exception"}} {
		headers := map[string]string{}
		for _, h := range s.dead[i].Headers {
			headers[h.Key] = string(h.Value)
		}
		if !bytes.Equal(s.dead[i].Value, want.value) || headers["dlq.source.offset"] != want.offset || headers["dlq.error.class"] != want.class {
			t.Errorf("letter %d: %q with %v", i, s.dead[i].Value, headers)
		}
	}
}
