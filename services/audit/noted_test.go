package audit_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// noted wants one record of the end of a call since it was asked last, all of whose records are in a tenant, and which says all that was asked for.
func (h *house) noted(tenant string, outcome eventsv1.Outcome, says ...string) {
	h.t.Helper()
	all := h.calls.take()
	if len(all) == 2 && all[0].GetPhase() == eventsv1.Phase_PHASE_STARTED && all[0].GetTenant() == all[1].GetTenant() {
		all = all[1:]
	}
	if len(all) != 1 || all[0].GetTenant() != tenant || all[0].GetOutcome() != outcome {
		h.t.Fatalf("%q is recorded as %v", says, all)
	}
	for _, one := range says {
		if !strings.Contains(all[0].GetDecision().GetSentence(), one) {
			h.t.Errorf("the record does not say %q: %s", one, all[0].GetDecision().GetSentence())
		}
	}
}

func TestTheRecordOfAReadingSaysWhatWasAskedFor(t *testing.T) {
	h := start(t)
	success, failure := eventsv1.Outcome_OUTCOME_SUCCESS, eventsv1.Outcome_OUTCOME_FAILURE
	h.record("1", "acme", "ana")
	h.record("2", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "2", "1")
	h.calls.take()
	uses, err := h.client.ListUses(t.Context(), bearer("admin", &auditv1.ListUsesRequest{Tenant: "acme", Since: timestamppb.New(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))}))
	if _, err := streamed(uses, err, (*auditv1.ListUsesResponse).String); err != nil {
		t.Fatal(err)
	}
	h.noted("acme", success, `tenant="acme"`, `since="2026-01-02T00:00:00Z"`)
	answer, err := h.search("vera", &auditv1.SearchRequest{Started: true, PageSize: 1, Effect: "allow"})
	if err != nil || answer.GetNextPageToken() == "" {
		t.Fatal(answer, err)
	}
	h.noted("acme", success, "page of 1, with the starts of calls, ", `effect="allow"`)
	if _, err := h.search("vera", &auditv1.SearchRequest{Started: true, PageSize: 1, Effect: "allow", PageToken: answer.GetNextPageToken()}); err != nil {
		t.Fatal(err)
	}
	h.noted("acme", success, `page of 1 at "`+answer.GetNextPageToken()+`"`)
	if _, err := h.search("vera", &auditv1.SearchRequest{Alerts: true}); err != nil {
		t.Fatal(err)
	}
	h.noted("acme", success, "page of 100, alerts alone, ")
	if _, err := h.search("ana", &auditv1.SearchRequest{Person: "bob", Server: "tickets"}); err == nil {
		t.Fatal("ana finds records of bob")
	}
	h.noted("acme", failure, "You may read your own records only", `person="bob"`, `server="tickets"`)
	stream, err := h.client.Export(t.Context(), bearer("ana", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CSV, Filter: &auditv1.Filter{Person: "bob", Text: "salary"}}))
	if _, err := streamed(stream, err, (*auditv1.ExportResponse).String); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Fatal(err)
	}
	h.noted("acme", failure, `person="bob"`, `text="salary"`)
	report, err := h.client.Report(t.Context(), bearer("admin", &auditv1.ReportRequest{Tenant: "acme", Kind: auditv1.ReportKind_REPORT_KIND_PERSON, Filter: &auditv1.Filter{Server: "tickets"}}))
	if _, err := streamed(report, err, (*auditv1.ReportResponse).String); err == nil {
		t.Fatal("a report on nobody")
	}
	h.noted("system", failure, "names the person", `server="tickets"`)
}
