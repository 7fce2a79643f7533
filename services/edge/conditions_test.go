package edge_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Every client of these tests calls from the first.
var (
	fromHere = &authzv1.CallCondition{Networks: []string{"127.0.0.0/8"}}
	fromAway = &authzv1.CallCondition{Networks: []string{"192.0.2.0/24"}}
	small    = &authzv1.CallCondition{Argument: "/n", Max: "10", Currency: "EUR"}
)

// holds makes these, by tool, all that a principal has of a server; nil is a grant without a condition.
func (w *world) holds(who, server string, grants map[string]*authzv1.CallCondition) {
	var rights []*authzv1.Entitlement
	for tool, c := range grants {
		rights = append(rights, &authzv1.Entitlement{
			Server: server, Tool: tool, CanSee: true, CanCall: c == nil, CallIf: c, Via: who + " → role test → tool " + server + "." + tool + " " + terms.Words(c),
		})
	}
	w.mu.Lock()
	w.rights[who] = rights
	m := &authzv1.WatchResponse{Revision: w.next(), Changed: []*authzv1.Principal{{Tenant: acme}}}
	w.mu.Unlock()
	w.authzHub.Publish(m)
}

func renamed(tool, name string) string { return strings.Replace(tool, `"echo"`, `"`+name+`"`, 1) }

// conditioned is a world in which ana holds four tools, three of them under a condition.
func conditioned(t *testing.T) (*world, *upstream) {
	tools := []string{renamed(echoTool, "away"), renamed(echoTool, "home"), renamed(echoTool, "open"), renamed(echoTool, "pay")}
	u := newUpstream(t, tools...)
	w := newWorld(t)
	w.person("ana", nil)
	w.server("echo", u.url(), tools, nil)
	w.holds("person/ana", "echo", map[string]*authzv1.CallCondition{"away": fromAway, "home": fromHere, "open": nil, "pay": small})
	return w, u
}

// outcome is why a call was refused; empty when it was made.
func outcome(r reply) string {
	if r.reason() == "" && !strings.Contains(r.text(), "{") {
		return string(r.body)
	}
	return r.reason()
}

func TestAGrantWithAConditionIsListedAndHoldsForCallsThatMeetIt(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		w, u := conditioned(t)
		h := start(t, w, nil)
		ana := h.client("ana", "/mcp/echo", modern)
		if got := ana.names(); !slices.Equal(got, []string{"away", "home", "open", "pay"}) {
			t.Errorf("the list is not whole: %v", got)
		}
		for _, c := range []struct{ tool, arguments, unmet string }{
			{"open", `{"n":5000}`, ""}, {"home", `{"n":5000}`, ""}, {"away", `{"n":1}`, "this call came from 127.0.0.1"},
			{"pay", `{"n":10}`, ""}, {"pay", `{"n":11}`, "the amount of this call is larger"}, {"pay", `{"n":-1}`, "negative"}, {"pay", `{"text":"5"}`, "no amount in EUR at /n"},
			{"pay", `{}`, "no amount in EUR at /n"},
		} {
			before := len(u.called())
			r := ana.call(c.tool, c.arguments)
			if c.unmet == "" {
				if outcome(r) != "" || len(u.called()) != before+1 {
					t.Errorf("%s %s: %s", c.tool, c.arguments, r.body)
				}
				continue
			}
			if outcome(r) != "condition" || !strings.Contains(r.text(), c.unmet) || !strings.Contains(r.text(), "role test → tool echo."+c.tool) || len(u.called()) != before {
				t.Errorf("%s %s: %s", c.tool, c.arguments, r.body)
			}
			d := h.final(r.id).GetDecision()
			if d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_CONDITION || !strings.Contains(d.GetVia(), terms.Words(map[string]*authzv1.CallCondition{"away": fromAway, "pay": small}[c.tool])) {
				t.Errorf("%s %s, recorded: %v", c.tool, c.arguments, d)
			}
		}
		if d := h.find("a call of home", func(ev *eventsv1.Event) bool {
			return ev.GetTarget().GetTool() == "home" && ev.GetPhase() == eventsv1.Phase_PHASE_FINAL
		}).GetDecision(); !strings.HasSuffix(d.GetVia(), "from 127.0.0.0/8") {
			t.Errorf("the path of a call that met its condition: %v", d)
		}
		w.holds("person/ana", "echo", map[string]*authzv1.CallCondition{"away": fromHere, "home": fromAway})
		eventually(t, 30*time.Second, "other conditions hold", func() bool {
			return outcome(ana.call("away", `{"n":1}`)) == "" && outcome(ana.call("home", `{"n":1}`)) == "condition"
		})
	})
}

func TestEachCallOfABatchMeetsItsConditionByItself(t *testing.T) {
	w, u := conditioned(t)
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/echo", mcp.V20250326, `{}`)
	var batch []string
	for id, c := range []string{`"pay","arguments":{"n":1}`, `"pay","arguments":{"n":99}`, `"away","arguments":{}`, `"open","arguments":{}`} {
		batch = append(batch, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%s}}`, id, c))
	}
	r := ana.post("["+strings.Join(batch, ",")+"]", ana.header("", ""))
	var answers []json.RawMessage
	if err := json.Unmarshal(r.body, &answers); err != nil || len(answers) != 4 {
		t.Fatalf("%v: %s", err, r.body)
	}
	for _, raw := range answers {
		one := reply{body: raw}
		if got, want := outcome(one), map[string]string{"0": "", "1": "condition", "2": "condition", "3": ""}[string(mcp.Get(raw, "id"))]; got != want {
			t.Errorf("%q, want %q: %s", got, want, raw)
		}
	}
	if n := len(u.called()); n != 2 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestAnAgentMeetsItsConditionAndThatOfItsPerson(t *testing.T) {
	w, u := conditioned(t)
	w.agent("bot", "ana")
	w.holds("agent/bot", "echo", map[string]*authzv1.CallCondition{"away": nil, "home": small, "open": small, "pay": fromAway})
	h := start(t, w, nil)
	bot := &client{h: h, path: "/mcp/echo", modern: true, token: h.agentToken("ana", "bot")}
	if got := bot.names(); !slices.Equal(got, []string{"away", "home", "open", "pay"}) {
		t.Errorf("the list is not whole: %v", got)
	}
	for _, c := range []struct{ tool, arguments, unmet string }{
		{"open", `{"n":1}`, ""}, {"open", `{"n":99}`, "larger"}, {"home", `{"n":1}`, ""}, {"home", `{"n":99}`, "larger"}, {"away", `{"n":1}`, "127.0.0.1"}, {"pay", `{"n":1}`, "127.0.0.1"},
	} {
		r := bot.call(c.tool, c.arguments)
		if c.unmet == "" && outcome(r) != "" || c.unmet != "" && (outcome(r) != "condition" || !strings.Contains(r.text(), c.unmet)) {
			t.Errorf("%s %s: %s", c.tool, c.arguments, r.body)
		}
	}
	if n := len(u.called()); n != 2 {
		t.Errorf("%d calls arrived", n)
	}
}

func TestAMethodIsAskedWhereItsGrantHolds(t *testing.T) {
	w := scripted(t, methodScript(t, mcp.V20251125))
	h := start(t, w, nil)
	ana := h.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	for _, q := range requests {
		w.holds("person/ana", "acts", map[string]*authzv1.CallCondition{q.as: fromAway})
		eventually(t, 30*time.Second, q.as+" is refused here", func() bool { return ana.send(q.method, q.params).reason() == "condition" })
		w.holds("person/ana", "acts", map[string]*authzv1.CallCondition{q.as: fromHere})
		eventually(t, 30*time.Second, q.as+" is answered here", func() bool { r := ana.send(q.method, q.params); return r.error() == "" && r.result() != nil })
	}
}

func TestAFactIsReadOnlyWhereTheGrantOfItsToolHolds(t *testing.T) {
	w, u := reading(t, 1, func(string) {})
	w.holds("person/ana", "echo", map[string]*authzv1.CallCondition{"echo": nil, "get": fromAway})
	h := start(t, w, nil)
	ana := h.client("ana", "/mcp/echo", true)
	if r := ana.call("echo", `{"text":"x"}`); r.reason() != "fact-unavailable" || asked(u, "get") != 0 || !strings.Contains(r.text(), "127.0.0.1") {
		t.Errorf("%s; get was called %d times", r.body, asked(u, "get"))
	}
	w.holds("person/ana", "echo", map[string]*authzv1.CallCondition{"echo": nil, "get": fromHere})
	eventually(t, 30*time.Second, "the grant holds here", func() bool { return !ana.call("echo", `{"text":"x"}`).refused() })
}

// While a question is open the condition may become another: what the call was decided by does not hold any more.
func TestAnAnswerReachesItsServerOnlyUnderTheConditionOfItsCall(t *testing.T) {
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		for name, c := range map[string]struct {
			then  *authzv1.CallCondition
			moved bool
		}{"another network": {fromAway, false}, "the same": {fromHere, true}} {
			s := transfers(t, revision)
			w := scripted(t, s)
			w.holds("person/ana", "acts", map[string]*authzv1.CallCondition{"act": fromHere})
			h := start(t, w, nil)
			ana := h.guest("ana", "/mcp/acts", mcp.V20251125, asks)
			k := ana.begin("tools/call", `{"name":"act","arguments":{"x":1}}`)
			id, _ := k.asked("elicitation/create")
			w.holds("person/ana", "acts", map[string]*authzv1.CallCondition{"act": c.then})
			h.settled()
			ana.answers(id, `{"action":"accept","content":{"name":"yes"}}`)
			if r := k.last(); strings.Contains(string(r.body), "money moved") != c.moved {
				t.Errorf("%s, a server of %s: %s", name, revision, r.body)
			}
		}
	}
}

func TestEnvoySaysWhereACallComesFrom(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.holds("person/ana", "echo", map[string]*authzv1.CallCondition{"echo": {Networks: []string{"203.0.113.0/24"}}})
	e := askedByEnvoy(t, w)
	if r := e.check("ana", echoCall, nil); !allowed(r) {
		t.Errorf("from the network: %v", r)
	}
	for name, change := range map[string]func(*auth.AttributeContext){
		"from elsewhere":          func(a *auth.AttributeContext) { a.GetSource().GetAddress().GetSocketAddress().Address = "192.0.2.9" },
		"from nobody knows where": func(a *auth.AttributeContext) { a.Source = nil },
		"as a header says": func(a *auth.AttributeContext) {
			a.GetSource().GetAddress().GetSocketAddress().Address = "192.0.2.9"
			a.GetRequest().GetHttp().GetHeaders()["x-forwarded-for"] = "203.0.113.9"
		},
	} {
		if r := e.check("ana", echoCall, change); allowed(r) {
			t.Errorf("%s: %v", name, r)
		}
	}
}
