package back

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// asker is a server whose tool asks the client first, and answers when as many answers have come.
func asker(t testing.TB, version string, wait int, questions ...string) *server {
	srv := newServer(t, version)
	srv.when(mcp.MethodToolsCall, func(r received) {
		r.stream()
		for _, question := range questions {
			r.event(question)
		}
		eventually(t, "the answers come", func() bool { return len(srv.got("response")) >= wait })
		r.answer(`{"content":[]}`)
	})
	return srv
}

func TestAQuestionOfACallGoesToItsClientAndTheStreamIsReadOn(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		const progress = `{"jsonrpc":"2.0", "method":"notifications/progress","params":{"progressToken":1,"progress":1e400}}`
		srv := asker(t, version, 1, questionOf(`"q\/1"`, mcp.MethodElicit), progress)
		b := newSide(t, srv.URL, nil)
		told := make(chan string, 1)
		var asked *mcp.Reply
		b.must(func(ex *guard.Exchange) {
			ex.Offer = json.RawMessage(everything)
			ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer theirs"}}}
			ex.Notify = func(notice []byte) error { told <- string(notice); return nil }
			ex.Ask = func(_ context.Context, request *mcp.Reply) (guard.Reply, error) {
				asked = request
				if got := <-told; got != progress { // which comes after the question
					return guard.Reply{}, fmt.Errorf("told %s", got)
				}
				return guard.Reply{Result: json.RawMessage(`{"action":"accept" ,"content":{"n":1e400}}`)}, nil
			}
		})
		require.Equal(t, questionOf(`"q\/1"`, mcp.MethodElicit), string(asked.Raw))
		answer := srv.got("response")[0]
		require.Equal(t, `{"jsonrpc":"2.0","id":"q\/1","result":{"action":"accept" ,"content":{"n":1e400}}}`, answer.body)
		call := srv.got(mcp.MethodToolsCall)[0]
		require.Equal(t, call.session, answer.session)
		require.Equal(t, call.header.Get(mcp.HeaderProtocolVersion), answer.header.Get(mcp.HeaderProtocolVersion))
		require.Equal(t, "Bearer theirs", answer.header.Get("Authorization"))
	})
}

func TestWhatTheClientCannotBeAskedIsRefusedInItsPlace(t *testing.T) {
	srv := asker(t, mcp.V20251125, 6,
		questionOf("1", mcp.MethodPing), questionOf("2", "no/such"), questionOf("3", mcp.MethodSample), questionOf("4", mcp.MethodElicit),
		`{"jsonrpc":"2.0","id":5,"method":"roots/list"}`, questionOf("6", mcp.MethodElicit))
	b := newSide(t, srv.URL, nil)
	b.must(func(ex *guard.Exchange) {
		ex.Offer = json.RawMessage(`{"elicitation":{},"roots":{}}`)
		ex.Ask = func(_ context.Context, request *mcp.Reply) (guard.Reply, error) {
			switch string(request.ID) {
			case "4":
				return guard.Reply{}, fault.New(faultv1.Reason_REASON_RULE, "The rule no-questions refuses this.")
			case "5":
				return guard.Reply{Error: json.RawMessage(`{"code":-1, "message":"none"}`)}, nil
			}
			return guard.Reply{}, errors.New("secret cause")
		}
	})
	answers := srv.answers()
	require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":{}}`, answers["1"])
	require.Contains(t, answers["2"], `"code":-32601`)
	require.Contains(t, answers["3"], `"code":-32601`, "it was not offered")
	require.Contains(t, answers["4"], `"code":-32603,"message":"The rule no-questions refuses this."`)
	require.Equal(t, `{"jsonrpc":"2.0","id":5,"error":{"code":-1, "message":"none"}}`, answers["5"])
	require.Contains(t, answers["6"], `"code":-32603`)
	require.NotContains(t, answers["6"], "secret")
}

func TestACallWithoutAWayToTheClientGoesOn(t *testing.T) {
	srv := asker(t, mcp.V20250618, 1, questionOf("1", mcp.MethodSample))
	b := newSide(t, srv.URL, nil)
	b.must(nil)
	require.Contains(t, srv.answers()["1"], `"code":-32601`)
}

func TestT22OnlySoManyQuestionsWaitForAClient(t *testing.T) {
	var questions []string
	for i := range maxAsks + 4 {
		questions = append(questions, questionOf(string(mcp.NewID(uint64(i))), mcp.MethodElicit))
	}
	srv := asker(t, mcp.V20251125, maxAsks+4, questions...)
	b := newSide(t, srv.URL, nil)
	release, waiting := make(chan struct{}), make(chan struct{}, 100)
	done := b.start(context.Background(), asking(func(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
		waiting <- struct{}{}
		<-release
		return accepts(ctx, request)
	}))
	eventually(t, "those beyond are refused", func() bool { return len(srv.answers()) == 4 })
	for _, answer := range srv.answers() {
		require.Contains(t, answer, `"code":-32603`)
	}
	require.Len(t, waiting, maxAsks)
	close(release)
	require.NoError(t, within(t, done).err)
	require.Len(t, srv.answers(), maxAsks+4)
}

func TestT22AServerThatFloodsWithQuestionsLosesTheCall(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.when(mcp.MethodToolsCall, func(r received) {
		r.stream()
		for i := range 1000 {
			r.event(questionOf(string(mcp.NewID(uint64(i))), mcp.MethodElicit))
		}
		<-r.gone
	})
	srv.when("response", func(r received) { <-r.gone })
	b := newSide(t, srv.URL, nil)
	out := within(t, b.start(context.Background(), asking(func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
		<-ctx.Done()
		return guard.Reply{}, ctx.Err()
	})))
	refused(t, out.err, faultv1.Reason_REASON_UPSTREAM)
	require.LessOrEqual(t, len(srv.got("response")), 2*maxAsks)
}

func TestT22HugeQuestionsAreNotKept(t *testing.T) {
	const room = 64 << 10
	huge := func(id string) string {
		return `{"jsonrpc":"2.0","id":` + id + `,"method":"sampling/createMessage","params":{"x":"` + strings.Repeat("x", room*3/4) + `"}}`
	}
	srv := asker(t, mcp.V20251125, 2, huge("1"), huge("2"))
	b := newSide(t, srv.URL, func(c *Config) { c.MaxResult = room })
	b.must(asking(func(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
		eventually(t, "the second is refused", func() bool { return len(srv.answers()) == 1 })
		return accepts(ctx, request)
	}))
	require.Contains(t, srv.answers()["2"], `"code":-32603`)
	require.Contains(t, srv.answers()["1"], `"accept"`)
}

func TestTheEndOfACallEndsItsQuestions(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	asked := make(chan struct{})
	srv.when(mcp.MethodToolsCall, func(r received) {
		r.stream()
		r.event(questionOf("1", mcp.MethodElicit))
		<-asked
		r.answer(`{"content":[]}`)
	})
	b := newSide(t, srv.URL, nil)
	ended := false
	b.must(asking(func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
		close(asked)
		<-ctx.Done()
		ended = true
		return guard.Reply{Result: json.RawMessage(`{}`)}, nil
	}))
	require.True(t, ended, "nobody is asked any more when the call is over")
	b.stop()
	require.Empty(t, srv.got("response"), "and the server gets no answer")
}

func TestAServerCanTakeAQuestionBack(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	asked, over := make(chan struct{}), make(chan struct{})
	srv.when(mcp.MethodToolsCall, func(r received) {
		r.stream()
		r.event(questionOf(`"q"`, mcp.MethodElicit))
		<-asked
		r.event(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}}`)
		r.event(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}`)
		<-over
		r.answer(`{"content":[]}`)
	})
	b := newSide(t, srv.URL, nil)
	b.must(asking(func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
		defer close(over)
		close(asked)
		<-ctx.Done()
		return guard.Reply{}, ctx.Err()
	}))
	b.stop()
	require.Empty(t, srv.got("response"))
}

func TestWhileTheClientIsAskedTheServersTimeStandsStill(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for name, late := range map[string]bool{"a server in time": false, "a server that is late nevertheless": true} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			srv.when(mcp.MethodToolsCall, func(r received) {
				r.stream()
				r.event(questionOf("1", mcp.MethodElicit))
				eventually(t, "the answer comes", func() bool { return len(srv.got("response")) == 1 })
				if late {
					<-r.gone
					return
				}
				r.answer(`{"content":[]}`)
			})
			b := newSide(t, srv.URL, nil)
			b.server.Timeout = timeout
			began := time.Now()
			out := within(t, b.start(context.Background(), asking(func(ctx context.Context, request *mcp.Reply) (guard.Reply, error) {
				select {
				case <-time.After(2 * timeout): // a person thinks
				case <-ctx.Done():
				}
				return accepts(ctx, request)
			})))
			require.Greater(t, time.Since(began), 2*timeout)
			if !late {
				require.NoError(t, out.err)
				return
			}
			refused(t, out.err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT)
			require.Less(t, time.Since(began), 5*timeout)
		})
	}
}

func TestAServerOf20260728MayNotAskByItself(t *testing.T) {
	srv := asker(t, "", 100, questionOf("1", mcp.MethodElicit))
	srv.when(mcp.MethodToolsCall, func(r received) {
		r.stream()
		r.event(questionOf("1", mcp.MethodElicit))
		<-r.gone
	})
	_, err := newSide(t, srv.URL, nil).forward(asking(accepts))
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	require.Empty(t, srv.got("response"))
}

func TestAClientThatTakesNoNoticeEndsTheCall(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		srv.when(mcp.MethodToolsCall, func(r received) {
			r.stream()
			r.event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`)
			<-r.gone
		})
		b := newSide(t, srv.URL, nil)
		gone := errors.New("the client is gone")
		_, err := b.forward(func(ex *guard.Exchange) { ex.Notify = func([]byte) error { return gone } })
		require.Equal(t, gone, err)
		if version != "" {
			eventually(t, "the server is told", func() bool { return len(srv.got(mcp.MethodCancelled)) == 1 })
		}
	}
}
