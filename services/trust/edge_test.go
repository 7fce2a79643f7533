package trust_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
)

// edge follows trust as an edge does and holds what it was told.
type edge struct {
	t    *testing.T
	stop func()

	mu       sync.Mutex
	moved    chan struct{} // closed and made anew with every message
	servers  map[string]*trustv1.ServerState
	kills    map[string]*trustv1.Kill
	messages []*trustv1.WatchResponse
}

func follow(t *testing.T, client trustv1connect.TrustServiceClient) *edge {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e := &edge{t: t, moved: make(chan struct{}), servers: map[string]*trustv1.ServerState{}, kills: map[string]*trustv1.Kill{}}
	stream, err := client.Watch(ctx, connect.NewRequest(&trustv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for stream.Receive() {
			e.take(stream.Msg())
		}
		if err := stream.Err(); err != nil && !errors.Is(err, context.Canceled) && !fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
			t.Error(err)
		}
	}()
	e.stop = func() {
		cancel()
		<-done
		if err := stream.Close(); err != nil {
			t.Log(err) // it was cut off from here
		}
	}
	e.await("the snapshot", func() bool { return len(e.messages) > 0 })
	return e
}

func (e *edge) take(m *trustv1.WatchResponse) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m.GetSnapshot() {
		clear(e.servers)
		clear(e.kills)
	}
	for _, s := range m.GetUpserts() {
		e.servers[s.GetServer().GetMetadata().GetTenant()+"/"+s.GetServer().GetMetadata().GetName()] = s
	}
	for _, d := range m.GetDeletions() {
		delete(e.servers, d.GetTenant()+"/"+d.GetName())
	}
	for _, k := range m.GetKills() {
		e.kills[k.GetTenant()+"/"+k.GetTarget().GetKind()+" "+k.GetTarget().GetName()] = k
	}
	for _, k := range m.GetRevived() {
		delete(e.kills, k.GetTenant()+"/"+k.GetTarget().GetKind()+" "+k.GetTarget().GetName())
	}
	e.messages = append(e.messages, m)
	close(e.moved)
	e.moved = make(chan struct{})
}

// await waits until the edge was told what holds; holds is called with the edge locked.
func (e *edge) await(what string, holds func() bool) {
	e.t.Helper()
	deadline := time.After(patience)
	for {
		e.mu.Lock()
		done, moved := holds(), e.moved
		e.mu.Unlock()
		if done {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			e.mu.Lock()
			defer e.mu.Unlock()
			for name, s := range e.servers {
				e.t.Logf("%s is %s (%s)", name, told(s), s.GetNote())
			}
			e.t.Fatalf("the edge was not told: %s", what)
		}
	}
}

// knows waits until the edge knows the server echo as told writes it.
func (e *edge) knows(want string) {
	e.t.Helper()
	e.await(want, func() bool { return told(e.servers["acme/echo"]) == want })
}

func (e *edge) killed(what string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kills["acme/"+what] != nil
}
