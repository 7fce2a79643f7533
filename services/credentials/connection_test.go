package credentials_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

func TestTheSecretIsTakenInAndNeverShown(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	got, err := h.as("acme/adam").Get(t.Context(), connect.NewRequest(&credentialsv1.GetRequest{Kind: "Connection", Name: "crm"}))
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.as("acme/adam").List(t.Context(), connect.NewRequest(&credentialsv1.ListRequest{Kind: "Connection"}))
	if err != nil || len(list.Msg.GetResources()) != 1 {
		t.Fatal(list, err)
	}
	for _, c := range []*credentialsv1.Connection{got.Msg.GetResource().GetConnection(), list.Msg.GetResources()[0].GetConnection()} {
		if c.GetSpec().GetSecret() != "" || c.GetSpec().GetServer() != "crm" || c.GetMetadata().GetVersion() != 1 {
			t.Errorf("shown: %v", c)
		}
	}
}

func TestAConnectionKeepsItsSecretWhenTheRestChanges(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	changes := h.mustApply(crm(without, func(c *credentialsv1.Connection) {
		c.Spec.Server, c.Spec.AllowHosts, c.Spec.Inject = "erp", []string{"erp.example"}, &credentialsv1.Inject{In: "header", Name: "X-Api-Key"}
	}))
	if changes[0].GetAction() != resourcev1.Action_ACTION_UPDATED || changes[0].GetVersion() != 2 {
		t.Errorf("the change: %v", changes)
	}
	lease, err := h.lease("acme", "erp", "erp.example:443")
	if err != nil || lease.GetHeaders()[0].GetName() != "X-Api-Key" || lease.GetHeaders()[0].GetValue() != apiKey {
		t.Errorf("%v, %v", lease.GetHeaders(), err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
		t.Errorf("the old server still has it: %v", err)
	}
}

func TestASecretAloneIsReplaced(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	if got := h.mustApply(crm())[0].GetAction(); got != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("the same again: %s", got)
	}
	if got := h.mustApply(crm(without))[0].GetAction(); got != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("the same without the secret: %s", got)
	}
	rotated := crm(func(c *credentialsv1.Connection) { c.Spec.Secret = "sk-live-another" })
	if dry, err := h.apply(true, rotated); err != nil || dry.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_UPDATED {
		t.Errorf("the dry run of a rotation: %v, %v", dry, err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != apiKey {
		t.Error("the dry run changed the secret", err)
	}
	if got := h.mustApply(rotated)[0].GetAction(); got != resourcev1.Action_ACTION_UPDATED {
		t.Errorf("a rotation: %s", got)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != "sk-live-another" {
		t.Error("the old secret is still lent", err)
	}
	applied := h.journal.of("resource-applied")
	if last := applied[len(applied)-1]; len(applied) != 2 || last.GetChange().GetReason() != "the secret was replaced" {
		t.Errorf("the records: %v", applied)
	}
	h.revoked("the secret was replaced")
}

// revoked holds the last record of a credential that ended against what it must say.
func (h *harness) revoked(why string) {
	h.t.Helper()
	all := h.journal.of(record.CredentialRevoked)
	if len(all) == 0 {
		h.t.Fatal("nothing says that the credential ended")
	}
	ev := all[len(all)-1]
	if ev.GetCredential().GetConnection() != "crm" || ev.GetTarget().GetServer() != "crm" || ev.GetChange().GetReason() != why || ev.GetPrincipal().GetPerson() != "adam" {
		h.t.Errorf("recorded %v", ev)
	}
}

func TestAConnectionThatCannotBeIsRefusedWhole(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	other := func(change func(*credentialsv1.Connection)) *credentialsv1.Connection {
		return crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server = "erp", "erp" }, change)
	}
	for name, c := range map[string]struct {
		connection *credentialsv1.Connection
		reason     faultv1.Reason
		says       string
	}{
		"new without a secret": {
			other(without),
			faultv1.Reason_REASON_INVALID, "spec.secret",
		},
		"a second one for a server": {
			other(func(c *credentialsv1.Connection) { c.Spec.Server = "crm" }),
			faultv1.Reason_REASON_CONFLICT, "connection crm does already",
		},
		"a protocol header": {
			other(func(c *credentialsv1.Connection) { c.Spec.Inject.Name = "Mcp-Session-Id" }),
			faultv1.Reason_REASON_INVALID, "Mcp-Session-Id",
		},
		"no placeholder": {
			other(func(c *credentialsv1.Connection) { c.Spec.Inject.Template = "Bearer" }),
			faultv1.Reason_REASON_INVALID, "{secret}",
		},
		"a line break": {
			other(func(c *credentialsv1.Connection) { c.Spec.Secret = "sk-one\r\nX-Evil: 1" }),
			faultv1.Reason_REASON_INVALID, "line break",
		},
		"another tenant": {
			other(func(c *credentialsv1.Connection) { c.Metadata.Tenant = "rival" }),
			faultv1.Reason_REASON_WRONG_TENANT, "rival",
		},
		"not a header": {
			other(func(c *credentialsv1.Connection) { c.Spec.Inject.In = "query" }),
			faultv1.Reason_REASON_INVALID, "in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			third := crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server = "wiki", "wiki" })
			_, err := h.apply(false, third, c.connection)
			if !fault.Is(err, c.reason) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "sk-") {
				t.Errorf("%v", err)
			}
			if lease, err := h.lease("acme", "wiki", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
				t.Errorf("the other one was applied: %v", err)
			}
		})
	}
}

func TestTwoConnectionsMayTradeServersInOneApply(t *testing.T) {
	h := start(t, t.TempDir())
	named := func(name, server, value string) *credentialsv1.Connection {
		return crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server, c.Spec.Secret = name, server, value })
	}
	h.mustApply(named("a", "crm", "secret-a"), named("b", "erp", "secret-b"))
	h.mustApply(named("a", "erp", ""), named("b", "crm", ""))
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != "secret-b" {
		t.Error(err)
	}
}

func TestDeleteDestroysTheSecret(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	remove := func(person string) error {
		_, err := h.as(person).Delete(t.Context(), connect.NewRequest(&credentialsv1.DeleteRequest{Kind: "Connection", Name: "crm"}))
		return err
	}
	if err := remove("rival/rita"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("another tenant's administrator: %v", err)
	}
	if err := remove("acme/adam"); err != nil {
		t.Fatal(err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
		t.Errorf("it is still lent: %v", err)
	}
	if _, err := h.apply(false, crm(without)); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("the secret came back with the name: %v", err)
	}
	if n := len(h.journal.of("resource-deleted")); n != 1 {
		t.Errorf("%d records", n)
	}
	h.revoked("the connection was deleted")
}

func TestTenantsDoNotSeeEachOthersConnections(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	for tenant, reason := range map[string]faultv1.Reason{"": faultv1.Reason_REASON_NOT_FOUND, "acme": faultv1.Reason_REASON_WRONG_TENANT} {
		req := connect.NewRequest(&credentialsv1.GetRequest{Kind: "Connection", Name: "crm", Tenant: tenant})
		if _, err := h.as("rival/rita").Get(t.Context(), req); !fault.Is(err, reason) {
			t.Errorf("get of tenant %q: %v", tenant, err)
		}
	}
	list, err := h.as("rival/rita").List(t.Context(), connect.NewRequest(&credentialsv1.ListRequest{Kind: "Connection"}))
	if err != nil || len(list.Msg.GetResources()) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}
