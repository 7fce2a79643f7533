// Package replicas keeps the edge's three copies, of identity, authz and trust, and says whether they are fresh enough to decide by.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/replica"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// Identity is followed for the directory.
type Identity interface {
	Watch(ctx context.Context, r *connect.Request[identityv1.WatchRequest]) (*connect.ServerStreamForClient[identityv1.WatchResponse], error)
}

// Authz is followed for policies and changed entitlements.
type Authz interface {
	Watch(ctx context.Context, r *connect.Request[authzv1.WatchRequest]) (*connect.ServerStreamForClient[authzv1.WatchResponse], error)
}

// Trust is followed for servers and kills.
type Trust interface {
	Watch(ctx context.Context, r *connect.Request[trustv1.WatchRequest]) (*connect.ServerStreamForClient[trustv1.WatchResponse], error)
}

// Copy takes one message of a stream.
type Copy[M any] interface {
	Apply(m M) error
}

// Then is a copy after each of whose messages something is done.
func Then[M any](into Copy[M], done func()) Copy[M] { return then[M]{into, done} }

type then[M any] struct {
	into Copy[M]
	done func()
}

// Apply implements Copy.
func (t then[M]) Apply(m M) error {
	defer t.done()
	return t.into.Apply(m)
}

// Decider is a copy that also knows the directory's revision behind its relations.
type Decider interface {
	Copy[*authzv1.WatchResponse]
	Directory() int64
}

// ThenDecider is Then for the copy of authz.
func ThenDecider(into Decider, done func()) Decider { return thenDecider{Decider: into, done: done} }

type thenDecider struct {
	Decider

	done func()
}

// Apply implements Copy.
func (t thenDecider) Apply(m *authzv1.WatchResponse) error {
	defer t.done()
	return t.Decider.Apply(m)
}

// Parts are what is followed and where it goes.
type Parts struct {
	Identity  Identity
	Authz     Authz
	Trust     Trust
	Directory Copy[*identityv1.WatchResponse]
	Decider   Decider
	Catalogue Copy[*trustv1.WatchResponse]
	Now       clock.Now
	// Steady is the time that passes whatever the clock says; nil is the machine's.
	Steady func() time.Duration
	Log    *slog.Logger
}

// Replicas are the three followers. Safe for concurrent use.
type Replicas struct {
	decider Decider
	now     clock.Now
	clock   *clock.Watch
	all     []named
}

type named struct {
	name string
	follower
}

type follower interface {
	Run(ctx context.Context) error
	Fresh() bool
	FreshAt(now time.Time) bool
	Age() time.Duration
	Revision() int64
	Ready(ctx context.Context) error
}

// Standing is where one copy stands.
type Standing struct {
	Name                string
	Revision, Directory int64
	Age                 time.Duration
	Stale               bool
}

// New makes the followers. It starts nothing.
func New(p Parts) *Replicas {
	identity := replica.NewFollower(replica.FollowConfig[*identityv1.WatchResponse]{
		Name: "identity", Apply: p.Directory.Apply, Revision: (*identityv1.WatchResponse).GetRevision, Now: p.Now, Log: p.Log,
		Open: func(ctx context.Context) (replica.Stream[*identityv1.WatchResponse], error) {
			return p.Identity.Watch(ctx, connect.NewRequest(&identityv1.WatchRequest{}))
		},
	})
	authz := replica.NewFollower(replica.FollowConfig[*authzv1.WatchResponse]{
		Name: "authz", Apply: p.Decider.Apply, Revision: (*authzv1.WatchResponse).GetRevision, Now: p.Now, Log: p.Log,
		Open: func(ctx context.Context) (replica.Stream[*authzv1.WatchResponse], error) {
			return p.Authz.Watch(ctx, connect.NewRequest(&authzv1.WatchRequest{}))
		},
	})
	trust := replica.NewFollower(replica.FollowConfig[*trustv1.WatchResponse]{
		Name: "trust", Apply: p.Catalogue.Apply, Revision: (*trustv1.WatchResponse).GetRevision, Now: p.Now, Log: p.Log,
		Open: func(ctx context.Context) (replica.Stream[*trustv1.WatchResponse], error) {
			return p.Trust.Watch(ctx, connect.NewRequest(&trustv1.WatchRequest{}))
		},
	})
	if p.Steady == nil {
		p.Steady = clock.NewSteady()
	}
	return &Replicas{decider: p.Decider, now: p.Now, clock: clock.NewWatch(p.Now, p.Steady), all: []named{{"identity", identity}, {"authz", authz}, {"trust", trust}}}
}

// Run follows until ctx ends.
func (r *Replicas) Run(ctx context.Context) error {
	outcome := make([]error, len(r.all))
	var all sync.WaitGroup
	for i, one := range r.all {
		all.Go(func() { outcome[i] = one.Run(ctx) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(outcome...)
}

// Fresh implements guard.Freshness.
func (r *Replicas) Fresh() error {
	now := r.now()
	if err := r.clock.Check(); err != nil {
		return err
	}
	for _, one := range r.all {
		if !one.FreshAt(now) {
			return fault.New(faultv1.Reason_REASON_STALE,
				"The call was refused because this gateway has not heard from the service %s for more than five seconds and does not decide by old "+
					"news. Try again in a moment.", one.name)
		}
	}
	return nil
}

// Ready waits for the first snapshot of each, and says which is missing.
func (r *Replicas) Ready(ctx context.Context) error {
	for _, one := range r.all {
		if err := one.Ready(ctx); err != nil {
			return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The edge has not heard from the service %s yet.", one.name).Because(err)
		}
		if !one.Fresh() {
			return fault.New(faultv1.Reason_REASON_STALE, "The edge has not heard from the service %s for more than five seconds.", one.name)
		}
	}
	return nil
}

// Describe is one line about each copy.
func (r *Replicas) Describe() []string {
	var lines []string
	for _, one := range r.Status() {
		word := "fresh"
		if one.Stale {
			word = "stale"
		}
		if one.Age == math.MaxInt64 {
			lines = append(lines, one.Name+": not heard of yet")
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: %s, heard of %s ago, revision %d", one.Name, word, one.Age.Round(time.Millisecond), one.Revision))
	}
	return lines
}

// Status says where each copy stands.
func (r *Replicas) Status() []Standing {
	out := make([]Standing, len(r.all))
	for i, one := range r.all {
		out[i] = Standing{Name: one.name, Revision: one.Revision(), Age: one.Age(), Stale: !one.Fresh()}
		if one.name == "authz" {
			out[i].Directory = r.decider.Directory()
		}
	}
	return out
}
