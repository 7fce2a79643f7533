package audit_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// moved records that a person's rights changed, so long ago.
func (h *house) moved(id, tenant, before, after string, since time.Duration, what, right string) {
	h.t.Helper()
	h.record(id, tenant, "alma", func(ev *eventsv1.Event) {
		ev.Action, ev.Time, ev.Target = "resource-applied", ago(since), nil
		ev.Change = &eventsv1.Change{Kind: "Person", Name: "bob", Action: "updated", OldHash: before, NewHash: after}
		ev.Grants = []*eventsv1.Grant{{What: what, Holder: "person:bob", Right: right}}
	})
}

func TestTheAccessReviewSaysWhoHadWhatAtAnInstant(t *testing.T) {
	h := start(t)
	h.moved("got", "acme", "", "a", 3*time.Hour, record.GrantGiven, "role:=support<b>")
	h.moved("lost", "acme", "a", "b", time.Hour, record.GrantTaken, "role:=support<b>")
	h.moved("foreign", "globex", "", "a", 3*time.Hour, record.GrantGiven, "role:elsewhere")
	h.eventually("vera", &auditv1.SearchRequest{Text: "bob"}, "lost", "got")
	h.eventually("gus", &auditv1.SearchRequest{Text: "bob"}, "foreign")
	at := func(as string, since time.Duration, change ...func(*auditv1.ReportRequest)) (string, error) {
		r := &auditv1.ReportRequest{Kind: auditv1.ReportKind_REPORT_KIND_ACCESS, AsOf: ago(since)}
		for _, c := range change {
			c(r)
		}
		return h.report(as, r)
	}
	table := func(r *auditv1.ReportRequest) { r.Table = true }
	for name, c := range map[string]struct {
		as    string
		since time.Duration
		with  func(*auditv1.ReportRequest)
		says  []string
		not   string
	}{
		"a page": {"vera", 2 * time.Hour, func(*auditv1.ReportRequest) {}, []string{
			"<td>person:bob</td><td>role:=support&lt;b&gt;</td>", "<td>alma</td><td>got</td>", "1 rights.", "<dt>As of</dt>", "Derived from", "event got)", "Not in it", "headgate-ledger/",
		}, "elsewhere"},
		"a table":           {"vera", 2 * time.Hour, table, []string{"person:bob,role:=support<b>,", ",alma,got\n", "Rights,1", "Checkpoint", "holder,right,through,since,until,given by,record\n"}, "elsewhere"},
		"after it was lost": {"vera", time.Minute, table, []string{"Rights,0", "may have been on their way"}, "support"},
		"before the record": {"vera", 4 * time.Hour, table, []string{"Rights,0", "no record of this tenant from before it"}, "support"},
		"somebody else":     {"vera", 2 * time.Hour, func(r *auditv1.ReportRequest) { r.Filter = &auditv1.Filter{Person: "ana"} }, []string{"0 rights.", "person ana"}, "support"},
		"another tenant":    {"gus", 2 * time.Hour, table, []string{"role:elsewhere", "Rights,1"}, "support"},
		"the platform":      {"admin", 2 * time.Hour, func(r *auditv1.ReportRequest) { r.Tenant = "globex" }, []string{"role:elsewhere"}, "support"},
	} {
		got, err := at(c.as, c.since, c.with)
		if err != nil || strings.Contains(got, c.not) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
		for _, said := range c.says {
			if !strings.Contains(got, said) {
				t.Errorf("%s does not say %q:\n%s", name, said, got)
			}
		}
	}
	for name, c := range map[string]struct {
		as   string
		with func(*auditv1.ReportRequest)
		want faultv1.Reason
	}{
		"a member":               {"bob", table, faultv1.Reason_REASON_ROLE_REQUIRED},
		"another tenant":         {"gus", func(r *auditv1.ReportRequest) { r.Tenant = "acme" }, faultv1.Reason_REASON_WRONG_TENANT},
		"all tenants":            {"admin", table, faultv1.Reason_REASON_INVALID},
		"an instant to come":     {"vera", func(r *auditv1.ReportRequest) { r.AsOf = timestamppb.New(time.Now().Add(time.Hour)) }, faultv1.Reason_REASON_INVALID},
		"a period":               {"vera", func(r *auditv1.ReportRequest) { r.Filter = &auditv1.Filter{Since: ago(time.Hour)} }, faultv1.Reason_REASON_INVALID},
		"another report":         {"vera", func(r *auditv1.ReportRequest) { r.Kind = auditv1.ReportKind_REPORT_KIND_DENIED }, faultv1.Reason_REASON_INVALID},
		"a subject of a patient": {"vera", func(r *auditv1.ReportRequest) { r.Subject = &auditv1.Subject{Kind: "patient", Name: "P-1"} }, faultv1.Reason_REASON_INVALID},
	} {
		if got, err := at(c.as, 2*time.Hour, c.with); !fault.Is(err, c.want) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	h.await("gus", &auditv1.SearchRequest{Action: "audit-report"}, func(all []*eventsv1.Event) bool {
		return len(all) == 2 && strings.HasPrefix(all[0].GetDecision().GetSentence(), "report access as of 20")
	})
}
