package edge_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/services/edge"
)

// listens opens a subscription of 2026-07-28 and answers what was honoured.
func (c *client) listens(filter string) (k *talk, honoured string) {
	c.h.t.Helper()
	k = c.begin("subscriptions/listen", `{"notifications":`+filter+`}`)
	method, params := k.told()
	if method != "notifications/subscriptions/acknowledged" || string(mcp.Get(params, "_meta", mcp.MetaSubscription)) != k.id {
		c.h.t.Fatalf("%s %s", method, params)
	}
	return k, string(mcp.Get(params, "notifications"))
}

// over reads a stream to its end, which for a subscription is its result.
func (k *talk) over() {
	k.t.Helper()
	for {
		message := k.next()
		if message == nil {
			if k.id != "" {
				k.t.Error("the subscription ended without its result")
			}
			return
		}
		if k.id == "" || string(mcp.Get(message, "id")) != k.id {
			continue
		}
		if kind, _ := mcp.Text(message, "result", "resultType"); kind != "complete" || string(mcp.Get(message, "result", "_meta", mcp.MetaSubscription)) != k.id {
			k.t.Errorf("%s", message)
		}
		if k.next() != nil {
			k.t.Error("something came after the end")
		}
		return
	}
}

// hears waits until a change of a resource comes, which the server says again and again: nobody knows when a stream has opened.
func (k *talk) hears(s *script, uri string) json.RawMessage {
	k.t.Helper()
	var message []byte
	eventually(k.t, 10*time.Second, "the server is heard", func() bool {
		s.tellsAll("notifications/resources/updated", `"uri":"`+uri+`"`)
		came := false
		message, came = k.within(20 * time.Millisecond)
		return came
	})
	method, _ := mcp.Text(message, "method")
	params := mcp.Get(message, "params")
	if method != "notifications/resources/updated" || k.id != "" && string(mcp.Get(params, "_meta", mcp.MetaSubscription)) != k.id {
		k.t.Fatalf("%s", message)
	}
	return params
}

func TestASubscriptionHonoursWhatItsCallerMayHear(t *testing.T) {
	s := methodScript(t, mcp.V20260728)
	s.capabilities = `{"tools":{},"resources":{"subscribe":true,"listChanged":true}}`
	s.speaksUp()
	w := scripted(t, s)
	w.policy("reads", onActs([]string{"resources/read"}, rule("no", `args.uri == "memo://secret"`, "block"), rule("rest", "true", "allow")))
	w.person("eve", nil)
	h := start(t, w, nil)
	ana, eve := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("eve", "/mcp/acts", mcp.V20260728, `{}`)
	const filter = `{"toolsListChanged":true,"promptsListChanged":false,"resourcesListChanged":true,"resourceSubscriptions":["memo://a","memo://secret"],"x":true}`
	k, honoured := ana.listens(filter)
	if want := `{"toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["memo://a"]}`; honoured != want {
		t.Errorf("ana hears %s, not %s", honoured, want)
	}
	other, honoured := eve.listens(filter)
	if mcp.Get([]byte(honoured), "resourceSubscriptions") != nil {
		t.Errorf("eve hears %s", honoured)
	}
	if uri, _ := mcp.Text(k.hears(s, "memo://a"), "uri"); uri != "memo://a" {
		t.Errorf("%s", uri)
	}
	for _, wrong := range []string{`{"resourceSubscriptions":"memo://a"}`, `{"resourceSubscriptions":[7]}`} {
		if r := ana.send("subscriptions/listen", `{"notifications":`+wrong+`}`); r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", wrong, r.status, r.body)
		}
	}
	body, _ := ana.body("subscriptions/listen", `{"notifications":{}}`)
	header := ana.header("subscriptions/listen", "")
	header.Set("Accept", "application/json")
	if r := ana.post(body, header); r.status != http.StatusNotAcceptable {
		t.Errorf("without a stream: %d %s", r.status, r.body)
	}
	other.cancel()
}

func TestStreamsAreToldThatTheirCallersToolsChanged(t *testing.T) {
	s := newScript(t, mcp.V20260728)
	w := scripted(t, s)
	h := start(t, w, nil)
	// At /mcp: a stream at the endpoint of one server ends when its caller loses that server.
	modern, legacy := h.guest("ana", "/mcp", mcp.V20260728, `{}`), h.guest("ana", "/mcp", mcp.V20251125, `{}`)
	bob := h.guest("bob", "/mcp", mcp.V20251125, `{}`)
	if got := bob.names(); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	subscription, _ := modern.listens(`{"toolsListChanged":true}`)
	standing, others := legacy.stands(""), bob.stands("")
	told := func(k *talk, person string) {
		t.Helper()
		granted := true
		var message []byte
		eventually(t, 30*time.Second, "a change is told", func() bool { // the stream may not have looked yet what was there before
			if granted = !granted; granted {
				w.grant("person/"+person, "acts", "*", "call")
			} else {
				w.ungrant(person)
			}
			came := false
			message, came = k.within(2 * time.Second)
			return came
		})
		if method, _ := mcp.Text(message, "method"); method != "notifications/tools/list_changed" {
			t.Errorf("%s", message)
		}
	}
	told(others, "bob")
	told(standing, "ana")
	w.grant("person/ana", "acts", "*", "call")
	told(subscription, "ana")
}

func TestASecondStandingStreamOfASessionTakesTheFirstOnesPlace(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	again := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	first, other := ana.stands(""), again.stands("")
	second := ana.stands("")
	first.over()
	if k := again.exchange(http.MethodDelete, "", "", again.header("", "")); k.res.StatusCode != http.StatusNoContent {
		t.Errorf("the end of a session: %d %s", k.res.StatusCode, k.body)
	}
	other.over()
	w.kill("person", "ana")
	second.over()
	for _, wrong := range []struct {
		change func(http.Header)
		status int
	}{
		{func(hd http.Header) { hd.Set("Accept", "application/json") }, http.StatusNotAcceptable},
		{func(hd http.Header) { hd.Set("Mcp-Session-Id", "none") }, http.StatusNotFound},
		{func(hd http.Header) { hd.Set("Mcp-Session-Id", again.session) }, http.StatusNotFound},
		{func(hd http.Header) { hd.Set("MCP-Protocol-Version", mcp.V20260728) }, http.StatusMethodNotAllowed},
		{func(hd http.Header) { hd.Set("MCP-Protocol-Version", "2024-01-01") }, http.StatusBadRequest},
		{func(hd http.Header) { hd.Del("Authorization") }, http.StatusUnauthorized},
		{func(hd http.Header) { hd.Set("Last-Event-ID", "none.1") }, http.StatusForbidden},
	} {
		header := ana.header("", "")
		wrong.change(header)
		if k := ana.exchange(http.MethodGet, "", "", header); k.res.StatusCode != wrong.status {
			t.Errorf("%d, not %d: %s", k.res.StatusCode, wrong.status, k.body)
		}
	}
}

// TestT26WhoIsStoppedLosesTheStreams covers every way to stop somebody, on both kinds of streams.
func TestT26WhoIsStoppedLosesTheStreams(t *testing.T) {
	for name, stop := range map[string]func(w *world){
		"the person is killed":   func(w *world) { w.kill("person", "ana") },
		"the server is killed":   func(w *world) { w.kill("server", "acts") },
		"the server is deleted":  func(w *world) { w.unserver("acts") },
		"the person is disabled": func(w *world) { w.person("ana", func(p *identityv1.PersonSpec) { p.Disabled = true }) },
		"the sessions are closed": func(w *world) {
			w.revoke(&identityv1.Revocation{Tenant: acme, Person: "ana", Before: timestamppb.Now()})
		},
	} {
		for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
			t.Run(name+" at "+revision, func(t *testing.T) {
				s := methodScript(t, revision)
				s.speaksUp()
				w := scripted(t, s)
				h := start(t, w, nil)
				modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
				if r := legacy.send("resources/subscribe", `{"uri":"memo://a"}`); r.error() != "" {
					t.Fatalf("%s", r.body)
				}
				subscription, _ := modern.listens(`{"resourceSubscriptions":["memo://a"],"toolsListChanged":true}`)
				standing := legacy.stands("")
				subscription.hears(s, "memo://a")
				standing.hears(s, "memo://a")
				stop(w)
				subscription.over()
				standing.over()
				eventually(t, 20*time.Second, "nothing is heard of the server any more", func() bool { return s.tellsAll("x", "") == 0 })
			})
		}
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	w := scripted(t, s)
	h := start(t, w, nil)
	modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	subscription, _ := modern.listens(`{"toolsListChanged":true}`)
	standing := legacy.stands("")
	w.ahead.Store(int64(61 * time.Minute))
	subscription.over()
	standing.over()
}

// TestTheEndOfAnEdgeIsSaidOnEveryStream: subscriptions get their result, standing streams end, calls under way are answered.
func TestTheEndOfAnEdgeIsSaidOnEveryStream(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	s.speaksUp()
	arrived, release := make(chan struct{}), make(chan struct{})
	s.does("tools/call", func(c *turn) {
		c.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"begun"}}`)
		close(arrived)
		<-release
		c.result(string(textResult("done", "}")))
	})
	h := start(t, scripted(t, s), func(c *edge.Config) { c.Grace = 10 * time.Second })
	modern, legacy := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	subscription, _ := modern.listens(`{"toolsListChanged":true,"resourceSubscriptions":["memo://a"]}`)
	standing := legacy.stands("")
	call := legacy.begin("tools/call", `{"name":"act","arguments":{}}`)
	<-arrived
	ended := make(chan struct{})
	go func() {
		h.end()
		close(ended)
	}()
	subscription.over()
	standing.over()
	select {
	case <-ended:
		t.Error("the edge did not wait for the call")
	default:
	}
	close(release)
	if method, _ := call.told(); method != "notifications/message" {
		t.Errorf("%s", method)
	}
	if r := call.last(); r.text() != "done" {
		t.Errorf("%s", r.body)
	}
	<-ended
	if ev := h.final(call.id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
		t.Errorf("%v", ev)
	}
}

// TestT14SubscriptionsOfOnePersonDoNotEndEachOther: both are one session at a server of the older revisions.
func TestT14SubscriptionsOfOnePersonDoNotEndEachOther(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	s.speaksUp()
	h := start(t, scripted(t, s), nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
	first, _ := ana.listens(`{"resourceSubscriptions":["memo://a"]}`)
	eventually(t, 20*time.Second, "the server is subscribed to", func() bool { return len(s.sent("resources/subscribe")) == 1 })
	second, _ := ana.listens(`{"resourceSubscriptions":["memo://a"]}`)
	first.hears(s, "memo://a")
	second.hears(s, "memo://a")
	first.cancel()
	for range 3 {
		second.hears(s, "memo://a")
	}
	if len(s.sent("resources/unsubscribe")) != 0 {
		t.Error("the end of the first took the second's subscription")
	}
	second.cancel()
	eventually(t, 20*time.Second, "nobody subscribes any more", func() bool { return len(s.sent("resources/unsubscribe")) == 1 })
}

func TestT14OnePersonsStreamHearsNothingOfAnothers(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := methodScript(t, revision)
		s.speaksUp()
		h := start(t, scripted(t, s), nil)
		ana, bob := h.guest("ana", "/mcp", mcp.V20251125, `{}`), h.guest("bob", "/mcp", mcp.V20251125, `{}`)
		mine, theirs := ana.stands(""), bob.stands("")
		if r := ana.send("resources/subscribe", `{"uri":"hg.acts+memo://a"}`); r.error() != "" {
			t.Fatalf("%s", r.body)
		}
		if params := mine.hears(s, "memo://a"); string(mcp.Get(params, "uri")) != `"hg.acts+memo://a"` {
			t.Errorf("%s", params)
		}
		h.end()
		for message := theirs.next(); message != nil; message = theirs.next() {
			if strings.Contains(string(message), "memo://") {
				t.Errorf("bob hears %s", message)
			}
		}
	}
}

func TestABrokenStreamOfACallIsTakenUpAgain(t *testing.T) {
	s := newScript(t, mcp.V20251125)
	next := make(chan struct{})
	s.does("tools/call", func(c *turn) {
		for _, data := range []string{"1", "2", "3"} {
			c.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":` + data + `}}`)
			<-next
		}
		answer := c.asks("sampling/createMessage", `{}`)
		c.result(string(textResult(string(mcp.Get(answer, "result", "n")), "}")))
	})
	h := start(t, scripted(t, s), nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20251125, asks), h.guest("bob", "/mcp/acts", mcp.V20251125, asks)
	k := ana.begin("tools/call", `{"name":"act","arguments":{}}`)
	if _, params := k.told(); string(mcp.Get(params, "data")) != "1" {
		t.Fatalf("%s", params)
	}
	after := k.after
	if after == "" {
		t.Fatal("the events have no ids")
	}
	k.cancel()
	next <- struct{}{}
	next <- struct{}{}
	if r := bob.stands(after); r.res.StatusCode != http.StatusBadRequest {
		t.Errorf("bob takes up ana's stream: %d", r.res.StatusCode)
	}
	again := ana.stands(after)
	for _, data := range []string{"2", "3"} {
		if _, params := again.told(); string(mcp.Get(params, "data")) != data {
			t.Fatalf("%s, not %s", params, data)
		}
	}
	next <- struct{}{}
	id, _ := again.asked("sampling/createMessage")
	last := again.after
	ana.answers(id, `{"n":7}`)
	again.id = k.id
	if r := again.last(); r.text() != "7" || again.next() != nil {
		t.Errorf("%s", r.body)
	}
	once := ana.stands(last)
	once.id = k.id
	if r := once.last(); r.text() != "7" || once.next() != nil || len(s.sent("tools/call")) != 1 {
		t.Errorf("after its end: %s, %d calls", r.body, len(s.sent("tools/call")))
	}
	token, _, _ := strings.Cut(after, ".")
	for _, wrong := range []string{token, token + ".", token + ".0", token + ".-1", token + ".x", "x.1", ".1"} {
		if r := ana.stands(wrong); r.res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", wrong, r.res.StatusCode)
		}
	}
	h.final(k.id)
	if n := recordsOf(h, k.id); n != 2 {
		t.Errorf("%d records", n)
	}
}

// TestT22AClientThatReadsNothingLosesItsStream: what waits for it is bounded, and nobody else waits for it.
func TestT22AClientThatReadsNothingLosesItsStream(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	s.speaksUp()
	h := start(t, scripted(t, s), nil)
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("bob", "/mcp/acts", mcp.V20260728, `{}`)
	ana.listens(`{"resourceSubscriptions":["memo://a"]}`) // reads the acknowledgement and nothing else
	reads, _ := bob.listens(`{"resourceSubscriptions":["memo://a"]}`)
	filler := `"uri":"memo://a","filler":"` + strings.Repeat("x", 64<<10) + `"`
	eventually(t, 20*time.Second, "both are heard", func() bool { return s.tellsAll("x/nothing", "") == 2 })
	reads.hears(s, "memo://a")
	for sent := 0; s.tellsAll("notifications/resources/updated", filler) == 2; sent++ {
		if sent == 2000 {
			t.Fatalf("the stream is still open after %d MiB", sent/16)
		}
		for message := reads.next(); !strings.Contains(string(message), "filler"); message = reads.next() {
		}
	}
	reads.hears(s, "memo://a")
}
