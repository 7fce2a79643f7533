package policy_test

import (
	"encoding/json"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// Whatever an author writes and a caller sends, compiling ends in a fault INVALID or evaluating in a decision, the same twice.
func FuzzEvaluate(f *testing.F) {
	for _, when := range []string{
		`args.id == "T-1"`, `sql(args.q).readOnly`, `args.l.map(x, x + 1)[0] > 2`, `principal.rolez`, `args.a.matches(args.b)`, `"%s".format([args.id]) == "x"`,
		`request.time.getHours("Europe/Berlin") > 3`, `cidr(args.a).containsIP(request.ip)`, `facts.f == 1`, `{"a": 1}[args.id] == 1`, `args.exists(k, has(args.o))`,
	} {
		f.Add(when, `{"id":"T-1","q":"SELECT 1","l":[1,2],"a":"10.0.0.0/8","b":"(","o":{"x":null}}`)
	}
	f.Fuzz(func(t *testing.T, when, args string) {
		c, err := policy.Compile(&authzv1.Policy{
			Metadata: &resourcev1.Metadata{Name: "p"},
			Spec:     &authzv1.PolicySpec{Match: &authzv1.Match{Server: "*"}, Rules: []*authzv1.Rule{{Name: "r", When: when, Effect: policy.Allow}}},
		})
		if err != nil {
			if !fault.Is(err, faultv1.Reason_REASON_INVALID) {
				t.Errorf("%q: %v", when, err)
			}
			return
		}
		req := ana("")
		req.Args = json.RawMessage(args)
		b := policy.NewBundle([]*policy.Compiled{c})
		first, again := b.Evaluate(req), b.Evaluate(req)
		if first.Effect != again.Effect || first.Sentence != again.Sentence || (first.Effect != policy.Allow && first.Effect != policy.Block) {
			t.Errorf("%q on %q: %+v %+v", when, args, first, again)
		}
	})
}
