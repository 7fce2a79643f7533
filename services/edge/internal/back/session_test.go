package back

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

func offering(capabilities string) func(*guard.Exchange) {
	return func(ex *guard.Exchange) { ex.Offer = json.RawMessage(capabilities) }
}

func TestASessionOffersExactlyWhatTheClientHas(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		const offer = `{"elicitation":{"form":{},"x":1e400}, "roots":{}}`
		reply := b.must(offering(offer))
		require.False(t, reply.Modern)
		b.must(nil)
		offered := map[string]bool{}
		for _, one := range srv.got(mcp.MethodInitialize) {
			offered[string(mcp.Get(one.message.Params, "capabilities"))] = true
			require.Equal(t, mcp.V20251125, one.message.ProtocolVersion)
			require.Empty(t, one.header.Get(mcp.HeaderProtocolVersion))
		}
		require.Equal(t, map[string]bool{offer: true, "{}": true}, offered)
		for _, one := range append(srv.got(mcp.MethodToolsCall), srv.got(mcp.MethodInitialized)...) {
			want := version
			if version == mcp.V20250326 {
				want = "" // the header came with 2025-06-18
			}
			require.Equal(t, want, one.header.Get(mcp.HeaderProtocolVersion), "the negotiated revision is used")
			require.NotEmpty(t, one.session)
		}
	})
}

func TestT14SessionsAreKeptApart(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	calls := []func(*guard.Exchange){
		nil,
		func(ex *guard.Exchange) { ex.Session = "s2" },
		func(ex *guard.Exchange) { ex.Session = "" },
		func(ex *guard.Exchange) {
			ex.Caller = &guard.Caller{Tenant: "acme", Person: "bob", Agent: "bot", ClientID: "ide"}
		},
		func(ex *guard.Exchange) {
			ex.Caller = &guard.Caller{Tenant: "acme", Person: "ana", Agent: "other", ClientID: "ide"}
		},
		func(ex *guard.Exchange) {
			ex.Caller = &guard.Caller{Tenant: "acme", Person: "ana", Agent: "bot", ClientID: "cli"}
		},
		offering(`{"roots":{}}`),
		offering(`{"roots":{"listChanged":true}}`),
		func(ex *guard.Exchange) {
			ex.Caller = &guard.Caller{Tenant: "other", Person: "ana", Agent: "bot", ClientID: "ide"}
			other := *ex.Server
			other.Tenant = "other"
			ex.Server = &other
		},
	}
	for range 2 {
		for _, change := range calls {
			b.must(change)
		}
	}
	used := map[string]int{}
	for _, one := range srv.got(mcp.MethodToolsCall) {
		used[one.session]++
	}
	require.Len(t, used, len(calls))
	for id, times := range used {
		require.Equal(t, 2, times, id)
	}
}

func TestManyCallersOfOneSessionShareItsOpening(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	done := make(chan error, 16)
	for range cap(done) {
		go func() {
			_, err := b.forward(nil)
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Len(t, srv.got(mcp.MethodInitialize), 2, "the edge's own, which found out how the server speaks, and ana's")
}

func TestAnIdleSessionIsEndedWithItsServer(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, func(c *Config) { c.Idle = 50 * time.Millisecond })
	b.must(nil)
	eventually(t, "both sessions are deleted", func() bool { return srv.open() == 0 })
	for _, one := range srv.got(http.MethodDelete) {
		require.NotEmpty(t, one.session)
		require.Equal(t, mcp.V20251125, one.header.Get(mcp.HeaderProtocolVersion))
		require.Empty(t, one.body)
	}
	b.must(nil) // opens another
}

func TestASessionInUseDoesNotExpire(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, func(c *Config) { c.Idle = 30 * time.Millisecond })
	release := make(chan struct{})
	srv.when(mcp.MethodToolsCall, func(r received) {
		<-release
		r.result(`{"content":[]}`)
	})
	done := make(chan error, 1)
	go func() {
		_, err := b.forward(nil)
		done <- err
	}()
	eventually(t, "the call runs and the edge's own session is over", func() bool {
		return len(srv.got(mcp.MethodToolsCall)) == 1 && len(srv.got(http.MethodDelete)) == 1
	})
	require.Equal(t, 1, srv.open())
	close(release)
	require.NoError(t, <-done)
	eventually(t, "it expires afterwards", func() bool { return srv.open() == 0 })
}

func TestReleaseEndsASessionOfThatClientAlone(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	b.must(offering(`{"roots":{}}`))
	b.must(func(ex *guard.Exchange) { ex.Session = "s2" })
	mine := map[string]bool{}
	for _, one := range srv.got(mcp.MethodToolsCall)[:2] {
		mine[one.session] = true
	}
	b.Release(ana, "s1")
	eventually(t, "two sessions are deleted", func() bool { return len(srv.got(http.MethodDelete)) == 2 })
	for _, one := range srv.got(http.MethodDelete) {
		require.True(t, mine[one.session])
	}
	require.Equal(t, 2, srv.open(), "the other client's and the edge's own")
	b.Release(&guard.Caller{Tenant: "acme", Person: "bob"}, "s2")
	b.must(func(ex *guard.Exchange) { ex.Session = "s2" })
	require.Equal(t, 2, srv.open())
}

func TestTheEndOfRunEndsAllSessions(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	for _, session := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		b.must(func(ex *guard.Exchange) { ex.Session = session })
	}
	b.stop()
	require.Zero(t, srv.open())
	_, err := b.forward(nil)
	refused(t, err, faultv1.Reason_REASON_UNAVAILABLE)
}

func TestASessionThatTheServerLostIsOpenedAnewOnce(t *testing.T) {
	for name, lost := range map[string]func(received){
		"404": func(r received) { r.w.WriteHeader(http.StatusNotFound) },
		"404 with a JSON-RPC error": func(r received) {
			r.json(404, `{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}`)
		},
		"400 that says so": func(r received) {
			r.json(400, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}`)
		},
		"400 in plain text": func(r received) { http.Error(r.w, "Invalid session ID", http.StatusBadRequest) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			b := newSide(t, srv.URL, nil)
			b.must(nil)
			first := srv.got(mcp.MethodToolsCall)[0].session
			srv.when(mcp.MethodToolsCall, func(r received) {
				if r.session == first {
					lost(r)
					return
				}
				r.result(`{"content":[]}`)
			})
			b.must(nil)
			calls := srv.got(mcp.MethodToolsCall)
			require.Len(t, calls, 3)
			require.NotEqual(t, first, calls[2].session)
			require.Empty(t, srv.got(http.MethodDelete), "the server has ended it itself")
			srv.when(mcp.MethodToolsCall, lost)
			_, err := b.forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Len(t, srv.got(mcp.MethodToolsCall), 5, "once, not for ever")
		})
	}
}

// A server that says, under the request's own id, that it does not know the session is believed about the session, and not about the request.
func TestALostSessionUnderTheRequestsIDIsNotUsedAgain(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	srv.when(mcp.MethodToolsCall, func(r received) { r.json(404, string(mcp.ErrorReply(r.message.ID, -32001, "Session not found", nil))) })
	reply := b.must(nil)
	require.Contains(t, string(reply.Error), "Session not found")
	srv.when(mcp.MethodToolsCall, nil)
	b.must(nil)
	calls := srv.got(mcp.MethodToolsCall)
	require.Len(t, calls, 2)
	require.NotEqual(t, calls[0].session, calls[1].session)
}

func TestWhatIsNotALostSessionIsNotSentAgain(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	for name, c := range map[string]struct {
		answer func(received)
		fails  bool
	}{
		"400 about the arguments": {func(r received) {
			r.json(400, string(mcp.ErrorReply(r.message.ID, -32602, "no such session kind", nil)))
		}, false},
		"404 about another session": {func(r received) {
			r.json(404, string(mcp.ErrorReply(r.message.ID, -32000, "payment session closed after transfer 17", nil)))
		}, false},
		"400 about another session": {func(r received) { http.Error(r.w, "DB session expired after commit", 400) }, true},
		"400 about another session in JSON": {func(r received) {
			r.json(400, `{"error":"your banking session has timed out"}`)
		}, true},
		"400 about another session and no request": {func(r received) {
			r.json(400, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"the session was not initialized"},"id":null}`)
		}, false},
		"404 no such method":  {func(r received) { r.json(404, string(mcp.ErrorReply(r.message.ID, -32601, "Method not found", nil))) }, false},
		"400 about something": {func(r received) { http.Error(r.w, "bad", 400) }, true},
		"500":                 {func(r received) { http.Error(r.w, "session store failed", 500) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(srv.got(mcp.MethodToolsCall))
			srv.when(mcp.MethodToolsCall, c.answer)
			reply, err := b.forward(nil)
			if c.fails {
				refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			} else {
				require.NoError(t, err)
				require.NotNil(t, reply.Error)
			}
			require.Len(t, srv.got(mcp.MethodToolsCall), before+1)
		})
	}
}

func TestSessionsAreBoundedByGivingUpTheIdlest(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	for i := range 3 * maxOffers {
		b.must(offering(`{"roots":{"n":` + string(mcp.NewID(uint64(i))) + `}}`))
	}
	eventually(t, "only so many are left", func() bool { return srv.open() == maxOffers+1 })
	calls := srv.got(mcp.MethodToolsCall)
	b.must(offering(`{"roots":{"n":` + string(mcp.NewID(3*maxOffers-1)) + `}}`))
	require.Equal(t, calls[len(calls)-1].session, srv.got(mcp.MethodToolsCall)[len(calls)].session, "the newest is still there")
}

func TestATableOfSessionsThatAreAllInUseTakesNoMore(t *testing.T) {
	var table sessions
	for i := range maxSessions {
		s := &session{holder: holder{session: string(mcp.NewID(uint64(i)))}}
		s.users.Add(1)
		_, ok := table.put(s)
		require.True(t, ok)
	}
	_, ok := table.put(&session{})
	require.False(t, ok)
	table.take(holder{session: "7"}, nil).users.Add(-2)
	gone, ok := table.put(&session{})
	require.True(t, ok)
	require.Len(t, gone, 1)
	require.Equal(t, "7", gone[0].holder.session)
	require.Equal(t, maxSessions, table.count)
	require.Len(t, table.close(), maxSessions)
	_, ok = table.put(&session{})
	require.False(t, ok)
}

func TestASessionIDThatCannotBeAHeaderIsRefused(t *testing.T) {
	for name, id := range map[string]string{"space": "a b", "beyond ASCII": "\u00e9", "long": strings.Repeat("x", 2000)} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			srv.when(mcp.MethodInitialize, func(r received) {
				r.w.Header()[mcp.HeaderSessionID] = []string{id}
				r.result(`{"protocolVersion":"2025-11-25","capabilities":{}}`)
			})
			_, err := newSide(t, srv.URL, nil).forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Empty(t, srv.got(mcp.MethodToolsCall))
		})
	}
}

func TestAServerWithoutSessionIDsIsSpokenToWithoutOne(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.when(mcp.MethodInitialize, func(r received) { r.result(`{"protocolVersion":"2025-11-25","capabilities":{}}`) })
	srv.when(mcp.MethodInitialized, func(r received) { r.w.WriteHeader(http.StatusAccepted) })
	srv.when(mcp.MethodToolsCall, func(r received) { r.result(`{"content":[]}`) })
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	b.Release(ana, "s1")
	b.stop()
	require.Empty(t, srv.got(http.MethodDelete), "there is nothing to end")
	require.Empty(t, srv.got(mcp.MethodToolsCall)[0].header.Values(mcp.HeaderSessionID))
}

func TestAChangedServerLeavesItsOldSessionsBehind(t *testing.T) {
	srv, next := newServer(t, mcp.V20251125), newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	b.server = declared(t, "one", next.URL)
	b.must(nil)
	eventually(t, "the old sessions are ended", func() bool { return srv.open() == 0 })
	require.Equal(t, 2, next.open())
}

func TestAServerThatNobodyUsesIsForgotten(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	b.sweep(time.Now().Add(forgetAfter / 2))
	require.NotZero(t, len(b.servers))
	b.sweep(time.Now().Add(2 * forgetAfter))
	require.Zero(t, len(b.servers))
	eventually(t, "its sessions are ended", func() bool { return srv.open() == 0 })
}

func TestTooManyCallsAreRefusedAtOnce(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, func(c *Config) { c.MaxCalls = 1 })
	srv.when(mcp.MethodToolsCall, func(r received) { <-r.gone })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.Forward(ctx, b.exchange(nil))
		done <- err
	}()
	eventually(t, "the first runs", func() bool { return len(srv.got(mcp.MethodToolsCall)) == 1 })
	_, err := b.forward(nil)
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	cancel()
	refused(t, <-done, faultv1.Reason_REASON_CANCELLED)
	srv.when(mcp.MethodToolsCall, nil)
	b.must(nil)
}

func TestAServerThatIsNotThereAnyMoreIsAFailureOfTheServer(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	for _, what := range []string{mcp.MethodToolsCall, mcp.MethodInitialize, mcp.MethodDiscover} {
		srv.when(what, func(r received) { http.Error(r.w, "404 page not found", http.StatusNotFound) })
	}
	for range 2 {
		_, err := b.forward(nil)
		refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	}
}
