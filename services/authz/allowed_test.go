package authz_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

const (
	tool  = `{"inputSchema":{"type":"object"}}`
	reads = `{"inputSchema":{"type":"object","properties":{"id":{"type":"string"}}},"annotations":{"readOnlyHint":true}}`
)

// stocked is acme with the tools of two servers.
func stocked(t *testing.T) *harness {
	t.Helper()
	id := newAcme(t)
	id.bare = true
	h := start(t, id)
	h.trust.server("tickets", nil, map[string]string{"close_ticket": closeTicket, "get_ticket": reads})
	h.trust.server("crm", nil, map[string]string{"read_customer": tool, "erase": tool})
	h.trust.server("other", nil, map[string]string{"x": tool})
	admin := h.as("acme", "root", "admin")
	eventually(t, 20*time.Second, func() bool {
		_, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy)))
		if err != nil {
			return false
		}
		resp, err := h.as("acme", "desk", "app").ListAllowed(t.Context(), connect.NewRequest(&authzv1.ListAllowedRequest{Person: "ana", Seen: true}))
		return err == nil && len(resp.Msg.GetTools()) == 4
	})
	return h
}

// words are tools as "call tickets.close_ticket: ana → … (2 rules, otherwise block)".
func words(tools []*authzv1.AllowedTool) []string {
	var all []string
	for _, one := range tools {
		can := "see"
		if one.GetCanCall() {
			can = "call"
		}
		all = append(all, fmt.Sprintf("%s %s.%s: %s (%d rules, otherwise %s)", can, one.GetServer(), one.GetTool(), one.GetVia(), len(one.GetRules()), one.GetOtherwise()))
	}
	return all
}

func TestWhatSomebodyMayCallIsListedWithItsPathAndRules(t *testing.T) {
	h := stocked(t)
	app := h.as("acme", "desk", "app")
	list := func(m *authzv1.ListAllowedRequest) []string {
		t.Helper()
		resp, err := app.ListAllowed(t.Context(), connect.NewRequest(m))
		if err != nil {
			t.Fatal(err)
		}
		return words(resp.Msg.GetTools())
	}
	readCustomer := "call crm.read_customer: ana → role support → tool crm.read_customer (0 rules, otherwise allow)"
	closes := "call tickets.close_ticket: ana → role support → server tickets (2 rules, otherwise block)"
	gets := "call tickets.get_ticket: ana → role support → server tickets (0 rules, otherwise allow)"
	erases := "see crm.erase: ana → role support → server crm (0 rules, otherwise allow)"
	same(t, "what ana may call", list(&authzv1.ListAllowedRequest{Person: "ana"}), readCustomer, closes, gets)
	same(t, "what ana may see", list(&authzv1.ListAllowedRequest{Person: "ana", Seen: true}), erases, readCustomer, closes, gets)
	same(t, "at one server", list(&authzv1.ListAllowedRequest{Person: "ana", Server: "tickets"}), closes, gets)
	same(t, "through an agent", list(&authzv1.ListAllowedRequest{Person: "ana", Agent: "scout"}),
		"call tickets.close_ticket: ana → role support → server tickets and agent scout → tool tickets.close_ticket (2 rules, otherwise block)")
	same(t, "through an agent that is not theirs", list(&authzv1.ListAllowedRequest{Person: "ben", Agent: "nobody"}))
	same(t, "somebody without a role", list(&authzv1.ListAllowedRequest{Person: "carl", Seen: true}))

	var paged []string
	for token := ""; ; {
		resp, err := app.ListAllowed(t.Context(), connect.NewRequest(&authzv1.ListAllowedRequest{Person: "ana", Seen: true, PageSize: 1, PageToken: token}))
		if err != nil || len(resp.Msg.GetTools()) != 1 {
			t.Fatalf("%v, %v", resp, err)
		}
		paged = append(paged, words(resp.Msg.GetTools())...)
		if token = resp.Msg.GetNextPageToken(); token == "" {
			break
		}
	}
	same(t, "page by page", paged, erases, readCustomer, closes, gets)

	own, err := h.as("acme", "ana", "member").ListOwn(t.Context(), connect.NewRequest(&authzv1.ListOwnRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "ana's own", words(own.Msg.GetTools()), erases, readCustomer, closes, gets)
	if r := own.Msg.GetTools()[2].GetRules()[0]; r.GetRule() != "tickets/high-priority-needs-a-supervisor" || r.GetEffect() != "escalate" || !strings.Contains(r.GetWhen(), "priority") {
		t.Errorf("a rule: %v", r)
	}
	if _, err := app.ListAllowed(t.Context(), connect.NewRequest(&authzv1.ListAllowedRequest{Person: "ana", Tenant: "globex"})); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := app.ListAllowed(t.Context(), connect.NewRequest(&authzv1.ListAllowedRequest{Person: "ana", PageToken: "x"})); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a bad page token: %v", err)
	}
}

func TestWhoHasARelationToAServerIsListed(t *testing.T) {
	h := stocked(t)
	h.settled(h.identity.apply(t, `
apiVersion: headgate/v1
kind: Role
metadata: {name: visitor, tenant: acme}
spec: {grants: [{server: crm, tools: [erase], can: call, until: "2999-01-01T00:00:00Z"}]}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carl, tenant: acme}, spec: {roles: [visitor]}}
`))
	security := h.as("acme", "sam", "security")
	list := func(server, tool string, size int32) []string {
		t.Helper()
		var all []string
		for token := ""; ; {
			resp, err := security.ListHolders(t.Context(), connect.NewRequest(&authzv1.ListHoldersRequest{Server: server, Tool: tool, PageSize: size, PageToken: token}))
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range resp.Msg.GetHolders() {
				line := fmt.Sprintf("%s%s %s %v: %s", one.GetPerson(), one.GetAgent(), one.GetTool(), one.GetCanCall(), one.GetVia())
				if one.GetUntil() != nil {
					line += " until " + one.GetUntil().AsTime().Format(time.DateOnly)
				}
				all = append(all, line)
			}
			if token = resp.Msg.GetNextPageToken(); token == "" {
				return all
			}
		}
	}
	want := []string{
		"ana * false: ana → role support → server crm", "ana read_customer true: ana → role support → tool crm.read_customer",
		"ben * false: ben → group care → role support → server crm", "ben read_customer true: ben → group care → role support → tool crm.read_customer",
		"carl erase true: carl → role visitor → tool crm.erase until 2999-01-01", "scout * false: agent scout → server crm",
	}
	for _, size := range []int32{0, 1, 2, 3} {
		same(t, fmt.Sprintf("holders of crm by %d", size), list("crm", "", size), want...)
	}
	same(t, "holders of crm.erase", list("crm", "erase", 0), want[0], want[2], want[4], want[5])
	for person, reason := range map[string]faultv1.Reason{"acme/ana/member": faultv1.Reason_REASON_ROLE_REQUIRED, "acme/desk/app": faultv1.Reason_REASON_ROLE_REQUIRED} {
		parts := strings.Split(person, "/")
		_, err := h.as(parts[0], parts[1], parts[2]).ListHolders(t.Context(), connect.NewRequest(&authzv1.ListHoldersRequest{Server: "crm"}))
		if !fault.Is(err, reason) {
			t.Errorf("%s: %v", person, err)
		}
	}
	if _, err := security.ListHolders(t.Context(), connect.NewRequest(&authzv1.ListHoldersRequest{Server: "none"})); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("a server that is not there: %v", err)
	}
	if _, err := security.ListHolders(t.Context(), connect.NewRequest(&authzv1.ListHoldersRequest{Server: "crm", Tenant: "globex"})); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("another tenant: %v", err)
	}
}
