package edge_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// introductions are the requests that say what an endpoint can do.
var introductions = map[string]struct{ method, params string }{
	mcp.V20260728: {"server/discover", ""},
	mcp.V20251125: {"initialize", `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"check","version":"3"}}`},
}

// TestT27AnIntroductionIsRecordedBeforeServersAreAsked: to say what an endpoint can do, the edge may have to ask its servers.
func TestT27AnIntroductionIsRecordedBeforeServersAreAsked(t *testing.T) {
	for front, greets := range introductions {
		for back, asked := range introductions {
			for _, path := range []string{"/mcp", "/mcp/acts"} {
				t.Run(front+" to "+back+" at "+path, func(t *testing.T) {
					s := newScript(t, back)
					h := start(t, scripted(t, s), nil)
					s.does(asked.method, func(c *turn) {
						h.find("started", func(ev *eventsv1.Event) bool {
							return ev.GetPhase() == eventsv1.Phase_PHASE_STARTED && ev.GetRequest().GetMethod() == greets.method && ev.GetPrincipal().GetPerson() == "ana"
						})
						c.usual()
					})
					ana := &client{h: h, token: h.tokenFor("ana", h.base+"/mcp", nil), path: path, modern: mcp.Modern(front)}
					r := ana.send(greets.method, greets.params)
					if ev := h.final(r.id); r.error() != "" || recordsOf(h, r.id) != 2 || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || len(s.sent(asked.method)) != 1 {
						t.Errorf("%d records, %s", recordsOf(h, r.id), r.body)
					}
					r = ana.send(greets.method, greets.params) // it is known by now
					if h.final(r.id); recordsOf(h, r.id) != 1 || len(s.sent(asked.method)) != 1 {
						t.Errorf("%d records, asked %d times", recordsOf(h, r.id), len(s.sent(asked.method)))
					}
					h.world.ahead.Add(int64(2 * time.Minute)) // and has to be asked again
					h.broken.Store(true)
					must(t, h.journal.Close())
					if r := ana.send(greets.method, greets.params); r.result() != nil || len(s.sent(asked.method)) != 1 {
						t.Errorf("without a record: %s, asked %d times", r.body, len(s.sent(asked.method)))
					}
				})
			}
		}
	}
}

// TestT22AServerThatNeverAnswersDelaysNothingOfOthers: every list and introduction of all servers is there, and another server is called, while one
// server answers nothing. That one is let go after the last answer.
func TestT22AServerThatNeverAnswersDelaysNothingOfOthers(t *testing.T) {
	w, _, _ := many(t)
	never, release := newScript(t, mcp.V20251125), make(chan struct{})
	var once sync.Once
	free := func() { once.Do(func() { close(release) }) }
	t.Cleanup(free) // before the server closes
	var mu sync.Mutex
	var order []string
	happens := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	for _, method := range []string{"initialize", "server/discover", "tools/list"} {
		never.does(method, func(c *turn) {
			happens("asked")
			<-release
			happens("let go")
			c.w.WriteHeader(http.StatusServiceUnavailable)
		})
	}
	w.server("never", never.URL+"/mcp", []string{actTool}, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = "60s" })
	w.grant("person/ana", "never", "*", "call")
	h := start(t, w, nil)
	modern, legacy := h.guest("ana", "/mcp", mcp.V20260728, `{}`), h.guest("ana", "/mcp", mcp.V20251125, `{}`)
	for _, ana := range []*client{modern, legacy} {
		for _, one := range []struct{ method, list, member, params string }{
			{"tools/list", "tools", "name", ""}, {"prompts/list", "prompts", "name", ""}, {"resources/list", "resources", "uri", ""},
			{"resources/templates/list", "resourceTemplates", "uriTemplate", ""},
		} {
			r := ana.send(one.method, one.params)
			got := members(mcp.Elements(mcp.Get(r.result(), one.list)), one.member)
			if len(got) == 0 || string(mcp.Get(r.result(), "_meta", mcp.MetaUnavailable)) != `["never"]` {
				t.Errorf("%s: %s", one.method, r.body)
			}
			happens("answer")
		}
		if r := ana.call("b_b.act", `{}`); r.refused() || r.result() == nil {
			t.Errorf("%s", r.body)
		}
		happens("answer")
	}
	if r := modern.send("server/discover", ""); mcp.Get(r.result(), "capabilities", "prompts") == nil {
		t.Errorf("%s", r.body)
	}
	if r := legacy.send("logging/setLevel", `{"level":"info"}`); r.result() == nil {
		t.Errorf("%s", r.body)
	}
	happens("answer")
	free()
	eventually(t, 20*time.Second, "the server is let go", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(order, "let go")
	})
	mu.Lock()
	defer mu.Unlock()
	if said := strings.Join(order, ","); !strings.Contains(said, "asked") || slices.Index(order, "let go") < len(order)-1-slices.Index(reversed(order), "answer") {
		t.Errorf("%s", said)
	}
}

func reversed(of []string) []string {
	out := slices.Clone(of)
	slices.Reverse(out)
	return out
}
