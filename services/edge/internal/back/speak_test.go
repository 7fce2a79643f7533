package back

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

func TestAboutIsWhatTheServerSaysOfItself(t *testing.T) {
	modern := newServer(t, "")
	modern.capabilities = `{"tools":{}, "x":1e400}`
	about, err := newSide(t, modern.URL, nil).About(context.Background(), declared(t, "m", modern.URL), nil)
	require.NoError(t, err)
	require.Equal(t, guard.About{
		Modern: true, Capabilities: json.RawMessage(`{"tools":{}, "x":1e400}`), Info: json.RawMessage(`{"name":"modern","version":"1"}`), Instructions: "be kind",
	}, about)
	revisions(t, func(t *testing.T, version string) {
		old := newServer(t, version)
		about, err = newSide(t, old.URL, nil).About(context.Background(), declared(t, "o", old.URL), nil)
		require.NoError(t, err)
		require.Equal(t, guard.About{
			Legacy: true, Capabilities: json.RawMessage(`{"tools":{}}`), Info: json.RawMessage(`{"name":"old","version":"1"}`), Instructions: "be brief",
		}, about)
	})
}

func TestAboutIsAtMostAMinuteOld(t *testing.T) {
	for name, version := range map[string]string{"2026-07-28": "", mcp.V20251125: mcp.V20251125} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, version)
			b := newSide(t, srv.URL, nil)
			var ahead atomic.Int64
			b.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			ask := func() string {
				about, err := b.About(context.Background(), b.server, nil)
				require.NoError(t, err)
				return string(about.Capabilities)
			}
			require.Equal(t, `{"tools":{}}`, ask())
			srv.capabilities = `{"tools":{},"prompts":{}}`
			ahead.Store(int64(50 * time.Second))
			require.Equal(t, `{"tools":{}}`, ask())
			require.Len(t, srv.got(mcp.MethodDiscover), 1)
			ahead.Store(int64(70 * time.Second))
			require.Equal(t, `{"tools":{},"prompts":{}}`, ask())
			require.Len(t, srv.got(mcp.MethodDiscover), 2)
			b.must(nil)
			require.Len(t, srv.got(mcp.MethodDiscover), 2, "a call takes what is known")
			if version != "" {
				eventually(t, "the edge's older session is ended", func() bool { return len(srv.got(http.MethodDelete)) == 1 })
				require.Equal(t, 2, srv.open(), "the edge's newer one and ana's")
			}
		})
	}
}

func TestTheClientsEraIsSpokenWhereTheServerHasBoth(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.when(mcp.MethodDiscover, func(r received) {
		r.result(`{"resultType":"complete","supportedVersions":["2025-11-25","2026-07-28"],"capabilities":{}}`)
	})
	srv.when(mcp.MethodToolsCall, func(r received) { r.result(`{"content":[]}`) })
	b := newSide(t, srv.URL, nil)
	require.True(t, b.must(func(ex *guard.Exchange) { ex.Modern = true }).Modern)
	require.False(t, b.must(nil).Modern)
	about, err := b.About(context.Background(), b.server, nil)
	require.NoError(t, err)
	require.True(t, about.Modern)
	require.True(t, about.Legacy)
	calls := srv.got(mcp.MethodToolsCall)
	require.Equal(t, mcp.V20260728, calls[0].header.Get(mcp.HeaderProtocolVersion))
	require.Empty(t, calls[0].session)
	require.Equal(t, mcp.V20251125, calls[1].header.Get(mcp.HeaderProtocolVersion))
	require.NotEmpty(t, calls[1].session)
}

func TestAServerThatRefuses20260728IsAskedToInitialize(t *testing.T) {
	for name, answer := range map[string]func(received){
		"an error of the older revisions": nil,
		"an unsupported version": func(r received) {
			r.json(400, string(mcp.ErrorReply(r.message.ID, -32022, "Unsupported", map[string]any{"supported": []string{"2025-11-25"}})))
		},
		"a list of older revisions": func(r received) { r.result(`{"supportedVersions":["2025-06-18","2025-11-25"],"capabilities":{}}`) },
		"method not found":          func(r received) { r.json(200, string(mcp.ErrorReply(r.message.ID, -32601, "Method not found", nil))) },
		"an empty 400":              func(r received) { r.w.WriteHeader(400) },
		"a page":                    func(r received) { http.Error(r.w, "<html>", 404) },
		"a result without versions": func(r received) { r.result(`{}`) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20251125)
			srv.when(mcp.MethodDiscover, answer)
			b := newSide(t, srv.URL, nil)
			require.False(t, b.must(func(ex *guard.Exchange) { ex.Modern = true }).Modern)
			b.must(nil)
			require.Len(t, srv.got(mcp.MethodDiscover), 1, "what was found out is remembered")
		})
	}
}

func TestAServerOfOtherRevisionsIsRefused(t *testing.T) {
	for name, answer := range map[string]func(received){
		"discover": func(r received) { r.result(`{"supportedVersions":["2099-01-01"],"capabilities":{}}`) },
		"error": func(r received) {
			r.json(400, string(mcp.ErrorReply(r.message.ID, -32022, "Unsupported", map[string]any{"supported": []string{"2099-01-01"}})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, "")
			srv.when(mcp.MethodDiscover, answer)
			_, err := newSide(t, srv.URL, nil).forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Empty(t, srv.got(mcp.MethodInitialize))
		})
	}
	srv := newServer(t, "1999-01-01")
	_, err := newSide(t, srv.URL, nil).forward(nil)
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
}

func TestAServerThatTakesNoPostIsNotSpokenTo(t *testing.T) {
	for _, status := range []int{400, 404, 405} {
		srv := newServer(t, mcp.V20251125)
		for _, method := range []string{mcp.MethodDiscover, mcp.MethodInitialize} {
			srv.when(method, func(r received) { http.Error(r.w, `{"detail":"Method Not Allowed"}`, status) })
		}
		_, err := newSide(t, srv.URL, nil).forward(nil)
		refused(t, err, faultv1.Reason_REASON_UPSTREAM)
		require.Contains(t, err.Error(), "neither")
	}
}

func TestWhatSaysNothingOfTheEraIsNotRemembered(t *testing.T) {
	for reason, answer := range map[faultv1.Reason]func(received){
		faultv1.Reason_REASON_CREDENTIAL: func(r received) { r.w.WriteHeader(401) },
		faultv1.Reason_REASON_UPSTREAM:   func(received) { panic(http.ErrAbortHandler) },
	} {
		srv := newServer(t, mcp.V20251125)
		srv.when(mcp.MethodDiscover, answer)
		b := newSide(t, srv.URL, nil)
		_, err := b.forward(nil)
		refused(t, err, reason)
		require.Empty(t, srv.got(mcp.MethodInitialize))
		srv.when(mcp.MethodDiscover, nil)
		b.must(nil)
	}
}

func TestAServerThatChangedItsEraIsFoundOutAnew(t *testing.T) {
	srv := newServer(t, "")
	b := newSide(t, srv.URL, nil)
	require.True(t, b.must(nil).Modern)
	unsupported := func(r received) {
		r.json(400, string(mcp.ErrorReply(r.message.ID, -32022, "Unsupported", map[string]any{"supported": []string{"2025-11-25"}})))
	}
	srv.when(mcp.MethodToolsCall, unsupported)
	require.NotNil(t, b.must(nil).Error)
	srv.when(mcp.MethodToolsCall, nil)
	srv.when(mcp.MethodDiscover, unsupported)
	srv.mu.Lock()
	srv.version = mcp.V20251125
	srv.mu.Unlock()
	require.False(t, b.must(nil).Modern)
}

func TestWhat20260728TookAwayIsNeverSentToIt(t *testing.T) {
	srv := newServer(t, "")
	b := newSide(t, srv.URL, nil)
	for _, method := range []string{mcp.MethodPing, mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.MethodInitialize} {
		_, err := b.forward(func(ex *guard.Exchange) {
			ex.Method, ex.Name, ex.Params = method, "", json.RawMessage(`{"uri":"a","level":"info"}`)
		})
		refused(t, err, faultv1.Reason_REASON_METHOD)
		require.Empty(t, srv.got(method))
	}
}

func TestARequestOf20260728IsCompleteInItself(t *testing.T) {
	srv := newServer(t, "")
	b := newSide(t, srv.URL, nil)
	const params = `{"name":"e\u0063ho", "arguments":{"n":1e400,"region":"eu"},"_meta":{"progressToken":7,"io.modelcontextprotocol/clientCapabilities":{"sampling":{}}}}`
	reply := b.must(func(ex *guard.Exchange) {
		ex.Params, ex.Offer = json.RawMessage(params), json.RawMessage(`{"elicitation":{}}`)
		ex.Arguments = mcp.Get(ex.Params, "arguments")
		ex.Bindings = []mcp.Binding{{Header: "Mcp-Param-Region", Path: []string{"region"}}}
		ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer theirs"}}}
	})
	require.True(t, reply.Modern)
	require.Equal(t, `{"resultType":"complete","content":[]}`, string(reply.Result))
	one := srv.got(mcp.MethodToolsCall)[0]
	for name, want := range map[string]string{
		"Mcp-Method": "tools/call", "Mcp-Name": "echo", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Param-Region": "eu", "Authorization": "Bearer theirs",
		"Mcp-Session-Id": "", "Accept": "application/json, text/event-stream", "Content-Type": "application/json",
	} {
		require.Equal(t, want, one.header.Get(name), name)
	}
	require.Equal(t, `{"elicitation":{}}`, string(mcp.Get(one.message.Meta, mcp.MetaCapabilities)))
	require.Equal(t, `7`, string(one.message.ProgressToken))
	require.Equal(t, `{"n":1e400,"region":"eu"}`, string(one.message.Arguments))
	require.Contains(t, one.body, `"name":"e\u0063ho", "arguments"`)

	b.must(func(ex *guard.Exchange) {
		ex.Method, ex.Name, ex.Params = "tasks/get", "", json.RawMessage(`{"taskId":"t-1"}`)
	})
	one = srv.got("tasks/get")[0]
	require.Equal(t, "t-1", one.header.Get("Mcp-Name"))
	require.Equal(t, `{}`, string(mcp.Get(one.message.Meta, mcp.MetaCapabilities)), "without an offer nothing is claimed")
}

func TestEveryMethodReachesAServerWithSessions(t *testing.T) {
	srv := newServer(t, mcp.V20250618)
	b := newSide(t, srv.URL, nil)
	const params = `{"uri":"file:///a\/b", "level":"info","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":"p"}}`
	for _, method := range []string{
		mcp.MethodPromptsGet, mcp.MethodPromptsList, mcp.MethodResourceRead, mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodComplete,
		mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.MethodSetLevel, "tasks/list", "tasks/cancel",
	} {
		sent := params
		if method == mcp.MethodPromptsGet {
			sent = `{"name":"x",` + params[1:]
		}
		b.must(func(ex *guard.Exchange) { ex.Method, ex.Name, ex.Params = method, "", json.RawMessage(sent) })
		one := srv.got(method)[0]
		require.JSONEq(t, `{"progressToken":"p"}`, string(one.message.Meta), "the metadata of another era stays here")
		require.Contains(t, one.body, `"uri":"file:///a\/b", "level":"info"`)
		require.Empty(t, one.header.Get("Mcp-Method"))
	}
	b.must(func(ex *guard.Exchange) { ex.Method, ex.Name, ex.Params = mcp.MethodPromptsList, "", nil })
	require.Nil(t, srv.got(mcp.MethodPromptsList)[1].message.Params)
}

func TestErrorsOfTheProtocolPassWhateverTheStatus(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		for _, status := range []int{200, 400, 403, 404, 500} {
			const exact = `{"code":-32601, "message":"n\u006f","data":[1e400]}`
			srv.when(mcp.MethodToolsCall, func(r received) { r.json(status, string(mcp.ErrorResult(r.message.ID, json.RawMessage(exact)))) })
			require.Equal(t, exact, string(b.must(nil).Error))
		}
	}
}

func TestDefinitionsAreReadPageByPageInBothEras(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		srv.when(mcp.MethodToolsList, func(r received) {
			switch cursor, has := mcp.Text(r.message.Params, "cursor"); {
			case !has:
				r.result(`{"tools":[{"name":"a","inputSchema":{}}],"nextCursor":""}`)
			case cursor == "":
				r.result(`{"tools":[{"name":"b","inputSchema":{}}],"nextCursor":"\"2"}`)
			default:
				r.result(`{"tools":[{"name":"c","inputSchema":{}}]}`)
			}
		})
		b := newSide(t, srv.URL, nil)
		all, err := b.Definitions(context.Background(), b.server, nil)
		require.NoError(t, err)
		require.Len(t, all, 3)
		cursor, _ := mcp.Text(srv.got(mcp.MethodToolsList)[2].message.Params, "cursor")
		require.Equal(t, `"2`, cursor)

		srv.when(mcp.MethodToolsList, func(r received) { r.result(`{"tools":[],"nextCursor":"again"}`) })
		_, err = b.Definitions(context.Background(), b.server, nil)
		refused(t, err, faultv1.Reason_REASON_UPSTREAM)
		require.Len(t, srv.got(mcp.MethodToolsList), 3+maxPages)
	}
}
