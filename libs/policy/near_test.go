package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy"
)

func TestARefusalSaysWhichRulesNearlyMatched(t *testing.T) {
	const secret = "T-9-of-a-customer"
	b := bundle(t, "p", rulesOf(`{"name":"day","when":"\"support\" in principal.roles && args.id == \"T-1\"","effect":"allow"},
		{"name":"far","when":"\"admin\" in principal.roles && args.id == \"T-1\"","effect":"allow"},
		{"name":"one","when":"args.id == \"T-1\"","effect":"allow"},
		{"name":"either","when":"args.id == \"T-1\" || args.id == \"T-2\"","effect":"allow"},
		{"name":"tried","when":"\"support\" in principal.roles && args.id == \"T-2\"","effect":"allow","shadow":true},
		{"name":"unknown","when":"\"admin\" in principal.roles && args.missing == 1","effect":"allow"},
		{"name":"also-stopped","when":"\"support\" in principal.roles && args.id == \"T-3\"","effect":"block"},
		{"name":"stopped","when":"\"support\" in principal.roles && args.id != \"T-1\"","effect":"block"},
		{"name":"high","when":"args.id != \"T-1\" && request.ip == \"10.0.0.1\"","effect":"escalate"}`))
	req := ana(`{"id":"` + secret + `"}`)
	req.SourceIP = "192.0.2.1"
	d := b.Evaluate(req)
	want := []string{`p/day: args.id == "T-1"`, `p/high: request.ip == "10.0.0.1"`}
	if got := b.Near(req, d); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := b.Near(req, d); !slices.Equal(got, want) || strings.Contains(fmt.Sprint(got), secret) {
		t.Errorf("the second time %q", got)
	}
	if explained, _ := b.Explain(req); !slices.Equal(explained.Near, want) {
		t.Errorf("explained as %q", explained.Near)
	}
	for about, change := range map[string]func(*policy.Request){
		"an allowed call":       func(r *policy.Request) { r.Args = []byte(`{"id":"T-1"}`) },
		"one without the grant": func(r *policy.Request) { r.Relation.Call = false },
	} {
		other := *req
		change(&other)
		if got := b.Near(&other, b.Evaluate(&other)); got != nil {
			t.Errorf("%s: %q", about, got)
		}
	}
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf(`{"name":"r%d","when":"args.id == \"T-1\" && args.title == \"%d%s\"","effect":"allow"}`, i, i, strings.Repeat("é", 300)))
	}
	crowd, call := bundle(t, "p", rulesOf(strings.Join(many, ","))), ana(`{"id":"T-1","title":"x"}`)
	got := crowd.Near(call, crowd.Evaluate(call))
	if len(got) != 5 || !strings.HasSuffix(got[0], "…") || len(got[0]) > 220 || !strings.HasPrefix(got[4], "p/r4: args.title == ") {
		t.Errorf("%q", got)
	}
}
