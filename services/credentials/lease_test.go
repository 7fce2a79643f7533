package credentials_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

func TestALeaseCarriesTheCredentialForItsHostsForMinutes(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	lease, err := h.lease("acme", "crm", "crm.example:443")
	if err != nil {
		t.Fatal(err)
	}
	if got := lease.GetHeaders(); len(got) != 1 || got[0].GetName() != "Authorization" || got[0].GetValue() != "Bearer "+apiKey {
		t.Errorf("headers: %v", got)
	}
	if !slices.Equal(lease.GetSecrets(), []string{apiKey}) || !slices.Equal(lease.GetAllowHosts(), []string{"crm.example:443"}) || lease.GetConnection() != "crm" {
		t.Error("the lease does not name its secret, its hosts and its connection")
	}
	if got := lease.GetExpiresAt().AsTime(); !got.Equal(h.now.Add(5 * time.Minute)) {
		t.Errorf("it is good until %s", got)
	}
	events := h.journal.of("credential-leased")
	if len(events) != 1 {
		t.Fatalf("%d records of one lease", len(events))
	}
	ev := events[0]
	if ev.GetTenant() != "acme" || ev.GetPrincipal().GetPerson() != "ana" || ev.GetPrincipal().GetAgent() != "claude" || ev.GetTarget().GetServer() != "crm" ||
		ev.GetTarget().GetAddress() != "crm.example:443" || ev.GetCredential().GetLeaseId() != lease.GetLeaseId() ||
		ev.GetCredential().GetConnection() != "crm" || ev.GetCallId() != "call-1" {
		t.Errorf("the record: %v", ev)
	}
}

func TestEveryLeaseHasItsOwnName(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	seen := map[string]bool{}
	for range 10 {
		lease, err := h.lease("acme", "crm", "crm.example:443")
		if err != nil || seen[lease.GetLeaseId()] || lease.GetLeaseId() == "" {
			t.Fatalf("%v, %v", lease.GetLeaseId(), err)
		}
		seen[lease.GetLeaseId()] = true
	}
}

func TestAServerWithoutAConnectionNeedsNoCredential(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	for tenant, server := range map[string]string{"acme": "wiki", "rival": "crm"} {
		lease, err := h.lease(tenant, server, "crm.example:443")
		if err != nil || lease.GetLeaseId() != "" || len(lease.GetHeaders()) != 0 || len(lease.GetSecrets()) != 0 {
			t.Errorf("%s/%s: %v, %v", tenant, server, lease, err)
		}
	}
	if n := len(h.journal.of("credential-leased")); n != 0 {
		t.Errorf("%d records of leases that were none", n)
	}
}

func TestT11ACredentialGoesToNoOtherHost(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	for _, host := range []string{"evil.example:443", "crm.example:8443", "crm.example", "crm.example.evil.example:443", "127.0.0.1:443"} {
		lease, err := h.lease("acme", "crm", host)
		if !fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) || lease != nil {
			t.Errorf("%s: %v, %v", host, lease, err)
		}
		if err != nil && !strings.Contains(err.Error(), "allowHosts") {
			t.Errorf("the sentence does not say what to do: %s", err)
		}
	}
	for _, ev := range h.journal.of("credential-leased") {
		if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE ||
			ev.GetDecision().GetReason() != faultv1.Reason_REASON_CREDENTIAL || ev.GetCredential().GetLeaseId() != "" {
			t.Errorf("the refusal's record: %v", ev)
		}
	}
}

func TestOnlyTheEdgeAndTrustLease(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	ask := func(c credentialsv1connect.CredentialsServiceClient) error {
		_, err := c.Lease(t.Context(), connect.NewRequest(&credentialsv1.LeaseRequest{Tenant: "acme", Server: "crm", Host: "crm.example:443"}))
		return err
	}
	for s, good := range map[optionsv1.Service]bool{
		optionsv1.Service_SERVICE_EDGE: true, optionsv1.Service_SERVICE_TRUST: true, optionsv1.Service_SERVICE_AUTHZ: false, optionsv1.Service_SERVICE_CONSOLE: false,
	} {
		if err := ask(h.service(s)); (err == nil) != good {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := ask(h.as("acme/adam")); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("an administrator: %v", err)
	}
}

func TestNoRecordNoLease(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	h.journal.fail(true)
	if _, err := h.lease("acme", "crm", "crm.example:443"); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("lease: %v", err)
	}
	if _, err := h.apply(false, crm(func(c *credentialsv1.Connection) { c.Spec.Server = "erp" })); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("apply: %v", err)
	}
	h.journal.fail(false)
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() == "" {
		t.Errorf("the change that could not be recorded was made: %v", err)
	}
}
