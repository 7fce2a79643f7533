package policy_test

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// day is a calendar of acme with one day, every year.
func day(name, date string) *authzv1.Calendar {
	return &authzv1.Calendar{
		ApiVersion: "headgate/v1", Kind: "Calendar", Metadata: &resourcev1.Metadata{Name: name, Tenant: "acme"},
		Spec: &authzv1.CalendarSpec{Ical: "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Off\nDTSTART;VALUE=DATE:" + date + "\nRRULE:FREQ=YEARLY\nEND:VEVENT\nEND:VCALENDAR\n"},
	}
}

func shared(t testing.TB, calendars ...*authzv1.Calendar) policy.Calendars {
	t.Helper()
	var all policy.Calendars
	for _, c := range calendars {
		read, err := policy.ReadCalendar(c)
		if err != nil {
			t.Fatal(err)
		}
		all = all.With(read)
	}
	return all
}

func TestRulesNameTheCalendarsOfTheirTenant(t *testing.T) {
	christmas, labour := shared(t, day("feasts", "20201225"), day("labour", "20200501")), shared(t, day("feasts", "20200501"))
	when := `openAt(request.time, "Mo-Su 08:00-18:00", "Europe/Berlin", "feasts")`
	compiled, err := policy.CompileWith(parse(t, "p", oneSpec(t, when)), christmas)
	if err != nil {
		t.Fatal(err)
	}
	req := ana(`{}`)
	for at, open := range map[string]bool{
		"2026-12-24T10:00:00Z": true,
		"2026-12-25T10:00:00Z": false,
		"2026-12-24T23:30:00Z": false, // half past midnight in Berlin, outside the hours in any case
		"2026-05-01T10:00:00Z": true,
	} {
		if req.At, err = time.Parse(time.RFC3339, at); err != nil {
			t.Fatal(err)
		}
		if d := policy.NewBundle([]*policy.Compiled{compiled}).Evaluate(req); d.Rules[0].Matched != open || d.Rules[0].Error != "" {
			t.Errorf("%s: %v %s", at, d.Rules[0].Matched, d.Rules[0].Error)
		}
	}
	if !compiled.Names("feasts") || compiled.Names("labour") {
		t.Error("the policy names feasts alone")
	}
	if !compiled.Uses(christmas) || compiled.Uses(labour) || compiled.Uses(nil) || !compiled.Uses(christmas.With(labour["feasts"]).With(christmas["feasts"])) {
		t.Error("a calendar that changed is not seen")
	}
}

func TestACalendarOfThePolicyHidesThatOfItsTenant(t *testing.T) {
	compiled, err := policy.CompileWith(parse(t, "p", withCalendar(t, `holiday(request.time, "UTC", "bank")`)), shared(t, day("bank", "20200501")))
	if err != nil {
		t.Fatal(err)
	}
	req := ana(`{}`)
	req.At = time.Date(2026, 12, 25, 12, 0, 0, 0, time.UTC)
	if d := policy.NewBundle([]*policy.Compiled{compiled}).Evaluate(req); !d.Rules[0].Matched || compiled.Names("bank") {
		t.Errorf("the tenant's calendar was asked: %v", d.Rules)
	}
}

func TestAnUnknownCalendarOfTheTenantIsRefusedWithTheNearestName(t *testing.T) {
	all := shared(t, day("feasts", "20201225"), day("labour", "20200501"))
	for spec, says := range map[string]string{
		oneSpec(t, `holiday(request.time, "UTC", "feast")`): `the nearest is "feasts"`,
		strings.Replace(oneSpec(t, "true"), `"default"`,
			`"facts":{"f":{"tool":"t","path":"/x","args":{"open":"holiday(request.time, \"UTC\", \"labor\")"}}},"default"`, 1): `the nearest is "labour"`,
		strings.Replace(oneSpec(t, "true"), `"default"`,
			`"counters":{"n":{"window":"1h","of":"holiday(request.time, \"UTC\", \"labor\") ? 1 : 2"}},"default"`, 1): `the nearest is "labour"`,
	} {
		_, err := policy.CompileWith(parse(t, "p", spec), all)
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := policy.Compile(parse(t, "p", oneSpec(t, `holiday(request.time, "UTC", "feasts")`))); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("without calendars: %v", err)
	}
}

func TestACalendarThatIsNotUnderstoodIsRefusedWithItsNameAndLine(t *testing.T) {
	c := day("feasts", "20201225")
	c.Spec.Ical = strings.Replace(c.GetSpec().GetIcal(), "FREQ=YEARLY", "FREQ=HOURLY", 1)
	_, err := policy.ReadCalendar(c)
	if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), "Calendar feasts: line 5 of the calendar") {
		t.Error(err)
	}
}

func TestACandidateWithAnotherCalendarIsNotUnchanged(t *testing.T) {
	when := `holiday(request.time, "UTC", "feasts")`
	of := func(c *authzv1.Calendar) []*policy.Compiled {
		compiled, err := policy.CompileWith(parse(t, "p", oneSpec(t, when)), shared(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return []*policy.Compiled{compiled}
	}
	req := ana(`{}`)
	req.At = time.Date(2026, 12, 25, 12, 0, 0, 0, time.UTC)
	was := policy.NewBundle(of(day("feasts", "20201225"))).Evaluate(req)
	same := policy.NewCandidate(of(day("feasts", "20201225")), of(day("feasts", "20201225"))).Replay(req, policy.Recorded{Effect: was.Effect, Rule: was.Rule})
	if same.Open != "" || len(same.Differs) > 0 || same.Then.Effect != was.Effect {
		t.Errorf("the same calendar: %+v, not %s", same, was.Effect)
	}
	if got := policy.NewCandidate(of(day("feasts", "20201225")), of(day("feasts", "20200501"))).Replay(req, policy.Recorded{Effect: was.Effect, Rule: was.Rule}); len(got.Differs) == 0 || got.Then.Effect == was.Effect {
		t.Errorf("another calendar: %+v", got)
	}
}
