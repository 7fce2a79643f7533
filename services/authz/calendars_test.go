package authz_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/fault"
)

// feasts is a calendar of acme with these days, every year.
func feasts(dates ...string) string {
	text := "\n---\napiVersion: headgate/v1\nkind: Calendar\nmetadata: {name: feasts, tenant: acme}\nspec:\n  ical: |\n    BEGIN:VCALENDAR\n"
	for _, date := range dates {
		text += "    BEGIN:VEVENT\n    SUMMARY:Off\n    DTSTART;VALUE=DATE:" + date + "\n    RRULE:FREQ=YEARLY\n    END:VEVENT\n"
	}
	return text + "    END:VCALENDAR\n"
}

const workdays = `
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: workdays, tenant: acme}
spec:
  match: {server: tickets, tools: [close_ticket]}
  rules:
    - {name: no-holidays, when: 'holiday(request.time, "UTC", "feasts")', effect: block, reason: Not today.}
    - {name: rest, when: "true", effect: allow}
  tests:
    - {name: a leap day, at: "2028-02-29T10:00:00Z", expect: block}
    - {name: any other day, at: "2028-03-01T10:00:00Z", expect: allow}
`

func (h *harness) apply(yaml string) (*authzv1.ApplyResponse, error) {
	h.t.Helper()
	resp, err := h.as("acme", "root", "admin").Apply(h.t.Context(), connect.NewRequest(applying(h.t, yaml)))
	if err != nil {
		return nil, err
	}
	return resp.Msg, nil
}

func TestACalendarIsAppliedWithThePoliciesThatNameItAndDecidesAtOnce(t *testing.T) {
	h := start(t, newAcme(t))
	f := h.follow()
	f.until(10*time.Second, (*authzv1.WatchResponse).GetSnapshot)
	resp, err := h.apply(workdays + feasts("20200229"))
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.GetChanges(); len(c) != 2 || c[0].GetAction() != resourcev1.Action_ACTION_CREATED || c[1].GetAction() != resourcev1.Action_ACTION_CREATED {
		t.Errorf("answer: %v", resp)
	}
	m := f.until(10*time.Second, func(m *authzv1.WatchResponse) bool { return len(m.GetUpserts()) > 0 })
	if len(m.GetCalendars()) != 1 || m.GetUpserts()[0].GetMetadata().GetName() != "workdays" {
		t.Errorf("the policy and its calendar came apart: %v", m)
	}
	same(t, "records", h.journal.of("resource-applied"), "created Policy acme/workdays by root", "created Calendar acme/feasts by root")
	today := h.clock.now().UTC().Format("20060102")
	effect := func() string { return h.decide(call("ana", "", "tickets", "close_ticket")).GetEffect() }
	if got := effect(); got != "allow" {
		t.Errorf("before: %s", got)
	}

	// The calendar alone changes: the policy that names it is decided by it, here and by whoever follows.
	if _, err := h.apply(feasts("20200229", today)); err != nil {
		t.Fatal(err)
	}
	if got := effect(); got != "block" {
		t.Errorf("on a new holiday: %s", got)
	}
	if m := f.until(10*time.Second, func(m *authzv1.WatchResponse) bool { return len(m.GetCalendars()) > 0 }); !strings.Contains(m.GetCalendars()[0].GetSpec().GetIcal(), today) {
		t.Errorf("followers hear %v", m)
	}
	again := h.follow()
	if m := again.until(10*time.Second, (*authzv1.WatchResponse).GetSnapshot); len(m.GetCalendars()) != 1 || len(m.GetUpserts()) != 1 {
		t.Errorf("the snapshot has %d calendars", len(m.GetCalendars()))
	}
	got, err := h.as("acme", "root", "admin").Get(t.Context(), connect.NewRequest(&authzv1.GetRequest{Kind: "Calendar", Name: "feasts"}))
	if err != nil || got.Msg.GetResource().GetCalendar().GetMetadata().GetVersion() != 2 {
		t.Errorf("get: %v, %v", got, err)
	}
}

func TestCalendarsThatWouldBreakPoliciesAreRefusedWhole(t *testing.T) {
	h := start(t, newAcme(t))
	if _, err := h.apply(workdays + feasts("20200229")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ yaml, says string }{
		"not understood":        {strings.Replace(feasts("20200229"), "FREQ=YEARLY", "FREQ=WEEKLY", 1), "Calendar feasts: line 5 of the calendar"},
		"an unknown name":       {strings.NewReplacer("name: workdays", "name: other", `"feasts"`, `"feast"`).Replace(workdays), `the nearest is "feasts"`},
		"a test of a policy":    {feasts("20200501"), "Calendar feasts was not applied, because a policy that names it would not pass its tests. Policy workdays"},
		"another tenant's":      {strings.NewReplacer("tenant: acme", "tenant: globex").Replace(workdays), "there is none"},
		"with a good policy":    {strings.Replace(workdays, "name: workdays", "name: good", 1) + feasts("2020"), "Calendar feasts: line 4"},
		"both at once, failing": {strings.Replace(workdays, "reason: Not today.", "reason: Never.", 1) + feasts("20200501"), "Policy workdays was not applied: 1 of its 2 tests failed"},
	} {
		client := h.as("acme", "root", "admin")
		if name == "another tenant's" {
			client = h.as("system", "boss", "platform")
		}
		_, err := client.Apply(t.Context(), connect.NewRequest(applying(t, c.yaml)))
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := h.as("acme", "root", "admin").List(t.Context(), connect.NewRequest(&authzv1.ListRequest{Kind: "Policy"}))
	if err != nil || len(list.Msg.GetResources()) != 1 || list.Msg.GetResources()[0].GetPolicy().GetMetadata().GetVersion() != 1 {
		t.Errorf("something was applied: %v, %v", list, err)
	}
}

func TestACalendarInUseIsNotRemoved(t *testing.T) {
	h := start(t, newAcme(t))
	if _, err := h.apply(workdays + feasts("20200229")); err != nil {
		t.Fatal(err)
	}
	root := h.as("acme", "root", "admin")
	remove := func(kind, name string) error {
		_, err := root.Delete(t.Context(), connect.NewRequest(&authzv1.DeleteRequest{Kind: kind, Name: name}))
		return err
	}
	err := remove("Calendar", "feasts")
	if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), "these policies name it: workdays. Change or remove them first") {
		t.Errorf("removed in use: %v", err)
	}
	if err := remove("Policy", "workdays"); err != nil {
		t.Fatal(err)
	}
	f := h.follow()
	f.until(10*time.Second, (*authzv1.WatchResponse).GetSnapshot)
	if err := remove("Calendar", "feasts"); err != nil {
		t.Fatal(err)
	}
	m := f.until(10*time.Second, func(m *authzv1.WatchResponse) bool { return len(m.GetCalendarDeletions()) > 0 })
	if gone := m.GetCalendarDeletions()[0]; gone.GetTenant() != "acme" || gone.GetName() != "feasts" {
		t.Errorf("followers hear %v", m)
	}
	same(t, "records", h.journal.of("resource-deleted"), "deleted Policy acme/workdays by root", "deleted Calendar acme/feasts by root")
	if _, err := h.apply(workdays); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a policy names what is gone: %v", err)
	}
}

func TestCalendarsAreThereAfterARestart(t *testing.T) {
	dir, id := t.TempDir(), newAcme(t)
	h := start(t, id, on(dir))
	today := h.clock.now().UTC().Format("20060102")
	if _, err := h.apply(workdays + feasts("20200229", today)); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h = start(t, id, on(dir))
	h.settled(id.revision)
	if d := h.decide(call("ana", "", "tickets", "close_ticket")); d.GetEffect() != "block" || d.GetRule() != "workdays/no-holidays" {
		t.Errorf("after a restart: %v", d)
	}
}
