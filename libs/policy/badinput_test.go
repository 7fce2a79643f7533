package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestPoliciesThatFightAreBothNamed(t *testing.T) {
	support := `"support" in principal.roles`
	a := parse(t, "a", spec("", ruleJSON("lets", policy.Allow, support), ruleJSON("other", policy.Allow, "args.n == 1")))
	same := parse(t, "b", spec("allow", ruleJSON("stops", policy.Block, `  "support"   in principal.roles`)))
	all := parse(t, "c", spec("allow", ruleJSON("never", policy.Block, "true")))
	shadow := parse(t, "d", spec("allow", ruleJSON("~never", policy.Block, "true")))
	elsewhere := parse(t, "e", strings.Replace(spec("allow", ruleJSON("never", policy.Block, "true")), `"tickets"`, `"crm"`, 1))
	everywhere := parse(t, "f", strings.Replace(spec("allow", ruleJSON("never", policy.Block, "true")), `"server":"tickets"`, `"server":"*","tools":["close_ticket"]`, 1))
	for _, c := range []struct {
		with *authzv1.Policy
		want []string
	}{
		{same, []string{"Policies a and b fight: what rule a/lets lets pass (allow), rule b/stops always refuses"}},
		{all, []string{"a/lets lets pass (allow), rule c/never", "a/other lets pass (allow), rule c/never"}},
		{everywhere, []string{"rule f/never", "rule f/never"}}, {shadow, nil}, {elsewhere, nil}, {a, nil},
	} {
		found := policy.Conflicts([]*authzv1.Policy{c.with}, []*authzv1.Policy{a})
		if len(found) != len(c.want) {
			t.Errorf("%s: %v", c.with.GetMetadata().GetName(), found)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(found[i], want) {
				t.Errorf("%s: %s", c.with.GetMetadata().GetName(), found[i])
			}
		}
	}
}

func TestARoleThatDoesNotExistIsNamedWithTheNearest(t *testing.T) {
	p := parse(t, "p", rulesOf(`{"name":"a","when":"\"support2\" in principal.roles && !(\"admin\" in principal.roles)","effect":"allow"},
		{"name":"b","when":"args.n > 1","effect":"escalate","approval":{"by":"role:supervisr"}},{"name":"c","when":"\"x\" in principal.groups","effect":"block"}`))
	found := policy.UnknownRoles(p, []string{"support", "supervisor", "admin"})
	want := []string{`Rule a: the role "support2" is not known; the nearest is "support".`, `Rule b: the role "supervisr" is not known; the nearest is "supervisor".`}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v", found)
	}
}

func TestAGroupThatDoesNotExistIsNamedWithTheNearest(t *testing.T) {
	p := parse(t, "p", rulesOf(`{"name":"a","when":"\"carre\" in principal.groups || \"x\" in principal.roles","effect":"allow"},
		{"name":"b","when":"args.n > 1","effect":"escalate","approval":{"by":"group:leeds"}},{"name":"c","when":"\"care\" in principal.groups","effect":"block"}`))
	found := policy.UnknownGroups(p, []string{"care", "leads"})
	want := []string{`Rule a: the group "carre" is not known; the nearest is "care".`, `Rule b: the group "leeds" is not known; the nearest is "leads".`}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("%v", found)
	}
}

func TestAnApprovalThatNobodyCanGiveIsAWarning(t *testing.T) {
	asks := func(by string, quorum int) string {
		p := parse(t, "p", rulesOf(fmt.Sprintf(`{"name":"a","when":"args.n > 1","effect":"escalate","approval":{"by":%q,"quorum":%d}}`, by, quorum)))
		c, err := policy.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, w := range policy.Warnings([]*policy.Compiled{c}, policy.Surroundings{
			Roles: []string{"lead"}, Groups: []string{"care", "new"}, People: []string{"ana"},
			Approvers: func(_, name string) (int, bool) { return 2, name != "new" },
		}) {
			all = append(all, w.GetSentence())
		}
		return strings.Join(all, "\n")
	}
	for _, c := range []struct {
		by     string
		quorum int
		says   string
	}{
		{"person:ana", 2, "Rule a is never approved: it wants 2 approvals of person ana, who can give one."}, {"person:ana", 1, ""},
		{"group:care", 3, "Rule a is never approved: it wants 3 approvals of group care, and 2 can give one today."}, {"group:care", 2, ""},
		{"role:lead", 3, "wants 3 approvals of role lead"}, {"group:new", 3, ""},
	} {
		if got := asks(c.by, c.quorum); (c.says == "") == strings.Contains(got, "never approved") || !strings.Contains(got, c.says) {
			t.Errorf("%s, %d: %s", c.by, c.quorum, got)
		}
	}
}

func TestARelationThatTheModelDoesNotHaveIsAWarning(t *testing.T) {
	knows := func(object, relation string) error {
		if !strings.HasPrefix(object, "role:") || relation != "assignee" {
			return fault.Invalid("The relations know no %q of %q.", relation, object)
		}
		return nil
	}
	for when, says := range map[string]string{
		`related("role:lead", "assignee")`:                   "",
		`related("role:" + string(args.x), "assignee")`:      "",
		`related(string(args.x), "ownr")`:                    "",
		`related("role:lead", string(args.x))`:               "",
		`true && related("role:lead", "asignee")`:            `line 1, column 16: The relations know no "asignee" of "role:lead"`,
		`related("roles:" + string(args.x) + "/1", "owner")`: `The relations know no "owner" of "roles:"`,
	} {
		c, err := policy.Compile(parse(t, "p", rulesOf(fmt.Sprintf(`{"name":"a","when":%q,"effect":"block"}`, when))))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, w := range policy.Warnings([]*policy.Compiled{c}, policy.Surroundings{Knows: knows}) {
			if strings.Contains(w.GetSentence(), "Rule a cannot be judged where it asks for this") {
				found = true
				if says == "" || !strings.Contains(w.GetSentence(), says) {
					t.Errorf("%s: %s", when, w.GetSentence())
				}
			}
		}
		if found != (says != "") {
			t.Errorf("%s: %v", when, found)
		}
	}
}

func TestTenThousandRulesAreCompiledAndJudgedAndOneBrokenOneIsFound(t *testing.T) {
	rules := make([]string, 10_000)
	for i := range rules {
		rules[i] = ruleJSON(fmt.Sprintf("r%d", i), policy.Block, fmt.Sprintf(`args.n == %d`, i))
	}
	began := time.Now()
	b := bundle(t, "many", spec("allow", rules...))
	compiled := time.Since(began)
	began = time.Now()
	d := b.Evaluate(ana(`{"n":9999}`))
	t.Logf("compiled in %s, judged in %s", compiled, time.Since(began))
	if d.Rule != "many/r9999" || len(d.Rules) != len(rules) {
		t.Errorf("%s %d", d.Rule, len(d.Rules))
	}
	rules[7777] = ruleJSON("broken", policy.Block, "args.n ==\n nonsense")
	_, err := policy.Compile(parse(t, "many", spec("allow", rules...)))
	if f := fault.From(err); f == nil || !strings.Contains(f.Sentence, `Policy many: rule broken, line 2, column 2: the name "nonsense" is not known`) {
		t.Errorf("%v", err)
	}
}

func TestARuleOfAMegabyteAndDeepPatternsAreRefusedReadably(t *testing.T) {
	quoted := func(s string) string { return "args.id.matches(" + fmt.Sprintf("%q", s) + ")" }
	for name, c := range map[string]struct{ when, says string }{
		"a megabyte":                     {`args.id == "` + strings.Repeat("a", 1<<20) + `"`, "rule r"},
		"a deep pattern":                 {quoted(strings.Repeat("(", 1200) + "a" + strings.Repeat(")", 1200)), "invalid matches argument"},
		"a pattern that repeats repeats": {quoted(strings.Repeat("(", 8) + "a" + strings.Repeat("{99})", 8)), "invalid matches argument"},
		"deep brackets":                  {strings.Repeat("[", 400) + strings.Repeat("]", 400) + " == []", "rule r"},
	} {
		began := time.Now()
		_, err := policy.Compile(parse(t, "p", oneSpec(t, c.when)))
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 600 {
			t.Errorf("%s: %.700v", name, err)
		}
		t.Logf("%s: %s: %.120v", name, time.Since(began), err)
	}
}
