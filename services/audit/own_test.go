package audit_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Somebody without a role reads what they did themselves and were told of: not what a namesake of another tenant did here, nor why a tool looked as if it were not there.
// An agent reads what it did, and not what its person did otherwise.
func TestPeopleReadTheirOwnRecordsAndAgentsTheirs(t *testing.T) {
	h := start(t)
	h.record("own", "acme", "bob", func(ev *eventsv1.Event) { ev.Principal.Tenant = "acme" })
	h.record("namesake", "acme", "bob", func(ev *eventsv1.Event) { ev.Principal.Tenant = "system" })
	h.record("looks-away", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_NOT_APPROVED, Sentence: "The server " + mark + " waits for approval.", Hidden: true}
	})
	h.record("unknown", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_UNKNOWN_TOOL, Hidden: true}
	})
	h.record("by-hand", "acme", "vera", func(ev *eventsv1.Event) { ev.Result = &eventsv1.Payload{Document: `{"salary": 12345}`} })
	h.record("by-desk", "acme", "vera", func(ev *eventsv1.Event) { ev.Principal.Agent = "desk" })
	h.eventually("sofia", &auditv1.SearchRequest{Action: "tool-call"}, "by-desk", "by-hand", "unknown", "looks-away", "namesake", "own")
	h.eventually("sofia", &auditv1.SearchRequest{Action: "tool-call", Person: "system/bob"}, "namesake")
	h.eventually("bob", &auditv1.SearchRequest{Action: "tool-call"}, "own")
	h.eventually("bob", &auditv1.SearchRequest{Action: "tool-call", Text: mark})
	h.eventually("desk", &auditv1.SearchRequest{Action: "tool-call"}, "by-desk")
	for who, want := range map[string]string{"bob": "own", "desk": "by-desk"} {
		for name, call := range asks() {
			if name == "Search" || name == "Tail" || name == "GetLog" {
				continue
			}
			text, _ := call(t.Context(), h, who, "")
			for _, id := range []string{"namesake", "looks-away", "unknown", "by-hand", "12345", mark} {
				if strings.Contains(text, id) {
					t.Errorf("%s reads %s by %s: %s", who, id, name, text)
				}
			}
		}
		csv, err := asks()["Export"](t.Context(), h, who, "")
		if err != nil || !strings.Contains(csv, want) {
			t.Errorf("%s: %s, %v", who, csv, err)
		}
		lines := h.mustExport(who, &auditv1.ExportRequest{Filter: &auditv1.Filter{Action: "tool-call"}})
		if got := exported(lines); len(got) != 1 || got[0] != want {
			t.Errorf("%s exports %v", who, got)
		}
		h.holds(lines)
		for _, id := range []string{"namesake", "looks-away", "unknown", "by-hand"} {
			if text, err := unary(t.Context(), h.client.Prove, who, &auditv1.ProveRequest{EventId: id}); err == nil {
				t.Errorf("%s has %s proved: %s", who, id, text)
			}
		}
	}
}

// A report on a subject is recorded by its keys, which tell whether there is such a subject and since when: not where somebody reads who may read their own alone.
func TestAMemberDoesNotLearnWhetherASubjectIsKnown(t *testing.T) {
	h := start(t)
	h.sealedRecord("1", "P-1")
	said := map[string]string{}
	for _, patient := range []string{"P-1", "P-2"} {
		text, err := h.report("bob", about(patient))
		if err != nil || strings.Contains(text, "Z,1,") {
			t.Fatal(text, err)
		}
		h.await("bob", &auditv1.SearchRequest{Action: "audit-report"}, func(found []*eventsv1.Event) bool {
			if len(found) != len(said)+1 {
				return false
			}
			said[patient] = found[0].GetDecision().GetSentence()
			return true
		})
	}
	if said["P-1"] != said["P-2"] || !strings.Contains(said["P-1"], "of a subject of the records") {
		t.Errorf("%q", said)
	}
}

// An export that a member began is of their own records. Once they may read others', the rest would be of another export: its signed end would not fit.
func TestAnExportIsNotContinuedWithOtherRights(t *testing.T) {
	h := start(t)
	h.record("own", "acme", "vera")
	h.eventually("vera", &auditv1.SearchRequest{Action: "tool-call"}, "own")
	member := map[string]string{"own": "true", "person": "vera", "tenant": "acme"}
	if _, err := h.export("vera", &auditv1.ExportRequest{Size: 1, NextIndex: 1, Filter: &auditv1.Filter{Person: "vera"}, Began: member}); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
		t.Errorf("continued: %v", err)
	}
	delete(member, "own")
	if _, err := h.export("vera", &auditv1.ExportRequest{Size: 1, NextIndex: 1, Filter: &auditv1.Filter{Person: "vera"}, Began: member}); err != nil {
		t.Errorf("with the same rights: %v", err)
	}
}
