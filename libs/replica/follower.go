package replica

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
)

const (
	// staleAfter is how old the last word may be by default.
	staleAfter = 5 * time.Second
	// shortestWait and longestWait bound the pause before a stream is opened again.
	shortestWait = 10 * time.Millisecond
	longestWait  = 250 * time.Millisecond
	// patience is how long the first message of a stream may take: a snapshot is large.
	patience = 15 * time.Second
	// steady is how long a stream must have lived to count as one that worked.
	steady = time.Second
)

// Stream is one open Watch. *connect.ServerStreamForClient is one.
type Stream[M any] interface {
	// Receive waits for the next message; false when there is none.
	Receive() bool
	// Msg is the message that Receive got.
	Msg() M
	// Err says why Receive was false; nil at a regular end.
	Err() error
	Close() error
}

// FollowConfig says what a follower follows.
type FollowConfig[M any] struct {
	// Name of the service that is followed, for sentences and logs.
	Name string
	// Open starts a Watch. The stream ends with ctx.
	Open func(ctx context.Context) (Stream[M], error)
	// Apply takes a message into the copy. The first one after each Open is a snapshot and replaces all; a heartbeat changes nothing. Only Run
	// calls it, one at a time. When it fails the copy is not to be trusted, and the follower starts again from a snapshot.
	Apply    func(M) error
	Revision func(M) int64
	Now      clock.Now
	Log      *slog.Logger
	// StaleAfter is how long after the last message the copy still counts as fresh; 0 means 5 s.
	StaleAfter time.Duration
}

// Follower keeps a copy up to date and knows its age. Safe for concurrent use.
type Follower[M any] struct {
	cfg   FollowConfig[M]
	first chan struct{} // closed with the first snapshot

	heard atomic.Pointer[time.Time] // when the last message came; nil while there is no copy to trust

	mu       sync.Mutex
	revision int64
	began    bool
	last     error // why the stream ended last
}

// NewFollower makes a follower. It starts nothing.
func NewFollower[M any](cfg FollowConfig[M]) *Follower[M] {
	if cfg.StaleAfter == 0 {
		cfg.StaleAfter = staleAfter
	}
	if cfg.Now == nil {
		cfg.Now = clock.System
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Follower[M]{cfg: cfg, first: make(chan struct{})}
}

// Run follows until ctx ends, opening the stream again whenever it breaks or falls silent. It returns nil.
func (f *Follower[M]) Run(ctx context.Context) error {
	wait, broken := shortestWait, false
	for {
		opened := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(opened) >= steady {
			wait, broken = shortestWait, false
		}
		f.note(err)
		if !broken { // once for each time that it breaks, not for each try
			f.cfg.Log.WarnContext(ctx, "replica lost its source", "replica", f.cfg.Name, "revision", f.Revision(), "cause", sentence(err))
			broken = true
		}
		pause := time.NewTimer(wait/2 + rand.N(wait/2+1))
		select {
		case <-ctx.Done():
			pause.Stop()
			return nil
		case <-pause.C:
		}
		wait = min(2*wait, longestWait)
	}
}

// follow carries one stream to its end.
func (f *Follower[M]) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A source that says nothing may be gone without a word: a dead machine closes no connection.
	silence := time.AfterFunc(max(patience, f.cfg.StaleAfter), func() { cancel(errSilent) })
	defer silence.Stop()
	last := f.cfg.Now()
	stream, err := f.cfg.Open(ctx)
	if err != nil {
		return because(ctx, err)
	}
	limit := max(patience, f.cfg.StaleAfter)
	for snapshot := true; stream.Receive(); snapshot, limit = false, f.cfg.StaleAfter {
		// What is read late may have been sent long ago, before news that waits behind it: only a new snapshot is news then.
		if f.cfg.Now().Sub(last) >= limit {
			f.distrust()
			cancel(errLate)
			return errors.Join(errLate, ignoreCancelled(stream.Close()))
		}
		last = f.cfg.Now()
		silence.Reset(f.cfg.StaleAfter)
		if err := f.cfg.Apply(stream.Msg()); err != nil {
			f.distrust()
			cancel(err)
			return errors.Join(err, ignoreCancelled(stream.Close()))
		}
		f.accept(ctx, stream.Msg(), snapshot)
	}
	err = because(ctx, stream.Err())
	cancel(nil)
	return errors.Join(err, ignoreCancelled(stream.Close()))
}

var (
	errSilent = errors.New("the source said nothing for too long")
	errLate   = errors.New("this process was held up and reads old news")
)

// because is the reason why the stream was ended from this side, if it was.
func because(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// ignoreCancelled drops what Close says of a stream that was ended on purpose.
func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) || fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
		return nil
	}
	return err
}

func (f *Follower[M]) accept(ctx context.Context, m M, snapshot bool) {
	now := f.cfg.Now()
	f.mu.Lock()
	f.revision, f.last = f.cfg.Revision(m), nil
	f.heard.Store(&now)
	began := f.began
	if !began {
		f.began = true
		close(f.first)
	}
	f.mu.Unlock()
	if snapshot {
		f.cfg.Log.InfoContext(ctx, "replica follows", "replica", f.cfg.Name, "revision", f.cfg.Revision(m), "again", began)
	}
}

func (f *Follower[M]) distrust() { f.heard.Store(nil) }

func (f *Follower[M]) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = err
}

func sentence(err error) string {
	if err == nil {
		return "the source ended the stream"
	}
	return err.Error()
}

// Fresh reports whether the copy may be decided by: there is one, and the source was heard lately.
func (f *Follower[M]) Fresh() bool { return f.FreshAt(f.cfg.Now()) }

// FreshAt is Fresh for who asks several followers at one moment.
func (f *Follower[M]) FreshAt(now time.Time) bool { return f.age(now) < f.cfg.StaleAfter }

// Age is the time since the source was last heard; the longest duration there is while there is no copy.
func (f *Follower[M]) Age() time.Duration { return f.age(f.cfg.Now()) }

func (f *Follower[M]) age(now time.Time) time.Duration {
	heard := f.heard.Load()
	if heard == nil {
		return math.MaxInt64
	}
	passed := now.Sub(*heard)
	if passed < -f.cfg.StaleAfter { // the clock was set back: by it, nothing would ever be old
		return math.MaxInt64
	}
	return max(passed, 0)
}

// Revision is the revision of the copy; 0 while there is none.
func (f *Follower[M]) Revision() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revision
}

// Ready waits for the first snapshot. It returns REASON_UNAVAILABLE when ctx ends first.
func (f *Follower[M]) Ready(ctx context.Context) error {
	select {
	case <-f.first:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "There is no copy of %s yet: %s. Check that it runs and can be reached.", f.cfg.Name, f.why()).
		Because(ctx.Err())
}

func (f *Follower[M]) why() string {
	if f.last == nil {
		return "it has not answered"
	}
	return f.last.Error()
}
