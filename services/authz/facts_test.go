package authz_test

import (
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// A fact that the question gives was read by nobody: every way to ask says so, and one that lacks it decides nothing.
func TestFactsThatAreGivenAreSaidToBe(t *testing.T) {
	id := newIdentity()
	id.apply(t, acme)
	h := start(t, id)
	admin := h.as("acme", "root", "admin")
	if _, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy))); err != nil {
		t.Fatal(err)
	}
	ask := call("ana", "", "tickets", "close_ticket")
	ask.Arguments = []byte(`{"id":"T-1"}`)
	app := h.as("acme", "portal", "app")
	decide := func(asked *authzv1.DecideRequest) []*authzv1.Decision {
		one, err := app.Decide(t.Context(), connect.NewRequest(asked))
		if err != nil {
			t.Fatal(err)
		}
		many, err := app.BatchDecide(t.Context(), connect.NewRequest(&authzv1.BatchDecideRequest{Calls: []*authzv1.DecideRequest{asked}}))
		if err != nil {
			t.Fatal(err)
		}
		why, err := app.Explain(t.Context(), connect.NewRequest(&authzv1.ExplainRequest{Call: asked}))
		if err != nil {
			t.Fatal(err)
		}
		return []*authzv1.Decision{one.Msg.GetDecision(), many.Msg.GetDecisions()[0], why.Msg.GetDecision()}
	}
	for _, d := range decide(ask) {
		if d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_FACT_UNAVAILABLE || !slices.Equal(d.GetNeedsFacts(), []string{"tickets/ticket"}) ||
			!strings.Contains(d.GetSentence(), "undecided: rule tickets/high-priority-needs-a-supervisor needs the fact tickets/ticket") || d.GetGivenFacts() != nil {
			t.Errorf("without the fact: %v", d)
		}
	}
	facts, err := structpb.NewStruct(map[string]any{"ticket": map[string]any{"priority": "low"}, "other": 1})
	if err != nil {
		t.Fatal(err)
	}
	ask.Facts = facts
	for _, d := range decide(ask) {
		if d.GetEffect() != "allow" || !slices.Equal(d.GetGivenFacts(), []string{"tickets/ticket"}) {
			t.Errorf("with the fact: %v", d)
		}
	}
	z := zen{t: t, h: h, token: "acme/portal/app"}
	if v := z.evaluate(question("ana", "", "tickets.close_ticket", `{"id":"T-1"}`, `{"ticket":{"priority":"low"}}`)); !*v.Decision || !slices.Equal(v.Context.Given, []string{"tickets/ticket"}) {
		t.Errorf("%+v", v)
	}
	if v := z.evaluate(question("ana", "", "tickets.close_ticket", `{"id":"T-1"}`, `{}`)); *v.Decision || !strings.Contains(v.Context.User["en"], "undecided") {
		t.Errorf("%+v", v)
	}
	if d, err := h.edge.Decide(t.Context(), connect.NewRequest(ask)); err != nil || d.Msg.GetDecision().GetGivenFacts() != nil {
		t.Errorf("the edge read it: %v %v", d, err)
	}
}
