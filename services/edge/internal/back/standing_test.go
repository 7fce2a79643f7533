package back

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// speaking gives a server a stream of its own, on which a test speaks by the function that it answers; it waits until the stream is open.
func speaking(t testing.TB, srv *server) func(message string) {
	open := make(chan received, 16)
	srv.when(http.MethodGet, func(r received) {
		r.stream()
		open <- r
		<-r.gone
	})
	var on *received
	return func(message string) {
		if on == nil {
			r := within(t, open)
			on = &r
		}
		on.event(message)
	}
}

// holding makes a server's tool wait until it is told to answer. What it answers first says that a call is running.
func holding(srv *server) (running <-chan received, release chan struct{}) {
	calls, free := make(chan received, 16), make(chan struct{})
	srv.when(mcp.MethodToolsCall, func(r received) {
		calls <- r
		select {
		case <-free:
			r.result(`{"content":[]}`)
		case <-r.gone:
		}
	})
	return calls, free
}

func TestOnlyASessionThatOffersSomethingOpensAStream(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		srv := newServer(t, version)
		speaking(t, srv)
		b := newSide(t, srv.URL, nil)
		b.must(nil)
		require.Empty(t, srv.got(http.MethodGet))
		b.must(func(ex *guard.Exchange) {
			ex.Offer = json.RawMessage(everything)
			ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer theirs"}}}
		})
		get, call := srv.got(http.MethodGet), srv.got(mcp.MethodToolsCall)[1]
		require.Len(t, get, 1)
		for name, want := range map[string]string{
			"Accept": "text/event-stream", "Mcp-Session-Id": call.session, "Authorization": "Bearer theirs", "Last-Event-Id": "", "Content-Type": "",
			"Mcp-Protocol-Version": call.header.Get("Mcp-Protocol-Version"),
		} {
			require.Equal(t, want, get[0].header.Get(name), name)
		}
		b.must(offering(everything))
		require.Len(t, srv.got(http.MethodGet), 1, "one for the session")
	})
}

func TestAQuestionOnTheSessionsStreamGoesToTheCallThatRuns(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	say := speaking(t, srv)
	running, release := holding(srv)
	b := newSide(t, srv.URL, nil)
	asked := make(chan string, 4)
	call := func(name string) <-chan outcome {
		return b.start(context.Background(), asking(func(_ context.Context, request *mcp.Reply) (guard.Reply, error) {
			asked <- name + " " + string(request.ID)
			return guard.Reply{Result: json.RawMessage(`{"by":"` + name + `"}`)}, nil
		}))
	}
	first := call("first")
	session := within(t, running).session
	say(questionOf("1", mcp.MethodElicit))
	require.Equal(t, "first 1", within(t, asked))
	second := call("second")
	within(t, running)
	say(questionOf("2", mcp.MethodSample))
	require.Equal(t, "second 2", within(t, asked), "the newest call, where there are several")
	eventually(t, "both are answered", func() bool { return len(srv.answers()) == 2 })
	require.Equal(t, `{"jsonrpc":"2.0","id":2,"result":{"by":"second"}}`, srv.answers()["2"])
	require.Equal(t, session, srv.got("response")[0].session)
	close(release)
	require.NoError(t, within(t, first).err)
	require.NoError(t, within(t, second).err)

	say(questionOf("3", mcp.MethodElicit))
	eventually(t, "without a call it is refused", func() bool { return len(srv.answers()) == 3 })
	require.Contains(t, srv.answers()["3"], `"code":-32601`)
	say(questionOf("4", mcp.MethodPing))
	eventually(t, "a ping is answered", func() bool { return len(srv.answers()) == 4 })
	require.Contains(t, srv.answers()["4"], `"result":{}`)
	still(t, asked)
}

func TestT14AQuestionNeverGoesToAnotherSession(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	say := speaking(t, srv)
	running, release := holding(srv)
	b := newSide(t, srv.URL, nil)
	mine := b.start(context.Background(), asking(accepts))
	within(t, running)
	say(questionOf("1", mcp.MethodElicit)) // takes the first stream, which is ana's
	eventually(t, "it is answered", func() bool { return len(srv.answers()) == 1 })
	others := b.start(context.Background(), func(ex *guard.Exchange) {
		ex.Session, ex.Offer = "s2", json.RawMessage(everything)
		ex.Ask = func(context.Context, *mcp.Reply) (guard.Reply, error) { return guard.Reply{}, errors.New("not mine") }
	})
	within(t, running)
	say(questionOf("2", mcp.MethodElicit))
	eventually(t, "it is answered", func() bool { return len(srv.answers()) == 2 })
	require.Contains(t, srv.answers()["2"], `"accept"`)
	close(release)
	require.NoError(t, within(t, mine).err)
	require.NoError(t, within(t, others).err)
}

func TestNoticesOnTheSessionsStreamGoToWhomTheyConcern(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.capabilities = `{"tools":{},"logging":{},"resources":{"listChanged":true,"subscribe":true}}`
	say := speaking(t, srv)
	running, release := holding(srv)
	b := newSide(t, srv.URL, nil)
	var one, two, listener notices
	call := func(token string, to *notices) <-chan outcome {
		return b.start(context.Background(), func(ex *guard.Exchange) {
			ex.Offer, ex.Notify = json.RawMessage(everything), to.take
			ex.Params = json.RawMessage(`{"name":"echo","_meta":{"progressToken":` + token + `}}`)
		})
	}
	first := call("1", &one)
	within(t, running)
	second := call(`"two"`, &two)
	within(t, running)
	ctx, cancel := context.WithCancel(context.Background())
	heard := make(chan error, 1)
	go func() {
		heard <- b.Listen(ctx, guard.Listening{
			Caller: ana, Server: b.server, Session: "s1", Offer: json.RawMessage(everything), Lists: true, Notify: listener.take,
		})
	}()
	const (
		changed  = `{"jsonrpc":"2.0", "method":"notifications/resources/list_changed"}`
		updated  = `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a\/b"}}`
		log      = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1e400}}`
		of1      = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
		of2      = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"two","progress":1}}`
		of3      = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}`
		complete = `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}`
		unknown  = `{"jsonrpc":"2.0","method":"notifications/unknown"}`
	)
	eventually(t, "the listener listens", func() bool {
		say(changed)
		return len(listener.list()) > 0
	})
	for _, notice := range []string{of1, of2, of3, unknown, log, complete, updated} {
		say(notice)
	}
	eventually(t, "the last has come", func() bool { return listener.list()[len(listener.list())-1] == updated })
	require.Equal(t, []string{of1, log, complete}, one.list())
	require.Equal(t, []string{of2, log, complete}, two.list())
	require.Equal(t, []string{changed, complete, updated}, listener.list()[len(listener.list())-3:])
	close(release)
	require.NoError(t, within(t, first).err)
	require.NoError(t, within(t, second).err)
	say(log)
	eventually(t, "a log outside calls is the listener's", func() bool { return listener.list()[len(listener.list())-1] == log })
	require.Len(t, one.list(), 3, "nothing comes after the end of a call")
	cancel()
	require.NoError(t, within(t, heard), "the end of a Listening is no error")
}

func TestAServerWithoutAStreamServesCallsAllTheSame(t *testing.T) {
	for name, answer := range map[string]func(received){
		"405":        func(r received) { r.w.WriteHeader(405) },
		"404":        func(r received) { r.w.WriteHeader(404) },
		"400":        func(r received) { http.Error(r.w, "no", 400) },
		"a body":     func(r received) { r.json(200, `{}`) },
		"nothing":    func(r received) { <-r.gone },
		"closing":    func(received) { panic(http.ErrAbortHandler) },
		"refusing":   func(r received) { r.w.WriteHeader(401) },
		"failing":    func(r received) { r.w.WriteHeader(503) },
		"a mess":     func(r received) { r.stream(); r.event("mess") },
		"an answer":  func(r received) { r.stream(); r.event(`{"jsonrpc":"2.0","id":1,"result":{}}`) },
		"no end":     func(r received) { r.stream(); r.say("data: "); <-r.gone },
		"an old one": func(r received) { r.stream(); r.say("event: endpoint\ndata: /messages\n\n") },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			srv.when(http.MethodGet, answer)
			b := newSide(t, srv.URL, nil)
			began := time.Now()
			for range 3 {
				b.must(asking(accepts))
			}
			require.Less(t, time.Since(began), 2*time.Second)
			switch name {
			case "405", "404", "400", "a body":
				require.Len(t, srv.got(http.MethodGet), 1, "it is not asked again")
			}
		})
	}
}

func TestTheSessionsStreamIsOpenedAgainWhereItBroke(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	gets := make(chan received, 8)
	srv.when(http.MethodGet, func(r received) {
		r.stream()
		gets <- r
		switch len(srv.got(http.MethodGet)) {
		case 1:
			r.say("id: a\nretry: 300\n\n") // and the end
		case 2:
			r.say("data: mess\n\n")
		default:
			r.event(questionOf("1", mcp.MethodElicit))
			<-r.gone
		}
	})
	running, release := holding(srv)
	b := newSide(t, srv.URL, nil)
	done := b.start(context.Background(), asking(accepts))
	within(t, running)
	first := within(t, gets)
	began := time.Now()
	require.Equal(t, "a", within(t, gets).header.Get("Last-Event-Id"))
	require.GreaterOrEqual(t, time.Since(began), 250*time.Millisecond, "not before the server wants it")
	require.Equal(t, first.session, within(t, gets).session)
	eventually(t, "the question is answered", func() bool { return len(srv.answers()) == 1 })
	close(release)
	require.NoError(t, within(t, done).err)
}

func TestAStreamThatACredentialClosedIsOpenedWithTheNextOne(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.when(http.MethodGet, func(r received) {
		if r.header.Get("Authorization") != "Bearer new" {
			r.w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.stream()
		<-r.gone
	})
	b := newSide(t, srv.URL, nil)
	with := func(token string) func(*guard.Exchange) {
		return func(ex *guard.Exchange) {
			ex.Offer = json.RawMessage(everything)
			ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer " + token}}}
		}
	}
	b.must(with("old"))
	require.Len(t, srv.got(http.MethodGet), 1)
	b.must(with("new"))
	eventually(t, "it is opened", func() bool { return len(srv.got(http.MethodGet)) == 2 })
}

func TestAStreamEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(*side){
		"expiry":  func(*side) {},
		"release": func(b *side) { b.Release(ana, "s1") },
		"run":     func(b *side) { b.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			closed := make(chan struct{})
			srv.when(http.MethodGet, func(r received) {
				r.stream()
				<-r.gone
				close(closed)
			})
			b := newSide(t, srv.URL, func(c *Config) {
				if name == "expiry" {
					c.Idle = 50 * time.Millisecond
				}
			})
			b.must(offering(everything))
			end(b)
			within(t, closed)
		})
	}
}

func TestASessionThatTheStreamShowsToBeLostIsNotUsedAgain(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.when(http.MethodGet, func(r received) {
		srv.mu.Lock()
		known := srv.sessions[r.session]
		srv.mu.Unlock()
		if !known {
			r.w.WriteHeader(http.StatusNotFound)
			return
		}
		r.stream()
		r.say("retry: 1\n\n")
	})
	b := newSide(t, srv.URL, nil)
	b.must(offering(everything))
	first := srv.got(mcp.MethodToolsCall)[0].session
	srv.forget()
	eventually(t, "the stream tells", func() bool {
		p, err := b.of(b.server)
		require.NoError(t, err)
		u, ok := p.peer.(*upstream)
		require.True(t, ok)
		u.sessions.mu.Lock()
		defer u.sessions.mu.Unlock()
		return len(u.sessions.open[holderOf(ana, "s1")]) == 0
	})
	b.must(offering(everything))
	require.NotEqual(t, first, srv.got(mcp.MethodToolsCall)[1].session)
	require.Len(t, srv.got(mcp.MethodToolsCall), 2)
}

func TestAnAnswerInOneBodyWaitsForTheClientToo(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	say := speaking(t, srv)
	srv.when(mcp.MethodToolsCall, func(r received) {
		say(questionOf("1", mcp.MethodElicit))
		eventually(t, "the answer comes", func() bool { return len(srv.answers()) == 1 })
		r.result(`{"content":[]}`)
	})
	b := newSide(t, srv.URL, nil)
	b.server.Timeout = 300 * time.Millisecond
	out := within(t, b.start(context.Background(), asking(func(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
		select {
		case <-time.After(600 * time.Millisecond): // a person thinks
		case <-ctx.Done():
		}
		return accepts(ctx, request)
	})))
	require.NoError(t, out.err)
}

func TestWhatAClientHasSetOutlivesTheServersSession(t *testing.T) {
	for name, lose := range map[string]func(*side, *server){
		"lost": func(_ *side, srv *server) { srv.forget() },
		"idle": func(b *side, srv *server) {
			b.sweep(time.Now().Add(forgetAfter / 2))
			eventually(t, "it is ended", func() bool { return srv.open() == 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			b := newSide(t, srv.URL, nil)
			set := func(method, params string) {
				b.must(func(ex *guard.Exchange) { ex.Method, ex.Name, ex.Params = method, "", json.RawMessage(params) })
			}
			set(mcp.MethodSetLevel, `{"level":"debug"}`)
			set(mcp.MethodSubscribe, `{"uri":"a"}`)
			set(mcp.MethodSubscribe, `{"uri":"b"}`)
			set(mcp.MethodUnsubscribe, `{"uri":"a"}`)
			before := len(srv.got(http.MethodPost))
			lose(b, srv)
			b.must(nil)
			var again []string
			session := ""
			for _, one := range srv.got(http.MethodPost)[before:] {
				if one.message.Method == mcp.MethodInitialized {
					session = one.session
				}
				if session != "" && one.message.Kind == mcp.Request {
					require.Equal(t, session, one.session)
					again = append(again, one.message.Method+string(one.message.Params))
				}
			}
			require.Equal(t, []string{`logging/setLevel{"level":"debug"}`, `resources/subscribe{"uri":"b"}`, `tools/call{"name":"echo","arguments":{}}`}, again)
			b.Release(ana, "s1")
			before = len(srv.got(http.MethodPost))
			b.must(nil)
			require.Len(t, srv.got(http.MethodPost), before+3, "a client that has ended its session has set nothing in the next")
		})
	}
}

func TestACredentialIsSaidToBeRefused(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		for _, status := range []int{401, 403} {
			srv := newServer(t, version)
			b := newSide(t, srv.URL, nil)
			b.must(nil)
			srv.when(mcp.MethodToolsCall, func(r received) { r.w.WriteHeader(status) })
			_, err := b.forward(nil)
			refused(t, err, faultv1.Reason_REASON_CREDENTIAL)
		}
	}
}

func TestWhatCannotBeSetAgainIsNoReasonForHavingNoSession(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, nil)
	b.server.Timeout = 300 * time.Millisecond
	b.must(func(ex *guard.Exchange) {
		ex.Method, ex.Name, ex.Params = mcp.MethodSetLevel, "", json.RawMessage(`{"level":"debug"}`)
	})
	srv.forget()
	srv.when(mcp.MethodSetLevel, func(r received) { <-r.gone })
	b.must(nil)
	require.Len(t, srv.got(mcp.MethodSetLevel), 2)
}
