package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

func TestARuleThatAHeavierOneAlwaysOutweighsIsFoundByMeaning(t *testing.T) {
	for _, c := range []struct {
		light, heavy string
		covered      bool
	}{
		{`args.n > 100`, `args.n > 50`, true},
		{`args.n > 50`, `args.n > 100`, false},
		{`args.n >= 100`, `100 <= args.n`, true},
		{`args.n >= 100`, `args.n > 100`, false},
		{`args.n > 10 && args.n < 20`, `args.n > 5 && args.n <= 20`, true},
		{`args.n == 7`, `args.n > 5`, true},
		{`args.n == 7`, `args.n != 8`, true},
		{`args.n == 7`, `args.n != 7`, false},
		{`args.n > 100.5`, `!(args.n <= 100)`, true},
		{`args.n > 2 * 50`, `args.n > 99`, true},
		{`args.a == "x" && args.b == 1`, `args.b == 1 && args.a == "x"`, true},
		{`args.a == "x" && args.b == 1`, `args.b == 1`, true},
		{`args.b == 1`, `args.a == "x" && args.b == 1`, false},
		{`args.to == "a"`, `args.to in ["a", "b"]`, true},
		{`args.to in ["a", "c"]`, `args.to in ["a", "b"]`, false},
		{`args.x == 1`, `args.x == 1 || args.y == 1`, true},
		{`args.x == 1 || args.y == 1`, `args.x == 1`, false},
		{`args.x > 5 || args.x == 3`, `args.x > 2`, true},
		{`!(args.a == 1 || args.b == 2)`, `!(args.b == 2)`, true},
		{`args.n > 1`, `1 < 2`, true},
		{`args.n > 1`, `true && 2 + 2 == 4`, true},
		{`args.l.exists(x, x > 1)`, `args.l.exists(x,x>1)`, true},
		{`args.l.exists(x, x > 1)`, `args.l.exists(x, x > 2)`, false},
		{`args.n > 1`, `args.m > 1`, false},
		{`args.n == "1"`, `args.n == 1`, false},
		{`args.n != 1`, `args.n < 1 || args.n > 1`, false}, // a text is not 1 either, and cannot be compared
		{`has(args.n)`, `args.n`, false},
		{`"a" in principal.roles`, `"b" in principal.roles`, false},
	} {
		found := strings.Join(policy.Lint(parse(t, "p", spec("", ruleJSON("l", policy.Allow, c.light), ruleJSON("h", policy.Block, c.heavy)))), "\n")
		if strings.Contains(found, "Rule l never decides: rule h (block)") != c.covered {
			t.Errorf("%s by %s: %s", c.light, c.heavy, found)
		}
	}
}

func TestARuleThatContradictsItselfIsFound(t *testing.T) {
	for when, wrong := range map[string]bool{
		`1 > 2`: true, `args.n > 5 && args.n < 3`: true, `args.n > 5 && args.n <= 5`: true, `args.a == "x" && args.a == "y"`: true,
		`args.a == 1 && args.a == "y"`: true, `args.f == true && !(args.f == true)`: true, `args.n == 5 && args.n != 5`: true,
		`args.n > 5 && args.n < 3 || "a" == "b"`: true, `args.n > 5 && args.n < 7`: false, `args.n >= 5 && args.n <= 5`: false, `args.a == "x" || args.a == "y"`: false,
	} {
		found := strings.Join(policy.Lint(parse(t, "p", spec("", ruleJSON("l", policy.Allow, when)))), "\n")
		if strings.Contains(found, "Rule l never matches") != wrong {
			t.Errorf("%s: %s", when, found)
		}
	}
}

func TestPoliciesFightByMeaning(t *testing.T) {
	lets := parse(t, "a", spec("", ruleJSON("large", policy.Allow, `args.n > 100 && "support" in principal.roles`)))
	stops := parse(t, "b", spec("allow", ruleJSON("stop", policy.Block, "args.n >= 50")))
	if found := policy.Conflicts([]*authzv1.Policy{lets}, []*authzv1.Policy{stops}); len(found) != 1 || !strings.Contains(found[0], "what rule a/large lets pass (allow), rule b/stop always refuses") {
		t.Errorf("%v", found)
	}
	if found := policy.Conflicts(nil, []*authzv1.Policy{lets, stops}); found != nil {
		t.Errorf("what is in force already: %v", found)
	}
	mended := parse(t, "b", spec("allow", ruleJSON("stop", policy.Block, "args.n >= 500")))
	if found := policy.Conflicts([]*authzv1.Policy{mended}, []*authzv1.Policy{lets, stops}); found != nil {
		t.Errorf("against what it replaces: %v", found)
	}
}

func TestLookingForMistakesInTenThousandRulesEnds(t *testing.T) {
	rules := make([]string, 10_000)
	for i := range rules {
		rules[i] = ruleJSON(fmt.Sprintf("r%d", i), policy.Block, fmt.Sprintf(`args.n == %d && args.m > %d`, i, i))
	}
	began := time.Now()
	found := policy.Lint(parse(t, "p", spec("allow", rules...)))
	t.Logf("looked at in %s", time.Since(began))
	if !strings.Contains(strings.Join(found, "\n"), "too many rules") {
		t.Errorf("%v", found)
	}
}
