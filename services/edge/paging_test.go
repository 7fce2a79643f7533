package edge_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// paged is a server of some pages of prompts, each with one.
func paged(t testing.TB, revision string, pages int) *script {
	s := methodScript(t, revision)
	s.does("prompts/list", func(c *turn) {
		at := 0
		if cursor, ok := mcp.Text(c.m.Params, "cursor"); ok {
			at, _ = strconv.Atoi(cursor)
		}
		keep := ""
		if mcp.Modern(revision) {
			keep = `,"resultType":"complete","ttlMs":5,"cacheScope":"public"`
		}
		if at++; at < pages {
			keep += `,"nextCursor":"` + strconv.Itoa(at) + `"`
		}
		c.result(`{"prompts":[{"name":"p` + strconv.Itoa(at) + `"}]` + keep + `}`)
	})
	return s
}

// TestAListOfAllGoesOnAtAnyEdge: pages are asked for at two edges in turn, of servers of both eras that have pages in different numbers; one of the edges
// that was not there when the list began reads it to its end.
func TestAListOfAllGoesOnAtAnyEdge(t *testing.T) {
	w := newWorld(t)
	w.person("ana", nil)
	w.person("bob", nil)
	long, short := paged(t, mcp.V20260728, 300), paged(t, mcp.V20251125, 3)
	for name, s := range map[string]*script{"long": long, "short": short} {
		w.server(name, s.URL+"/mcp", s.tools, nil)
		w.grant("person/ana", name, "*", "call")
		w.grant("person/bob", name, "*", "call")
	}
	one, two := start(t, w, nil), start(t, w, nil)
	for _, front := range []string{mcp.V20260728, mcp.V20251125} {
		at := []*client{one.guest("ana", "/mcp", front, `{}`), two.guest("ana", "/mcp", front, `{}`)}
		var names []string
		n, params := 0, ""
		for {
			c := at[n%2]
			r := c.send("prompts/list", params)
			if mcp.Get(r.result(), "_meta", mcp.MetaUnavailable) != nil || r.result() == nil {
				t.Fatalf("page %d: %s", n, r.body)
			}
			page := mcp.Elements(mcp.Get(r.result(), "prompts"))
			names = append(names, members(page, "name")...)
			if n == 1 {
				ev := c.h.final(r.id)
				if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || ev.GetList().GetShown() != 2 || recordsOf(c.h, r.id) != 2 {
					t.Errorf("recorded is %v", ev)
				}
			}
			next := mcp.Get(r.result(), "nextCursor")
			if n++; next == nil {
				break
			}
			params = `{"cursor":` + string(next) + `}`
			if n == 1 {
				bob := two.guest("bob", "/mcp", front, `{}`)
				if r := bob.send("prompts/list", params); string(mcp.Get(r.body, "error", "code")) != "-32602" || !strings.Contains(r.error(), "Ask again without a cursor") {
					t.Errorf("another person goes on with it: %s", r.body)
				}
			}
		}
		want := []string{"long.p1", "short.p1", "long.p2", "short.p2", "long.p3", "short.p3"}
		for i := 4; i <= 300; i++ {
			want = append(want, "long.p"+strconv.Itoa(i))
		}
		if n != 300 || !slices.Equal(names, want) {
			t.Errorf("%d pages: %.300v", n, names)
		}
	}
	if len(short.sent("prompts/list")) != 6 { // two lists of three pages
		t.Errorf("the short list was asked for %d times", len(short.sent("prompts/list")))
	}
}
