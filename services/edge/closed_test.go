package edge_test

import (
	"strings"
	"testing"
	"time"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Threat T26: whatever keeps a call from being judged refuses it, with a reason of its own, and its record is an alert. What is behind authz (OpenFGA that is
// down, slow or confused) is tried there; here it is authz that does not answer.
func TestT26NothingFailsOpenAndEachFailureIsAnAlert(t *testing.T) {
	const ordinary = "has(args.n) && args.n == 1"
	for _, c := range []struct {
		name, when   string
		fail         func(*world)
		heal         func(*world)
		reason, says string
	}{
		{name: "authz cannot resolve rights", fail: func(w *world) { w.unresolved.Store(true); w.person("ana", nil) }, heal: func(w *world) { w.unresolved.Store(false) },
			reason: "relation-unavailable", says: "could not be looked up"},
		{name: "authz cannot look up a relation", when: `related("ticket:1", "owner")`, fail: func(w *world) { w.unrelated.Store(true) },
			heal: func(w *world) { w.unrelated.Store(false) }, reason: "relation-unavailable", says: "ticket:1#owner is not known"},
		{name: "a relation that the model does not have", when: `related("nonsense:1", "owner")`, fail: func(w *world) { w.foreign.Store(true) },
			heal: func(w *world) { w.foreign.Store(false) }, reason: "relation-unavailable", says: "know no objects of type"},
		{name: "a snapshot that is old", fail: func(w *world) { w.silence("authz") }, reason: "stale", says: "has not heard from the service authz"},
		{name: "a clock that jumps forward", fail: func(w *world) { w.wrong.Store(int64(10 * time.Minute)) },
			heal: func(w *world) { w.ahead.Add(int64(61 * time.Second)) }, reason: "clock", says: "jumped forward by 10m0s"},
		{name: "a clock that jumps back", fail: func(w *world) { w.wrong.Store(int64(-time.Minute)) },
			heal: func(w *world) { w.ahead.Add(int64(61 * time.Second)) }, reason: "clock", says: "jumped back by 1m0s"},
		{name: "a rule that breaks", when: "args.n / (args.n - 1) > 0", reason: "rule-error", says: "division by zero"},
		{name: "a type that is another", when: "args.text.startsWith('x') || args.n.startsWith('x')", reason: "rule-type", says: "another type than it takes"},
		{name: "a rule that takes too much work", when: `args.text.split("").exists(x, args.text.split("").exists(y, args.text.split("").exists(z, x + y + z == "???")))`,
			reason: "rule-cost", says: "more work than a rule may"},
		{name: "circumstances that are not known", when: `request.country == "DE"`, reason: "rule-error", says: "request.country is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, echoTool)
			w := support(t, u)
			when := c.when
			if when == "" {
				when = ordinary + " && false"
			}
			w.policy("closed", onEcho(&authzv1.Rule{Name: "tried", When: when, Effect: "block"}, rule("rest", "true", "allow")))
			h := start(t, w, nil)
			ana := h.client("ana", "/mcp/echo", true)
			args := `{"n":1,"text":"` + strings.Repeat("abcdefgh", 40) + `"}`
			healthy := func() bool { return !ana.call("echo", args).refused() }
			if c.fail != nil {
				if when == ordinary+" && false" && !healthy() {
					t.Fatal("it does not work before")
				}
				c.fail(w)
			}
			before := len(u.called())
			var r reply
			eventually(t, 40*time.Second, "it is refused", func() bool { r = ana.call("echo", args); return r.reason() == c.reason })
			said := r.text() + r.error()
			if !strings.Contains(said, c.says) {
				t.Errorf("%s", said)
			}
			ev := h.final(r.id)
			if !ev.GetAlert() || ev.GetDecision().GetEffect() != "block" {
				t.Errorf("%v", ev)
			}
			after := len(u.called())
			if again := ana.call("echo", args); again.reason() != c.reason || len(u.called()) != after {
				t.Errorf("%s reached the server: %d, %d, %d", again.body, before, after, len(u.called()))
			}
			if c.heal == nil {
				return
			}
			c.heal(w)
			eventually(t, 40*time.Second, "it works again", func() bool { return ana.call("echo", args).reason() != c.reason })
		})
	}
}
