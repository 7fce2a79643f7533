package back

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// raw writes to the bare connection as long as the client takes it, and closes it.
func (r received) raw(parts ...string) {
	conn, _, err := r.w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	for _, part := range parts {
		if _, err := conn.Write([]byte(part)); err != nil {
			return
		}
	}
}

// forever writes the same text to a stream until the client is gone.
func (r received) forever(text string) {
	for {
		select {
		case <-r.gone:
			return
		default:
			r.say(text)
		}
	}
}

func TestT22ChaosServersGiveAClearErrorInBoundedTimeAndMemory(t *testing.T) {
	const room, timeout = 1 << 20, 300 * time.Millisecond
	const head, events = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
	upstream, late, large := faultv1.Reason_REASON_UPSTREAM, faultv1.Reason_REASON_UPSTREAM_TIMEOUT, faultv1.Reason_REASON_INSPECTION
	whole := func(r received) string { return string(mcp.Result(r.message.ID, json.RawMessage(`{"content":[]}`))) }
	chunk := strings.Repeat("x", 64<<10)
	cases := map[string]struct {
		reason faultv1.Reason
		answer func(received)
	}{
		"never answers":      {late, func(r received) { <-r.gone }},
		"only a head":        {late, func(r received) { r.stream(); <-r.gone }},
		"closes at once":     {upstream, func(r received) { r.raw() }},
		"closes mid-head":    {upstream, func(r received) { r.raw("HTTP/1.1 200 O") }},
		"closes mid-body":    {upstream, func(r received) { r.raw(head + "Content-Length: 1000\r\n\r\n{") }},
		"closes mid-event":   {upstream, func(r received) { r.raw(events, "data: "+whole(r)+"\n") }},
		"too long a length":  {upstream, func(r received) { r.raw(head + "Content-Length: 5000\r\n\r\n" + whole(r)) }},
		"too short a length": {upstream, func(r received) { r.raw(head + "Content-Length: 10\r\n\r\n" + whole(r)) }},
		"a negative length":  {upstream, func(r received) { r.raw(head + "Content-Length: -5\r\n\r\n" + whole(r)) }},
		"bad chunks":         {upstream, func(r received) { r.raw(head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + whole(r)) }},
		"no HTTP":            {upstream, func(r received) { r.raw("SSH-2.0-OpenSSH_9.0\r\n\r\n") }},
		"another protocol":   {upstream, func(r received) { r.raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n") }},
		"huge headers":       {upstream, func(r received) { r.raw(head+"X: ", strings.Repeat("x", 1<<20), "\r\n\r\n") }},
		"endless headers": {upstream, func(r received) {
			r.raw(append([]string{head}, strings.Split(strings.Repeat("X-A: b\r\n|", 100_000), "|")...)...)
		}},
		"endless hints": {upstream, func(r received) {
			conn, _, err := r.w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			for err == nil {
				_, err = conn.Write([]byte("HTTP/1.1 103 Early Hints\r\n\r\n"))
			}
		}},
		"endless comments":         {late, func(r received) { r.stream(); r.forever(": hello\n\n") }},
		"endless lines of comment": {large, func(r received) { r.stream(); r.forever(":" + chunk + "\n") }},
		"endless fields":           {large, func(r received) { r.stream(); r.forever("x: " + chunk + "\n") }},
		"endless notices": {late, func(r received) {
			r.stream()
			r.forever("data: " + `{"jsonrpc":"2.0","method":"notifications/progress","params":{}}` + "\n\n")
		}},
		"invalid UTF-8": {upstream, func(r received) {
			r.json(200, `{"jsonrpc":"2.0","id":`+string(r.message.ID)+`,"result":{"x":"`+"\xff"+`"}}`)
		}},
		"invalid UTF-8 in a stream": {upstream, func(r received) {
			r.stream()
			r.event(`{"jsonrpc":"2.0","id":` + string(r.message.ID) + `,"result":{"x":"` + "\xff" + `"}}`)
		}},
		"duplicate names":        {upstream, func(r received) { r.result(`{"content":[],"content":[]}`) }},
		"another id":             {upstream, func(r received) { r.json(200, result(json.RawMessage("4711"))) }},
		"another id in a stream": {upstream, func(r received) { r.stream(); r.event(result(json.RawMessage("4711"))); <-r.gone }},
		"two answers":            {upstream, func(r received) { r.json(200, whole(r)+whole(r)) }},
		"a batch":                {upstream, func(r received) { r.json(200, "["+whole(r)+"]") }},
		"a notice":               {upstream, func(r received) { r.json(200, `{"jsonrpc":"2.0","method":"notifications/progress"}`) }},
		"a page":                 {upstream, func(r received) { http.Error(r.w, "<html>", 502) }},
		"a redirect": {upstream, func(r received) {
			r.w.Header().Set("Location", "http://127.0.0.1:1/")
			r.w.WriteHeader(http.StatusTemporaryRedirect)
		}},
		"nothing":               {upstream, func(r received) { r.w.WriteHeader(http.StatusAccepted) }},
		"an empty event stream": {upstream, func(r received) { r.stream() }},
		"100 MB announced":      {large, func(r received) { r.raw(head+"Content-Length: 104857600\r\n\r\n", chunk) }},
		"100 MB unannounced": {large, func(r received) {
			r.w.Header().Set("Content-Type", "application/json")
			for range 100 << 20 / len(chunk) {
				if _, err := fmt.Fprint(r.w, chunk); err != nil {
					return
				}
			}
		}},
		"100 MB of one event": {large, func(r received) {
			r.stream()
			r.say("data: ")
			for range 100 << 20 / len(chunk) {
				if _, err := fmt.Fprint(r.w, chunk); err != nil {
					return
				}
			}
		}},
	}
	for name, c := range cases {
		for era, version := range map[string]string{"2026-07-28": "", mcp.V20251125: mcp.V20251125} {
			t.Run(name+" of "+era, func(t *testing.T) {
				srv := newServer(t, version)
				b := newSide(t, srv.URL, func(c *Config) { c.MaxResult = room })
				limit := 20 * timeout // it is the size, the number or the form that counts, however slow the machine
				if c.reason == late {
					limit = timeout
				}
				b.server.Timeout = limit
				b.must(nil)
				srv.when(mcp.MethodToolsCall, c.answer)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				began := time.Now()
				_, err := b.forward(func(ex *guard.Exchange) { ex.Notify = func([]byte) error { return nil } })
				took := time.Since(began)
				runtime.ReadMemStats(&after)
				refused(t, err, c.reason)
				require.Less(t, took, limit+time.Second)
				if strings.HasPrefix(name, "100 MB") || strings.HasPrefix(name, "huge") {
					require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24*room), "no more is kept than is taken")
				}
				require.Len(t, srv.got(mcp.MethodToolsCall), 2, "a call is sent once")
				srv.when(mcp.MethodToolsCall, nil)
				b.must(nil)
			})
		}
	}
}

// TestARedirectSaysWhereTheServerIs: many a server answers at its path with a slash alone.
func TestARedirectSaysWhereTheServerIs(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		for location, want := range map[string]string{"/mcp/": "(307) to /mcp/.", "https://b.example/mcp": "(307) to another origin."} {
			redirect := func(r received) {
				r.w.Header().Set("Location", location)
				r.w.WriteHeader(http.StatusTemporaryRedirect)
			}
			srv := newServer(t, version)
			b := newSide(t, srv.URL, nil)
			b.must(nil)
			srv.when(mcp.MethodToolsCall, redirect)
			_, err := b.forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "set spec.url")
			require.ErrorContains(t, err, "Nothing was executed.")

			always := newServer(t, version) // which says nothing else from the first request on
			for _, method := range []string{mcp.MethodDiscover, mcp.MethodInitialize} {
				always.when(method, redirect)
			}
			_, err = newSide(t, always.URL, nil).forward(nil)
			require.ErrorContains(t, err, want)
			srv.when(mcp.MethodToolsCall, func(r received) {
				r.w.Header().Set("Location", location)
				r.w.WriteHeader(http.StatusSeeOther)
			})
			_, err = b.forward(nil)
			require.ErrorContains(t, err, "Whether the call took effect is not known")
		}
	}
}

func TestT22AnAnswerThatTricklesIsCutOff(t *testing.T) {
	for _, events := range []bool{false, true} {
		srv := newServer(t, mcp.V20251125)
		b := newSide(t, srv.URL, nil)
		b.must(nil)
		b.server = declared(t, "one", srv.URL)
		b.server.Timeout = 300 * time.Millisecond
		srv.when(mcp.MethodToolsCall, func(r received) {
			if events {
				r.stream()
			} else {
				r.w.Header().Set("Content-Type", "application/json")
			}
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for {
				select {
				case <-r.gone:
					return
				case <-ticker.C:
					r.say("d")
				}
			}
		})
		began := time.Now()
		_, err := b.forward(nil)
		refused(t, err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT)
		require.Less(t, time.Since(began), 2*time.Second)
	}
}

func TestOfTwoAnswersInAStreamTheFirstCounts(t *testing.T) {
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		b := newSide(t, srv.URL, nil)
		closed := make(chan struct{})
		srv.when(mcp.MethodToolsCall, func(r received) {
			r.stream()
			r.answer(`{"content":[],"n":1}`)
			r.answer(`{"content":[],"n":2}`)
			<-r.gone
			close(closed)
		})
		require.Equal(t, `{"content":[],"n":1}`, string(b.must(nil).Result))
		within(t, closed) // the connection, on which the second is, is not used again
		srv.when(mcp.MethodToolsCall, func(r received) { r.result(`{"content":[],"n":3}`) })
		require.Equal(t, `{"content":[],"n":3}`, string(b.must(nil).Result))
	}
}

func TestResultsAndNoticesArriveByteForByte(t *testing.T) {
	const exact = `{"content":[{"type":"x-future","n":12345678901234567890.10,"t":"\u00e9\/"}] , "x":[1e400, null],"resultType":"complete"}`
	const notice = `{ "method":"notifications/progress","jsonrpc":"2.0", "params":{"progressToken":1,"x":1e400,"t":"\u00e9\/"}}`
	for _, version := range []string{"", mcp.V20251125} {
		for _, events := range []bool{true, false} {
			srv := newServer(t, version)
			srv.when(mcp.MethodToolsCall, func(r received) {
				answer := `{ "id":` + string(r.message.ID) + `,"jsonrpc":"2.0", "result": ` + exact + ` }`
				if !events {
					r.json(200, answer)
					return
				}
				r.stream()
				r.event(notice)
				r.event(answer)
			})
			var told notices
			reply := newSide(t, srv.URL, nil).must(func(ex *guard.Exchange) { ex.Notify = told.take })
			require.Equal(t, exact, string(reply.Result))
			if events {
				require.Equal(t, []string{notice}, told.list())
			}
		}
	}
}

func TestT22ADeadServerDelaysNoOther(t *testing.T) {
	dead, live := newServer(t, mcp.V20251125), newServer(t, mcp.V20251125)
	for _, method := range []string{mcp.MethodDiscover, mcp.MethodInitialize, mcp.MethodToolsCall} {
		dead.when(method, func(r received) { <-r.gone })
	}
	b := newSide(t, live.URL, nil)
	gone := declared(t, "dead", dead.URL)
	ctx, cancel := context.WithCancel(context.Background())
	var waiting []<-chan outcome
	for range 50 {
		waiting = append(waiting, b.start(ctx, func(ex *guard.Exchange) { ex.Server = gone }))
	}
	eventually(t, "the dead one is asked", func() bool { return len(dead.got(mcp.MethodDiscover)) == 1 })
	began := time.Now()
	for i := range 50 {
		b.must(func(ex *guard.Exchange) { ex.Session = string(mcp.NewID(uint64(i))) })
	}
	b.Release(ana, "7")
	require.Less(t, time.Since(began), 2*time.Second)
	cancel()
	for _, one := range waiting {
		require.Error(t, within(t, one).err)
	}
}

// TestManyClientsAtOnce lets clients of all kinds share one server that loses sessions, asks and breaks streams, while sessions are swept and released.
func TestManyClientsAtOnce(t *testing.T) {
	srv := newServer(t, mcp.V20251125)
	srv.capabilities = changing
	srv.when(http.MethodGet, func(r received) {
		r.stream()
		r.event(questionOf(`"g"`, mcp.MethodRoots))
		r.event(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
		if rand.IntN(2) == 0 {
			<-r.gone
		}
	})
	srv.when(mcp.MethodToolsCall, func(r received) {
		srv.mu.Lock()
		known := srv.sessions[r.session]
		srv.mu.Unlock()
		switch n := rand.IntN(10); {
		case !known:
			r.w.WriteHeader(http.StatusNotFound)
		case n == 0:
			srv.forget()
			r.w.WriteHeader(http.StatusNotFound)
		case n < 5:
			r.stream()
			r.event(questionOf(string(r.message.ID), mcp.MethodElicit))
			r.event(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`)
			r.answer(`{"content":[]}`)
		default:
			r.result(`{"content":[]}`)
		}
	})
	b := newSide(t, srv.URL, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	for i := range 4 {
		session := string(mcp.NewID(uint64(i)))
		all.Go(func() {
			l := guard.Listening{
				Caller: ana, Server: b.server, Session: session, Offer: json.RawMessage(everything), Lists: true, Resources: []string{"a"},
				Notify: func([]byte) error { return nil }, Ask: accepts,
			}
			if err := b.Listen(ctx, l); err != nil && !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("listening: %s", err)
			}
		})
	}
	var calls sync.WaitGroup
	for i := range 16 {
		calls.Go(func() {
			for n := range 30 {
				change := asking(accepts)
				if n%3 == 0 {
					change = nil
				}
				_, err := b.forward(func(ex *guard.Exchange) {
					if change != nil {
						change(ex)
					}
					ex.Session, ex.Notify = string(mcp.NewID(uint64((i+n)%8))), func([]byte) error { return nil }
				})
				if err != nil && !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
					t.Errorf("a call: %s", err)
				}
				switch {
				case n%10 == 9:
					b.Release(ana, string(mcp.NewID(uint64(i%8))))
				case n%10 == 5:
					b.sweep(time.Now().Add(time.Minute))
				}
			}
		})
	}
	calls.Wait()
	cancel()
	all.Wait()
	b.stop()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatal("it took too long")
	}
}
