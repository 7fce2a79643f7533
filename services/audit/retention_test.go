package audit_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func TestShorterRetentionByThePlatformIsAnAlertInTheTenantThatSaysWhy(t *testing.T) {
	h := start(t)
	set := func(as string, r *auditv1.SetRetentionRequest) {
		t.Helper()
		if _, err := h.client.SetRetention(t.Context(), bearer(as, r)); err != nil {
			t.Fatal(err)
		}
	}
	set("alma", &auditv1.SetRetentionRequest{Classes: []string{"hipaa"}, Days: 2555})
	set("alma", &auditv1.SetRetentionRequest{Days: 2400}) // above its floor, by the tenant itself
	set("admin", &auditv1.SetRetentionRequest{Tenant: "acme", Days: 2600})
	set("admin", &auditv1.SetRetentionRequest{Tenant: "acme", Days: 200, DropClasses: []string{"hipaa"}, Reason: "sold the clinic"})
	h.await("sofia", &auditv1.SearchRequest{Action: "audit-retention"}, func(all []*eventsv1.Event) bool {
		if len(all) != 4 {
			return false
		}
		why := all[0].GetChange().GetReason()
		return record.Alert(all[0]) == record.AlertRetention && strings.HasSuffix(why, "; taken away: hipaa; because: sold the clinic") && strings.HasPrefix(why, "eu-ai-act, hipaa; 2600 days until now") &&
			record.Alert(all[1]) == "" && record.Alert(all[2]) == "" && record.Alert(all[3]) == ""
	})
}
