package audit_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func (h *house) report(as string, r *auditv1.ReportRequest) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	stream, err := h.client.Report(ctx, bearer(as, r))
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	var out strings.Builder
	for stream.Receive() {
		out.Write(stream.Msg().GetPart())
	}
	return out.String(), stream.Err()
}

func TestReportsAnswerTheirQuestionToWhoMayAsk(t *testing.T) {
	h := start(t)
	h.record("plain", "acme", "ana", func(ev *eventsv1.Event) { ev.Target.Resource = "patient/P-17" })
	h.record("refused", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Decision = &eventsv1.Decision{Effect: "block", Sentence: "<script>alert(1)</script>\u202E"}
	})
	h.record("held", "acme", "bob", func(ev *eventsv1.Event) { ev.Decision.Effect = "escalate" })
	h.record("policy", "acme", "vera", func(ev *eventsv1.Event) {
		ev.Action, ev.Target, ev.Change = "resource-applied", nil, &eventsv1.Change{Kind: "Policy", Name: "tickets", Action: "updated"}
	})
	h.record("role", "acme", "vera", func(ev *eventsv1.Event) {
		ev.Action, ev.Target, ev.Change = "resource-applied", nil, &eventsv1.Change{Kind: "Role", Name: "support", Action: "created"}
	})
	h.record("begun", "acme", "bob", func(ev *eventsv1.Event) { ev.Phase = eventsv1.Phase_PHASE_STARTED })
	h.record("foreign", "globex", "bob", func(ev *eventsv1.Event) { ev.Decision.Effect = "block" })
	h.eventually("vera", &auditv1.SearchRequest{Started: true}, "begun", "role", "policy", "held", "refused", "plain")
	h.eventually("gus", &auditv1.SearchRequest{}, "foreign")
	all := []string{"plain", "refused", "held", "policy", "role", "begun", "foreign"}
	const p = "REPORT_KIND_"
	for name, c := range map[string]struct {
		as, kind string
		filter   *auditv1.Filter
		want     []string
	}{
		"an auditor, a person":    {"vera", "PERSON", &auditv1.Filter{Person: "bob"}, []string{"refused", "held"}},
		"a member, themselves":    {"ana", "PERSON", nil, []string{"plain"}},
		"a record":                {"vera", "RECORD", &auditv1.Filter{Text: "patient/P-17"}, []string{"plain"}},
		"approvals":               {"vera", "APPROVALS", nil, []string{"held"}},
		"refused":                 {"vera", "DENIED", nil, []string{"refused"}},
		"refused of another":      {"gus", "DENIED", nil, []string{"foreign"}},
		"a member, what was not":  {"ana", "DENIED", nil, nil},
		"policies":                {"vera", "POLICIES", nil, []string{"policy"}},
		"access":                  {"vera", "ACCESS", nil, []string{"role"}},
		"the platform, a tenant":  {"admin", "DENIED", &auditv1.Filter{Person: "bob"}, []string{"refused", "foreign"}},
		"a time before all of it": {"vera", "DENIED", &auditv1.Filter{Until: ago(time.Hour)}, nil},
	} {
		for _, table := range []bool{false, true} {
			got, err := h.report(c.as, &auditv1.ReportRequest{Kind: auditv1.ReportKind(auditv1.ReportKind_value[p+c.kind]), Filter: c.filter, Table: table})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for _, id := range all {
				wanted := false
				for _, w := range c.want {
					wanted = wanted || w == id
				}
				mark := "<td>" + id + "</td>"
				if table {
					mark = "Z," + id + ","
				}
				if strings.Contains(got, mark) != wanted {
					t.Errorf("%s: has %s: %v\n%s", name, id, !wanted, got)
				}
			}
			for _, said := range []string{"Period", "Filter", "Completeness", "Every record that fits", "Checkpoint", "headgate-ledger/"} {
				if !strings.Contains(got, said) {
					t.Errorf("%s: does not say %q", name, said)
				}
			}
			if !table && (strings.Contains(got, "<script>") || strings.Contains(got, "\u202E")) {
				t.Errorf("%s: a record's text runs in the page", name)
			}
		}
	}
}

func TestReportsAreRefusedToWhoMayNotAsk(t *testing.T) {
	h := start(t)
	denied := auditv1.ReportKind_REPORT_KIND_DENIED
	for name, c := range map[string]struct {
		as      string
		request *auditv1.ReportRequest
		want    faultv1.Reason
	}{
		"a member, another":            {"ana", &auditv1.ReportRequest{Kind: denied, Filter: &auditv1.Filter{Person: "bob"}}, faultv1.Reason_REASON_ROLE_REQUIRED},
		"an auditor of another tenant": {"gus", &auditv1.ReportRequest{Kind: denied, Tenant: "acme"}, faultv1.Reason_REASON_WRONG_TENANT},
		"nobody":                       {"mallory", &auditv1.ReportRequest{Kind: denied}, faultv1.Reason_REASON_UNAUTHENTICATED},
		"no kind":                      {"vera", &auditv1.ReportRequest{}, faultv1.Reason_REASON_INVALID},
		"a person without a name":      {"vera", &auditv1.ReportRequest{Kind: auditv1.ReportKind_REPORT_KIND_PERSON}, faultv1.Reason_REASON_INVALID},
		"a record without an id":       {"vera", &auditv1.ReportRequest{Kind: auditv1.ReportKind_REPORT_KIND_RECORD}, faultv1.Reason_REASON_INVALID},
	} {
		if got, err := h.report(c.as, c.request); !fault.Is(err, c.want) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// Calls about a patient are found whether their record is sealed for the patient or names the key alone, and after the key was erased. Who is asked about is in the
// report and not in the record of it.
func TestAReportOnASubjectFindsTheCallsAboutIt(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	h.sealedRecord("s2", "P-2")
	key := h.subjectKey("acme", "P-1")
	h.record("hashed", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Arguments = &eventsv1.Payload{Hmac: "ab", Bytes: 3, SubjectKey: key}
	})
	h.record("foreign", "globex", "gus", func(ev *eventsv1.Event) {
		ev.Arguments = &eventsv1.Payload{Hmac: "ab", Bytes: 3, SubjectKey: h.subjectKey("globex", "P-1")}
	})
	h.eventually("admin", &auditv1.SearchRequest{Action: "tool-call"}, "foreign", "hashed", "s2", "s1")
	wants := func(as, patient string, want ...string) {
		t.Helper()
		text, err := h.report(as, about(patient))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"s1", "s2", "hashed", "foreign"} {
			if strings.Contains(text, "Z,"+id+",") != slices.Contains(want, id) {
				t.Errorf("%s about %s has %s otherwise than wanted:\n%s", as, patient, id, text)
			}
		}
		if !strings.Contains(text, "patient "+patient+".") || !strings.Contains(text, "names no such subject are not among them") {
			t.Errorf("it does not say whom it is about:\n%s", text)
		}
	}
	wants("vera", "P-1", "s1", "hashed")
	wants("vera", "p-1", "s1", "hashed") // however it is spelled
	wants("vera", "P-2", "s2")
	wants("vera", "P-3")
	wants("gus", "P-1", "foreign")
	wants("bob", "P-1", "hashed")
	if keys, err := h.erase("sofia", "P-1"); err != nil || keys != 1 {
		t.Fatal(keys, err)
	}
	wants("vera", "P-1", "s1", "hashed")
	h.await("vera", &auditv1.SearchRequest{Action: "audit-report"}, func(found []*eventsv1.Event) bool {
		for _, ev := range found {
			if strings.Contains(strings.ToLower(ev.String()), "p-1") {
				t.Fatalf("the record names who was asked about: %v", ev)
			}
		}
		return len(found) == 6 && strings.Contains(found[0].GetDecision().GetSentence(), "of a subject by its keys "+key)
	})
	for name, r := range map[string]*auditv1.ReportRequest{
		"another report": {Kind: auditv1.ReportKind_REPORT_KIND_DENIED, Subject: &auditv1.Subject{Kind: "patient", Name: "P-1"}},
		"no kind of it":  {Kind: auditv1.ReportKind_REPORT_KIND_RECORD, Subject: &auditv1.Subject{Name: "P-1"}},
	} {
		if _, err := h.report("vera", r); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.report("admin", about("P-1")); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("in no tenant: %v", err)
	}
}

func about(patient string) *auditv1.ReportRequest {
	return &auditv1.ReportRequest{Kind: auditv1.ReportKind_REPORT_KIND_RECORD, Subject: &auditv1.Subject{Kind: "patient", Name: patient}, Table: true}
}

// subjectKey is the id that an edge is told.
func (h *house) subjectKey(tenant, patient string) string {
	h.t.Helper()
	answer, err := h.edge.SubjectKey(h.t.Context(), connect.NewRequest(&auditv1.SubjectKeyRequest{Tenant: tenant, Subject: &auditv1.Subject{Kind: "patient", Name: patient}}))
	if err != nil {
		h.t.Fatal(err)
	}
	return answer.Msg.GetId()
}
