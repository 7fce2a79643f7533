package policy_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestRulesSeeWhatTrustKnowsOfAServerAndItsTool(t *testing.T) {
	state := &trustv1.ServerState{
		Server:   &trustv1.Server{Spec: &trustv1.ServerSpec{Url: "https://crm.example/mcp", Pins: []string{"sha256/x"}}},
		Standing: trustv1.Standing_STANDING_APPROVED,
	}
	tool := &trustv1.Definition{
		Name: "close_ticket", State: trustv1.DefinitionState_DEFINITION_STATE_CHANGED, ApprovedBy: "sam", ApprovedAt: timestamppb.New(noon.Add(-time.Hour)),
	}
	for when, want := range map[string]string{
		`trust.standing == "approved" && trust.transport == "https" && trust.pinned == true`: policy.Block,
		`trust.definition == "changed" && trust["approvedBy"] == "sam"`:                      policy.Block,
		`request.time - timestamp(trust.approvedAt) < duration("2h")`:                        policy.Block,
		`has(trust.approvedBy) && trust.approvedBy == "initial"`:                             policy.Allow,
		`trust.standing == "quarantined"`:                                                    policy.Allow,
	} {
		b := bundle(t, "p", spec(policy.Allow, ruleJSON("r", policy.Block, when)))
		req := ana(`{}`)
		req.Trust = policy.TrustOf(state, tool)
		if d := b.Evaluate(req); d.Effect != want || d.Rules[0].Error != "" {
			t.Errorf("%s: %+v", when, d)
		}
	}
	method := policy.TrustOf(&trustv1.ServerState{Standing: trustv1.Standing_STANDING_QUARANTINED}, nil)
	if method["standing"] != "quarantined" || method["definition"] != "none" || method["transport"] != "stdio" || method["approvedBy"] != nil {
		t.Errorf("%v", method)
	}
}

func TestAPolicyThatReadsWhatNobodyTellsOfIsRefused(t *testing.T) {
	for when, says := range map[string]string{
		`trust.score >= 0`:            "rule r, line 1, column 6: no service tells of trust.score yet",
		`!has(trust.band)`:            "no service tells of trust.band yet",
		`"score" in trust`:            "no service tells of trust.score yet",
		`trust["score"] > 5`:          "no service tells of trust.score yet",
		`trust[args.x] == 1`:          "trust is read by the name of a member",
		`"private" in taint`:          "rule r, line 1, column 14: no service tells of taint yet",
		`trust.standing == "pending"`: "",
		`has(args.trust)`:             "",
	} {
		err := policy.CheckProvided(parse(t, "p", spec("", ruleJSON("r", policy.Block, when))))
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(fault.From(err).Sentence, says)) {
			t.Errorf("%s: %v", when, err)
		}
	}
	of := parse(t, "p", `"match":{"server":"tickets"},"facts":{"f":{"tool":"get","args":{"x":"trust.score"}}},"counters":{"n":{"window":"1h","of":"trust.score"}}`)
	if err := policy.CheckProvided(of); err == nil || !strings.Contains(err.Error(), "fact f: args.x: line 1, column 6: no service tells") {
		t.Error(err)
	}
	of.Spec.Facts = nil
	if err := policy.CheckProvided(of); err == nil || !strings.Contains(err.Error(), "counter n: of: line 1, column 6: no service tells") {
		t.Error(err)
	}
}

// A policy's tests take place under the trust that each call of an edge has, unless they say another.
func TestPolicyTestsHaveTheTrustOfAnApprovedTool(t *testing.T) {
	p := parse(t, "p", `"match":{"server":"tickets"},"rules":[{"name":"r","when":"trust.standing == \"approved\"","effect":"allow"}],
"tests":[{"name":"approved","expect":"allow"},{"name":"quarantined","trust":{"standing":"quarantined"},"expect":"block"}]`)
	results, err := policy.RunTests(p)
	if err != nil || !results[0].Passed || !results[1].Passed {
		t.Errorf("%+v %v", results, err)
	}
}

func TestALabelIsThereOnce(t *testing.T) {
	spec := &trustv1.ServerSpec{Labels: []string{"z", "egress"}, ToolLabels: map[string]*trustv1.Labels{"t": {Labels: []string{"data:health", "z"}}}}
	got := policy.LabelsOf(spec, &trustv1.Definition{Name: "t", Labels: []string{"data:health"}})
	if strings.Join(got, " ") != "data:health egress z" {
		t.Error(got)
	}
}

func TestTheReadingOfAFactIsJudgedByTheRulesThatReadNone(t *testing.T) {
	facts := `,"facts":{"f":{"tool":"get"}}`
	for _, c := range []struct{ name, spec, effect, rule string }{
		{"a rule blocks", spec("", ruleJSON("b", policy.Block, `principal.name == "ana"`), ruleJSON("f", policy.Allow, "facts.f.x == 1")) + facts, policy.Block, "p/b"},
		{"only rules with facts", spec("", ruleJSON("f", policy.Allow, "facts.f.x == 1")) + facts, policy.Allow, ""},
		{"a rule without a fact that does not match", spec("", ruleJSON("b", policy.Block, "false"), ruleJSON("f", policy.Allow, "facts.f.x == 1")) + facts, policy.Allow, ""},
		{"the default, where no rule reads facts", spec("", ruleJSON("b", policy.Allow, "false")), policy.Block, ""},
		{"a broken rule", spec("", ruleJSON("b", policy.Block, "args.missing == 1"), ruleJSON("f", policy.Allow, "facts.f.x == 1")) + facts, policy.Block, "p/b"},
	} {
		req := ana(`{}`)
		req.WithoutFacts = true
		if d := bundle(t, "p", c.spec).Evaluate(req); d.Effect != c.effect || d.Rule != c.rule || len(d.NeedsFacts) > 0 {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}
