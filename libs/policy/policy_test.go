package policy_test

import (
	"encoding/json"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// noon is when the calls of these tests are made.
var noon = time.Date(2026, time.March, 4, 12, 0, 0, 0, time.UTC)

// parse reads a policy from JSON; spec is the inside of its spec.
func parse(t testing.TB, name, spec string) *authzv1.Policy {
	t.Helper()
	p := &authzv1.Policy{}
	doc := `{"apiVersion":"headgate/v1","kind":"Policy","metadata":{"name":"` + name + `","tenant":"acme","version":"7"},"spec":{` + spec + `}}`
	if err := protojson.Unmarshal([]byte(doc), p); err != nil {
		t.Fatalf("policy %s: %v", name, err)
	}
	return p
}

func compile(t testing.TB, name, spec string) *policy.Compiled {
	t.Helper()
	c, err := policy.Compile(parse(t, name, spec))
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return c
}

func bundle(t testing.TB, name, spec string) *policy.Bundle {
	t.Helper()
	return policy.NewBundle([]*policy.Compiled{compile(t, name, spec)})
}

// ana is a support agent who calls close_ticket on tickets.
func ana(args string) *policy.Request {
	return &policy.Request{
		Tenant:    "acme",
		Principal: policy.Principal{Name: "ana", Email: "ana@acme.example", Department: "care", Roles: []string{"support"}},
		Server:    policy.Server{Name: "tickets"},
		Tool:      policy.Tool{Name: "close_ticket"},
		Args:      json.RawMessage(args),
		At:        noon,
		SourceIP:  "203.0.113.9",
		Relation:  policy.Relation{Known: true, See: true, Call: true, Via: "ana → role support → server tickets"},
	}
}

const tickets = `"match":{"server":"tickets","tools":["close_ticket"]},
"facts":{"ticket":{"tool":"get_ticket","args":{"id":"args.id"},"path":"/structuredContent"}},
"rules":[
 {"name":"high-priority-needs-a-supervisor","when":"facts.ticket.priority == \"high\" && !(\"supervisor\" in principal.roles)","effect":"escalate",
  "approval":{"by":"role:supervisor","quorum":1,"expires":"4h"}},
 {"name":"support-may-close","when":"\"support\" in principal.roles","effect":"allow"}],
"tests":[{"name":"agent closes a normal ticket","as":{"roles":["support"]},"args":{"id":"T-1"},"facts":{"ticket":{"priority":"normal"}},"expect":"allow"},
 {"name":"agent closes a high ticket","as":{"roles":["support"]},"args":{"id":"T-1"},"facts":{"ticket":{"priority":"high"}},"expect":"escalate",
  "rule":"high-priority-needs-a-supervisor"},
 {"name":"others are refused","as":{"roles":["sales"]},"args":{"id":"T-1"},"facts":{"ticket":{"priority":"normal"}},"expect":"block"}]`

func TestThePolicyOfTheDesignDecidesByFact(t *testing.T) {
	c := compile(t, "tickets", tickets)
	if c.Name() != "tickets" || c.Tenant() != "acme" || c.Version() != 7 || c.Source().GetKind() != "Policy" {
		t.Errorf("%s %s %d", c.Name(), c.Tenant(), c.Version())
	}
	b := policy.NewBundle([]*policy.Compiled{c})
	req := ana(`{"id":"T-1"}`)

	needs, err := b.Needs(req)
	if err != nil {
		t.Fatal(err)
	}
	if len(needs) != 1 || needs[0].Key != "tickets/ticket" || needs[0].Tool != "get_ticket" || string(needs[0].Args) != `{"id":"T-1"}` ||
		needs[0].Path != "/structuredContent" {
		t.Fatalf("needs %+v", needs)
	}
	for _, c := range []struct{ fact, effect, rule string }{
		{`{"priority":"normal"}`, policy.Allow, "tickets/support-may-close"},
		{`{"priority":"high"}`, policy.Escalate, "tickets/high-priority-needs-a-supervisor"},
	} {
		req.Facts = map[string]any{needs[0].Key: json.RawMessage(c.fact)}
		d := b.Evaluate(req)
		if d.Effect != c.effect || d.Rule != c.rule || d.PolicyVersion != 7 || len(d.Rules) != 2 {
			t.Errorf("%s: %+v", c.fact, d)
		}
		if again, err := b.Needs(req); err != nil || len(again) != 0 {
			t.Errorf("needs again: %v %v", again, err)
		}
		t.Log(d.Sentence)
	}
}

func TestAPolicyRunsItsOwnTests(t *testing.T) {
	results, err := policy.RunTests(parse(t, "tickets", tickets))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Problem)
		}
	}
	if len(results) != 3 {
		t.Errorf("%d results", len(results))
	}
}
