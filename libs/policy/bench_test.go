package policy_test

import (
	"fmt"
	"testing"

	"headgate.dev/libs/policy"
)

const benchArgs = `{"id":"T-1","title":"printer does not print","limit":50,"force":false,"tags":["a","b","c"],` +
	`"query":"SELECT id FROM tickets WHERE owner = 'ana'"}`

func benchBundle(b *testing.B, matching int, whens ...string) *policy.Bundle {
	b.Helper()
	var ps []*policy.Compiled
	for i := range 1000 {
		server := fmt.Sprintf("other-%d", i)
		if i < matching {
			server = "tickets"
		}
		rule := ruleJSON("r", policy.Allow, whens[i%len(whens)])
		s := `"match":{"server":"` + server + `","tools":["close_ticket"]},"default":"allow","rules":[` + rule + `]`
		ps = append(ps, compile(b, fmt.Sprintf("p%d", i), s))
	}
	return policy.NewBundle(ps)
}

func benchEvaluate(b *testing.B, bundle *policy.Bundle) {
	b.Helper()
	req := ana(benchArgs)
	if d := bundle.Evaluate(req); d.Effect != policy.Allow {
		b.Fatal(d.Sentence)
	}
	b.ReportAllocs()
	for b.Loop() {
		bundle.Evaluate(req)
	}
}

func BenchmarkEvaluateNoPolicy(b *testing.B) { benchEvaluate(b, benchBundle(b, 0, "true")) }

func BenchmarkEvaluate3Rules(b *testing.B) {
	benchEvaluate(b, benchBundle(b, 3, `"support" in principal.roles`, `args.limit <= 100`, `args.id.startsWith("T-") && args.force == false`))
}

func BenchmarkEvaluate3RulesWithoutArgs(b *testing.B) {
	benchEvaluate(b, benchBundle(b, 3, `"support" in principal.roles`, `principal.department == "care"`, `request.time.getHours() < 18`))
}

func BenchmarkEvaluate20RulesOf1000Policies(b *testing.B) {
	benchEvaluate(b, benchBundle(b, 20, `"support" in principal.roles`, `args.limit <= 100`,
		`args.id.startsWith("T-") && args.force == false`, `principal.department == "care"`))
}

func BenchmarkEvaluateSQL(b *testing.B) {
	benchEvaluate(b, benchBundle(b, 3, `sql(args.query).readOnly`, `sql(args.query).tables == ["tickets"]`, `sql(args.query).hasWhere`))
}

func BenchmarkEvaluateTrackedRule(b *testing.B) {
	benchEvaluate(b, benchBundle(b, 1, `args.tags.exists(x, args.tags.exists(y, x == y))`))
}

func BenchmarkCompile(b *testing.B) {
	p := parse(b, "tickets", tickets)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
