package guard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestTheRecordSaysWhichRulesMatchedAndWhichFailed(t *testing.T) {
	rules := []policy.RuleOutcome{
		{Rule: "p/block", Effect: "block", Matched: true}, {Rule: "p/none", Effect: "block"}, {Rule: "p/tried", Effect: "block", Matched: true, Shadow: true},
		{Rule: "p/broken", Effect: "allow", Shadow: true, Error: "no such key"}, {Rule: "p/stuck", Effect: "modify", Matched: true, Error: "nothing there"},
	}
	e := newEntry(&Inbound{}, "c", time.Unix(1, 0))
	e.decided(policy.Decision{Effect: effectBlock, Rule: "p/block", Rules: rules, Near: []string{"p/none: args.x == 1"}})
	d := e.event.GetDecision()
	if !slices.Equal(d.GetNear(), []string{"p/none: args.x == 1"}) {
		t.Errorf("nearly matched: %q", d.GetNear())
	}
	if !slices.Equal(d.GetMatched(), []string{"p/block", "p/tried"}) || !slices.Equal(d.GetFailed(), []string{"p/broken", "p/stuck"}) || !slices.Equal(d.GetShadow(), []string{"p/tried"}) {
		t.Errorf("%v", d)
	}
	rules = nil
	for i := range 100 {
		rules = append(rules, policy.RuleOutcome{Rule: fmt.Sprint("p/", i), Matched: true}, policy.RuleOutcome{Rule: fmt.Sprint("q/", i), Error: "x"})
	}
	if matched, failed := outcomes(rules); len(matched) != mostOutcomes || len(failed) != mostOutcomes {
		t.Errorf("%d matched, %d failed", len(matched), len(failed))
	}
}

func TestARefusedCallListsNothingThatWasTakenOut(t *testing.T) {
	for _, effect := range []string{effectBlock, effectEscalate} {
		e := newEntry(&Inbound{}, "c", time.Unix(1, 0))
		e.decided(policy.Decision{Effect: effect, Redact: []string{"/structuredContent/ssn"}})
		e.takenOut = []string{"/structuredContent/ssn"}
		refusal := &Refusal{Fault: fault.New(faultv1.Reason_REASON_INSPECTION, "No.")}
		if word := string(e.decisionJSON(refusal)); strings.Contains(word, "redacted") {
			t.Errorf("%s: %s", effect, word)
		}
		if word := string(e.decisionJSON(nil)); !strings.Contains(word, "redacted") {
			t.Errorf("%s: %s", effect, word)
		}
	}
}
