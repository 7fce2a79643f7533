package replica_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/replica"
)

// buffered is a stream whose messages were sent long ago and are read now.
type buffered struct {
	messages []message
	between  func(n int) // runs before the n-th message is read
	at       int
}

func (b *buffered) Receive() bool {
	if b.at == len(b.messages) {
		return false
	}
	b.between(b.at)
	b.at++
	return true
}

func (b *buffered) Msg() message { return b.messages[b.at-1] }
func (b *buffered) Err() error   { return nil }
func (b *buffered) Close() error { return nil }

func TestAHeartbeatThatIsReadLateDoesNotMakeTheCopyFresh(t *testing.T) {
	var now atomic.Int64
	clock := func() time.Time { return time.Unix(0, now.Load()) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opened := 0
	var applied []int64
	var f *replica.Follower[message]
	f = replica.NewFollower(replica.FollowConfig[message]{
		Name: "trust", Now: clock, Revision: revision,
		Apply: func(m message) error {
			applied = append(applied, m.revision)
			return nil
		},
		Open: func(context.Context) (replica.Stream[message], error) {
			if opened++; opened == 2 {
				if f.Fresh() {
					t.Error("the copy is fresh by a heartbeat that was read six seconds late")
				}
				cancel()
			}
			return &buffered{messages: []message{{snapshot: true, revision: 1}, {revision: 1}, {revision: 2, names: []string{"a kill"}}}, between: func(n int) {
				if n == 1 && opened == 1 {
					now.Add(int64(6 * time.Second)) // the process hangs, the heartbeat and the kill wait in the socket
				}
			}}, nil
		},
	})
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if opened < 2 || len(applied) == 0 || applied[0] != 1 || len(applied) > 1 && applied[1] != 1 {
		t.Errorf("opened %d times, applied %v", opened, applied)
	}
}
