package record_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// in follows the names of a document's objects.
func in(doc map[string]any, path ...string) any {
	for _, name := range path[:len(path)-1] {
		doc, _ = doc[name].(map[string]any)
	}
	return doc[path[len(path)-1]]
}

func TestARecordSaysWhoGotWhichRightUntilWhen(t *testing.T) {
	until := timestamppb.New(time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC))
	doc := record.ECS(with(func(ev *eventsv1.Event) {
		ev.Grants = []*eventsv1.Grant{
			{What: record.GrantGiven, Holder: "person:ana", Right: "role:support"},
			{What: record.GrantGiven, Holder: "role:support", Right: "call tickets.close_ticket", Until: until},
			{What: record.GrantTaken, Holder: "person:bob", Right: "role:support"},
			{What: record.GrantChanged, Holder: "role:night", Right: "see tickets.*", PreviousUntil: until},
		}
	}))
	for what, want := range map[string][]string{
		"given":   {"person:ana role:support", "role:support call tickets.close_ticket until 2026-12-24T18:00:00Z"},
		"taken":   {"person:bob role:support"},
		"changed": {"role:night see tickets.* until always, before until 2026-12-24T18:00:00Z"},
		"holders": {"person:ana", "role:support", "person:bob", "role:night"},
		"until":   {"2026-12-24T18:00:00Z"},
	} {
		if got, _ := in(doc, "headgate", "grants", what).([]string); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}

func TestARecordSaysWhoActsForWhom(t *testing.T) {
	for name, c := range map[string]struct {
		principal *eventsv1.Principal
		want      []string
	}{
		"nobody acts for anybody":        {&eventsv1.Principal{Person: "ana"}, nil},
		"a client":                       {&eventsv1.Principal{Person: "ana", Agent: "client:claude", ClientId: "claude"}, []string{"client:claude"}},
		"an agent through a client":      {&eventsv1.Principal{Person: "ana", Agent: "triage", ClientId: "claude"}, []string{"triage", "client:claude"}},
		"what the token says goes first": {&eventsv1.Principal{Person: "ana", Agent: "a", ClientId: "claude", Actors: []string{"a", "b", "c"}}, []string{"a", "b", "c"}},
	} {
		doc := record.ECS(with(func(ev *eventsv1.Event) { ev.Principal = c.principal }))
		chain, _ := in(doc, "headgate", "delegation", "chain").([]string)
		depth, _ := in(doc, "headgate", "delegation", "depth").(int64)
		if !slices.Equal(chain, c.want) || int(depth) != len(c.want) {
			t.Errorf("%s: %d, %q; want %q", name, depth, chain, c.want)
		}
	}
}

func TestARecordSaysHowTrustMovedAndHowLongAnAnswerTook(t *testing.T) {
	now, before := 0.0, 62.5
	doc := record.ECS(with(func(ev *eventsv1.Event) {
		ev.Trust = &eventsv1.Trust{Subject: "agent:triage", Band: "none", PreviousBand: "high", Score: &now, PreviousScore: &before}
		ev.Approval = &eventsv1.Approval{Id: "apr_1", State: record.ApprovalDenied, Approver: "sam", AskedAt: timestamppb.New(ev.GetTime().AsTime().Add(-90 * time.Second))}
	}))
	if score, drop := in(doc, "headgate", "trust", "score"), in(doc, "headgate", "trust", "drop"); score != 0.0 || drop != 62.5 {
		t.Errorf("score %v, drop %v", score, drop)
	}
	if waited := in(doc, "headgate", "approval", "waited"); waited != (90 * time.Second).Nanoseconds() {
		t.Errorf("waited %v", waited)
	}
}
