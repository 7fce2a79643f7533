package policy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// ruleJSON writes a rule; a name that starts with ~ is in shadow.
func ruleJSON(name, effect, when string) string {
	shadow := strings.HasPrefix(name, "~")
	extra := ""
	if effect == policy.Modify {
		extra = `,"modify":[{"path":"/by","set":"` + name + `"}]`
	}
	return fmt.Sprintf(`{"name":%q,"effect":%q,"when":%q,"shadow":%v%s}`, strings.TrimPrefix(name, "~"), effect, when, shadow, extra)
}

func spec(def string, rules ...string) string {
	return `"match":{"server":"tickets"},"default":"` + def + `","rules":[` + strings.Join(rules, ",") + `]`
}

func TestPrecedenceOfRules(t *testing.T) {
	yes, no, broken := "true", "false", "args.missing == 1"
	allow, modify := ruleJSON("a", policy.Allow, yes), ruleJSON("m", policy.Modify, yes)
	escalate, block := ruleJSON("e", policy.Escalate, yes), ruleJSON("b", policy.Block, yes)
	for name, c := range map[string]struct {
		rules        []string
		effect, rule string
	}{
		"allow":                                {[]string{allow}, policy.Allow, "p/a"},
		"modify over allow":                    {[]string{allow, modify}, policy.Modify, "p/m"},
		"escalate over modify":                 {[]string{modify, escalate, allow}, policy.Escalate, "p/e"},
		"block over escalate":                  {[]string{allow, escalate, modify, block}, policy.Block, "p/b"},
		"block over allow, in any order":       {[]string{block, allow}, policy.Block, "p/b"},
		"the first of two":                     {[]string{allow, ruleJSON("a2", policy.Allow, yes)}, policy.Allow, "p/a"},
		"the first of two that block":          {[]string{block, ruleJSON("b2", policy.Block, yes)}, policy.Block, "p/b"},
		"what does not match is not there":     {[]string{ruleJSON("b", policy.Block, no), allow}, policy.Allow, "p/a"},
		"nothing matches: block":               {[]string{ruleJSON("a", policy.Allow, no)}, policy.Block, ""},
		"an error blocks":                      {[]string{ruleJSON("a", policy.Allow, broken)}, policy.Block, "p/a"},
		"an error blocks whatever else allows": {[]string{allow, ruleJSON("x", policy.Allow, broken)}, policy.Block, "p/x"},
		"a shadow block does not":              {[]string{ruleJSON("~b", policy.Block, yes), allow}, policy.Allow, "p/a"},
		"a shadow error does not":              {[]string{ruleJSON("~b", policy.Block, broken), allow}, policy.Allow, "p/a"},
		"a shadow allow does not":              {[]string{ruleJSON("~a", policy.Allow, yes)}, policy.Block, ""},
		"a shadow modify changes nothing":      {[]string{ruleJSON("~m", policy.Modify, yes), allow}, policy.Allow, "p/a"},
	} {
		d := bundle(t, "p", spec("", c.rules...)).Evaluate(ana(`{}`))
		if d.Effect != c.effect || d.Rule != c.rule || d.Policy != "p" || d.PolicyVersion != 7 || len(d.Rules) != len(c.rules) || d.Sentence == "" {
			t.Errorf("%s: %+v", name, d)
		}
		if (d.Arguments != nil) != (d.Effect == policy.Modify || name == "escalate over modify") {
			t.Errorf("%s: arguments %s", name, d.Arguments)
		}
	}
}

func TestDefaults(t *testing.T) {
	never, always := ruleJSON("r", policy.Allow, "false"), ruleJSON("r", policy.Allow, "true")
	for _, c := range []struct {
		policies     []string
		effect, from string
		reason       faultv1.Reason
	}{
		{nil, policy.Allow, "", 0},
		{[]string{spec("", never)}, policy.Block, "p0", faultv1.Reason_REASON_RULE},
		{[]string{spec("block", never)}, policy.Block, "p0", faultv1.Reason_REASON_RULE},
		{[]string{spec("allow", never)}, policy.Allow, "p0", 0},
		{[]string{spec("allow", never), spec("", always)}, policy.Allow, "p0", 0},
		{[]string{spec("", always), spec("", never)}, policy.Block, "p1", faultv1.Reason_REASON_RULE},
		{[]string{spec("allow", never), spec("allow", ruleJSON("b", policy.Block, "true"))}, policy.Block, "p1", faultv1.Reason_REASON_RULE},
		{[]string{strings.Replace(spec("", never), "tickets", "other", 1)}, policy.Allow, "", 0},
	} {
		var ps []*policy.Compiled
		for i, s := range c.policies {
			ps = append(ps, compile(t, fmt.Sprintf("p%d", i), s))
		}
		d := policy.NewBundle(ps).Evaluate(ana(`{}`))
		if d.Effect != c.effect || d.Policy != c.from || d.Reason != c.reason {
			t.Errorf("%v: %+v", c.policies, d)
		}
	}
}

func TestWithoutARelationNothingIsAllowed(t *testing.T) {
	b := bundle(t, "p", spec("allow", ruleJSON("a", policy.Allow, "true")))
	for reason, want := range map[faultv1.Reason]faultv1.Reason{
		0: faultv1.Reason_REASON_NOT_GRANTED, faultv1.Reason_REASON_AGENT: faultv1.Reason_REASON_AGENT, faultv1.Reason_REASON_KILLED: faultv1.Reason_REASON_KILLED,
	} {
		req := ana(`{}`)
		req.Relation = policy.Relation{Known: true, See: true, Reason: reason}
		for _, b := range []*policy.Bundle{b, nil, policy.NewBundle(nil)} {
			if d := b.Evaluate(req); d.Effect != policy.Block || d.Reason != want || len(d.Rules) != 0 || !strings.Contains(d.Sentence, "close_ticket on tickets") {
				t.Errorf("%v: %+v", reason, d)
			}
			if needs, err := b.Needs(req); len(needs) != 0 || err != nil {
				t.Errorf("needs %v %v", needs, err)
			}
		}
	}
}

func TestWhichPoliciesMatch(t *testing.T) {
	rules := `,"default":"allow","rules":[{"name":"r","when":"true","effect":"allow"}]`
	var ps []*policy.Compiled
	for name, match := range map[string]string{
		"e-tool": `{"server":"tickets","tools":["close_ticket","x"]}`, "d-server": `{"server":"tickets"}`, "c-star": `{"server":"tickets","tools":["*"]}`,
		"b-any": `{"server":"*"}`, "a-anytool": `{"server":"*","tools":["close_ticket"]}`,
		"z-other": `{"server":"crm"}`, "y-othertool": `{"server":"tickets","tools":["open_ticket"]}`,
	} {
		ps = append(ps, compile(t, name, `"match":`+match+rules))
	}
	d := policy.NewBundle(ps).Evaluate(ana(`{}`))
	var looked []string
	for _, r := range d.Rules {
		looked = append(looked, r.Rule)
	}
	want := []string{"a-anytool/r", "b-any/r", "c-star/r", "d-server/r", "e-tool/r"}
	if !slices.Equal(looked, want) || d.Rule != "a-anytool/r" {
		t.Errorf("%v, by %s", looked, d.Rule)
	}
}

func TestSentences(t *testing.T) {
	with := func(effect, extra string) string {
		return `"match":{"server":"tickets"},"rules":[{"name":"r","when":"true","effect":"` + effect + `"` + extra + `}]`
	}
	for _, c := range []struct{ spec, sentence string }{
		{with("allow", ""), "allowed by p/r"},
		{with("block", `,"reason":"High tickets stay open. "`), "close_ticket on tickets was refused: High tickets stay open (rule p/r)."},
		{with("block", ""), "close_ticket on tickets was refused by rule p/r; make another call, or ask an administrator if you need this one."},
		{with("escalate", `,"approval":{"by":"role:supervisor"}`), "close_ticket on tickets needs the approval of role supervisor (rule p/r)."},
		{with("escalate", `,"approval":{"by":"group:sre","quorum":2},"reason":"it is production"`),
			"close_ticket on tickets needs 2 approvals of group sre: it is production (rule p/r)."},
		{with("modify", `,"modify":[{"path":"/n","clamp":{"max":5}},{"path":"/x","remove":true}]`), "allowed by p/r; it changed /n, /x in the arguments"},
		{with("modify", `,"modify":[{"path":"/q","remove":true}]`), "allowed by p/r; it had nothing to change in the arguments"},
		{strings.Replace(with("allow", ""), "true", "args.y == 1", 1),
			"close_ticket on tickets was refused: rule p/r cannot be evaluated (no such key: y); check the arguments, or ask an administrator to correct the rule."},
		{strings.Replace(with("allow", ""), "true", "false", 1),
			"close_ticket on tickets was refused: no rule of policy p allows this call; ask an administrator if you need it."},
		{`"match":{"server":"other"},"rules":[{"name":"r","when":"true","effect":"allow"}]`, "allowed by relation: ana → role support → server tickets"},
	} {
		if d := bundle(t, "p", c.spec).Evaluate(ana(`{"n":9,"x":1}`)); d.Sentence != c.sentence {
			t.Errorf("%s:\n got %s\nwant %s", c.spec, d.Sentence, c.sentence)
		}
	}
}

func TestAnApprovalIsForTheChangedArguments(t *testing.T) {
	d := bundle(t, "p", spec("", ruleJSON("m", policy.Modify, "true"), ruleJSON("e", policy.Escalate, "true"))).Evaluate(ana(`{"id":"T-1"}`))
	if d.Effect != policy.Escalate || string(d.Arguments) != `{"id":"T-1","by":"m"}` || d.Approval.GetQuorum() != 1 || d.Approval.GetExpires() != "4h" {
		t.Errorf("%+v", d)
	}
}

func TestModifyRulesAllApplyInOrder(t *testing.T) {
	rule := func(name, changes string) string {
		return `{"name":"` + name + `","when":"args.n > 1","effect":"modify","modify":[` + changes + `]}`
	}
	first := compile(t, "a", spec("", rule("r1", `{"path":"/n","clamp":{"max":5}},{"path":"/x","remove":true}`), rule("r2", `{"path":"/by","set":"r2"}`)))
	second := compile(t, "b", spec("", rule("r3", `{"path":"/n","set":3},{"path":"/by","mask":"all"},{"path":"/missing","remove":true}`)))
	d := policy.NewBundle([]*policy.Compiled{second, first}).Evaluate(ana(`{"big":12345678901234567890, "n":9,"x":[1]}`))
	if d.Effect != policy.Modify || d.Rule != "a/r1" || string(d.Arguments) != `{"big":12345678901234567890, "n":3,"by":"***"}` ||
		!slices.Equal(d.Changed, []string{"/n", "/x", "/by"}) {
		t.Errorf("%s %+v", d.Arguments, d)
	}
}

func TestT26AChangeThatDoesNotFitBlocks(t *testing.T) {
	cap := `{"name":"cap","when":"true","effect":"modify","modify":[{"path":"/n","clamp":{"max":5}}]}`
	for _, rules := range [][]string{{cap}, {ruleJSON("m", policy.Modify, "true"), cap}, {ruleJSON("e", policy.Escalate, "true"), cap}} {
		d := bundle(t, "p", spec("", rules...)).Evaluate(ana(`{"n":"9"}`))
		if d.Effect != policy.Block || d.Rule != "p/cap" || d.Reason != faultv1.Reason_REASON_RULE_ERROR || d.Arguments != nil || d.Changed != nil ||
			d.Approval != nil || !strings.Contains(d.Sentence, "rule p/cap cannot be evaluated (modify /n: clamp needs a number)") ||
			d.Rules[len(d.Rules)-1].Error == "" {
			t.Errorf("%v: %+v", rules, d)
		}
	}
}

func TestAnAlertIsRaisedByAnyRuleThatMatches(t *testing.T) {
	alert := func(name, effect, when string) string {
		return strings.Replace(ruleJSON(name, effect, when), `{`, `{"alert":true,`, 1)
	}
	for name, c := range map[string]struct {
		rules []string
		want  bool
	}{
		"matched":     {[]string{alert("a", policy.Allow, "true")}, true},
		"not matched": {[]string{alert("a", policy.Allow, "false")}, false},
		"overruled":   {[]string{alert("a", policy.Allow, "true"), ruleJSON("b", policy.Block, "true")}, true},
		"in shadow":   {[]string{alert("~a", policy.Allow, "true")}, false},
	} {
		if d := bundle(t, "p", spec("", c.rules...)).Evaluate(ana(`{}`)); d.Alert != c.want {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

const (
	highIsBlocked = `{"name":"high","when":"facts.ticket.priority == \"high\"","effect":"block"},{"name":"ok","when":"true","effect":"allow"}`
	byID          = `{"tool":"get_ticket","args":{"id":"args.id","by":"principal.name","n":"args.n","o":"args.o","now":"request.time"},"path":"/a"}`
)

func withFact(def, rules string) string {
	return `"match":{"server":"tickets"},"facts":{"ticket":` + def + `},"rules":[` + rules + `]`
}

func withFacts(facts map[string]any) *policy.Request {
	req := ana(`{"id":"T-1","n":9007199254740993,"o":{"b":[1.5,null,true],"a":"\u00e9\u2028<"}}`)
	req.Facts = facts
	return req
}

func TestNeedsEvaluatesTheArgumentsOfFacts(t *testing.T) {
	b := policy.NewBundle([]*policy.Compiled{
		compile(t, "two", withFact(`{"tool":"peek"}`, highIsBlocked)), compile(t, "one", withFact(byID, highIsBlocked)),
	})
	needs, err := b.Needs(withFacts(nil))
	if err != nil || len(needs) != 2 {
		t.Fatalf("%v %v", needs, err)
	}
	wantArgs := `{"by":"ana","id":"T-1","n":9007199254740993,"now":"2026-03-04T12:00:00Z","o":{"a":"é` + "\u2028" + `<","b":[1.5,null,true]}}`
	if one := needs[0]; one.Key != "one/ticket" || one.Name != "ticket" || one.Tool != "get_ticket" || string(one.Args) != wantArgs || one.Path != "/a" {
		t.Errorf("%s %+v", one.Args, one)
	}
	if two := needs[1]; two.Key != "two/ticket" || two.Tool != "peek" || string(two.Args) != `{}` || two.Path != "" {
		t.Errorf("%+v", two)
	}
}

func TestAFactThatIsNotThereBlocks(t *testing.T) {
	b := bundle(t, "one", withFact(byID, highIsBlocked))
	d := b.Evaluate(withFacts(nil))
	if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_FACT_UNAVAILABLE || !slices.Equal(d.NeedsFacts, []string{"one/ticket"}) ||
		!strings.Contains(d.Sentence, "fact ticket") {
		t.Errorf("%+v", d)
	}
	for _, value := range []any{json.RawMessage(`{"priority":`), json.RawMessage(``), json.RawMessage(`{} {}`)} {
		if d := b.Evaluate(withFacts(map[string]any{"ticket": value})); d.Reason != faultv1.Reason_REASON_FACT_UNAVAILABLE || d.Effect != policy.Block {
			t.Errorf("%s: %+v", value, d)
		}
	}
	if d := b.Evaluate(withFacts(map[string]any{"ticket": nil})); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR {
		t.Errorf("null: %+v", d)
	}
}

func TestFactsOfOneNameAndAnotherDefinitionDoNotMix(t *testing.T) {
	one, two := compile(t, "one", withFact(byID, highIsBlocked)), compile(t, "two", withFact(`{"tool":"peek"}`, highIsBlocked))
	both, alone := policy.NewBundle([]*policy.Compiled{two, one}), policy.NewBundle([]*policy.Compiled{one})
	low, high := map[string]any{"priority": "low"}, map[string]any{"priority": "high"}
	for name, c := range map[string]struct {
		b            *policy.Bundle
		facts        map[string]any
		effect, rule string
		reason       faultv1.Reason
	}{
		"a bare name for two definitions": {both, map[string]any{"ticket": low}, policy.Block, "one/high", faultv1.Reason_REASON_FACT_UNAVAILABLE},
		"each its own":                    {both, map[string]any{"one/ticket": low, "two/ticket": high}, policy.Block, "two/high", faultv1.Reason_REASON_RULE},
		"each its own, both low":          {both, map[string]any{"one/ticket": low, "two/ticket": low}, policy.Allow, "one/ok", 0},
		"a bare name for one definition":  {alone, map[string]any{"ticket": high}, policy.Block, "one/high", faultv1.Reason_REASON_RULE},
		"the key before the bare name":    {alone, map[string]any{"ticket": high, "one/ticket": low}, policy.Allow, "one/ok", 0},
	} {
		if d := c.b.Evaluate(withFacts(c.facts)); d.Effect != c.effect || d.Rule != c.rule || d.Reason != c.reason {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestAFactIsOnlyAskedForWhereARuleReadsIt(t *testing.T) {
	needs, err := bundle(t, "one", withFact(byID, highIsBlocked)).Needs(ana(`{}`))
	if !fault.Is(err, faultv1.Reason_REASON_FACT_UNAVAILABLE) || needs != nil || !strings.Contains(err.Error(), "no such key: id") {
		t.Errorf("arguments that are missing: %v %v", needs, err)
	}
	b := bundle(t, "p", withFact(byID, `{"name":"ok","when":"true","effect":"allow"}`))
	if needs, err := b.Needs(ana(`{}`)); len(needs) != 0 || err != nil {
		t.Errorf("%v %v", needs, err)
	}
	if d := b.Evaluate(ana(`{}`)); d.Effect != policy.Allow {
		t.Errorf("%+v", d)
	}
	shadow := strings.Replace(highIsBlocked, `"block"`, `"block","shadow":true`, 1)
	watched := bundle(t, "p", withFact(byID, shadow))
	if needs, err := watched.Needs(withFacts(nil)); err != nil || len(needs) != 1 || !needs[0].Shadow {
		t.Errorf("a fact that only a shadow rule reads: %v %v", needs, err)
	}
	if needs, err := watched.Needs(ana(`{}`)); err != nil || len(needs) != 0 {
		t.Errorf("a fact that only a shadow rule reads and that cannot be asked for: %v %v", needs, err)
	}
	d := watched.Evaluate(withFacts(nil))
	if d.Effect != policy.Allow || d.Rules[0].Error == "" || !slices.Equal(d.NeedsFacts, []string{"p/ticket"}) {
		t.Errorf("a fact that only a shadow rule reads: %+v", d)
	}
}

func TestNumbersOfFactsAreTheSameHoweverTheyWereDecoded(t *testing.T) {
	b := bundle(t, "p", withFact(byID, `{"name":"n","when":"facts.ticket.n + 1 == 4 && facts.ticket.l[0] % 2 == 1","effect":"allow"}`))
	for _, value := range []any{
		json.RawMessage(`{"n":3,"l":[5]}`), json.RawMessage(`{"n":3.0,"l":[5e0]}`),
		map[string]any{"n": 3.0, "l": []any{5.0}}, map[string]any{"n": json.Number("3"), "l": []any{5}},
	} {
		if d := b.Evaluate(withFacts(map[string]any{"ticket": value})); d.Effect != policy.Allow {
			t.Errorf("%v: %+v", value, d)
		}
	}
}

func TestFactValueFollowsAPointer(t *testing.T) {
	doc := json.RawMessage(` {"a":{"b/c":[10,{"~":"x"}],"":1}, "n":12345678901234567890.0 } `)
	for pointer, want := range map[string]string{
		"": `{"a":{"b/c":[10,{"~":"x"}],"":1}, "n":12345678901234567890.0 }`, "/n": "12345678901234567890.0", "/a/b~1c/0": "10", "/a/b~1c/1/~0": `"x"`, "/a/": "1",
	} {
		if got, err := policy.FactValue(doc, pointer); err != nil || string(got) != want {
			t.Errorf("%q: %s %v", pointer, got, err)
		}
	}
	for _, pointer := range []string{"/x", "/a/b", "/a/b~1c/2", "/a/b~1c/-", "/a/b~1c/00", "/n/0", "x", "/~"} {
		if got, err := policy.FactValue(doc, pointer); err == nil {
			t.Errorf("%q: %s", pointer, got)
		}
	}
	for _, doc := range []string{"", "{", `{"a":1,`, `{"b" 1}`, `[1`, "nul"} {
		if got, err := policy.FactValue(json.RawMessage(doc), "/a"); err == nil {
			t.Errorf("%q: %s", doc, got)
		}
	}
}

// corpus is a set of policies and requests that reach every kind of decision.
func corpus(t testing.TB) ([]*authzv1.Policy, []*policy.Request) {
	t.Helper()
	whens := []string{
		"true", "false", `"support" in principal.roles`, `args.n > 3`, `args.missing == 1`, `has(args.id) && args.id.startsWith("T")`, `args.exists(k, k > "m")`,
		`args.map(k, k).join(",") == "id,n,o"`, `sql(args.q).readOnly`, `request.country == "DE"`,
		`args.o.all(k, args.o[k] > 1)`, `facts.f.x == 1`, `args.o.exists(k, 1 / args.o[k] > 0)`,
	}
	effects := []string{policy.Allow, policy.Block, policy.Escalate, policy.Modify}
	var ps []*authzv1.Policy
	for i := range 60 {
		var rules []string
		for j := range 1 + i%4 {
			name := fmt.Sprintf("r%d", j)
			if (i+j)%7 == 0 {
				name = "~" + name
			}
			rules = append(rules, ruleJSON(name, effects[(i/3+j)%4], whens[(i*5+j*3)%len(whens)]))
		}
		s := spec([]string{"", "allow", "block"}[i%3], rules...)
		server := []string{"tickets", "*", "crm"}[i%3]
		s = strings.Replace(s, `{"server":"tickets"}`, `{"server":"`+server+`","tools":["`+[]string{"close_ticket", "*", "t"}[i%2]+`"]}`, 1)
		s += `,"facts":{"f":{"tool":"get","args":{"id":"args.id"}}}`
		ps = append(ps, parse(t, fmt.Sprintf("p%02d", i), s))
	}
	var reqs []*policy.Request
	for _, args := range []string{``, `{}`, `{"id":"T-1","n":5,"o":{"z":0,"a":2,"b":0}}`, `{"id":"x","n":1.5,"o":{}}`,
		`{"q":"SELECT 1"}`, `{"q":"DROP TABLE t","n":"x"}`, `{"o":7}`} {
		for _, facts := range []map[string]any{nil, {"f": map[string]any{"x": 1.0}}, {"p03/f": json.RawMessage(`{"x":2}`)}} {
			for _, server := range []string{"tickets", "crm", "none"} {
				req := ana(args)
				req.Facts, req.Server.Name = facts, server
				reqs = append(reqs, req)
			}
		}
	}
	return ps, reqs
}

// The edge gets policies as bytes and decides alone: it must say what authz says, every time.
func TestTheSameRequestGivesTheSameDecisionEverywhere(t *testing.T) {
	ps, reqs := corpus(t)
	seen := map[string]int{}
	for n := range ps {
		var here, there []*policy.Compiled
		for _, p := range ps[n:min(n+3, len(ps))] {
			raw, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			copied := &authzv1.Policy{}
			if err := proto.Unmarshal(raw, copied); err != nil {
				t.Fatal(err)
			}
			for from, to := range map[*authzv1.Policy]*[]*policy.Compiled{p: &here, copied: &there} {
				c, err := policy.Compile(from)
				if err != nil {
					t.Fatal(err)
				}
				*to = append(*to, c)
			}
		}
		slices.Reverse(there)
		one, other := policy.NewBundle(here), policy.NewBundle(there)
		for _, req := range reqs {
			first := one.Evaluate(req)
			seen[first.Effect+" "+first.Reason.String()]++
			for range 3 {
				if again := other.Evaluate(req); !proto.Equal(first.Proto(), again.Proto()) {
					t.Fatalf("%s %s:\n%+v\n%+v", req.Server.Name, req.Args, first, again)
				}
			}
		}
	}
	t.Log(seen)
	if len(seen) < 5 {
		t.Errorf("the corpus reaches only %v", seen)
	}
}

func TestABundleIsSafeToShare(t *testing.T) {
	ps, reqs := corpus(t)
	var all []*policy.Compiled
	for _, p := range ps {
		c, err := policy.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	b := policy.NewBundle(all)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, req := range reqs {
				b.Evaluate(req)
				if _, err := b.Needs(req); err != nil && !fault.Is(err, faultv1.Reason_REASON_FACT_UNAVAILABLE) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAPolicysTestsSayWhatIsWrong(t *testing.T) {
	p := parse(t, "p", `"match":{"server":"*","tools":["a","b"]},
"rules":[{"name":"cap","when":"args.n > 5","effect":"modify","modify":[{"path":"/n","clamp":{"max":5}}]},
{"name":"ok","when":"principal.name == \"ana\" || agent.name == \"bot\"","effect":"allow"}],
"tests":[
 {"name":"passes","as":{"name":"ana"},"args":{"n":1},"expect":"allow","rule":"ok"},
 {"name":"full rule name","as":{"agent":"bot"},"args":{"n":1},"expect":"allow","rule":"p/ok"},
 {"name":"capped","args":{"n":9,"b":"x"},"expect":"modify","expectArgs":{"b":"x","n":5}},
 {"name":"wrong effect","as":{"name":"ana"},"args":{"n":1},"expect":"block"},
 {"name":"wrong rule","as":{"name":"ana"},"args":{"n":1},"expect":"allow","rule":"cap"},
 {"name":"wrong args","args":{"n":9},"expect":"modify","expectArgs":{"n":6}},
 {"name":"wrong tool","tool":"c","args":{"n":9},"expect":"modify"},
 {"name":"missing argument","expect":"allow"}]`)
	results, err := policy.RunTests(p)
	if err != nil {
		t.Fatal(err)
	}
	for i, says := range []string{"", "", "", "expected block, got allow", "expected rule cap to decide, got p/ok", `expected the arguments {"n":6}, got {"n":5}`,
		"the policy does not match tool c", "no such key: n"} {
		if r := results[i]; r.Passed != (says == "") || !strings.Contains(r.Problem, says) || r.Name == "" {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
	broken := parse(t, "p", `"match":{"server":"*"},"rules":[{"name":"r","when":"x","effect":"allow"}]`)
	if _, err := policy.RunTests(broken); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Error(err)
	}
}

func TestLintFindsMistakes(t *testing.T) {
	for _, c := range []struct{ spec, says string }{
		{spec("", ruleJSON("a", policy.Allow, "args.x == 1"), ruleJSON("b", policy.Block, "args.x  ==  1")), "Rule a never decides: rule b (block)"},
		{spec("", ruleJSON("a", policy.Allow, "args.x == 1"), ruleJSON("b", policy.Block, "true")), "Rule a never decides"},
		{spec("", ruleJSON("a", policy.Allow, "args.x == 1"), ruleJSON("a2", policy.Allow, "args.x == 1")), "Rule a2 never decides"},
		{spec("", ruleJSON("a", policy.Allow, "false")), "Rule a never matches"},
		{spec("", ruleJSON("e", policy.Escalate, "args.x == 1")), "does not say by whom"},
		{spec("", ruleJSON("~b", policy.Block, "args.x == 1")), "Every rule is in shadow"},
		{spec("", ruleJSON("b", policy.Block, "args.x == 1")), "No rule lets a call pass"},
		{spec("", ruleJSON("a", policy.Allow, `args.host.matches("acme.example")`)), "in the middle of the text"},
		{spec("", ruleJSON("a", policy.Allow, "true")) + `,"facts":{"f":{"tool":"t"}}`, "Fact f is not read"},
		{spec("", ruleJSON("a", policy.Allow, "true")), "no tests"},
	} {
		if found := policy.Lint(parse(t, "p", c.spec)); !strings.Contains(strings.Join(found, "\n"), c.says) {
			t.Errorf("%s: %v", c.spec, found)
		}
	}
	if found := policy.Lint(parse(t, "tickets", tickets)); len(found) != 0 {
		t.Errorf("%v", found)
	}
	if found := policy.Lint(parse(t, "p", spec("", ruleJSON("a", policy.Allow, "nothing")))); found != nil {
		t.Errorf("%v", found)
	}
}
