package policy

import (
	"context"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// breaking is a program whose evaluation panics.
type breaking struct{}

func (breaking) Eval(any) (ref.Val, *cel.EvalDetails, error) { panic("index out of range") }

func (b breaking) ContextEval(context.Context, any) (ref.Val, *cel.EvalDetails, error) {
	return b.Eval(nil)
}

func (breaking) ConcurrentEval(context.Context, any) <-chan cel.EvalResult { return nil }

func TestT26APanicInAnEvaluationBlocks(t *testing.T) {
	c, err := Compile(&authzv1.Policy{
		Metadata: &resourcev1.Metadata{Name: "p"},
		Spec: &authzv1.PolicySpec{
			Match: &authzv1.Match{Server: "*"}, Default: Allow,
			Rules: []*authzv1.Rule{{Name: "r", When: "true", Effect: Allow}},
			Facts: map[string]*authzv1.Fact{"f": {Tool: "t", Args: map[string]string{"a": "args.a"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.rules[0].program = breaking{}
	req := &Request{Server: Server{Name: "s"}, Tool: Tool{Name: "t"}, Relation: Relation{Known: true, See: true, Call: true}}
	d := NewBundle([]*Compiled{c}).Evaluate(req)
	if d.Effect != Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR || d.Rule != "p/r" || !strings.Contains(d.Sentence, "p/r") {
		t.Errorf("%+v", d)
	}
	c.facts[0].used, c.facts[0].enforced, c.facts[0].args[0].program = true, true, breaking{}
	if needs, err := NewBundle([]*Compiled{c}).Needs(req); err == nil {
		t.Errorf("%+v", needs)
	}
}

func TestOnlyRulesWithoutABoundAreCountedWhileTheyRun(t *testing.T) {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	for when, tracked := range map[string]bool{
		`args.id == "T-1"`: false, `"support" in principal.roles`: false, `args.limit <= 100`: false, `sql(args.q).readOnly`: false,
		`args.text.contains("password")`: false, `args.l.exists(x, x == 1)`: false, `args.text.matches("^T-[0-9]+$")`: false,
		`principal.roles.exists(r, r.startsWith("x"))`: false, `args.a in ["x", "y"]`: false,
		`args.l.exists(x, args.l.exists(y, x == y))`: true, `args.text.matches(args.pattern)`: true,
		`args.l.exists(x, x.a.contains("y"))`: true, `args.a.contains(args.b)`: true,
	} {
		e, err := compileExpression(env, when, cel.BoolType, names{})
		if err != nil || e.tracked != tracked {
			t.Errorf("%s: %+v %v", when, e, err)
		}
	}
}
