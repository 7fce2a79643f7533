package decide_test

import (
	"slices"
	"testing"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/policy"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/guard"
)

func TestTheEdgeSaysOfARefusalWhichRulesNearlyMatched(t *testing.T) {
	d := decide.New(decide.NewRelations(relations{}, relations{}))
	if err := d.Apply(&authzv1.WatchResponse{Snapshot: true, Upserts: []*authzv1.Policy{{
		ApiVersion: "headgate/v1", Kind: "Policy", Metadata: &resourcev1.Metadata{Name: "care", Tenant: "acme", Version: 1},
		Spec: &authzv1.PolicySpec{Match: &authzv1.Match{Server: "crm"}, Rules: []*authzv1.Rule{
			{Name: "support", When: `tool.name == "find" && "support" in principal.roles`, Effect: "allow"},
		}},
	}}}); err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string][]string{"sales": {`care/support: "support" in principal.roles`}, "support": nil} {
		decision, err := d.Decide(t.Context(), guard.Question{
			Caller: &guard.Caller{Tenant: "acme", Person: "ana", Principal: policy.Principal{Name: "ana", Roles: []string{role}}},
			Tool:   &guard.Tool{Server: &guard.Server{Name: "crm"}, Name: "find", Relation: policy.Relation{Known: true, See: true, Call: true}},
		})
		if err != nil || (decision.Effect == policy.Allow) != (want == nil) || !slices.Equal(decision.Near, want) {
			t.Errorf("%s: %+v (%v)", role, decision, err)
		}
	}
}
