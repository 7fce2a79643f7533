package conformance_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/tools/e2e/conformance"
)

func outcome(statuses ...string) conformance.Outcome {
	var o conformance.Outcome
	for _, one := range statuses {
		id, status, _ := strings.Cut(one, " ")
		o.Checks = append(o.Checks, conformance.Check{ID: id, Status: status})
	}
	return o
}

func TestAScenarioWithoutASuccessHasNotPassed(t *testing.T) {
	for _, one := range []struct {
		outcome conformance.Outcome
		passed  bool
	}{
		{outcome("a SUCCESS", "b SKIPPED", "c INFO"), true},
		{outcome("a SUCCESS", "b FAILURE"), false},
		{outcome("b SKIPPED"), false},
		{conformance.Outcome{}, false},
	} {
		if one.outcome.Passed() != one.passed {
			t.Errorf("%v: passed is %v", one.outcome, !one.passed)
		}
	}
}

func TestACheckSucceedsWhereItEndsInNoOtherWay(t *testing.T) {
	o := outcome("a SUCCESS", "b SUCCESS", "b INFO", "c WARNING", "a SUCCESS")
	for check, want := range map[string]bool{"a": true, "b": false, "c": false, "d": false} {
		if o.Succeeded(check) != want {
			t.Errorf("%s: %v", check, !want)
		}
	}
}

func TestARunDiffersWhereACheckDoes(t *testing.T) {
	direct := outcome("a SUCCESS", "b FAILURE", "c SUCCESS", "c SUCCESS")
	if found := direct.Differences(outcome("c SUCCESS", "b FAILURE", "c SUCCESS", "a SUCCESS")); len(found) != 0 {
		t.Errorf("another order is a difference: %v", found)
	}
	found := direct.Differences(outcome("a FAILURE", "b FAILURE", "c SUCCESS"))
	want := []string{"a FAILURE: 0 here, 1 there", "a SUCCESS: 1 here, 0 there", "c SUCCESS: 2 here, 1 there"}
	if !slices.Equal(found, want) {
		t.Errorf("the differences are %v", found)
	}
}

func TestARunIsWorseWhereACheckFailsWarnsOrIsSkipped(t *testing.T) {
	direct := outcome("a SUCCESS", "b WARNING", "c SUCCESS", "d SUCCESS", "e FAILURE")
	found := direct.Worse(outcome("a INFO", "b WARNING", "c WARNING", "d SKIPPED", "e SUCCESS", "f FAILURE"))
	want := []string{"c WARNING: 0 here, 1 there", "d SKIPPED: 0 here, 1 there", "f FAILURE: 0 here, 1 there"}
	if !slices.Equal(found, want) {
		t.Errorf("worse are %v", found)
	}
}

func TestTheTableShowsBothRunsAndWhatCounts(t *testing.T) {
	required := conformance.Requirements{Scored: []string{"ping", "lost"}, Unscored: []string{"tasks"}}
	table := conformance.Table(required, conformance.Report{"ping": outcome("p SUCCESS"), "lost": outcome("l SUCCESS"), "tasks": outcome("t FAILURE")},
		conformance.Report{"ping": outcome("p SUCCESS"), "tasks": outcome("t SUCCESS")})
	for _, want := range []string{"ping yes 1 passed, 0 failed 1 passed, 0 failed", "lost yes 1 passed, 0 failed 0 passed, 0 failed differs",
		"tasks no 0 passed, 1 failed 1 passed, 0 failed differs", "scored 2 of 2 1 of 2"} {
		if !strings.Contains(strings.Join(strings.Fields(table), " "), want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
}
