package back

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// polled is a server whose tool sends what begins its stream and ends the connection; each GET gets the next of what is said later.
func polled(t testing.TB, version, begin string, later ...func(r received, id json.RawMessage)) *server {
	srv := newServer(t, version)
	calls := make(chan json.RawMessage, 8)
	srv.when(mcp.MethodToolsCall, func(r received) {
		calls <- r.message.ID
		r.stream()
		r.say(begin)
	})
	var id json.RawMessage
	srv.when(http.MethodGet, func(r received) {
		if r.header.Get("Last-Event-Id") == "" {
			r.stream() // the session's own
			<-r.gone
			return
		}
		if id == nil {
			id = within(t, calls)
		}
		if n := len(resumes(srv)); n <= len(later) {
			later[n-1](r, id)
			return
		}
		r.stream()
	})
	return srv
}

// resumes are the requests that took up a stream.
func resumes(srv *server) []received {
	return slices.DeleteFunc(srv.got(http.MethodGet), func(r received) bool { return r.header.Get("Last-Event-Id") == "" })
}

func result(id json.RawMessage) string {
	return string(mcp.Result(id, json.RawMessage(`{"content":[]}`)))
}

func TestACallsStreamIsTakenUpAgainWhenTheServerSaysWhereItWas(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		const notice = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
		var gets []time.Time
		srv := polled(t, version, "id: one\nretry: 300\ndata: \n\n",
			func(r received, _ json.RawMessage) {
				gets = append(gets, time.Now())
				r.stream()
				r.say("id: two\ndata: " + notice + "\n\n")
			},
			func(r received, _ json.RawMessage) {
				gets = append(gets, time.Now())
				panic(http.ErrAbortHandler)
			},
			func(r received, id json.RawMessage) {
				gets = append(gets, time.Now())
				r.stream()
				r.say("id: three\ndata: " + result(id) + "\n\n")
				<-r.gone
			})
		b := newSide(t, srv.URL, nil)
		var told notices
		began := time.Now()
		reply := b.must(func(ex *guard.Exchange) {
			ex.Notify = told.take
			ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer theirs"}}}
		})
		require.Equal(t, `{"content":[]}`, string(reply.Result))
		require.Equal(t, []string{notice}, told.list())
		call := srv.got(mcp.MethodToolsCall)
		require.Len(t, call, 1, "a call is sent once")
		var ids []string
		for _, one := range srv.got(http.MethodGet) {
			ids = append(ids, one.header.Get("Last-Event-Id"))
			require.Equal(t, call[0].session, one.session)
			require.Equal(t, "text/event-stream", one.header.Get("Accept"))
			require.Equal(t, "Bearer theirs", one.header.Get("Authorization"))
			require.Equal(t, call[0].header.Get(mcp.HeaderProtocolVersion), one.header.Get(mcp.HeaderProtocolVersion))
		}
		require.Equal(t, []string{"one", "two", "two"}, ids)
		for _, at := range gets {
			require.GreaterOrEqual(t, at.Sub(began), 295*time.Millisecond, "the server's retry is kept")
			began = at
		}
	})
}

func TestAPrimingEventWithoutDataIsEnough(t *testing.T) {
	srv := polled(t, mcp.V20251125, "id: one\nretry: 1\n\n", func(r received, id json.RawMessage) {
		r.stream()
		r.event(result(id))
	})
	newSide(t, srv.URL, nil).must(nil)
}

func TestAStreamThatCannotBeTakenUpAgainIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		version, begin string
		get            func(received, json.RawMessage)
		gets           int
	}{
		"without an id":              {mcp.V20251125, "retry: 1\ndata: \n\n", nil, 0},
		"an id that is no header":    {mcp.V20251125, "id: a\x01b\nretry: 1\n\n", nil, 0},
		"an endless id":              {mcp.V20251125, "id: " + strings.Repeat("x", 5000) + "\nretry: 1\n\n", nil, 0},
		"an id of a cut off event":   {mcp.V20251125, "retry: 1\n\nid: one\n", nil, 0},
		"of 2026-07-28":              {"", "id: one\nretry: 1\n\n", nil, 0},
		"the server knows no GET":    {mcp.V20251125, "id: one\nretry: 1\n\n", func(r received, _ json.RawMessage) { r.w.WriteHeader(405) }, 1},
		"the server knows no stream": {mcp.V20251125, "id: one\nretry: 1\n\n", func(r received, _ json.RawMessage) { r.w.WriteHeader(404) }, 1},
		"another request's answer": {mcp.V20251125, "id: one\nretry: 1\n\n", func(r received, _ json.RawMessage) {
			r.stream()
			r.event(result(json.RawMessage("4711")))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			get := c.get
			if get == nil {
				get = func(r received, id json.RawMessage) {
					r.stream()
					r.event(result(id))
				}
			}
			srv := polled(t, c.version, c.begin, get)
			_, err := newSide(t, srv.URL, nil).forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Len(t, srv.got(http.MethodGet), c.gets)
			require.Len(t, srv.got(mcp.MethodToolsCall), 1)
		})
	}
}

func TestT22AStreamIsNotTakenUpAgainForEver(t *testing.T) {
	srv := polled(t, mcp.V20251125, "id: one\nretry: 0\n\n")
	_, err := newSide(t, srv.URL, nil).forward(nil)
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	require.Len(t, srv.got(http.MethodGet), maxResumes)
}

func TestAStreamIsTakenUpAgainWithinTheCallsTimeOnly(t *testing.T) {
	for name, begin := range map[string]string{"a long retry": "id: one\nretry: 3600000\n\n", "many short ones": "id: one\nretry: 100\n\n"} {
		t.Run(name, func(t *testing.T) {
			srv := polled(t, mcp.V20251125, begin)
			b := newSide(t, srv.URL, nil)
			b.server.Timeout = 300 * time.Millisecond
			began := time.Now()
			_, err := b.forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT)
			require.Less(t, time.Since(began), time.Second)
			require.LessOrEqual(t, len(srv.got(http.MethodGet)), 3)
			eventually(t, "the server is told", func() bool { return len(srv.got(mcp.MethodCancelled)) == 1 })
		})
	}
}

func TestACallCanBeCancelledBetweenTwoStreams(t *testing.T) {
	srv := polled(t, mcp.V20251125, "id: one\nretry: 4000\n\n")
	b := newSide(t, srv.URL, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := b.start(ctx, nil)
	eventually(t, "the call runs", func() bool { return len(srv.got(mcp.MethodToolsCall)) == 1 })
	cancel()
	refused(t, within(t, done).err, faultv1.Reason_REASON_CANCELLED)
	eventually(t, "the server is told", func() bool { return len(srv.got(mcp.MethodCancelled)) == 1 })
	require.Empty(t, srv.got(http.MethodGet))
}

func TestTheClientIsAskedWhileTheServerIsPolled(t *testing.T) {
	answered := make(chan struct{})
	srv := polled(t, mcp.V20251125, "id: one\nretry: 20\ndata: "+questionOf("1", mcp.MethodElicit)+"\n\n",
		func(r received, _ json.RawMessage) {
			r.stream()
			r.say("id: two\n\n")
		},
		func(r received, id json.RawMessage) {
			<-answered
			r.stream()
			r.event(result(id))
		})
	srv.when("response", func(r received) {
		r.w.WriteHeader(http.StatusAccepted)
		close(answered)
	})
	b := newSide(t, srv.URL, nil)
	b.server.Timeout = 300 * time.Millisecond
	out := within(t, b.start(context.Background(), func(ex *guard.Exchange) {
		ex.Ask = func(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
			select {
			case <-time.After(600 * time.Millisecond): // a person thinks
			case <-ctx.Done():
			}
			return accepts(ctx, request)
		}
		ex.Offer = json.RawMessage(`{"elicitation":{}}`)
		ex.Session = "" // as a client of 2026-07-28
	}))
	require.NoError(t, out.err)
}
