package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const shadowing = `
{name: lists, rules: [{name: stricter, when: args.limit > 10, effect: block, shadow: true}, {name: never, when: 'false', effect: escalate, shadow: true}, {name: all, when: 'true', effect: allow}]}
{name: other, rules: [{name: all, when: 'true', effect: allow}]}
{name: dated, rules: [{name: off, when: 'holiday(request.time, "UTC", "feasts")', effect: block}]}`

const feasts = `---
apiVersion: headgate/v1
kind: Calendar
metadata: {name: feasts, tenant: acme}
spec:
  ical: |
    BEGIN:VCALENDAR
    BEGIN:VEVENT
    SUMMARY:Off
    DTSTART;VALUE=DATE:20251225
    RRULE:FREQ=YEARLY
    END:VEVENT
    END:VCALENDAR
`

func TestShadowSaysWhatRulesWouldHaveDone(t *testing.T) {
	d := openDesk(t, applied(t, policies(shadowing)+feasts))
	d.keep(12, func(i int) *eventsv1.Event {
		ev := &eventsv1.Event{
			Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: "acme", CallId: fmt.Sprintf("call-%02d", i),
			Time: timestamppb.New(time.Now().Add(-time.Minute)), Principal: &eventsv1.Principal{Person: "ana"}, Target: &eventsv1.Target{Server: "desk", Tool: "lists"},
			Decision: &eventsv1.Decision{Via: "ana → server desk", Effect: "allow", Rule: "lists/all", Matched: []string{"lists/all"}},
		}
		said := ev.GetDecision()
		switch {
		case i < 3: // it would have been blocked, and went through
			said.Matched, said.Shadow = []string{"lists/stricter", "lists/all"}, []string{"lists/stricter"}
		case i == 3: // as it was refused by another rule
			said.Matched, said.Effect, said.Reason = []string{"lists/stricter"}, "block", faultv1.Reason_REASON_RULE
		case i == 4:
			said.Failed = []string{"lists/stricter"}
		case i == 5: // rules were not asked
			ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_NOT_GRANTED, Via: "ana → server desk"}
		case i == 6:
			ev.Target.Tool = "other"
		}
		return ev
	})
	code, out, words := d.run("policy", "shadow", "--tenant", "acme", "-o", "json")
	var rules []struct {
		Rule, Effect                   string
		Calls, Matched, Failed, Passed int
		Examples                       []string
	}
	if err := json.Unmarshal([]byte(out), &rules); err != nil || code != 0 || len(rules) != 2 {
		t.Fatalf("exit %d: %v %s%s", code, err, out, words)
	}
	if r := rules[0]; r.Rule != "lists/never" || r.Matched != 0 || r.Calls != 10 {
		t.Errorf("%+v", r)
	}
	if r := rules[1]; r.Rule != "lists/stricter" || r.Effect != "block" || r.Calls != 10 || r.Matched != 4 || r.Failed != 1 || r.Passed != 3 || len(r.Examples) != 3 {
		t.Errorf("%+v", r)
	}
	if code, out, words := d.run("policy", "shadow", "--tenant", "acme"); code != 0 || !strings.Contains(out, "lists/stricter") {
		t.Errorf("exit %d: %s%s", code, out, words)
	}
	if code, _, _ := d.run("policy", "shadow", "--since", "-1h"); code != 2 {
		t.Errorf("exit %d", code)
	}
}
