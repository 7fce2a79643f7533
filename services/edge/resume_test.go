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
	"headgate.dev/libs/rpc"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/edge"
)

// What was kept of a stream comes whole each time that it is taken up again, though its many small events wait for the client all at once.
func TestAStreamOfManyEventsIsTakenUpAgainWhole(t *testing.T) {
	const notices = 8000
	s := newScript(t, mcp.V20251125)
	gone := make(chan struct{})
	notice := func(c *turn, n int) {
		c.says(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":%d}}`, n))
	}
	s.does("tools/call", func(c *turn) {
		notice(c, 1)
		<-gone
		for i := range notices {
			notice(c, i+2)
		}
		c.result(string(textResult("x", "}")))
	})
	w := scripted(t, s)
	w.servers["acts"].Server.Spec.Timeout = "60s"
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	k := ana.begin("tools/call", `{"_meta":{"progressToken":"p"},"name":"act","arguments":{}}`)
	k.next()
	after := k.after
	k.cancel()
	close(gone)
	h.final(k.id)
	for range 3 {
		again := ana.stands(after)
		count, answered := 0, false
		for !answered {
			message, came := again.within(20 * time.Second)
			if !came || message == nil {
				t.Fatalf("it ended after %d events, without the answer", count)
			}
			answered = mcp.Get(message, "result") != nil
			count++
		}
		if count != notices+1 {
			t.Errorf("%d events", count)
		}
		again.cancel()
	}
}

// A call that takes long and says nothing begins its stream with an event behind which it can be taken up again, also at another edge than the one that holds
// its session.
func TestALongCallWithoutNoticesIsTakenUpAgain(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("at another edge: %t", elsewhere), func(t *testing.T) {
			t.Parallel()
			longCall(t, elsewhere)
		})
	}
}

func longCall(t *testing.T, elsewhere bool) {
	s := newScript(t, mcp.V20251125)
	release := make(chan struct{})
	s.does("tools/call", func(c *turn) {
		<-release
		c.result(string(textResult("late", "}")))
	})
	w := scripted(t, s)
	w.servers["acts"].Server.Spec.Timeout = "120s"
	var h *harness
	w.edges = func(string) (edgev1connect.EdgeServiceClient, error) {
		return rpc.Client(rpc.InProcess(h.rpcs, optionsv1.Service_SERVICE_EDGE), edgev1connect.NewEdgeServiceClient), nil
	}
	h = start(t, w, func(c *edge.Config) { c.Advertise = "http://one.test" })
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	if elsewhere {
		ana.h = start(t, w, func(c *edge.Config) { c.Advertise, c.PublicURL = "http://two.test", h.base })
		ana.h.behind(h.base)
	}
	body, id := ana.body("tools/call", `{"name":"act","arguments":{}}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, ana.h.base+"/mcp/acts", strings.NewReader(body))
	must(t, err)
	q.Header = ana.header("tools/call", "act")
	began := time.Now()
	res, err := (&http.Client{Transport: ana.h.http.Transport}).Do(q) // it answers when the stream begins
	must(t, err)
	events := mcp.NewEventReader(res.Body, 0)
	first, err := events.Next()
	must(t, err)
	t.Logf("the stream began after %s", time.Since(began))
	if first.ID == "" || len(first.Data) != 0 {
		t.Fatalf("%+v", first)
	}
	cancel()
	_ = res.Body.Close() // it is broken
	again := ana.stands(first.ID)
	close(release)
	if message := again.next(); string(mcp.Get(message, "id")) != id || mcp.Get(message, "result") == nil {
		t.Errorf("%s", message)
	}
}

// A server of 2025-11-25 may let go of a call's connection and answer later (SEP-1699). So is its client let go of then, also at another edge than the one that holds
// its session, and it gets the answer when it comes back.
func TestAClientIsLetGoOfWhereItsServerLetsGo(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("at another edge: %t", elsewhere), func(t *testing.T) {
			release := make(chan struct{})
			w := scripted(t, lettingGo(t, release))
			var one *harness
			w.edges = func(string) (edgev1connect.EdgeServiceClient, error) {
				return rpc.Client(rpc.InProcess(one.rpcs, optionsv1.Service_SERVICE_EDGE), edgev1connect.NewEdgeServiceClient), nil
			}
			one = start(t, w, func(c *edge.Config) { c.Advertise = "http://one.test" })
			ana := one.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
			if elsewhere {
				ana.h = start(t, w, func(c *edge.Config) { c.Advertise, c.PublicURL = "http://two.test", one.base })
				ana.h.behind(one.base)
			}
			body, id := ana.body("tools/call", `{"name":"act","arguments":{}}`)
			q, err := http.NewRequest(http.MethodPost, ana.h.base+"/mcp/acts", strings.NewReader(body))
			must(t, err)
			q.Header = ana.header("tools/call", "act")
			res, err := ana.h.http.Do(q)
			must(t, err)
			defer func() { _ = res.Body.Close() }()
			events := mcp.NewEventReader(res.Body, 0)
			first, err := events.Next()
			if err != nil {
				t.Fatalf("%v, answered %d, %v", err, res.StatusCode, res.Header)
			}
			if retry, told := events.Retry(); first.ID == "" || len(first.Data) != 0 || !told || retry != 50*time.Millisecond {
				t.Fatalf("%+v, retry %s", first, retry)
			}
			if more, err := events.Next(); err != io.EOF {
				t.Fatalf("it is not let go of: %+v %v", more, err)
			}
			again := ana.stands(first.ID)
			close(release)
			if message := again.next(); string(mcp.Get(message, "id")) != id || (reply{body: message}).text() != "later" {
				t.Errorf("%s", message)
			}
			if ev := one.final(id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
				t.Errorf("recorded %v", ev)
			}
			if n := recordsOf(ana.h, id); elsewhere && n != 0 {
				t.Errorf("the other edge has %d records of its own", n)
			}
		})
	}
}

// lettingGo is a script that lets go of a call's connection and answers, once it may, who takes up the stream again.
func lettingGo(t *testing.T, release <-chan struct{}) *script {
	s := newScript(t, mcp.V20251125)
	call := make(chan string, 1)
	s.does("tools/call", func(c *turn) {
		call <- string(c.m.ID)
		c.w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(c.w, "id: one\nretry: 50\ndata: \n\n")
	})
	s.does("GET", func(c *turn) {
		if c.r.Header.Get("Last-Event-ID") != "one" {
			c.w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		select {
		case <-release:
			c.says(string(mcp.Result([]byte(<-call), textResult("later", "}"))))
		case <-c.r.Context().Done():
		}
	})
	return s
}

// A client takes 404 for the end of its session, so what is not kept of one stream is answered otherwise.
func TestAStreamThatIsNotKeptIsNotTheEndOfTheSession(t *testing.T) {
	h := start(t, scripted(t, newScript(t, mcp.V20251125)), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	for _, unknown := range []string{"7", "x.1", "_", strings.Repeat("A", 80) + ".1"} {
		if k := ana.stands(unknown); k.res.StatusCode != http.StatusBadRequest || !strings.Contains(string(k.body), "without Last-Event-ID") {
			t.Errorf("%s: %d %s", unknown, k.res.StatusCode, k.body)
		}
	}
	if r := ana.call("act", `{}`); r.error() != "" {
		t.Errorf("%s", r.body)
	}
}
