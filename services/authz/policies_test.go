package authz_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
)

const ticketsPolicy = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: tickets, tenant: acme}
spec:
  match: {server: tickets, tools: [close_ticket]}
  facts: {ticket: {tool: get_ticket, args: {id: args.id}, path: /structuredContent}}
  rules:
    - name: high-priority-needs-a-supervisor
      when: facts.ticket.priority == "high" && !("supervisor" in principal.roles)
      effect: escalate
      approval: {by: "role:supervisor", quorum: 1, expires: 4h}
    - {name: support-may-close, when: '"support" in principal.roles', effect: allow}
  tests:
    - {name: agent closes a normal ticket, as: {roles: [support]}, args: {id: "T-1"}, facts: {ticket: {priority: normal}}, expect: allow}
`

const failingPolicy = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: failing, tenant: acme}
spec:
  match: {server: crm}
  rules: [{name: nobody, when: "true", effect: block}]
  tests:
    - {name: everybody may, expect: allow}
`

func applying(t testing.TB, yaml string) *authzv1.ApplyRequest {
	t.Helper()
	located, err := resource.Parse("it.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	req := &authzv1.ApplyRequest{}
	for _, l := range located {
		r := &authzv1.Resource{}
		if err := resource.Wrap(l.Object, r); err != nil {
			t.Fatal(err)
		}
		req.Resources = append(req.Resources, r)
	}
	return req
}

func getTickets() *connect.Request[authzv1.GetRequest] {
	return connect.NewRequest(&authzv1.GetRequest{Kind: "Policy", Name: "tickets"})
}

func TestAPolicyIsAppliedWithItsRecordAndDecidesAtOnce(t *testing.T) {
	h := start(t, newAcme(t))
	admin := h.as("acme", "root", "admin")
	resp, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy)))
	if err != nil {
		t.Fatal(err)
	}
	if c := resp.Msg.GetChanges(); len(c) != 1 || c[0].GetAction() != resourcev1.Action_ACTION_CREATED || c[0].GetVersion() != 1 || resp.Msg.GetRevision() == 0 {
		t.Errorf("answer: %v", resp.Msg)
	}
	same(t, "records", h.journal.of("resource-applied"), "created Policy acme/tickets by root")

	req := call("ana", "", "tickets", "close_ticket")
	req.Arguments = []byte(`{"id":"T-1"}`)
	d := h.decide(req)
	if d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_FACT_UNAVAILABLE || len(d.GetNeedsFacts()) != 1 {
		t.Errorf("without its fact: %v", d)
	}
	for priority, effect := range map[string]string{"normal": "allow", "high": "escalate"} {
		if req.Facts, err = structpb.NewStruct(map[string]any{"ticket": map[string]any{"priority": priority}}); err != nil {
			t.Fatal(err)
		}
		if d := h.decide(req); d.GetEffect() != effect || d.GetPolicyVersion() != 1 || !strings.HasPrefix(d.GetRule(), "tickets/") || d.GetId() == "" {
			t.Errorf("%s: %v", priority, d)
		}
	}

	resp, err = admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy)))
	if err != nil || resp.Msg.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("the same again: %v, %v", resp, err)
	}
	got, err := admin.Get(t.Context(), getTickets())
	if err != nil || got.Msg.GetResource().GetPolicy().GetMetadata().GetVersion() != 1 {
		t.Errorf("get: %v, %v", got, err)
	}
	if _, err := admin.Delete(t.Context(), connect.NewRequest(&authzv1.DeleteRequest{Kind: "Policy", Name: "tickets"})); err != nil {
		t.Fatal(err)
	}
	same(t, "records", h.journal.of("resource-deleted"), "deleted Policy acme/tickets by root")
	req.Facts = nil
	if d := h.decide(req); d.GetEffect() != "allow" {
		t.Errorf("after it was deleted: %v", d)
	}
}

func TestAPolicyWhoseTestFailsIsRefusedAndNothingOfItsCompany(t *testing.T) {
	h := start(t, newAcme(t))
	admin := h.as("acme", "root", "admin")
	for name, test := range map[string]struct{ yaml, about string }{
		"a failing test":     {ticketsPolicy + "---" + failingPolicy, `1 of its 1 tests failed. Test "everybody may": expected allow, got block`},
		"a broken rule":      {ticketsPolicy + "---" + strings.Replace(failingPolicy, `when: "true"`, `when: "tru"`, 1), "nobody"},
		"no policy's effect": {ticketsPolicy + "---" + strings.Replace(failingPolicy, "effect: block", "effect: escalate", 1), "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, dry := range []bool{true, false} {
				req := applying(t, test.yaml)
				req.DryRun = dry
				_, err := admin.Apply(t.Context(), connect.NewRequest(req))
				if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), test.about) {
					t.Errorf("dry run %v: %v", dry, err)
				}
			}
			list, err := admin.List(t.Context(), connect.NewRequest(&authzv1.ListRequest{Kind: "Policy"}))
			if err != nil || len(list.Msg.GetResources()) != 0 {
				t.Errorf("something was applied: %v, %v", list, err)
			}
			same(t, "records", h.journal.of("resource-applied"))
		})
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	h := start(t, newAcme(t))
	req := applying(t, ticketsPolicy)
	req.DryRun = true
	resp, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(req))
	if err != nil || resp.Msg.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_CREATED {
		t.Errorf("%v, %v", resp, err)
	}
	same(t, "records", h.journal.of("resource-applied"))
	if d := h.decide(call("ana", "", "tickets", "close_ticket")); d.GetEffect() != "allow" || d.GetPolicy() != "" {
		t.Errorf("the policy decides: %v", d)
	}
}

func TestWithoutARecordNothingIsApplied(t *testing.T) {
	h := start(t, newAcme(t))
	admin := h.as("acme", "root", "admin")
	h.journal.fill(true)
	if _, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy))); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("apply: %v", err)
	}
	h.journal.fill(false)
	if _, err := admin.Get(t.Context(), getTickets()); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("get: %v", err)
	}
}

func TestNobodyReachesAnotherTenantsPolicies(t *testing.T) {
	h := start(t, newAcme(t))
	if _, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy))); err != nil {
		t.Fatal(err)
	}
	stranger := h.as("b", "root", "admin")
	if _, err := stranger.Apply(t.Context(), connect.NewRequest(applying(t, failingPolicy))); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("apply: %v", err)
	}
	if _, err := stranger.Get(t.Context(), getTickets()); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("get: %v", err)
	}
	theirs := connect.NewRequest(&authzv1.DeleteRequest{Kind: "Policy", Name: "tickets", Tenant: "acme"})
	if _, err := stranger.Delete(t.Context(), theirs); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("delete: %v", err)
	}
	if list, err := stranger.List(t.Context(), connect.NewRequest(&authzv1.ListRequest{Kind: "Policy"})); err != nil || len(list.Msg.GetResources()) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	if _, err := stranger.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x"))); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("decide: %v", err)
	}
	all, err := h.as("system", "boss", "platform").List(t.Context(), connect.NewRequest(&authzv1.ListRequest{Kind: "Policy"}))
	if err != nil || len(all.Msg.GetResources()) != 1 {
		t.Errorf("the platform's list: %v, %v", all, err)
	}
}

func TestPoliciesSurviveARestartAndReachOtherReplicas(t *testing.T) {
	fga, dir := newFaulty(t), t.TempDir()
	id := newAcme(t)
	first := start(t, id, on(dir), fga.option)
	second := start(t, id, on(dir), fga.option)
	edge := second.follow()
	if _, err := first.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy))); err != nil {
		t.Fatal(err)
	}
	edge.until(3*time.Second, func(m *authzv1.WatchResponse) bool { return !m.GetSnapshot() && len(m.GetUpserts()) == 1 })
	for name, h := range map[string]*harness{"the one that applied": first, "the other": second, "one started later": start(t, id, on(dir), fga.option)} {
		if d := h.decide(call("ana", "", "tickets", "close_ticket")); d.GetPolicy() != "tickets" {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func TestArgumentsMustBeOneStrictObject(t *testing.T) {
	h := start(t, newAcme(t))
	for _, raw := range []string{`[]`, `"x"`, `null`, `{"a":1,"a":2}`, `{"a":1} ` + "x", `{"a":`, "{\"a\":\"\xff\"}"} {
		req := call("ana", "", "tickets", "x")
		req.Arguments = []byte(raw)
		if _, err := h.edge.Decide(t.Context(), connect.NewRequest(req)); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
