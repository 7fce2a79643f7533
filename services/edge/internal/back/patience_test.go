package back

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// A server that turns requests away for now says nothing about the protocol, and its wait is the caller's.
func TestAServerThatIsBusySaysHowLong(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		b.must(nil)
		for _, one := range []struct {
			status     int
			wait, says string
		}{
			{429, "7", "gets too many requests (HTTP 429). Call again in 7 s."}, {503, "30", "took effect is not known: look before you call again. It asks for 30 s until then."},
			{503, "", "is not available now (HTTP 503). Whether the call took effect is not known: look before you call again."}, {429, "1000000", "Wait before"}, {429, "soon", "Wait before"}, {429, "-3", "Wait before"},
			{429, time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), "Wait before"},
		} {
			srv.when(mcp.MethodToolsCall, func(r received) {
				if one.wait != "" {
					r.w.Header().Set("Retry-After", one.wait)
				}
				http.Error(r.w, "busy", one.status)
			})
			_, err := b.forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Contains(t, err.Error(), one.says)
			require.NotContains(t, err.Error(), "protocol")
		}
	}
	in := waits(time.Unix(100, 0).UTC().Format(http.TimeFormat), time.Unix(40, 0))
	require.Equal(t, time.Minute, in)
}

// Servers keep a stream open with events of types of their own. They are nobody's message, in any stream.
func TestEventsOfOtherTypesAreNoMessages(t *testing.T) {
	const ping = "event: ping\ndata: 2026-01-01T00:00:00Z\n\n"
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		srv.when(mcp.MethodToolsCall, func(r received) {
			r.stream()
			r.say(ping)
			r.say("event: message\ndata: " + `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}` + "\n\n")
			r.say(ping)
			r.answer(`{"content":[]}`)
		})
		var told notices
		b.must(func(ex *guard.Exchange) { ex.Notify = told.take })
		require.Len(t, told.list(), 1)
	}
}

// The answer of a stream that its server leaves open is there at once.
func TestAnAnswerDoesNotWaitForTheEndOfItsStream(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		b.must(nil)
		srv.when(mcp.MethodToolsCall, func(r received) {
			r.stream()
			r.answer(`{"content":[]}`)
			<-r.gone
		})
		var took []time.Duration
		for range 10 {
			began := time.Now()
			b.must(nil)
			took = append(took, time.Since(began))
		}
		t.Logf("%q: %v", version, took)
		fast := false
		for _, one := range took {
			fast = fast || one < lull
		}
		require.True(t, fast, "each answer waited for the end of its stream")
	}
}
