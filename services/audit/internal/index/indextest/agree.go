package indextest

import (
	"slices"
	"testing"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// corpus is records of which each has words in other places.
func corpus() []index.Record {
	change := map[string]func(ev *eventsv1.Event){
		"token":   func(ev *eventsv1.Event) { ev.Principal.TokenId = "tok-81f3" },
		"version": func(ev *eventsv1.Event) { ev.Principal.ClientVersion = "claude/2.1.7-beta" },
		"reason": func(ev *eventsv1.Event) {
			ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_ROLE_REQUIRED, Stage: "entitlement", Rule: "tickets/no", Sentence: "Ask Ana."}
		},
		"rules": func(ev *eventsv1.Event) {
			ev.Decision.Matched, ev.Decision.Failed, ev.Decision.Near = []string{"tickets/night-shift"}, []string{"crm/broken-rule"}, []string{"crm/almost: hour < 18"}
		},
		"lease": func(ev *eventsv1.Event) { ev.Credential = &eventsv1.Credential{Connection: "zendesk-prod"} },
		"rights": func(ev *eventsv1.Event) {
			ev.Grants = []*eventsv1.Grant{{What: "given", Holder: "bob", Right: "role:warehouse"}}
		},
		"approved": func(ev *eventsv1.Event) {
			ev.Approval = &eventsv1.Approval{Id: "apr-77", State: "granted", Approver: "olga", Approvers: []string{"boss"}}
		},
		"trust": func(ev *eventsv1.Event) {
			ev.Trust = &eventsv1.Trust{Subject: "agent:triage", Band: "probation", Reasons: []string{"new-country"}}
		},
		"actor": func(ev *eventsv1.Event) { ev.Principal.Actors = []string{"client:planner"} },
		"alert": func(ev *eventsv1.Event) { ev.Alert = true },
		"marks": func(ev *eventsv1.Event) {
			ev.Principal.DisplayName = "Jürgen Mu\u0308ller-Lüdenscheidt, Zoë Ångström"
		},
		"scripts": func(ev *eventsv1.Event) {
			ev.Change = &eventsv1.Change{Kind: "Policy", Reason: "東京 Йод ΟΔΟΣ हिन्दी مُحَمَّد ขอบคุณ １２ ﬁn ſtill"}
		},
		"address": func(ev *eventsv1.Event) { ev.Source = &eventsv1.Source{Ip: "10.1.7.77", UserAgent: "curl/8.5.0"} },
		"numbers": func(ev *eventsv1.Event) {
			ev.Result = &eventsv1.Payload{Document: `{"list":[10,1,7,77,8],"of":"v10.1.7.77 010.1.7.77 host-10-1-7-78.eu"}`}
		},
		"private": func(ev *eventsv1.Event) {
			ev.Findings = &eventsv1.Findings{Notes: []string{"a\ue000b c\u00b70a01074d \U0001e4d0\U0001e4d1"}}
		},
		"started": func(ev *eventsv1.Event) { ev.Phase, ev.Decision = eventsv1.Phase_PHASE_STARTED, nil },
	}
	var out []index.Record
	for i, id := range []string{
		"token", "version", "reason", "rules", "lease", "rights", "approved", "trust", "actor", "alert", "marks", "scripts", "address", "numbers", "private", "started",
	} {
		out = append(out, Event("r-"+id, "acme", "ana", i, change[id]))
	}
	return out
}

// agrees holds that a search finds what an export, a tail and a report with the same filter have.
func agrees(t *testing.T, x index.Index) {
	records := corpus()
	add(t, x, records...)
	for text, want := range map[string][]string{
		"tok-81f3": {"r-token"}, "TOK-81F3": {"r-token"}, "tok 81f3": {"r-token"}, "81f3-tok": nil, "2.1.7": {"r-version"}, "7-beta": {"r-version"},
		"role-required": {"r-reason"}, "entitlement": {"r-reason"}, "tickets/no": {"r-reason"},
		"night-shift": {"r-rules"}, "crm/broken-rule": {"r-rules"}, "crm/almost": {"r-rules"}, "zendesk-prod": {"r-lease"}, "given": {"r-rights"}, "role:warehouse": {"r-rights"},
		"apr-77 granted": {"r-approved"}, "olga boss": {"r-approved"}, "probation": {"r-trust"}, "new-country": {"r-trust"}, "client:planner": {"r-actor"}, "alert": {"r-alert"},
		"Muller": {"r-marks"}, "MÜLLER": {"r-marks"}, "muller-ludenscheidt": {"r-marks"}, "zoe angstrom": {"r-marks"}, "mull": nil,
		"東京": {"r-scripts"}, "йод": {"r-scripts"}, "иод": {"r-scripts"}, "οδος": nil, "οδοσ": {"r-scripts"}, "हिन्दी": {"r-scripts"}, "दी": nil, "محمد": {"r-scripts"},
		"ขอบคุณ": {"r-scripts"}, "１２": {"r-scripts"}, "12": nil, "fin": nil, "ﬁn": {"r-scripts"}, "still": nil,
		"10.1.7.77": {"r-numbers", "r-address"}, "10-1-7-77": {"r-numbers", "r-address"}, "10.1.7.77.8": {"r-numbers"}, "10.1.7.78": {"r-numbers"}, "10.1.7": {"r-numbers", "r-address"},
		"v10.1.7.77": {"r-numbers"}, "8.10.1.7": nil, "10.1.7.7": nil, "010.1.7.77": {"r-numbers"},
		"b": {"r-private"}, "a\ue000b": {"r-private"}, "0a01074d": {"r-private"}, "·0a01074d": {"r-private"}, "ip0a01074d": nil, "\U0001e4d0\U0001e4d1": {"r-private"}, "\U0001e4d0": nil,
		"ana olga": {"r-approved"}, "close_ticket tok": {"r-token"}, "--- tok": {"r-token"}, "\xfftok": {"r-token"}, "tok\u200b81f3": {"r-token"},
	} {
		q := All()
		q.Text = text
		expect(t, x, q, want...)
		if got := kept(q, records); !slices.Equal(got, want) {
			t.Errorf("the filter with %q has %q, want %q", text, got, want)
		}
	}
}

// kept is the ids of what a filter wants, newest first.
func kept(q index.Query, records []index.Record) []string {
	var out []string
	for _, r := range slices.Backward(records) {
		if q.Match(r.Event) {
			out = append(out, r.Event.GetId())
		}
	}
	return out
}
