package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func compiled(t testing.TB, name, spec string) []*policy.Compiled {
	t.Helper()
	c, err := policy.Compile(parse(t, name, spec))
	if err != nil {
		t.Fatal(err)
	}
	return []*policy.Compiled{c}
}

func TestARecordedCallIsJudgedByBothAsFarAsTheRecordSays(t *testing.T) {
	now := compiled(t, "p", rulesOf(`{"name":"big","when":"args.limit > 100","effect":"block"},{"name":"ask","when":"args.force == true","effect":"escalate"},
		{"name":"support","when":"\"support\" in principal.roles","effect":"allow"}`))
	const big, support = `{"name":"big","when":"args.limit > 100","effect":"block"},`, `{"name":"support","when":"\"support\" in principal.roles","effect":"allow"}`
	allowed := policy.Recorded{Effect: "allow", Rule: "p/support", Policy: "p", PolicyVersion: 7}
	blocked := policy.Recorded{Effect: "block", Rule: "p/big", Policy: "p", PolicyVersion: 7, Reason: faultv1.Reason_REASON_RULE}
	whole := allowed
	whole.Args = []byte(`{"id":"T-1","limit":1,"force":false}`)
	for _, c := range []struct {
		name, then string
		was        policy.Recorded
		want       string
	}{
		{"the same", big + support, allowed, "allow p/support"},
		{"blocked stays blocked by an unchanged rule", big + allowAll, blocked, "block p/big"},
		{"the rule that blocked is gone", allowAll, blocked, "block p/big > allow p/all (effect)"},
		{"a new rule that needs no arguments", `{"name":"no","when":"\"support\" in principal.roles","effect":"block"},` + allowAll, allowed, "allow p/support > block p/no (effect)"},
		{"a new rule that reads arguments", `{"name":"no","when":"args.id == \"T-1\"","effect":"block"},` + allowAll, allowed, "open p/no"},
		{"a new rule that reads arguments that were copied", `{"name":"no","when":"args.id == \"T-1\"","effect":"block"},` + allowAll, whole, "allow p/support > block p/no (effect)"},
		{"and does not match", `{"name":"no","when":"args.id == \"T-2\"","effect":"block"},` + allowAll, whole, "allow p/support"},
		{"and fails on them", `{"name":"no","when":"args.nothing == 1","effect":"block"},` + allowAll, whole, "allow p/support > block p/no (effect)"},
		{"a changed rule that reads arguments", `{"name":"big","when":"args.limit > 50","effect":"block"},` + allowAll, allowed, "open p/big"},
		{"another effect of one condition", `{"name":"ask","when":"args.force == true","effect":"allow"}`,
			policy.Recorded{Effect: "escalate", Rule: "p/ask", Policy: "p", PolicyVersion: 7}, "escalate p/ask > allow p/ask (effect)"},
		{"nothing else allows", `{"name":"ask","when":"false","effect":"allow"}`, allowed, "allow p/support > block  (effect)"},
		{"a limit may be used up", `{"name":"few","when":"true","effect":"limit","limit":{"calls":1,"window":"1h"}},` + allowAll, allowed, "open p/few"},
		{"a rule in shadow", `{"name":"no","when":"true","effect":"block","shadow":true},` + allowAll, allowed, "allow p/support"},
		{"a country that is not recorded", `{"name":"no","when":"has(request.country) && request.country == \"DE\"","effect":"block"},` + allowAll, allowed, "open p/no"},
		{"annotations that are not recorded", `{"name":"no","when":"has(tool.annotations.x)","effect":"block"},` + allowAll, allowed, "open p/no"},
	} {
		got := policy.NewCandidate(now, compiled(t, "p", rulesOf(c.then))).Replay(ana(`{}`), c.was)
		if said(got) != c.want {
			t.Errorf("%s: %s, not %s", c.name, said(got), c.want)
		}
	}
	if got := policy.NewCandidate(now, nil).Replay(ana(`{}`), blocked); said(got) != "block p/big > allow  (effect)" {
		t.Errorf("without a policy: %s", said(got))
	}
}

// said is what a replay says, in one line.
func said(r policy.Replayed) string {
	out := r.Now.Effect + " " + r.Now.Rule
	switch {
	case r.Open != "":
		out = "open " + r.Open
	case len(r.Differs) > 0:
		out += " > " + r.Then.Effect + " " + r.Then.Rule + " (" + strings.Join(r.Differs, ",") + ")"
	}
	if r.Moved {
		out += " moved"
	}
	return out
}

func TestWhatOthersChangedSinceIsNotTheCandidates(t *testing.T) {
	stops := compiled(t, "stops", rulesOf(`{"name":"all","when":"true","effect":"block"}`))
	old := policy.Recorded{Effect: "allow"} // before anybody stopped it
	harmless := compiled(t, "p", rulesOf(`{"name":"no","when":"principal.name == \"nobody\"","effect":"block"},`+allowAll))
	if got := policy.NewCandidate(stops, append(stops, harmless...)).Replay(ana(`{}`), old); said(got) != "block stops/all moved" {
		t.Errorf("%s", said(got))
	}
	// A policy that came after the call says nothing by what was decided then.
	late := parse(t, "late", rulesOf(`{"name":"big","when":"args.limit > 100","effect":"block"},`+allowAll))
	late.Metadata.UpdatedAt = timestamppb.New(noon.Add(time.Minute))
	in, err := policy.Compile(late)
	if err != nil {
		t.Fatal(err)
	}
	if got := policy.NewCandidate([]*policy.Compiled{in}, nil).Replay(ana(`{}`), old); said(got) != "open late/big" {
		t.Errorf("%s", said(got))
	}
	late.Metadata.UpdatedAt = timestamppb.New(noon.Add(-time.Minute))
	if in, err = policy.Compile(late); err != nil {
		t.Fatal(err)
	}
	was := policy.Recorded{Effect: "allow", Rule: "late/all", Policy: "late", PolicyVersion: 7}
	if got := policy.NewCandidate([]*policy.Compiled{in}, nil).Replay(ana(`{}`), was); said(got) != "allow late/all" {
		t.Errorf("%s", said(got))
	}
	was.PolicyVersion = 6
	if got := policy.NewCandidate([]*policy.Compiled{in}, nil).Replay(ana(`{}`), was); said(got) != "open late/big" {
		t.Errorf("by another version: %s", said(got))
	}
}

func TestReplaySeesMoreThanTheEffect(t *testing.T) {
	clamp := func(most int) string {
		return fmt.Sprintf(`{"name":"r","when":"true","effect":"modify","modify":[{"path":"/limit","clamp":{"max":%d}}]}`, most)
	}
	for _, c := range []struct{ name, now, then, args, want string }{
		{"another bound", clamp(100), clamp(50), "", "modify p/r > modify p/r (arguments)"},
		{"another bound that matters", clamp(100), clamp(50), `{"limit":70}`, "modify p/r > modify p/r (arguments)"},
		{"another bound that does not", clamp(100), clamp(50), `{"limit":7}`, "modify p/r"},
		{"a redaction more", `{"name":"r","when":"true","effect":"redact","redact":["/a"]},` + allowAll, `{"name":"r","when":"true","effect":"redact","redact":["/a","/b"]},` + allowAll, "",
			"modify p/r > modify p/r (redactions)"},
		{"other approvers", `{"name":"r","when":"true","effect":"escalate","approval":{"by":"role:a"}}`, `{"name":"r","when":"true","effect":"escalate","approval":{"by":"role:b"}}`, "",
			"escalate p/r > escalate p/r (approval)"},
		{"a sign-in instead of a no", `{"name":"r","when":"true","effect":"block"}`, `{"name":"r","when":"principal.name == \"ana\"","effect":"escalate"}`, "",
			"block p/r > escalate p/r (effect)"},
	} {
		was := policy.Recorded{}
		if c.args != "" {
			was.Args = []byte(c.args)
		}
		got := policy.NewCandidate(compiled(t, "p", rulesOf(c.now)), compiled(t, "p", rulesOf(c.then))).Replay(ana(`{}`), was)
		if said(got) != c.want {
			t.Errorf("%s: %s, not %s", c.name, said(got), c.want)
		}
	}
	signIn := func(age string) string {
		return `{"name":"r","when":"true","effect":"step-up","stepUp":{"maxAge":"` + age + `"}},` + allowAll
	}
	asked := policy.Recorded{Effect: "block", Rule: "p/r", Policy: "p", PolicyVersion: 7, Reason: faultv1.Reason_REASON_STEP_UP}
	if got := policy.NewCandidate(compiled(t, "p", rulesOf(signIn("5m"))), compiled(t, "p", rulesOf(allowAll))).Replay(ana(`{}`), asked); said(got) != "step-up p/r > allow p/all (effect)" {
		t.Errorf("%s", said(got))
	}
}

func TestReplayKnowsRulesThatCouldNotBeJudged(t *testing.T) {
	now := compiled(t, "p", rulesOf(`{"name":"broken","when":"args.amount > 1","effect":"block"},`+allowAll))
	fixed := compiled(t, "p", rulesOf(`{"name":"fixed","when":"principal.name == \"bob\"","effect":"block"},`+allowAll))
	for _, reason := range []faultv1.Reason{faultv1.Reason_REASON_RULE_ERROR, faultv1.Reason_REASON_RULE_COST, faultv1.Reason_REASON_RULE_TYPE, faultv1.Reason_REASON_RELATION_UNAVAILABLE} {
		was := policy.Recorded{Effect: "block", Rule: "p/broken", Policy: "p", PolicyVersion: 7, Reason: reason}
		if got := policy.NewCandidate(now, fixed).Replay(ana(`{}`), was); said(got) != "block p/broken > allow p/all (effect)" {
			t.Errorf("%s: %s", reason, said(got))
		}
		if got := policy.NewCandidate(now, now).Replay(ana(`{}`), was); said(got) != "block p/broken" {
			t.Errorf("%s: %s", reason, said(got))
		}
	}
	facts := compile(t, "tickets", tickets)
	unread := policy.Recorded{Effect: "block", Reason: faultv1.Reason_REASON_FACT_UNAVAILABLE}
	if got := policy.NewCandidate([]*policy.Compiled{facts}, nil).Replay(ana(`{}`), unread); said(got) != "block tickets/high-priority-needs-a-supervisor > allow  (effect)" {
		t.Errorf("%s", said(got))
	}
	read := policy.Recorded{Facts: map[string]any{"tickets/ticket": json.RawMessage(`{"priority":"high"}`)}}
	relaxed := compiled(t, "tickets", strings.Replace(tickets, `\"high\"`, `\"urgent\"`, 1))
	if got := policy.NewCandidate([]*policy.Compiled{facts}, relaxed).Replay(ana(`{}`), read); said(got) !=
		"escalate tickets/high-priority-needs-a-supervisor > allow tickets/support-may-close (effect)" {
		t.Errorf("by a fact that was recorded: %s", said(got))
	}
	other := compiled(t, "tickets", strings.Replace(tickets, `"tool":"get_ticket"`, `"tool":"find_ticket"`, 1))
	inForce := policy.NewCandidate([]*policy.Compiled{facts}, nil)
	for _, at := range []*policy.Compiled{facts, other[0]} {
		needs, err := policy.NewBundle([]*policy.Compiled{at}).Needs(ana(`{"id":"T-1"}`))
		if err != nil || len(needs) != 1 || inForce.Reads(needs[0].Key, needs[0].Declared) != (at == facts) {
			t.Errorf("a fact that was declared as %v: %v", needs, err)
		}
	}
	if got := policy.NewCandidate([]*policy.Compiled{facts}, other).Replay(ana(`{}`), read); said(got) != "open tickets/high-priority-needs-a-supervisor" {
		t.Errorf("by a fact that is read elsewhere: %s", said(got))
	}
}

func TestExplainSaysWhichConditionsHeld(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"both","when":"args.id == \"a && b\" && (args.force == true || false) && args.missing == 1","effect":"block"},
		{"name":"either","when":"sql(args.q).readOnly || \"admin\" in principal.roles","effect":"allow"},{"name":"one","when":"args.force ? true : false","effect":"allow"}`))
	decision, rules := b.Explain(ana(`{"id":"a && b","force":true,"q":"SELECT 1"}`))
	if decision.Effect != policy.Block || len(rules) != 3 {
		t.Fatalf("%+v %v", decision, rules)
	}
	both := rules[0].GetConditions()
	if rules[0].GetAnyOf() || len(both) != 3 || !both[0].GetHeld() || both[0].GetText() != `args.id == "a && b"` || !both[1].GetHeld() || both[2].GetError() == "" {
		t.Errorf("%v", both)
	}
	either := rules[1].GetConditions()
	if !rules[1].GetAnyOf() || len(either) != 2 || !either[0].GetHeld() || either[1].GetHeld() || !rules[1].GetOutcome().GetMatched() {
		t.Errorf("%v", either)
	}
	if len(rules[2].GetConditions()) != 0 {
		t.Errorf("%v", rules[2])
	}
	none := ana(`{}`)
	none.Relation.Call = false
	if decision, rules := b.Explain(none); decision.Effect != policy.Block || rules != nil {
		t.Errorf("%+v %v", decision, rules)
	}
}
