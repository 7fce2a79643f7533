package cli

import (
	"testing"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// A recorded fact counts in a replay where the record has its value and the policy in force still reads it like that.
func TestAReplayTakesTheFactsThatTheRecordHas(t *testing.T) {
	compiled, err := policy.Compile(&authzv1.Policy{Metadata: &resourcev1.Metadata{Tenant: "acme", Name: "p"}, Spec: &authzv1.PolicySpec{
		Match: &authzv1.Match{Server: "tickets", Tools: []string{"close"}}, Default: "allow",
		Facts: map[string]*authzv1.Fact{"ticket": {Tool: "get", Path: "/structuredContent"}},
		Rules: []*authzv1.Rule{{Name: "r", When: `facts.ticket.priority == "high"`, Effect: "block"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	request := &policy.Request{Tenant: "acme", Server: policy.Server{Name: "tickets"}, Tool: policy.Tool{Name: "close"}, Relation: policy.Relation{Known: true, See: true, Call: true}}
	needs, err := policy.NewBundle([]*policy.Compiled{compiled}).Needs(request)
	if err != nil || len(needs) != 1 {
		t.Fatal(needs, err)
	}
	high := `{"priority":"high"}`
	for _, c := range []struct {
		declared, document, want string
	}{{needs[0].Declared, high, "block"}, {needs[0].Declared, `{"priority":"low"}`, "allow"}, {needs[0].Declared, "", "open"}, {"another", high, "open"}} {
		r := replayer{candidate: policy.NewCandidate([]*policy.Compiled{compiled}, []*policy.Compiled{}), groups: map[groupKey]*replayed{}}
		r.take(&eventsv1.Event{
			Action: toolCall, CallId: "c", Target: &eventsv1.Target{Server: "tickets", Tool: "close"},
			Decision: &eventsv1.Decision{Effect: policy.Block, Reason: faultv1.Reason_REASON_RATE_LIMITED, Via: "ana", Facts: []*eventsv1.Fact{{
				Name: needs[0].Key, Declared: c.declared, Value: &eventsv1.Payload{Document: c.document},
			}}},
		})
		got := "allow" // under the policies in force; without any, everything is
		for key := range r.groups {
			if got = key.now.Effect; key.open != "" {
				got = "open"
			}
		}
		if got != c.want {
			t.Errorf("%q as %q: %s, want %s", c.document, c.declared, got, c.want)
		}
	}
}
