package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestALimitHoldsAndARefusedCallIsNotCounted(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	limit := rule("two", "true", "limit")
	limit.Limit = &authzv1.Limit{Calls: 2, Window: "24h"}
	w.policy("few", onEcho(limit, rule("big", "args.n > 10", "block"), rule("rest", "true", "allow")))
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	for range 5 {
		if r := ana.call("echo", `{"n":11}`); r.reason() != "rule" {
			t.Fatalf("%s", r.body)
		}
	}
	for range 2 {
		if r := ana.call("echo", `{"n":1}`); r.refused() {
			t.Fatalf("%s", r.body)
		}
	}
	r := ana.call("echo", `{"n":1}`)
	if r.reason() != "rate-limited" || !strings.Contains(r.text(), "at most 2 calls in 24h0m0s may pass (rule few/two)") {
		t.Fatalf("%s", r.body)
	}
	if ev := h.final(r.id); ev.GetOutcome() == eventsv1.Outcome_OUTCOME_SUCCESS || ev.GetDecision().GetRule() != "few/two" {
		t.Errorf("%v", ev)
	}
	if got := len(u.called()); got != 2 {
		t.Errorf("%d calls arrived", got)
	}
}

func TestASumOfADayHolds(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	spec := onEcho(rule("daily", "counters.n > 100", "block"), rule("rest", "true", "allow"))
	spec.Counters = map[string]*authzv1.Counter{"n": {Of: "args.n", Window: "24h"}}
	w.policy("sum", spec)
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	for i, c := range []struct {
		n      int
		passes bool
	}{{60, true}, {41, false}, {40, true}, {1, false}, {0, true}} {
		if r := ana.call("echo", fmt.Sprintf(`{"n":%d}`, c.n)); r.refused() == c.passes {
			t.Errorf("%d: %d: %s", i, c.n, r.body)
		}
	}
	w.ahead.Store(int64(25 * time.Hour))
	eventually(t, 20*time.Second, "the day is over", func() bool { return !ana.call("echo", `{"n":99}`).refused() })
}

// Threat T26: what others counted is not known, so nothing that is limited passes.
func TestT26WithoutWordOfOtherEdgesLimitedCallsAreRefused(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	limit := rule("many", "args.n == 1", "limit")
	limit.Limit = &authzv1.Limit{Calls: 1_000_000, Window: "1h"}
	w.policy("few", onEcho(limit, rule("rest", "true", "allow")))
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	if r := ana.call("echo", `{"n":1}`); r.refused() {
		t.Fatalf("%s", r.body)
	}
	w.countless.Store(true)
	eventually(t, 30*time.Second, "the count is stale", func() bool { return ana.call("echo", `{"n":1}`).reason() == "stale" })
	if r := ana.call("echo", `{"n":2}`); r.refused() {
		t.Errorf("a call that no limit is about is refused: %s", r.body)
	}
	w.countless.Store(false)
	eventually(t, 30*time.Second, "the count is known again", func() bool { return !ana.call("echo", `{"n":1}`).refused() })
}

func TestWhatARuleRedactsIsNotSeen(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"resultType":"complete","structuredContent":{"name":"Kim","ssn":"078-05-1120"},`+
				`"content":[{"type":"text","text":"{\"name\":\"Kim\",\"ssn\":\"078-05-1120\"}"},{"type":"text","text":"SSN: 078-05-1120"}]}}`)
		})
		w := support(t, u)
		r := rule("no-ssn", `!("health" in principal.clearances)`, "redact")
		r.Redact = []string{"/structuredContent/ssn"}
		w.policy("private", onEcho(r, rule("rest", "true", "allow")))
		h := start(t, w, nil)
		got := h.client("ana", "/mcp/echo", modern).call("echo", `{"n":1}`)
		if strings.Contains(string(got.body), "078-05") || !strings.Contains(got.text(), "Kim") || strings.Count(string(got.body), "[redacted:policy]") != 3 {
			t.Fatalf("%s", got.body)
		}
		if redacted := string(mcp.Get(got.body, "result", "_meta", mcp.MetaDecision, "redacted")); redacted != `["/structuredContent/ssn"]` {
			t.Errorf("%s", got.body)
		}
		ev := h.final(got.id)
		if ev.GetDecision().GetEffect() != "modify" || !strings.Contains(strings.Join(ev.GetFindings().GetNotes(), " "), "redacted: /structuredContent/ssn") {
			t.Errorf("%v", ev)
		}
	})
}

// A label says where a tool's results hold a class of data: without a policy, and for who has no clearance for it.
func TestAPlaceThatALabelNamesIsSeenByThoseWhoAreClearedForIt(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		u := newUpstream(t, echoTool)
		u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"resultType":"complete","structuredContent":{"name":"Kim","diagnosis":"J45.909"},`+
				`"content":[{"type":"text","text":"{\"name\":\"Kim\",\"diagnosis\":\"J45.909\"}"}]}}`)
		})
		w := newWorld(t)
		w.person("ana", nil)
		w.person("bob", func(p *identityv1.PersonSpec) { p.Clearances = []string{"health"} })
		w.server("echo", u.url(), []string{echoTool}, func(s *trustv1.ServerState) {
			s.Server.GetSpec().ToolLabels = map[string]*trustv1.Labels{"echo": {Labels: []string{"data:health@/structuredContent/diagnosis", "data:legal@?/structuredContent/case"}}}
		})
		w.grant("person/ana", "echo", "*", "call")
		w.grant("person/bob", "echo", "*", "call")
		h := start(t, w, nil)
		got := h.client("ana", "/mcp/echo", modern).call("echo", `{"n":1}`)
		if got.refused() || strings.Contains(string(got.body), "J45") || !strings.Contains(got.text(), "Kim") {
			t.Fatalf("%s", got.body)
		}
		if redacted := string(mcp.Get(got.body, "result", "_meta", mcp.MetaDecision, "redacted")); redacted != `["/structuredContent/diagnosis"]` {
			t.Errorf("%s", got.body)
		}
		ev := h.final(got.id)
		if ev.GetDecision().GetEffect() != "modify" || ev.GetDecision().GetRule() != "" || !strings.Contains(strings.Join(ev.GetFindings().GetNotes(), " "), "redacted: /structuredContent/diagnosis") {
			t.Errorf("%v", ev)
		}
		if got := h.client("bob", "/mcp/echo", modern).call("echo", `{"n":1}`); got.refused() || !strings.Contains(got.text(), "J45.909") {
			t.Errorf("%s", got.body)
		}
	})
}

// A value that is not where a rule says that it is may be anywhere: the result is withheld, and nothing says that something was taken out.
func TestAResultThatARuleMissesIsWithheld(t *testing.T) {
	u := newUpstream(t, echoTool)
	var result atomic.Value
	u.replies(func(w http.ResponseWriter, _ *http.Request, m *mcp.Message) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+result.Load().(string)+`}`)
	})
	w := support(t, u)
	must := rule("no-ssn", "args.n == 1", "redact")
	must.Redact = []string{"/structuredContent/ssn"}
	may := rule("no-ssn-there", "true", "redact")
	may.RedactIfThere = must.Redact
	w.policy("private", onEcho(must, may, rule("rest", "true", "allow")))
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	for _, says := range []string{
		`{"resultType":"complete","content":[{"type":"text","text":"Name: Jo\nSSN: 078-05-1120"}]}`,
		`{"resultType":"complete","content":[],"structuredContent":{"patient":{"ssn":"078-05-1120"}}}`,
		`{"resultType":"complete","content":[{"type":"text","text":"no patient 078-05-1120"}],"isError":true}`,
	} {
		result.Store(says)
		got := ana.call("echo", `{"n":1}`)
		if strings.Contains(string(got.body), "078-05") || got.reason() != "inspection" || !strings.Contains(got.text(), "withheld") ||
			!strings.Contains(got.text(), "/structuredContent/ssn") || mcp.Get(got.body, "result", "_meta", mcp.MetaDecision, "redacted") != nil {
			t.Errorf("%s", got.body)
		}
		if notes := strings.Join(h.final(got.id).GetFindings().GetNotes(), " "); strings.Contains(notes, "redacted") {
			t.Errorf("%s", notes)
		}
		got = ana.call("echo", `{"n":2}`)
		if got.refused() && !strings.Contains(says, "isError") || mcp.Get(got.body, "result", "_meta", mcp.MetaDecision, "redacted") != nil {
			t.Errorf("what a result may do without: %s", got.body)
		}
	}
}

// What goes on is no further call: neither asking for a task, nor the next request of a call that waits, nor a change that is told.
func TestWhatGoesOnIsCountedOnce(t *testing.T) {
	members := `"status":"working"`
	limited := func(tool string, calls int64) *authzv1.PolicySpec {
		limit := rule("few", "true", "limit")
		limit.Limit = &authzv1.Limit{Calls: calls, Window: "24h"}
		return onActs([]string{tool}, limit, rule("rest", "true", "allow"))
	}
	s := taskScript(t, &members)
	w := scripted(t, s)
	w.policy("few", limited("act", 1))
	ana := start(t, w, nil).guest("ana", "/mcp/acts", mcp.V20260728, tasking)
	id := ana.begins("act", `{}`)
	for range 5 {
		if r := ana.send("tasks/get", about(id)); r.error() != "" {
			t.Fatalf("%s", r.body)
		}
	}
	if r := ana.call("act", `{}`); r.reason() != "rate-limited" {
		t.Errorf("a second call: %s", r.body)
	}

	waiting := asking(t, "Name?")
	w = scripted(t, waiting)
	w.policy("few", limited("act", 1))
	ana = start(t, w, nil).guest("ana", "/mcp/acts", mcp.V20260728, asks)
	q := required(t, ana.call("act", `{}`))
	if r := ana.send("tools/call", again(q, `{}`, accepted("A"))); r.text() != accepted("A") {
		t.Errorf("%s", r.body)
	}

	told := methodScript(t, mcp.V20251125)
	told.speaksUp()
	w = scripted(t, told)
	w.policy("few", limited("resources/read", 1))
	ana = start(t, w, nil).guest("ana", "/mcp/acts", mcp.V20260728, `{}`)
	k, _ := ana.listens(`{"resourceSubscriptions":["memo://a"]}`)
	for range 5 {
		k.hears(told, "memo://a")
	}
	if r := ana.send("resources/read", `{"uri":"memo://a"}`); r.error() != "" {
		t.Errorf("%s", r.body)
	}
}
