package edge_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

func TestT22ChaosUpstreamsGiveAClearErrorInBoundedTime(t *testing.T) {
	type answer = func(w http.ResponseWriter, r *http.Request, m *mcp.Message)
	hang := func(_ http.ResponseWriter, r *http.Request, _ *mcp.Message) { <-r.Context().Done() }
	cases := map[string]struct {
		reason faultv1.Reason
		answer answer
	}{
		"never answers": {faultv1.Reason_REASON_UPSTREAM_TIMEOUT, hang},
		"closes at once": {faultv1.Reason_REASON_UPSTREAM, func(http.ResponseWriter, *http.Request, *mcp.Message) {
			panic(http.ErrAbortHandler)
		}},
		"closes mid-body": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"jsonrpc":"2.0",`)
			panic(http.ErrAbortHandler)
		}},
		"another id": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			write(w, 200, `{"jsonrpc":"2.0","id":4711,"result":{"content":[]}}`)
		}},
		"two answers": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			one := string(mcp.Result(m.ID, textResult("a", "}")))
			write(w, 200, one+one)
		}},
		"a batch": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, "["+string(mcp.Result(m.ID, textResult("a", "}")))+"]")
		}},
		"not json": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) { write(w, 200, "<html>") }},
		"an error page": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			http.Error(w, "oops", http.StatusBadGateway)
		}},
		"a redirect": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, r *http.Request, _ *mcp.Message) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}},
		"huge": {faultv1.Reason_REASON_INSPECTION, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, string(mcp.Result(m.ID, textResult(strings.Repeat("x", 1<<20), "}"))))
		}},
		"huge, unannounced": {faultv1.Reason_REASON_INSPECTION, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			w.Header().Set("Content-Type", "application/json")
			for range 64 {
				fmt.Fprint(w, strings.Repeat(" ", 1<<14))
				if f, ok := w.(http.Flusher); ok {
					f.Flush()
				}
			}
		}},
		"invalid utf-8": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"content":[{"type":"text","text":"`+"\xff"+`"}]}}`)
		}},
		"duplicate keys": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"content":[],"content":[]}}`)
		}},
		"asks for what was not offered": {faultv1.Reason_REASON_METHOD, func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, string(mcp.Result(m.ID, []byte(`{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}`))))
		}},
		"a stream that stops": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, ": hello\n\n")
		}},
		"a stream that never ends": {faultv1.Reason_REASON_UPSTREAM_TIMEOUT, func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, ": hello\n\n")
			w.(http.Flusher).Flush()
			hang(w, r, m)
		}},
		"a stream with questions": {faultv1.Reason_REASON_UPSTREAM, func(w http.ResponseWriter, _ *http.Request, _ *mcp.Message) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, `data: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}`+"\n\n")
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, echoTool)
			w := support(t, u)
			w.server("echo", u.url(), []string{echoTool}, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "300ms" })
			h := start(t, w, func(c *edge.Config) { c.MaxResult = 64 << 10 })
			ana := h.client("ana", "/mcp/echo", true)
			u.replies(c.answer)
			began := time.Now()
			r := ana.call("echo", `{}`)
			if time.Since(began) > 2*time.Second || r.status != 200 || !r.refused() || r.text() == "" {
				t.Fatalf("after %s: %d %s", time.Since(began), r.status, r.body)
			}
			if final := h.final(r.id); final.GetDecision().GetReason() != c.reason || final.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
				t.Errorf("recorded %v", final.GetDecision())
			}
			if len(u.called()) != 1 {
				t.Errorf("sent %d times", len(u.called()))
			}
			u.replies(nil)
			if r := ana.call("echo", `{}`); r.text() != "{}" {
				t.Errorf("the next call: %s", r.body)
			}
		})
	}
}

func TestAToolsOwnErrorsPass(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		h := start(t, support(t, u), nil)
		ana := h.client("ana", "/mcp/echo", modern)
		u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, string(mcp.ErrorReply(m.ID, -32000, "out of paper", map[string]any{"tray": 2})))
		})
		r := ana.call("echo", `{}`)
		if r.error() != "out of paper" || string(mcp.Get(r.body, "error", "data", "tray")) != "2" || string(mcp.Get(r.body, "id")) != r.id {
			t.Fatalf("%s", r.body)
		}
		u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			write(w, 200, string(mcp.Result(m.ID, textResult("no such ticket", `,"isError":true}`))))
		})
		r = ana.call("echo", `{}`)
		if !r.refused() || r.text() != "no such ticket" || r.reason() != "" {
			t.Fatalf("%s", r.body)
		}
		if ev := h.final(r.id); !ev.GetResult().GetIsError() || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetEffect() != "allow" {
			t.Errorf("%v", ev)
		}
	})
}

func TestResultsArriveByteForByte(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", false)
	exact := `{"content":[{"type":"x-future","n":12345678901234567890.10,"t":"\u00e9\/"}] , "x-unknown":[1e400, null],"structuredContent":[1]}`
	u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		write(w, 200, `{ "id":`+string(m.ID)+`,"jsonrpc":"2.0", "result": `+exact+` }`)
	})
	if r := ana.call("echo", `{}`); string(r.result()) != exact {
		t.Fatalf("%s", r.body)
	}
}

func TestT6HiddenTextIsTakenOutOfResults(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		write(w, 200, string(mcp.Result(m.ID, []byte(`{"content":[{"type":"text","text":"a\u200bb`+"\u202ec"+`"}]}`))))
	})
	r := ana.call("echo", `{}`)
	if r.text() != "abc" {
		t.Fatalf("%q", r.text())
	}
	if ev := h.final(r.id); ev.GetFindings().GetHidden() != 2 {
		t.Errorf("%v", ev.GetFindings())
	}
}

// progress answers a call with a stream: two notices, then the answer when release is closed.
func progress(release <-chan struct{}) func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
	return func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			fmt.Fprintf(w, "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"p\",\"progress\":%d}}\n\n", i)
		}
		w.(http.Flusher).Flush()
		select {
		case <-release:
			fmt.Fprintf(w, "data: %s\n\n", mcp.Result(m.ID, textResult("done", "}")))
		case <-r.Context().Done():
		}
	}
}

func TestProgressIsStreamedBeforeTheAnswer(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		h := start(t, support(t, u), nil)
		ana := h.client("ana", "/mcp/echo", modern)
		release := make(chan struct{})
		u.replies(progress(release))
		body, id := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
		q, err := http.NewRequest(http.MethodPost, h.base+"/mcp/echo", strings.NewReader(asksProgress(body, `"p"`)))
		must(t, err)
		q.Header = ana.header("tools/call", "echo")
		res, err := h.http.Do(q)
		must(t, err)
		defer res.Body.Close()
		events := mcp.NewEventReader(res.Body, 0)
		for i := range 2 {
			ev, err := events.Next()
			must(t, err)
			if got := string(mcp.Get(ev.Data, "params", "progress")); got != fmt.Sprint(i) {
				t.Errorf("%s", ev.Data)
			}
		}
		close(release)
		ev, err := events.Next()
		must(t, err)
		if string(mcp.Get(ev.Data, "id")) != id || mcp.Get(ev.Data, "result") == nil {
			t.Errorf("%s", ev.Data)
		}
		if _, err := events.Next(); err != io.EOF {
			t.Errorf("after the answer: %v", err)
		}
		if ev := h.final(id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
			t.Errorf("%v", ev)
		}
	})
}

func TestGoingAwayCancelsAsTheEraSays(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		w := support(t, u)
		h := start(t, w, nil)
		ana := h.client("ana", "/mcp/echo", modern)
		arrived, ended, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
		u.replies(func(w http.ResponseWriter, r *http.Request, m *mcp.Message) {
			close(arrived)
			select {
			case <-r.Context().Done():
				close(ended)
			case <-release:
				write(w, 200, string(mcp.Result(m.ID, textResult("late", "}"))))
			}
		})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		body, id := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/mcp/echo", strings.NewReader(body))
		must(t, err)
		q.Header = ana.header("tools/call", "echo")
		failed := make(chan error, 1)
		go func() {
			res, err := h.http.Do(q)
			if err == nil {
				_ = res.Body.Close()
			}
			failed <- err
		}()
		<-arrived
		cancel()
		if err := <-failed; err == nil {
			t.Fatal("the client did not go away")
		}
		if modern {
			select {
			case <-ended:
			case <-time.After(time.Second):
				t.Fatal("the upstream still works")
			}
			if ev := h.final(id); ev.GetDecision().GetReason() != faultv1.Reason_REASON_CANCELLED {
				t.Errorf("%v", ev)
			}
			return
		}
		select {
		case <-ended:
			t.Fatal("the upstream was cancelled")
		case <-time.After(200 * time.Millisecond):
		}
		close(release)
		if ev := h.final(id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
			t.Errorf("%v", ev)
		}
	})
}

func TestANoticeCancelsALegacyCall(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.grant("person/bob", "echo", "*", "call")
	h := start(t, w, nil)
	ana, bob := h.client("ana", "/mcp/echo", false), h.client("bob", "/mcp/echo", false)
	arrived, ended := make(chan struct{}), make(chan struct{})
	u.replies(func(_ http.ResponseWriter, r *http.Request, _ *mcp.Message) {
		close(arrived)
		<-r.Context().Done()
		close(ended)
	})
	body, id := ana.body("tools/call", `{"name":"echo","arguments":{}}`)
	answered := make(chan reply, 1)
	go func() { answered <- ana.post(body, ana.header("", "")) }()
	<-arrived
	notice := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`
	if r := bob.post(notice, bob.header("", "")); r.status != http.StatusAccepted {
		t.Errorf("%d", r.status)
	}
	select {
	case <-ended:
		t.Fatal("bob cancelled ana's call")
	case <-time.After(100 * time.Millisecond):
	}
	ana.post(notice, ana.header("", ""))
	<-ended
	if r := <-answered; r.reason() != "cancelled" {
		t.Errorf("%s", r.body)
	}
}

func TestAPooledConnectionThatTheServerClosedIsNotUsed(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	for range 20 {
		if r := ana.call("echo", `{}`); r.text() != "{}" {
			t.Fatalf("%s", r.body)
		}
		u.CloseClientConnections()
	}
	if len(u.called()) != 20 {
		t.Errorf("%d calls", len(u.called()))
	}
}
