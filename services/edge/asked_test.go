package edge_test

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// askings are the requests that are no calls and reach a server all the same, with what the server gets of them.
var askings = []struct{ method, params string }{
	{"tools/list", ""}, {"prompts/list", ""}, {"resources/list", ""}, {"resources/templates/list", ""}, {"logging/setLevel", `{"level":"info"}`},
}

func TestT27WhatIsAskedOfServersIsRecordedBefore(t *testing.T) {
	for _, path := range []string{"/mcp", "/mcp/acts"} {
		s := methodScript(t, mcp.V20251125)
		s.does("logging/setLevel", func(c *turn) { c.result(`{}`) })
		w := scripted(t, s)
		h := start(t, w, nil)
		ana := h.guest("ana", path, mcp.V20251125, `{}`)
		for _, one := range askings {
			w.ahead.Add(int64(2 * time.Second)) // what was seen last is not believed any more
			h.settled()
			s.mu.Lock()
			usual := s.on[one.method]
			s.mu.Unlock()
			s.does(one.method, func(c *turn) {
				h.find("started before "+one.method, func(ev *eventsv1.Event) bool {
					return ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetRequest().GetMethod() == one.method
				})
				if usual == nil {
					c.usual()
					return
				}
				usual(c)
			})
			before := len(s.sent(one.method))
			r := ana.send(one.method, one.params)
			if r.error() != "" || len(s.sent(one.method)) <= before {
				t.Fatalf("%s at %s did not reach the server: %s", one.method, path, r.body)
			}
			h.final(r.id)
			if n := recordsOf(h, r.id); n != 2 {
				t.Errorf("%s at %s left %d records", one.method, path, n)
			}
			w.ahead.Store(0)
		}
		w.ahead.Store(int64(4 * time.Second))
		h.broken.Store(true)
		must(t, h.journal.Close())
		for _, one := range askings {
			before := len(s.sent(one.method))
			if r := ana.send(one.method, one.params); r.error() == "" || len(s.sent(one.method)) != before {
				t.Errorf("%s at %s reached the server without a record: %s", one.method, path, r.body)
			}
		}
	}
}

// What is answered from what is known leaves no started record: nothing happens.
func TestAListThatAsksNobodyHasOneRecord(t *testing.T) {
	s := methodScript(t, mcp.V20251125)
	w := scripted(t, s)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	eventually(t, 20*time.Second, "a list from what is known", func() bool {
		before := len(s.sent("tools/list"))
		r := ana.send("tools/list", "")
		h.final(r.id)
		return len(s.sent("tools/list")) == before && recordsOf(h, r.id) == 1
	})
}

// TestT22APageThatIsTooLongIsLeftOutOfTheListOfAll, and named; the lists of others are there.
func TestT22APageThatIsTooLongIsLeftOutOfTheListOfAll(t *testing.T) {
	s, large := methodScript(t, mcp.V20251125), methodScript(t, mcp.V20251125)
	large.does("prompts/list", func(c *turn) {
		c.result(`{"prompts":[{"name":"p","description":"` + strings.Repeat("x", 5<<20) + `"}],"nextCursor":"1"}`)
	})
	w := scripted(t, s)
	w.server("large", large.URL+"/mcp", large.tools, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "60s" })
	w.grant("person/ana", "large", "*", "call")
	h := start(t, w, nil)
	r := h.guest("ana", "/mcp", mcp.V20251125, `{}`).send("prompts/list", "")
	if string(mcp.Get(r.result(), "prompts")) != `[{"name":"acts.p"}]` || string(mcp.Get(r.result(), "_meta", mcp.MetaUnavailable)) != `["large"]` || mcp.Get(r.result(), "nextCursor") != nil {
		t.Errorf("%.300s", r.body)
	}
}
