package life_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/life"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps events, and fails when it is told to.
type sink struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	broken bool
	taken  chan string
}

func (s *sink) Append(ev *eventsv1.Event, mode journal.Mode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errors.New("the disk is full")
	}
	if mode != journal.Strict {
		return errors.New("not as safe as it must be")
	}
	s.events = append(s.events, ev)
	s.taken <- ev.GetAction()
	return nil
}

// once runs a service's life and returns the actions that it recorded; between is called with the clock while it runs.
func once(t *testing.T, dir, configuration string, steps ...time.Duration) []*eventsv1.Event {
	t.Helper()
	s := &sink{taken: make(chan string, 100)}
	ticks := make(chan time.Time)
	var mu sync.Mutex
	wall, running := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), time.Duration(0)
	looked := make(chan struct{}, 100)
	clock := func() (time.Time, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		looked <- struct{}{}
		return wall, running
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- life.Run(ctx, life.Config{Service: "edge", Configuration: []byte(configuration), Dir: dir, Sink: s, Clock: clock, Ticks: ticks})
	}()
	<-looked
	if first := <-s.taken; first != record.ServiceStarted {
		t.Fatalf("the first is %s", first)
	}
	for _, step := range steps {
		mu.Lock()
		wall, running = wall.Add(time.Second+step), running+time.Second
		mu.Unlock()
		ticks <- time.Time{}
		<-looked // else it sees this step and the next as one
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return s.events
}

func actions(events []*eventsv1.Event) []string {
	var out []string
	for _, ev := range events {
		out = append(out, ev.GetAction())
	}
	return out
}

func TestALifeIsRecordedFromStartToStop(t *testing.T) {
	dir := t.TempDir()
	first := once(t, dir, "a: 1")
	if got := actions(first); !slices.Equal(got, []string{record.ServiceStarted, record.ConfigurationChanged, record.ServiceStopped}) {
		t.Errorf("at first %v", got)
	}
	if c := first[1].GetChange(); c.GetOldHash() != "" || !strings.HasPrefix(c.GetNewHash(), "sha256:") {
		t.Errorf("the first configuration is recorded as %v", c)
	}
	if got := actions(once(t, dir, "a: 1")); !slices.Equal(got, []string{record.ServiceStarted, record.ServiceStopped}) {
		t.Errorf("with the same configuration %v", got)
	}
	changed := once(t, dir, "a: 2")
	if got := actions(changed); !slices.Equal(got, []string{record.ServiceStarted, record.ConfigurationChanged, record.ServiceStopped}) {
		t.Errorf("with another %v", got)
	}
	if c := changed[1].GetChange(); c.GetOldHash() != first[1].GetChange().GetNewHash() || c.GetOldHash() == c.GetNewHash() {
		t.Errorf("the change is recorded as %v", c)
	}
	for _, ev := range changed {
		if ev.GetTenant() != "system" || ev.GetPrincipal().GetService() != "edge" || record.Alert(ev) != "" {
			t.Errorf("recorded %v", ev)
		}
	}
}

func TestAClockThatIsSetIsAnAlert(t *testing.T) {
	events := once(t, t.TempDir(), "", 0, 100*time.Millisecond, -time.Hour, 0, 2*time.Second)
	var said []string
	for _, ev := range events {
		if ev.GetAction() == record.ClockStepped {
			said = append(said, ev.GetChange().GetReason())
			if record.Alert(ev) != record.AlertClock {
				t.Errorf("%v is no alert", ev)
			}
		}
	}
	if len(said) != 2 || !strings.Contains(said[0], "set back by 1h0m0s") || !strings.Contains(said[1], "set forward by 2s") {
		t.Errorf("said %q", said)
	}
}

func TestWhatCannotBeRecordedDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	err := life.Run(t.Context(), life.Config{Service: "edge", Dir: dir, Sink: &sink{broken: true}})
	if err == nil || !strings.Contains(err.Error(), "service-started cannot be recorded") {
		t.Errorf("started: %v", err)
	}
	if got := actions(once(t, dir, "")); !slices.Contains(got, record.ConfigurationChanged) {
		t.Errorf("a configuration that was not recorded is taken for known: %v", got)
	}
}
