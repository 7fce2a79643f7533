package rpc

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

// lookAgain is how often the caller of an open stream is looked up. The answer may be as old as any that is believed, so a stream ends within twice that
// time after a new call would be refused.
const lookAgain = goodFor / 2

// watched is the open stream of a person, who is looked up again as long as it is open. When a new call would be refused, nothing more is sent and the
// stream ends.
type watched struct {
	connect.StreamingHandlerConn

	mux    *Mux
	call   *call
	header http.Header

	mu      sync.Mutex // held while the caller is looked up, so that what is sent then waits
	refused error
}

// follow runs the handler of a stream, whose context ends when its caller may not go on. Services are known by their certificates, which hold as long as the
// connection does.
func (m *Mux) follow(ctx context.Context, c *call, conn connect.StreamingHandlerConn, next connect.StreamingHandlerFunc) error {
	if c.caller.Person == nil {
		return next(ctx, conn)
	}
	header := http.Header{"Authorization": slices.Clone(conn.RequestHeader().Values("Authorization"))}
	w := &watched{StreamingHandlerConn: conn, mux: m, call: c, header: header}
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	looking.Go(func() {
		defer cancel()
		w.lookAgain(ctx)
	})
	err := next(ctx, w)
	cancel()
	if refused := w.refusal(); refused != nil {
		return refused
	}
	return err
}

// lookAgain returns when the caller may not go on, or the stream is over.
func (w *watched) lookAgain(ctx context.Context) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !w.holds(ctx) {
				return
			}
		}
	}
}

func (w *watched) holds(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.mux.again(ctx, w.call, w.header); ctx.Err() == nil {
		w.refused = err
	}
	return w.refused == nil
}

func (w *watched) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// Send implements connect.StreamingHandlerConn.
func (w *watched) Send(message any) error {
	if refused := w.refusal(); refused != nil {
		return refused
	}
	return w.StreamingHandlerConn.Send(message)
}

// again says why the caller of an open stream may not go on: what a new call would be told, or that a new one would be answered otherwise.
func (m *Mux) again(ctx context.Context, c *call, header http.Header) error {
	caller, err := m.identify(ctx, c, header)
	if err != nil {
		return err
	}
	if refused := c.method.judge(caller); refused != nil {
		return refused
	}
	if !c.caller.equals(caller) {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Your rights changed, so the stream is ended. Open it again to get what you may have now.")
	}
	return nil
}

// equals reports whether every method answers both alike.
func (c Caller) equals(other Caller) bool {
	a, b := c.Person, other.Person
	if c.Service != other.Service || a.GetTenant() != b.GetTenant() || a.GetName() != b.GetName() || a.GetAgent() != b.GetAgent() {
		return false
	}
	return !slices.ContainsFunc(a.GetRights(), lacks(b.GetRights())) && !slices.ContainsFunc(b.GetRights(), lacks(a.GetRights()))
}

func lacks[T comparable](all []T) func(T) bool {
	return func(one T) bool { return !slices.Contains(all, one) }
}
