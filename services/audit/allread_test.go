package audit_test

import (
	"strings"
	"testing"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Whoever may read a tenant's record finds that the platform's administrator read it among those of all.
func TestAReadingOfAllTenantsIsRecordedInEachWhoseRecordsAreGivenOut(t *testing.T) {
	h := start(t)
	h.record("a1", "acme", "ana")
	h.record("a2", "acme", "ana")
	h.record("g1", "globex", "gus")
	h.eventually("admin", &auditv1.SearchRequest{Tenant: "acme", Action: "tool-call"}, "a2", "a1")
	h.eventually("admin", &auditv1.SearchRequest{Tenant: "globex", Action: "tool-call"}, "g1")
	calls := &auditv1.Filter{Action: "tool-call"}
	if answer, err := h.search("admin", &auditv1.SearchRequest{Action: "tool-call"}); err != nil || !answer.GetAllTenants() || len(answer.GetEvents()) != 3 {
		t.Fatalf("%v, %v", answer, err)
	}
	h.mustExport("admin", &auditv1.ExportRequest{Filter: calls})
	h.mustExport("admin", &auditv1.ExportRequest{Filter: calls, Format: auditv1.Format_FORMAT_CSV})
	if _, err := h.report("admin", &auditv1.ReportRequest{Kind: auditv1.ReportKind_REPORT_KIND_PERSON, Filter: &auditv1.Filter{Person: "ana"}}); err != nil {
		t.Fatal(err)
	}
	if answer, err := h.search("sofia", &auditv1.SearchRequest{}); err != nil || answer.GetAllTenants() {
		t.Errorf("one tenant's search: %v, %v", answer, err)
	}
	for reader, want := range map[string]map[string]int{
		"sofia": {"audit-export": 2, "audit-report": 1},
		"gus":   {"audit-export": 2, "audit-report": 0},
	} {
		for action, count := range want {
			h.await(reader, &auditv1.SearchRequest{Action: action}, func(all []*eventsv1.Event) bool {
				for _, ev := range all {
					if ev.GetPrincipal().GetPerson() != "admin" {
						t.Errorf("%s finds %v", reader, ev)
					}
				}
				return len(all) == count
			})
		}
	}
}

// What the platform's administrator is shown of a tenant, named or not, leaves a record in that tenant, and looking at these leaves no more.
func TestASearchFromOutsideIsRecordedInEachTenantThatItFoundRecordsOf(t *testing.T) {
	h := start(t)
	h.record("a1", "acme", "ana")
	h.record("a2", "acme", "ana")
	h.record("g1", "globex", "gus")
	h.eventually("vera", &auditv1.SearchRequest{Action: "tool-call"}, "a2", "a1")
	h.eventually("gus", &auditv1.SearchRequest{Action: "tool-call"}, "g1")
	if _, err := h.search("admin", &auditv1.SearchRequest{Action: "tool-call", PageSize: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.search("admin", &auditv1.SearchRequest{Tenant: "globex", Action: "tool-call", Person: "gus"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.search("admin", &auditv1.SearchRequest{Tenant: "globex", Person: "nobody"}); err != nil { // shows nothing
		t.Fatal(err)
	}
	if _, err := asks()["ListUses"](t.Context(), h, "admin", "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.client.Prove(t.Context(), bearer("admin", &auditv1.ProveRequest{EventId: "a1"})); err != nil {
		t.Fatal(err)
	}
	said := func(reader string, want ...string) {
		t.Helper()
		h.await(reader, &auditv1.SearchRequest{Action: "audit-read"}, func(all []*eventsv1.Event) bool {
			if len(all) < len(want) {
				return false
			}
			for i, ev := range all {
				if ev.GetPrincipal().GetPerson() != "admin" || i < len(want) && !strings.HasPrefix(ev.GetDecision().GetSentence(), want[i]) {
					t.Errorf("%s finds %v", reader, ev)
				}
			}
			return len(all) == len(want)
		})
	}
	said("vera", `proof of 1 of the records where tenant="acme", text="a1"`, `sums of calls of the records where since=`, `search found 2 of the records where action="tool-call", since=`)
	said("gus", `search found 1 of the records where action="tool-call", person="gus", since=`, `search found 1 of the records where action="tool-call", since=`)
	for range 3 {
		if found, err := h.search("admin", &auditv1.SearchRequest{Action: "audit-read"}); err != nil || len(found.GetEvents()) != 5 {
			t.Errorf("%v, %v", found, err)
		}
	}
	h.record("last", "acme", "admin") // behind what the searches left in acme, in the same partition
	h.eventually("vera", &auditv1.SearchRequest{Text: "last"}, "last")
	said("vera", "proof", "sums", "search")
}

// A tail of all tenants says that it is one, and is recorded once in each tenant however much of it comes.
func TestATailOfAllTenantsIsRecordedOnceInEach(t *testing.T) {
	h := start(t)
	calls := &auditv1.Filter{Action: "tool-call"}
	stream, err := h.client.Tail(t.Context(), bearer("admin", &auditv1.TailRequest{Filter: calls}))
	if err != nil || !stream.Receive() || !stream.Msg().GetAllTenants() {
		t.Fatal("a tail of all tenants does not say so", err, stream.Err())
	}
	defer func() { _ = stream.Close() }()
	for _, id := range []string{"a1", "a2"} {
		h.record(id, "acme", "ana")
		for found := false; !found; {
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
			for _, ev := range stream.Msg().GetEvents() {
				found = found || ev.GetId() == id
			}
		}
	}
	h.record("last", "acme", "admin") // behind what the tail left in acme, in the same partition
	h.eventually("vera", &auditv1.SearchRequest{Text: "last"}, "last")
	h.await("vera", &auditv1.SearchRequest{Action: "audit-tail"}, func(all []*eventsv1.Event) bool { return len(all) == 1 && all[0].GetPrincipal().GetPerson() == "admin" })
	own, err := h.client.Tail(t.Context(), bearer("vera", &auditv1.TailRequest{Filter: calls}))
	if err != nil || !own.Receive() || own.Msg().GetAllTenants() {
		t.Error("a tail of one tenant says that it is of all", err)
	}
	_ = own.Close()
}
