package edge_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

const readingTool = `{"name":"get","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}},"annotations":{"readOnlyHint":true}}`

// reading is a world in which calls of echo are judged by facts, each of which get reads with its own argument.
func reading(t *testing.T, facts int, answer func(id string)) (*world, *upstream) {
	t.Helper()
	u := newUpstream(t, echoTool, readingTool)
	w := support(t, u)
	w.server("echo", u.url(), []string{echoTool, readingTool}, nil)
	var all []string
	spec := onEcho()
	spec.Facts = map[string]*authzv1.Fact{}
	for i := range facts {
		name := fmt.Sprintf("f%d", i)
		spec.Facts[name] = &authzv1.Fact{Tool: "get", Args: map[string]string{"id": `"` + name + `"`}, Path: "/structuredContent"}
		all = append(all, "facts."+name+`.priority == "normal"`)
	}
	spec.Rules = append(spec.Rules, rule("normal", strings.Join(all, " && "), "allow"))
	w.policy("known", spec)
	u.replies(func(out http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		if id, ok := mcp.Text(m.Arguments, "id"); ok {
			answer(id)
		}
		write(out, 200, string(mcp.Result(m.ID, textResult(m.Name, `,"structuredContent":{"priority":"normal"}}`))))
	})
	return w, u
}

// asked counts the calls of a tool that arrived.
func asked(u *upstream, tool string) int {
	n := 0
	for _, m := range u.called() {
		if name, _ := mcp.Text([]byte(m.body), "params", "name"); name == tool {
			n++
		}
	}
	return n
}

func TestAFactIsNotReadByAToolThatARuleBlocksForThePerson(t *testing.T) {
	w, u := reading(t, 1, func(string) {})
	about := func(when string) *authzv1.PolicySpec {
		match := &authzv1.Match{Server: "echo", Tools: []string{"get"}}
		return &authzv1.PolicySpec{Match: match, Default: "allow", Rules: []*authzv1.Rule{rule("not-ana", when, "block")}}
	}
	w.policy("get", about(`principal.name == "ana"`))
	h := start(t, w, nil)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"x"}`)
	if r.reason() != "fact-unavailable" || asked(u, "get") != 0 || asked(u, "echo") != 0 || !strings.Contains(r.text(), "get/not-ana") {
		t.Errorf("%s; get was called %d times", r.body, asked(u, "get"))
	}
	w.policy("get", about(`principal.name == "ben"`))
	eventually(t, 30*time.Second, "the rule is about somebody else", func() bool { return !h.client("ana", "/mcp/echo", true).call("echo", `{"text":"x"}`).refused() })
}

// A policy for the whole server is about the tool that reads its fact as well: only its rules that read no fact are asked about that.
func TestAPolicyForAllToolsOfAServerCanReadItsFactThere(t *testing.T) {
	w, u := reading(t, 1, func(string) {})
	spec := onEcho(rule("normal", `facts.f.priority == "normal"`, "allow"))
	spec.Match.Tools = nil
	spec.Facts = map[string]*authzv1.Fact{"f": {Tool: "get", Path: "/structuredContent"}}
	w.policy("known", spec)
	h := start(t, w, nil)
	if r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"x"}`); r.refused() || asked(u, "get") != 1 {
		t.Errorf("%s", r.body)
	}
}

// The record names what was read for a decision. It has the value where it may have the whole of it, so that the call can be judged again as it was.
func TestTheRecordHasTheFactsOfADecision(t *testing.T) {
	w, u := reading(t, 1, func(string) {})
	h := start(t, w, nil)
	for _, c := range []struct {
		about    string
		wish     *resourcev1.Recording
		document string
	}{
		{"hashes", nil, ""},
		{"copies", &resourcev1.Recording{Results: "redacted"}, `{"priority":"normal"}`},
		{"copies without the value", &resourcev1.Recording{Results: "redacted", Redact: []string{"/structuredContent/priority"}}, ""},
	} {
		w.server("echo", u.url(), []string{echoTool, readingTool}, func(s *trustv1.ServerState) { s.Server.Spec.Record = c.wish })
		eventually(t, 30*time.Second, c.about, func() bool {
			r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"x"}`)
			facts := h.final(r.id).GetDecision().GetFacts()
			if r.refused() || len(facts) != 1 || facts[0].GetName() != "known/f0" || facts[0].GetDeclared() == "" || facts[0].GetValue().GetHmac() == "" || facts[0].GetValue().GetBytes() != 21 {
				t.Fatalf("%s: %s: %v", c.about, r.body, h.final(r.id))
			}
			return facts[0].GetValue().GetDocument() == c.document
		})
	}
}

func TestFactsAreReadAtOnceAndSharedByCallsThatNeedTheSame(t *testing.T) {
	const facts = 8
	var mu sync.Mutex
	arrived, together := 0, make(chan struct{})
	w, u := reading(t, facts, func(string) {
		mu.Lock()
		if arrived++; arrived == facts {
			close(together)
		}
		mu.Unlock()
		select {
		case <-together: // each waits for all: one after the other they would never come
		case <-time.After(20 * time.Second):
		}
	})
	h := start(t, w, nil)
	began := time.Now()
	var calls sync.WaitGroup
	for range 2 {
		ana := h.client("ana", "/mcp/echo", true)
		calls.Go(func() {
			if r := ana.call("echo", `{"text":"x"}`); r.refused() {
				t.Errorf("%s", r.body)
			}
		})
	}
	calls.Wait()
	t.Logf("%d facts for two calls in %s", facts, time.Since(began))
	if got := asked(u, "get"); got != facts {
		t.Errorf("%d readings for %d facts", got, facts)
	}
}
