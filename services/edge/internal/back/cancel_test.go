package back

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestACancelledCallIsCancelledAtTheServerAsItsEraSays(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125, mcp.V20250618, mcp.V20250326} {
		for name, answer := range map[string]func(received){
			"before the head": func(r received) { <-r.gone },
			"in the stream":   func(r received) { r.stream(); <-r.gone },
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				srv := newServer(t, version)
				left := make(chan struct{})
				srv.when(mcp.MethodToolsCall, func(r received) {
					answer(r)
					close(left)
				})
				b := newSide(t, srv.URL, nil)
				ctx, cancel := context.WithCancel(context.Background())
				done := b.start(ctx, nil)
				eventually(t, "the call runs", func() bool { return len(srv.got(mcp.MethodToolsCall)) == 1 })
				cancel()
				refused(t, within(t, done).err, faultv1.Reason_REASON_CANCELLED)
				within(t, left) // the connection is closed in every era
				if version == "" {
					b.stop()
					require.Empty(t, srv.got(mcp.MethodCancelled), "closing the stream says it all")
					return
				}
				eventually(t, "the server is told", func() bool { return len(srv.got(mcp.MethodCancelled)) == 1 })
				call, told := srv.got(mcp.MethodToolsCall)[0], srv.got(mcp.MethodCancelled)[0]
				require.Equal(t, string(call.message.ID), string(mcp.Get(told.message.Params, "requestId")))
				require.Equal(t, call.session, told.session)
				require.Equal(t, call.header.Get(mcp.HeaderProtocolVersion), told.header.Get(mcp.HeaderProtocolVersion))
			})
		}
	}
}

func TestATimeoutIsACancellationToo(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	srv.when(mcp.MethodToolsCall, func(r received) { r.stream(); <-r.gone })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := b.Forward(ctx, b.exchange(nil))
	refused(t, err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT)
	eventually(t, "the server is told", func() bool { return len(srv.got(mcp.MethodCancelled)) == 1 })
}

func TestAServerThatTakesNoCancellationHoldsNothingUp(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	for _, method := range []string{mcp.MethodToolsCall, mcp.MethodCancelled, "DELETE"} {
		srv.when(method, func(r received) { <-r.gone })
	}
	b := newSide(t, srv.URL, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := b.start(ctx, nil)
	eventually(t, "the call runs", func() bool { return len(srv.got(mcp.MethodToolsCall)) == 1 })
	cancel()
	refused(t, within(t, done).err, faultv1.Reason_REASON_CANCELLED)
	began := time.Now()
	b.stop()
	require.Less(t, time.Since(began), 2*farewell+time.Second, "what is said at the end is bounded")
}
