package back

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const changing = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}`

// listening begins a Listening that a test ends.
func (s *side) listening(change func(*guard.Listening)) (heard *notices, over <-chan error, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	heard = &notices{}
	l := guard.Listening{Caller: ana, Server: s.server, Session: "s1", Lists: true, Resources: []string{`file:///a"b`}, Notify: heard.take}
	if change != nil {
		change(&l)
	}
	done := make(chan error, 1)
	go func() { done <- s.Listen(ctx, l) }()
	return heard, done, cancel
}

// publisher is a server of 2026-07-28 whose subscriptions a test speaks on.
func publisher(t testing.TB) (*server, <-chan received) {
	srv := newServer(t, "")
	srv.capabilities = changing
	subscriptions := make(chan received, 8)
	srv.when(mcp.MethodListen, func(r received) {
		r.stream()
		subscriptions <- r
		<-r.gone
	})
	return srv, subscriptions
}

// published is a notice of a subscription.
func (r received) published(method, more string) string {
	return `{"jsonrpc":"2.0","method":"` + method + `","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":` + string(r.message.ID) + `}` + more + `}}`
}

func (r received) acknowledge(filter string) {
	r.event(r.published(mcp.MethodAcknowledged, `,"notifications":`+filter))
}

func TestASubscriptionAsksForWhatIsWantedAndHandsItOn(t *testing.T) {
	srv, subscriptions := publisher(t)
	b := newSide(t, srv.URL, nil)
	heard, over, stop := b.listening(func(l *guard.Listening) {
		l.Offer = json.RawMessage(`{"roots":{}}`)
		l.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer theirs"}}}
	})
	r := within(t, subscriptions)
	require.Equal(t, `{"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["file:///a\"b"]}`,
		string(mcp.Get(r.message.Params, "notifications")))
	for name, want := range map[string]string{
		"Mcp-Method": "subscriptions/listen", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Name": "", "Authorization": "Bearer theirs",
	} {
		require.Equal(t, want, r.header.Get(name), name)
	}
	require.Equal(t, `{"roots":{}}`, string(mcp.Get(r.message.Meta, mcp.MetaCapabilities)))
	r.acknowledge(`{"promptsListChanged":true,"resourceSubscriptions":["x"]}`)
	r.say(":\r\n: keep alive\n\n")
	r.event(r.published(mcp.MethodPromptsListChanged, ""))
	r.event(r.published(mcp.MethodToolsListChanged, "")) // which was not asked for
	r.event(r.published(mcp.MethodProgress, ""))         // which belongs to no subscription
	r.event(r.published(mcp.MethodResourceUpdated, `, "uri":"file:///a\"b","n":1e400`))
	eventually(t, "both have come", func() bool { return len(heard.list()) == 2 })
	require.Equal(t, []string{
		`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{ "uri":"file:///a\"b","n":1e400}}`,
	}, heard.list())
	stop()
	require.NoError(t, within(t, over))
	within(t, r.gone)
}

func TestASubscriptionThatEndsIsOpenedAgain(t *testing.T) {
	for name, end := range map[string]func(received){
		"in order":    func(r received) { r.answer(`{"resultType":"complete"}`) },
		"at once":     func(received) { panic(http.ErrAbortHandler) },
		"with a mess": func(r received) { r.event("mess"); <-r.gone },
		"with a notice of another": func(r received) {
			r.event(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}`)
			<-r.gone
		},
		"with a question": func(r received) { r.event(questionOf("1", mcp.MethodElicit)); <-r.gone },
	} {
		t.Run(name, func(t *testing.T) {
			srv, subscriptions := publisher(t)
			srv.when(mcp.MethodListen, func(r received) {
				r.stream()
				r.acknowledge(`{"promptsListChanged":true}`)
				end(r)
			})
			b := newSide(t, srv.URL, nil)
			heard, over, stop := b.listening(nil)
			eventually(t, "it begins", func() bool { return len(srv.got(mcp.MethodListen)) == 1 })
			srv.when(mcp.MethodListen, func(r received) {
				r.stream()
				r.acknowledge(`{"promptsListChanged":true}`)
				r.event(r.published(mcp.MethodPromptsListChanged, ""))
				<-r.gone
			})
			eventually(t, "it goes on", func() bool { return len(heard.list()) == 1 })
			first, second := srv.got(mcp.MethodListen)[0], srv.got(mcp.MethodListen)[1]
			require.NotEqual(t, first.message.ID, second.message.ID)
			stop()
			require.NoError(t, within(t, over))
			require.Empty(t, srv.got("response"))
			require.Empty(t, subscriptions)
		})
	}
}

func TestAServerOf20260728ThatSaysNothingUnaskedIsNotListenedTo(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities string
		answer       func(received)
		asked        int
	}{
		"by its capabilities": {`{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":false}}`, nil, 0},
		"by an acknowledgement": {changing, func(r received) {
			r.stream()
			r.acknowledge(`{"promptsListChanged":false,"resourceSubscriptions":[]}`)
			<-r.gone
		}, 1},
		"404":                    {changing, func(r received) { r.json(404, string(mcp.ErrorReply(r.message.ID, -32601, "Method not found", nil))) }, 1},
		"method not found":       {changing, func(r received) { r.json(200, string(mcp.ErrorReply(r.message.ID, -32601, "Method not found", nil))) }, 1},
		"a bare 404":             {changing, func(r received) { r.w.WriteHeader(404) }, 1},
		"405":                    {changing, func(r received) { r.w.WriteHeader(405) }, 1},
		"an error in its stream": {changing, func(r received) { r.stream(); r.event(string(mcp.ErrorReply(r.message.ID, -32601, "no", nil))) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, "")
			srv.capabilities = c.capabilities
			srv.when(mcp.MethodListen, c.answer)
			b := newSide(t, srv.URL, nil)
			_, over, _ := b.listening(nil)
			refused(t, within(t, over), faultv1.Reason_REASON_METHOD)
			require.Len(t, srv.got(mcp.MethodListen), c.asked)
		})
	}
}

func TestARefusedCredentialEndsAListening(t *testing.T) {
	srv, _ := publisher(t)
	srv.when(mcp.MethodListen, func(r received) { r.w.WriteHeader(401) })
	_, over, _ := newSide(t, srv.URL, nil).listening(nil)
	refused(t, within(t, over), faultv1.Reason_REASON_CREDENTIAL)

	old := newServer(t, mcp.V20251125)
	old.capabilities = changing
	old.when(http.MethodGet, func(r received) { r.w.WriteHeader(401) })
	_, over, _ = newSide(t, old.URL, nil).listening(func(l *guard.Listening) { l.Lease = &guard.Lease{} })
	refused(t, within(t, over), faultv1.Reason_REASON_CREDENTIAL)
}

func TestANoticeBeforeTheAcknowledgementDoesNotCount(t *testing.T) {
	srv, _ := publisher(t)
	srv.when(mcp.MethodListen, func(r received) {
		r.stream()
		r.event(r.published(mcp.MethodPromptsListChanged, ""))
		<-r.gone
	})
	heard, _, _ := newSide(t, srv.URL, nil).listening(nil)
	eventually(t, "it is given up and tried again", func() bool { return len(srv.got(mcp.MethodListen)) == 2 })
	require.Empty(t, heard.list())
}

func TestAListenerThatTakesNoNoticeEndsItsListening(t *testing.T) {
	gone := errors.New("the client is gone")
	srv, subscriptions := publisher(t)
	_, over, _ := newSide(t, srv.URL, nil).listening(func(l *guard.Listening) { l.Notify = func([]byte) error { return gone } })
	r := within(t, subscriptions)
	r.acknowledge(`{"promptsListChanged":true}`)
	r.event(r.published(mcp.MethodPromptsListChanged, ""))
	require.Equal(t, gone, within(t, over))

	old := newServer(t, mcp.V20251125)
	old.capabilities = changing
	say := speaking(t, old)
	_, over, _ = newSide(t, old.URL, nil).listening(func(l *guard.Listening) { l.Notify = func([]byte) error { return gone } })
	say(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
	require.Equal(t, gone, within(t, over))
}

func TestAListeningOfTheOlderRevisionsSharesTheClientsSession(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		srv := newServer(t, version)
		srv.capabilities = changing
		say := speaking(t, srv)
		b := newSide(t, srv.URL, nil)
		b.must(nil)
		require.Empty(t, srv.got(http.MethodGet))
		heard, over, stop := b.listening(nil)
		const changed, updated = `{"jsonrpc":"2.0", "method":"notifications/tools/list_changed"}`, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a"}}`
		eventually(t, "it has subscribed", func() bool { return len(srv.got(mcp.MethodSubscribe)) == 1 })
		say(changed)
		say(updated)
		eventually(t, "both have come", func() bool { return len(heard.list()) == 2 })
		require.Equal(t, []string{changed, updated}, heard.list())
		call, get, subscribe := srv.got(mcp.MethodToolsCall)[0], srv.got(http.MethodGet)[0], srv.got(mcp.MethodSubscribe)[0]
		require.Equal(t, call.session, get.session)
		require.Equal(t, call.session, subscribe.session)
		require.Equal(t, `{"uri":"file:///a\"b"}`, string(subscribe.message.Params))
		say(questionOf("1", mcp.MethodElicit))
		eventually(t, "a question that nothing was offered for is refused", func() bool { return len(srv.answers()) == 1 })
		require.Contains(t, srv.answers()["1"], `"code":-32601`)
		stop()
		require.NoError(t, within(t, over))
		within(t, get.gone)
		eventually(t, "it has unsubscribed", func() bool { return len(srv.got(mcp.MethodUnsubscribe)) == 1 })
		b.must(nil)
		require.Equal(t, call.session, srv.got(mcp.MethodToolsCall)[1].session, "the session goes on")
	})
}

func TestAQuestionWithoutACallGoesToTheListener(t *testing.T) {
	srv := newServer(t, mcp.V20251125) // which has nothing to notify of
	say := speaking(t, srv)
	b := newSide(t, srv.URL, nil)
	_, _, _ = b.listening(func(l *guard.Listening) {
		l.Offer, l.Lists, l.Resources = json.RawMessage(everything), false, nil
		l.Ask = func(context.Context, *mcp.Reply) (guard.Reply, error) {
			return guard.Reply{Result: json.RawMessage(`{"by":"the listener"}`)}, nil
		}
	})
	eventually(t, "the listener listens", func() bool {
		p, err := b.of(b.server)
		require.NoError(t, err)
		return p.heard.Load() == 1 && len(srv.got(http.MethodGet)) == 1
	})
	say(questionOf("1", mcp.MethodRoots))
	eventually(t, "it is answered", func() bool { return len(srv.answers()) == 1 })
	require.Contains(t, srv.answers()["1"], `"by":"the listener"`)
}

func TestOfTwoListenersTheLastUnsubscribes(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.capabilities = changing
	speaking(t, srv)
	b := newSide(t, srv.URL, nil)
	_, first, stopFirst := b.listening(nil)
	_, second, stopSecond := b.listening(nil)
	listeners := func() int {
		p, err := b.of(b.server)
		require.NoError(t, err)
		u, ok := p.peer.(*upstream)
		require.True(t, ok)
		s := u.sessions.take(holderOf(ana, "s1"), nil)
		if s == nil {
			return 0
		}
		defer u.leave(s)
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.followed[`file:///a"b`]
	}
	eventually(t, "both listen", func() bool { return listeners() == 2 && len(srv.got(mcp.MethodSubscribe)) == 2 })
	stopFirst()
	require.NoError(t, within(t, first))
	require.Empty(t, srv.got(mcp.MethodUnsubscribe))
	require.Len(t, srv.got(http.MethodGet), 1)
	stopSecond()
	require.NoError(t, within(t, second))
	eventually(t, "the last unsubscribes", func() bool { return len(srv.got(mcp.MethodUnsubscribe)) == 1 })
}

func TestAServerWithSessionsThatSaysNothingUnaskedIsNotListenedTo(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities string
		get          func(received)
		asked        int
	}{
		"by its capabilities": {`{"tools":{},"prompts":{"listChanged":false},"resources":{}}`, nil, 0},
		"405":                 {changing, nil, 1},
		"404":                 {changing, func(r received) { r.w.WriteHeader(404) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			srv.capabilities = c.capabilities
			srv.when(http.MethodGet, c.get)
			_, over, _ := newSide(t, srv.URL, nil).listening(nil)
			refused(t, within(t, over), faultv1.Reason_REASON_METHOD)
			require.Len(t, srv.got(http.MethodGet), c.asked)
		})
	}
}

func TestAListeningOutlivesTheServersSession(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.capabilities = changing
	streams := make(chan received, 8)
	srv.when(http.MethodGet, func(r received) {
		r.stream()
		r.say("retry: 1\n\n")
		streams <- r
		<-r.gone
	})
	b := newSide(t, srv.URL, func(c *Config) { c.Idle = 20 * time.Millisecond })
	heard, over, stop := b.listening(nil)
	first := within(t, streams)
	eventually(t, "it has subscribed", func() bool { return len(srv.got(mcp.MethodSubscribe)) == 1 })
	eventually(t, "what is idle has expired", func() bool { return srv.open() == 1 })
	b.sweep(time.Now())
	require.Equal(t, 1, srv.open(), "who listens is not idle")
	srv.forget()
	_, err := b.forward(nil)
	require.NoError(t, err)
	second := within(t, streams)
	require.NotEqual(t, first.session, second.session)
	eventually(t, "it has subscribed again", func() bool { return len(srv.got(mcp.MethodSubscribe)) == 2 })
	const changed = `{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`
	second.event(changed)
	eventually(t, "and hears", func() bool { return len(heard.list()) == 1 })
	stop()
	require.NoError(t, within(t, over))
}

func TestAListeningWaitsForAServerThatIsDown(t *testing.T) {
	srv, _ := publisher(t)
	srv.when(mcp.MethodDiscover, func(r received) { r.w.WriteHeader(503) })
	srv.when(mcp.MethodInitialize, func(r received) { r.w.WriteHeader(503) })
	srv.when(mcp.MethodListen, func(r received) {
		r.stream()
		r.acknowledge(`{"promptsListChanged":true}`)
		r.event(r.published(mcp.MethodPromptsListChanged, ""))
		<-r.gone
	})
	heard, over, stop := newSide(t, srv.URL, nil).listening(nil)
	eventually(t, "it is tried", func() bool { return len(srv.got(mcp.MethodInitialize)) == 1 })
	srv.when(mcp.MethodDiscover, nil)
	eventually(t, "it is heard", func() bool { return len(heard.list()) == 1 })
	stop()
	require.NoError(t, within(t, over))
}

func TestTheEndOfRunEndsListenings(t *testing.T) {
	srv, subscriptions := publisher(t)
	b := newSide(t, srv.URL, nil)
	_, over, _ := b.listening(nil)
	within(t, subscriptions)
	b.stop()
	refused(t, within(t, over), faultv1.Reason_REASON_UNAVAILABLE)
}

func TestTheErasOfAListeningFollowTheClient(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.capabilities = changing
	srv.when(mcp.MethodDiscover, func(r received) {
		r.result(`{"resultType":"complete","supportedVersions":["2025-11-25","2026-07-28"],"capabilities":` + changing + `}`)
	})
	subscribed := make(chan struct{}, 1)
	srv.when(mcp.MethodListen, func(r received) {
		r.stream()
		subscribed <- struct{}{}
		<-r.gone
	})
	speaking(t, srv)
	b := newSide(t, srv.URL, nil)
	_, _, _ = b.listening(nil)
	eventually(t, "who has a session hears its stream", func() bool { return len(srv.got(http.MethodGet)) == 1 })
	require.Empty(t, srv.got(mcp.MethodListen))
	_, _, _ = b.listening(func(l *guard.Listening) { l.Session = "" })
	within(t, subscribed)
	require.Len(t, srv.got(http.MethodGet), 1)
}

func TestAFilterNamesOnlyWhatTheServerHas(t *testing.T) {
	l := &guard.Listening{Lists: true, Resources: []string{"a", "b"}}
	for capabilities, want := range map[string]string{
		changing: `{"notifications":{"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a","b"]}}`,
		`{"prompts":{"listChanged":true},"resources":{}}`: `{"notifications":{"promptsListChanged":true}}`,
		`{"resources":{"subscribe":true}}`:                `{"notifications":{"resourceSubscriptions":["a","b"]}}`,
		`{"resources":{"subscribe":"true"}}`:              ``,
		``:                                                ``,
	} {
		require.Equal(t, want, strings.TrimSpace(string(filter(l, json.RawMessage(capabilities)))))
	}
	require.Nil(t, filter(&guard.Listening{}, json.RawMessage(changing)))
}
