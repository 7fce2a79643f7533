package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
	"headgate.dev/services/audit/internal/index/sqlite"
	"headgate.dev/services/audit/internal/ingest"
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
}

func newSource(d *diary) *source {
	return &source{diary: d, messages: make(chan kafka.Message, 100), committed: make(chan int64, 100)}
}

func (s *source) send(values ...[]byte) {
	for _, v := range values {
		s.messages <- kafka.Message{Topic: "t", Partition: 3, Offset: int64(len(s.messages)), Key: []byte("acme/ana"), Value: v, Time: time.Unix(1, 0),
			Headers: []kafka.Header{{Key: "ce_id", Value: []byte("x")}}}
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

// flaky is an index that fails at first.
type flaky struct {
	index.Index

	diary *diary
	fail  int
}

func (f *flaky) Add(ctx context.Context, records []index.Record) error {
	if f.fail > 0 {
		f.fail--
		f.diary.note("add fails")
		return errDown
	}
	f.diary.note("add %d", len(records))
	return f.Index.Add(ctx, records)
}

// start runs a loop until the test ends.
func start(t *testing.T, s *source, fail int) *flaky {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	x := &flaky{Index: store, diary: s.diary, fail: fail}
	loop := ingest.New(ingest.Config{Source: s, Index: x, Group: "g", Share: 0.5, Log: slog.New(slog.DiscardHandler), Now: time.Now})
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

func TestOffsetsAreCommittedOnlyWhenTheIndexHasTheRecords(t *testing.T) {
	s := newSource(&diary{})
	s.failFetch = 2
	x := start(t, s, 3)
	s.send(indextest.Event("1", "acme", "ana", 1).Bytes)
	waitCommit(t, s)
	if got, want := s.diary.all(), []string{"add fails", "add fails", "add fails", "add 1", "commit 1"}; !slices.Equal(got, want) {
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
	if got, want := s.diary.all(), []string{"add 2", "dead letter fails", "dead letter 2", "commit 4"}; !slices.Equal(got, want) {
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
		"dlq.consumer.group": "g", "dlq.source.timestamp": "1970-01-01T00:00:01Z",
	} {
		if headers[key] != want {
			t.Errorf("header %s is %q, want %q", key, headers[key], want)
		}
	}
	if headers["dlq.error.message"] == "" {
		t.Error("the letter does not say why")
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
