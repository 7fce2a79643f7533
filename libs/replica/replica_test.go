package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/replica"
)

// message is what a Watch of the tests sends: a snapshot holds all names, a change one, a heartbeat none.
type message struct {
	snapshot bool
	revision int64
	names    []string
}

func revision(m message) int64 { return m.revision }

// source is a service whose state is a list of names.
type source struct {
	hub *replica.Hub[message]

	mu       sync.Mutex
	names    []string
	silent   bool
	refuse   error
	snapshot func() // runs while a snapshot is taken
}

func newSource() *source {
	s := &source{}
	s.hub = replica.NewHub(replica.HubConfig[message]{
		Snapshot: func(context.Context) (message, error) {
			if s.snapshot != nil {
				s.snapshot()
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return message{snapshot: true, revision: int64(len(s.names)), names: slices.Clone(s.names)}, s.refuse
		},
		Heartbeat: func() (message, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return message{revision: int64(len(s.names))}, !s.silent
		},
		Revision: revision,
	})
	return s
}

func (s *source) hold(name string) message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
	return message{revision: int64(len(s.names)), names: []string{name}}
}

func (s *source) add(name string) { s.hub.Publish(s.hold(name)) }

func (s *source) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// open is the Watch RPC without a network.
func (s *source) open(ctx context.Context) (replica.Stream[message], error) {
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{messages: make(chan message), done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(st.done)
		st.err = s.hub.Serve(ctx, func(m message) error {
			select {
			case st.messages <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return st, nil
}

type stream struct {
	messages chan message
	done     chan struct{}
	cancel   func()
	err      error
	last     message
}

func (s *stream) Receive() bool {
	select {
	case s.last = <-s.messages:
		return true
	case <-s.done:
		return false
	}
}
func (s *stream) Msg() message { return s.last }
func (s *stream) Err() error   { return s.err }
func (s *stream) Close() error {
	s.cancel()
	<-s.done
	return nil
}

// copied is what a follower's owner keeps.
type copied struct {
	mu    sync.Mutex
	names []string
	fail  bool
}

func (c *copied) apply(m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail && !m.snapshot && len(m.names) > 0 {
		return errors.New("does not fit")
	}
	if m.snapshot {
		c.names = nil
	}
	c.names = append(c.names, m.names...)
	return nil
}

func (c *copied) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.names, " ")
}

type opener = func(context.Context) (replica.Stream[message], error)

// follow runs a follower for the time of the test, in the test's bubble.
func follow(t *testing.T, open opener, c *copied, log *slog.Logger) *replica.Follower[message] {
	t.Helper()
	f := replica.NewFollower(replica.FollowConfig[message]{Name: "names", Open: open, Apply: c.apply, Revision: revision, Now: time.Now, Log: log})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return f
}

func TestFollowerHoldsTheSnapshotThenEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		s.add("ana")
		f := follow(t, s.open, c, nil)
		if err := f.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.add("ben")
		s.add("cem")
		synctest.Wait()
		if c.get() != "ana ben cem" || f.Revision() != 3 || !f.Fresh() {
			t.Errorf("holds %q at revision %d, fresh %v", c.get(), f.Revision(), f.Fresh())
		}
	})
}

func TestChangesThatTheSnapshotHoldsAreNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		s.snapshot = func() { // both happen after the subscription and before the snapshot is taken
			if len(s.names) == 0 {
				s.add("ana")
				s.add("ben")
			}
		}
		f := follow(t, s.open, c, nil)
		synctest.Wait()
		s.add("cem")
		synctest.Wait()
		if c.get() != "ana ben cem" || f.Revision() != 3 {
			t.Errorf("holds %q at revision %d", c.get(), f.Revision())
		}
	})
}

func TestHeartbeatsKeepACopyFreshAndSilenceMakesItStaleAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		f := follow(t, s.open, c, nil)
		if f.Fresh() {
			t.Error("fresh before there is a copy")
		}
		pass(time.Minute + time.Millisecond)
		if !f.Fresh() || f.Age() > time.Second {
			t.Errorf("after a minute of heartbeats: fresh %v, age %v", f.Fresh(), f.Age())
		}
		s.set(func() { s.silent, s.refuse = true, errors.New("the database is gone") })
		pass(4 * time.Second)
		if !f.Fresh() {
			t.Errorf("stale after %v", f.Age())
		}
		pass(time.Second + 2*time.Millisecond)
		if f.Fresh() {
			t.Errorf("fresh after %v of silence", f.Age())
		}
		s.set(func() { s.silent, s.refuse = false, nil })
		pass(time.Second)
		if !f.Fresh() {
			t.Error("stale a second after the source came back")
		}
	})
}

func TestFollowerOpensAgainWithinAQuarterOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		var mu sync.Mutex
		var tries []time.Time
		down := true
		var log bytes.Buffer
		f := follow(t, func(ctx context.Context) (replica.Stream[message], error) {
			mu.Lock()
			defer mu.Unlock()
			tries = append(tries, time.Now())
			if down {
				return nil, errors.New("connection refused")
			}
			return s.open(ctx)
		}, c, slog.New(slog.NewTextHandler(&log, nil)))
		pass(10 * time.Second)
		mu.Lock()
		down = false
		gaps := make([]time.Duration, 0, len(tries))
		for i := 1; i < len(tries); i++ {
			gaps = append(gaps, tries[i].Sub(tries[i-1]))
		}
		mu.Unlock()
		if slices.Max(gaps) > 250*time.Millisecond || len(gaps) < 40 {
			t.Errorf("%d tries, the longest pause %v", len(gaps), slices.Max(gaps))
		}
		pass(250 * time.Millisecond)
		synctest.Wait()
		if !f.Fresh() {
			t.Error("not fresh a quarter of a second after the source came back")
		}
		if n := strings.Count(log.String(), "replica lost its source"); n != 1 {
			t.Errorf("the loss was logged %d times", n)
		}
	})
}

func TestReadySaysWhyThereIsNoCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, func(context.Context) (replica.Stream[message], error) { return nil, errors.New("connection refused") }, &copied{}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.Ready(ctx)
		if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), "names") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Ready: %v", err)
		}
	})
}

func TestACopyThatCouldNotTakeAChangeIsNotTrustedUntilTheNextSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		opened := 0
		f := follow(t, func(ctx context.Context) (replica.Stream[message], error) {
			if opened++; opened == 2 {
				return nil, errors.New("not yet")
			}
			return s.open(ctx)
		}, c, nil)
		pass(2 * time.Second)
		c.mu.Lock()
		c.fail = true
		c.mu.Unlock()
		s.add("ana")
		synctest.Wait()
		if f.Fresh() {
			t.Error("fresh though a change could not be applied")
		}
		pass(time.Second)
		if !f.Fresh() || c.get() != "ana" {
			t.Errorf("after a new snapshot: fresh %v, holds %q", f.Fresh(), c.get())
		}
	})
}

func TestASlowSubscriberIsCutOffAndTheOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		c := &copied{}
		f := follow(t, s.open, c, nil)
		entered, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		go func() {
			first := true
			ended <- s.hub.Serve(t.Context(), func(message) error {
				if first {
					first = false
					close(entered)
					<-release
				}
				return nil
			})
		}()
		<-entered
		for i := range 1024 {
			s.add(fmt.Sprint(i))
			synctest.Wait()
		}
		if n := s.hub.Subscribers(); n != 2 {
			t.Fatalf("%d subscribers after 1,024 changes", n)
		}
		s.add("one too many")
		synctest.Wait()
		if n := s.hub.Subscribers(); n != 1 {
			t.Errorf("%d subscribers after 1,025 changes", n)
		}
		close(release)
		if err := <-ended; !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("the slow subscriber's stream ended with: %v", err)
		}
		if f.Revision() != 1025 {
			t.Errorf("the fast subscriber is at %d", f.Revision())
		}
	})
}

func TestAHeartbeatNeverClaimsWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newSource(), &copied{}
		f := follow(t, s.open, c, nil)
		pass(1500 * time.Millisecond)
		late := s.hold("ana") // the state moved on, and the change is published later
		pass(time.Second)
		if f.Revision() != 0 {
			t.Errorf("the follower claims revision %d and holds %q", f.Revision(), c.get())
		}
		s.hub.Publish(late)
		synctest.Wait()
		if f.Revision() != 1 || c.get() != "ana" {
			t.Errorf("at revision %d with %q", f.Revision(), c.get())
		}
		s.hold("ben") // and this one is never published
		pass(4 * time.Second)
		if f.Revision() != 2 || c.get() != "ana ben" || !f.Fresh() {
			t.Errorf("a lost change did not lead to a new snapshot: revision %d, %q, fresh %v", f.Revision(), c.get(), f.Fresh())
		}
	})
}

func TestAFailedSendOrSnapshotEndsTheStream(t *testing.T) {
	boom := errors.New("boom")
	s := newSource()
	if err := s.hub.Serve(t.Context(), func(message) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("send: %v", err)
	}
	s.refuse = boom
	if err := s.hub.Serve(t.Context(), func(message) error { return nil }); !errors.Is(err, boom) {
		t.Errorf("snapshot: %v", err)
	}
	if n := s.hub.Subscribers(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
}

func TestManySubscribersSeeEveryChangeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		copies := make([]*copied, 8)
		for i := range copies {
			copies[i] = &copied{}
			follow(t, s.open, copies[i], nil)
		}
		var want []string
		var group sync.WaitGroup
		for i := range 500 {
			want = append(want, fmt.Sprint(i))
		}
		group.Go(func() {
			for _, name := range want {
				s.add(name)
			}
		})
		group.Wait()
		synctest.Wait()
		for i, c := range copies {
			if c.get() != strings.Join(want, " ") {
				t.Errorf("follower %d holds another list: %q", i, c.get())
			}
		}
	})
}

// pass lets time go by on the bubble's clock: nobody waits.
func pass(d time.Duration) { <-time.After(d) }
