package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/tools/e2e/product"
)

// questioners is a tenant with a server of each era that asks, and two people who may call both.
func questioners(legacy, modern string) string {
	return fmt.Sprintf(`
{apiVersion: headgate/v1, kind: Server, metadata: {name: legacy, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Server, metadata: {name: modern, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [all]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: bob, tenant: acme}, spec: {email: bob@acme.example, roles: [all]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: all, tenant: acme}, spec: {grants: [{server: legacy, tools: ["*"], can: call}, {server: modern, tools: ["*"], can: call}]}}
`, legacy, modern)
}

// pair is two edges behind a balancer that gives each request to the other one than the request before, and the servers behind them.
type pair struct {
	*product.Product
	legacy, modern *questioner
}

func startPair(t *testing.T) *pair {
	legacy, modern := startQuestioner(t, false), startQuestioner(t, true)
	return &pair{product.Start(t, product.Balanced, questioners(legacy.URL, modern.URL)), legacy, modern}
}

// TestWhatOneEdgeBeganTheOtherGoesOnWith: consecutive requests never meet the same edge.
func TestWhatOneEdgeBeganTheOtherGoesOnWith(t *testing.T) {
	p := startPair(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *pair)
	}{
		{"a question is answered at the other edge", answeredElsewhere},
		{"a call is cancelled at the other edge", cancelledElsewhere},
		{"a waiting call is taken up at the other edge", resumedElsewhere},
		{"a server's state is good once at all edges", usedElsewhere},
		{"a broken stream is taken up at the other edge", continuedElsewhere},
		{"a subscription is heard at the other edge", heardElsewhere},
		{"a session ends at all edges", endedElsewhere},
		{"a client that sends no session's id is asked at every edge", strayAsked},
		{"a client that sends no session's id cancels at every edge", strayCancels},
		{"a client that sends no session's id hears at every edge", strayHears},
		{"T14 another person cannot reach it through the other edge", foreignElsewhere},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, p) })
	}
}

// each runs something as often as needed to begin at each edge.
func each(run func(n int)) {
	for n := range 4 {
		run(n)
	}
}

func answeredElsewhere(t *testing.T, p *pair) {
	each(func(n int) {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		id := fmt.Sprint("answered-", n)
		k := ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`)
		question := k.question()
		if status := ana.posts(`{"jsonrpc":"2.0","id":` + question + `,"result":{"action":"accept","content":{"name":"ana"}}}`); status != http.StatusAccepted {
			t.Errorf("the answer: %d", status)
		}
		if got := toolText(k.answer()); got != "hello ana" {
			t.Errorf("%q", got)
		}
		if begun, finished, _ := p.legacy.counts(id); begun != 1 || finished != 1 {
			t.Errorf("executed %d times, finished %d times", begun, finished)
		}
	})
}

func cancelledElsewhere(t *testing.T, p *pair) {
	each(func(n int) {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		id := fmt.Sprint("cancelled-", n)
		k := ana.begin("tools/call", `{"name":"wait","arguments":{"id":"`+id+`"}}`)
		k.next() // it has begun
		if status := ana.posts(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + k.id + `}}`); status != http.StatusAccepted {
			t.Errorf("the notice: %d", status)
		}
		if message := k.answer(); !strings.Contains(string(message), "cancelled") {
			t.Errorf("%s", message)
		}
		product.Eventually(t, 5*time.Second, "the server is told", func() bool { _, _, cancelled := p.legacy.counts(id); return cancelled == 1 })
	})
}

// required is the state with which a call wants to be made again.
func required(t *testing.T, message []byte) (state, key string) {
	t.Helper()
	state, ok := mcp.Text(message, "result", "requestState")
	names, _ := mcp.Members(mcp.Get(message, "result", "inputRequests"))
	if !ok || len(names) != 1 {
		t.Fatalf("it asks for nothing: %s", message)
	}
	return state, names[0]
}

func again(id, state, key, name string) string {
	return `{"name":"ask","arguments":{"id":"` + id + `"},"requestState":"` + state + `","inputResponses":{"` + key + `":{"action":"accept","content":{"name":"` + name + `"}}}}`
}

func resumedElsewhere(t *testing.T, p *pair) {
	ana := speaks(t, p.Product, "ana", "legacy", true)
	each(func(n int) {
		id := fmt.Sprint("resumed-", n)
		state, key := required(t, ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`).answer())
		for range n { // begins at each edge in turn
			ana.begin("tools/list", `{}`).answer()
		}
		if got := toolText(ana.begin("tools/call", again(id, state, key, "ana")).answer()); got != "hello ana" {
			t.Errorf("%q", got)
		}
		for range 2 { // at both
			if message := ana.begin("tools/call", again(id, state, key, "ana")).answer(); !strings.Contains(string(message), "not good for this request") {
				t.Errorf("used again: %s", message)
			}
		}
		if begun, finished, _ := p.legacy.counts(id); begun != 1 || finished != 1 {
			t.Errorf("executed %d times, finished %d times", begun, finished)
		}
	})
}

func usedElsewhere(t *testing.T, p *pair) {
	ana := speaks(t, p.Product, "ana", "modern", true)
	each(func(n int) {
		id := fmt.Sprint("used-", n)
		state, key := required(t, ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`).answer())
		for range n {
			ana.begin("tools/list", `{}`).answer()
		}
		if got := toolText(ana.begin("tools/call", again(id, state, key, "ana")).answer()); got != "hello ana" {
			t.Errorf("%q", got)
		}
		for range 2 {
			if message := ana.begin("tools/call", again(id, state, key, "ana")).answer(); !strings.Contains(string(message), "not good for this request") {
				t.Errorf("used again: %s", message)
			}
		}
		if _, finished, _ := p.modern.counts(id); finished != 1 {
			t.Errorf("finished %d times", finished)
		}
	})
}

func continuedElsewhere(t *testing.T, p *pair) {
	each(func(n int) {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		id := fmt.Sprint("continued-", n)
		k := ana.begin("tools/call", `{"name":"wait","arguments":{"id":"`+id+`"}}`)
		if message := k.next(); !strings.Contains(string(message), id) || k.last == "" {
			t.Fatalf("%s without an event id", message)
		}
		k.leave()
		rest := ana.stands(k.last)
		p.legacy.release <- struct{}{}
		if message := rest.next(); !strings.Contains(string(message), "released") {
			t.Errorf("%s", message)
		}
		if got := toolText(rest.answer()); got != "waited" || rest.next() != nil {
			t.Errorf("%q", got)
		}
		if begun, finished, _ := p.legacy.counts(id); begun != 1 || finished != 1 {
			t.Errorf("executed %d times, finished %d times", begun, finished)
		}
	})
}

func heardElsewhere(t *testing.T, p *pair) {
	each(func(n int) {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		uri := fmt.Sprint("memo://", n)
		standing := ana.stands("")
		if message := ana.begin("resources/subscribe", `{"uri":"`+uri+`"}`).answer(); mcp.Get(message, "error") != nil {
			t.Fatalf("%s", message)
		}
		product.Eventually(t, 10*time.Second, "the change is heard", func() bool {
			p.legacy.tell(uri)
			select {
			case ev := <-standing.said:
				return strings.Contains(string(ev.Data), uri)
			case <-time.After(50 * time.Millisecond):
				return false
			}
		})
		standing.leave()
	})
}

func endedElsewhere(t *testing.T, p *pair) {
	each(func(int) {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		standing := ana.stands("")
		if k := ana.send(http.MethodDelete, "", "", "", ""); k.status != http.StatusNoContent {
			t.Errorf("the end: %d %s", k.status, k.next())
		}
		for range 2 {
			k := ana.begin("tools/list", `{}`)
			if k.status != http.StatusNotFound {
				t.Errorf("after its end: %d %s", k.status, k.next())
			}
		}
		for message := standing.next(); message != nil; message = standing.next() {
		}
	})
}

// strays is a client that was given a session's id and never sends it.
func strays(t *testing.T, p *pair, person string) *speaker {
	t.Helper()
	c := speaks(t, p.Product, person, "legacy", false)
	c.session = ""
	return c
}

func strayAsked(t *testing.T, p *pair) {
	each(func(n int) {
		ana, bob := strays(t, p, "ana"), speaks(t, p.Product, "bob", "legacy", false)
		id := fmt.Sprint("stray-", n)
		for range n % 2 {
			_ = ana.begin("ping", `{}`).answer() // the next request meets the other edge
		}
		k := ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`)
		question := k.question()
		bob.session = ""
		if status := bob.posts(`{"jsonrpc":"2.0","id":` + question + `,"result":{"action":"accept","content":{"name":"bob"}}}`); status != http.StatusBadRequest {
			t.Errorf("another person's answer: %d", status)
		}
		for range n / 2 {
			_ = ana.begin("ping", `{}`).answer()
		}
		if status := ana.posts(`{"jsonrpc":"2.0","id":` + question + `,"result":{"action":"accept","content":{"name":"ana"}}}`); status != http.StatusAccepted {
			t.Errorf("the answer: %d", status)
		}
		if got := toolText(k.answer()); got != "hello ana" {
			t.Errorf("%q", got)
		}
		if begun, finished, _ := p.legacy.counts(id); begun != 1 || finished != 1 {
			t.Errorf("executed %d times, finished %d times", begun, finished)
		}
	})
}

func strayCancels(t *testing.T, p *pair) {
	each(func(n int) {
		ana := strays(t, p, "ana")
		ana.ids = 1000 * (n + 1) // nothing else tells it from the one before, whose call has just ended
		id := fmt.Sprint("stray-cancelled-", n)
		k := ana.begin("tools/call", `{"name":"wait","arguments":{"id":"`+id+`"}}`)
		k.next() // it has begun
		for range n % 2 {
			_ = ana.begin("ping", `{}`).answer()
		}
		if status := ana.posts(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + k.id + `}}`); status != http.StatusAccepted {
			t.Errorf("the notice: %d", status)
		}
		if message := k.answer(); !strings.Contains(string(message), "cancelled") {
			t.Errorf("%s", message)
		}
		product.Eventually(t, 5*time.Second, "the server is told", func() bool { _, _, cancelled := p.legacy.counts(id); return cancelled == 1 })
	})
}

func strayHears(t *testing.T, p *pair) {
	each(func(n int) {
		ana := strays(t, p, "ana")
		uri := fmt.Sprint("memo://stray-", n)
		standing := ana.stands("")
		for range n % 2 {
			_ = ana.begin("ping", `{}`).answer()
		}
		if message := ana.begin("resources/subscribe", `{"uri":"`+uri+`"}`).answer(); mcp.Get(message, "error") != nil {
			t.Fatalf("%s", message)
		}
		product.Eventually(t, 10*time.Second, "the change is heard", func() bool {
			p.legacy.tell(uri)
			select {
			case ev := <-standing.said:
				return strings.Contains(string(ev.Data), uri)
			case <-time.After(50 * time.Millisecond):
				return false
			}
		})
		standing.leave()
	})
}

func foreignElsewhere(t *testing.T, p *pair) {
	each(func(n int) {
		ana, bob := speaks(t, p.Product, "ana", "legacy", false), speaks(t, p.Product, "bob", "legacy", false)
		id := fmt.Sprint("foreign-", n)
		k := ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`)
		question := k.question()
		answer := `{"jsonrpc":"2.0","id":` + question + `,"result":{"action":"accept","content":{"name":"bob"}}}`
		stolen := *bob
		stolen.session = ana.session
		for range 2 { // at both
			if status := bob.posts(answer); status != http.StatusBadRequest {
				t.Errorf("bob answers: %d", status)
			}
			if status := stolen.posts(answer); status != http.StatusNotFound {
				t.Errorf("bob answers in ana's session: %d", status)
			}
			if k := bob.stands(k.last); k.status != http.StatusBadRequest {
				t.Errorf("bob takes up ana's stream: %d", k.status)
			}
			bob.posts(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + k.id + `}}`)
		}
		ana.posts(strings.Replace(answer, `"bob"`, `"ana"`, 1))
		if got := toolText(k.answer()); got != "hello ana" {
			t.Errorf("%q", got)
		}
	})
}

// TestWhatAKilledEdgeHeldIsSaidOrGoneOnWith kills one of the two edges while each of them holds something.
func TestWhatAKilledEdgeHeldIsSaidOrGoneOnWith(t *testing.T) {
	p := startPair(t)
	const atEach = 2 // one begins at each edge
	var sessions []*speaker
	var calls, standing []*talk
	for n := range atEach {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		ana.begin("tools/list", `{}`).answer() // the next session begins at the other edge
		sessions = append(sessions, ana)
		k := ana.begin("tools/call", `{"name":"wait","arguments":{"id":"dies-`+fmt.Sprint(n)+`"}}`)
		k.next()
		calls = append(calls, k)
		standing = append(standing, ana.stands(""))
		ana.begin("tools/list", `{}`).answer()
	}
	ended := endedAtBoth(t, p)
	waits := speaks(t, p.Product, "ana", "legacy", true)
	uses := speaks(t, p.Product, "ana", "modern", true)
	var parked, states [][2]string
	for n := range atEach {
		state, key := required(t, waits.begin("tools/call", `{"name":"ask","arguments":{"id":"parked-`+fmt.Sprint(n)+`"}}`).answer())
		parked = append(parked, [2]string{state, key})
	}
	for n := range atEach {
		state, key := required(t, uses.begin("tools/call", `{"name":"ask","arguments":{"id":"state-`+fmt.Sprint(n)+`"}}`).answer())
		states = append(states, [2]string{state, key})
	}
	p.Stack().Process("edge2").Kill()
	close(p.legacy.release)

	t.Run("a call under way is answered or its end is unknown, and it ran once", func(t *testing.T) { callsAfter(t, p, calls) })
	t.Run("a waiting call is taken up or refused, and it ran once", func(t *testing.T) { parkedAfter(t, p, waits, parked) })
	t.Run("a server's state is good once", func(t *testing.T) { statesAfter(t, p, uses, states) })
	t.Run("sessions go on", func(t *testing.T) { sessionsAfter(t, p, sessions, standing) })
	t.Run("sessions that were ended do not", func(t *testing.T) { endedAfter(t, p, ended) })
}

func callsAfter(t *testing.T, p *pair, calls []*talk) {
	whole := 0
	for n, k := range calls {
		message := k.answer()
		switch {
		case toolText(message) == "waited":
			whole++
		case message == nil: // its stream broke off with the edge
		case strings.Contains(string(message), "Look whether the call took effect"):
		default:
			t.Errorf("call %d: %s", n, message)
		}
		if begun, _, _ := p.legacy.counts(fmt.Sprint("dies-", n)); begun != 1 {
			t.Errorf("call %d was executed %d times", n, begun)
		}
	}
	if whole != 1 {
		t.Errorf("%d calls were answered, not the one of the edge that lives", whole)
	}
}

func parkedAfter(t *testing.T, p *pair, waits *speaker, parked [][2]string) {
	whole := 0
	for n, one := range parked {
		id := fmt.Sprint("parked-", n)
		message := waits.begin("tools/call", again(id, one[0], one[1], "ana")).answer()
		switch {
		case toolText(message) == "hello ana":
			whole++
		case strings.Contains(string(message), "not good for this request"):
		default:
			t.Errorf("%s: %s", id, message)
		}
		if begun, _, _ := p.legacy.counts(id); begun != 1 {
			t.Errorf("%s was executed %d times", id, begun)
		}
	}
	if whole != 1 {
		t.Errorf("%d waiting calls went on, not the one of the edge that lives", whole)
	}
}

func statesAfter(t *testing.T, p *pair, uses *speaker, states [][2]string) {
	for n, one := range states {
		id := fmt.Sprint("state-", n)
		if message := uses.begin("tools/call", again(id, one[0], one[1], "ana")).answer(); toolText(message) != "hello ana" {
			t.Errorf("%s: %s", id, message)
		}
		if message := uses.begin("tools/call", again(id, one[0], one[1], "ana")).answer(); !strings.Contains(string(message), "not good for this request") {
			t.Errorf("%s, used again: %s", id, message)
		}
		if _, finished, _ := p.modern.counts(id); finished != 1 {
			t.Errorf("%s was finished %d times", id, finished)
		}
	}
}

func sessionsAfter(t *testing.T, p *pair, sessions []*speaker, standing []*talk) {
	broken := 0
	for n, ana := range sessions {
		select {
		case _, going := <-standing[n].said:
			if !going {
				broken++
			}
		case <-time.After(time.Second):
		}
		id := fmt.Sprint("after-", n)
		k := ana.begin("tools/call", `{"name":"ask","arguments":{"id":"`+id+`"}}`)
		ana.posts(`{"jsonrpc":"2.0","id":` + k.question() + `,"result":{"action":"accept","content":{"name":"ana"}}}`)
		if got := toolText(k.answer()); got != "hello ana" {
			t.Errorf("session %d: %q", n, got)
		}
		if begun, finished, _ := p.legacy.counts(id); begun != 1 || finished != 1 {
			t.Errorf("%s was executed %d times, finished %d times", id, begun, finished)
		}
		if fresh := ana.stands(""); fresh.status != http.StatusOK {
			t.Errorf("session %d has no stream any more: %d", n, fresh.status)
		}
	}
	if broken == 0 {
		t.Error("no stream ended with its edge")
	}
}

// endedAtBoth ends sessions that began at different edges.
func endedAtBoth(t *testing.T, p *pair) []*speaker {
	var ended []*speaker
	for range 2 {
		ana := speaks(t, p.Product, "ana", "legacy", false)
		if k := ana.send(http.MethodDelete, "", "", "", ""); k.status != http.StatusNoContent {
			t.Fatalf("the end: %d %s", k.status, k.next())
		}
		ana.stands("").leave() // the next session begins at the other edge
		ended = append(ended, ana)
	}
	return ended
}

// endedAfter asks for what was ended at the edge that is left, and then at the one that was killed, when it is alone.
func endedAfter(t *testing.T, p *pair, ended []*speaker) {
	gone := func(edge string) {
		t.Helper()
		for n, ana := range ended {
			if k := ana.begin("tools/list", `{}`); k.status != http.StatusNotFound {
				t.Errorf("session %d at %s: %d %s", n, edge, k.status, k.next())
			}
		}
	}
	gone("the edge that is left")
	if err := p.Stack().Run("edge2"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stack().WaitReady("edge2"); err != nil {
		t.Fatal(err)
	}
	p.Stack().Process("edge").Kill()
	gone("the edge that was killed")
}
