package decide_test

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/decide"
	"headgate.dev/services/edge/internal/guard"
)

func feasts(date string) *authzv1.Calendar {
	return &authzv1.Calendar{
		ApiVersion: "headgate/v1", Kind: "Calendar", Metadata: &resourcev1.Metadata{Name: "feasts", Tenant: "acme", Version: 1},
		Spec: &authzv1.CalendarSpec{Ical: "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:" + date + "\nRRULE:FREQ=YEARLY\nEND:VEVENT\nEND:VCALENDAR\n"},
	}
}

func TestTheEdgeDecidesByTheCalendarsThatItWasSent(t *testing.T) {
	workdays := &authzv1.Policy{
		ApiVersion: "headgate/v1", Kind: "Policy", Metadata: &resourcev1.Metadata{Name: "workdays", Tenant: "acme", Version: 1},
		Spec: &authzv1.PolicySpec{Match: &authzv1.Match{Server: "crm"}, Default: "allow", Rules: []*authzv1.Rule{
			{Name: "off", When: `holiday(request.time, "UTC", "feasts")`, Effect: "block"},
		}},
	}
	d := decide.New(decide.NewRelations(relations{}, relations{}))
	christmas := func() string {
		decision, err := d.Decide(t.Context(), guard.Question{
			Caller: &guard.Caller{Tenant: "acme", Person: "ana", Principal: policy.Principal{Name: "ana"}},
			Tool:   &guard.Tool{Server: &guard.Server{Name: "crm"}, Name: "find", Relation: policy.Relation{Known: true, See: true, Call: true}},
			At:     time.Date(2026, 12, 25, 12, 0, 0, 0, time.UTC),
		})
		if err != nil {
			if !fault.Is(err, faultv1.Reason_REASON_RULE_ERROR) || !strings.Contains(err.Error(), "workdays") {
				t.Error(err)
			}
			return "broken"
		}
		return decision.Effect
	}
	unreadable := feasts("20201225")
	unreadable.Spec.Ical = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20201225\nRRULE:FREQ=LUNAR\nEND:VEVENT\nEND:VCALENDAR\n"
	for _, step := range []struct {
		name, want string
		message    *authzv1.WatchResponse
	}{
		{"both in a snapshot", "block", &authzv1.WatchResponse{Snapshot: true, Calendars: []*authzv1.Calendar{feasts("20201225")}, Upserts: []*authzv1.Policy{workdays}}},
		{"a calendar that changes alone", "allow", &authzv1.WatchResponse{Calendars: []*authzv1.Calendar{feasts("20200501")}}},
		{"the same snapshot again", "allow", &authzv1.WatchResponse{Snapshot: true, Calendars: []*authzv1.Calendar{feasts("20200501")}, Upserts: []*authzv1.Policy{workdays}}},
		{"a snapshot with another calendar", "block", &authzv1.WatchResponse{Snapshot: true, Calendars: []*authzv1.Calendar{feasts("20201225")}, Upserts: []*authzv1.Policy{workdays}}},
		{"a calendar that this edge cannot read", "broken", &authzv1.WatchResponse{Calendars: []*authzv1.Calendar{unreadable}}},
		{"one that it can", "allow", &authzv1.WatchResponse{Calendars: []*authzv1.Calendar{feasts("20200501")}}},
		{"a calendar that is gone", "broken", &authzv1.WatchResponse{CalendarDeletions: []*authzv1.Deletion{{Tenant: "acme", Name: "feasts"}}}},
		{"a policy without its calendar", "broken", &authzv1.WatchResponse{Snapshot: true, Upserts: []*authzv1.Policy{workdays}}},
		{"its calendar afterwards", "block", &authzv1.WatchResponse{Calendars: []*authzv1.Calendar{feasts("20201225")}}},
		{"another tenant's calendar", "block", &authzv1.WatchResponse{CalendarDeletions: []*authzv1.Deletion{{Tenant: "globex", Name: "feasts"}}}},
	} {
		if err := d.Apply(step.message); err != nil {
			t.Fatal(err)
		}
		if got := christmas(); got != step.want {
			t.Errorf("%s: %s, not %s", step.name, got, step.want)
		}
	}
}
