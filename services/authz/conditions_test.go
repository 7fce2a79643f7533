package authz_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// treasury is acme with a role whose grants have conditions, and one that has none.
func treasury(networks string) string {
	return `
{apiVersion: headgate/v1, kind: Person, metadata: {name: tess, tenant: acme}, spec: {roles: [treasurer]}}
---
apiVersion: headgate/v1
kind: Role
metadata: {name: treasurer, tenant: acme}
spec:
  grants:
    - {server: pay, tools: [transfer, quote], can: call, networks: [` + networks + `]}
    - {server: pay, tools: [transfer], can: call, amount: {argument: /amount, max: "100.00", currency: EUR}}
    - {server: pay, tools: [balance], can: call}
    - {server: books, tools: ["*"], can: call, networks: [` + networks + `]}
---
apiVersion: headgate/v1
kind: Agent
metadata: {name: teller, tenant: acme}
spec:
  delegators: {people: [tess]}
  grants:
    - {server: pay, tools: ["*"], can: call, amount: {argument: /amount, max: "50", currency: EUR}}
`
}

func paid(agent, tool, address, args string) *authzv1.DecideRequest {
	req := call("tess", agent, "pay", tool)
	req.SourceIp, req.Arguments = address, []byte(args)
	return req
}

func TestOneGrantWithAConditionLeavesTheListWholeAndHoldsForCallsThatMeetIt(t *testing.T) {
	h := start(t, newAcme(t))
	h.settled(h.identity.apply(t, treasury("10.0.0.0/8")))
	for _, q := range []struct {
		name, person, agent string
		want                []string
	}{
		{"tess", "tess", "", []string{
			"see books/*: tess → role treasurer → server books from 10.0.0.0/8",
			"call pay/balance: tess → role treasurer → tool pay.balance",
			"see pay/quote: tess → role treasurer → tool pay.quote from 10.0.0.0/8",
			"see pay/transfer: tess → role treasurer → tool pay.transfer from 10.0.0.0/8",
			"see pay/transfer: tess → role treasurer → tool pay.transfer with /amount at most 100.00 EUR",
		}},
		{"teller", "", "teller", []string{"see pay/*: agent teller → server pay with /amount at most 50 EUR"}},
	} {
		same(t, q.name, h.rights("acme", q.person, q.agent), q.want...)
		resp, err := h.entitlements("acme", q.person, q.agent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEntitlements() {
			if words := terms.Words(e.GetCallIf()); e.GetCanCall() == (words != "") || !strings.HasSuffix(e.GetVia(), words) {
				t.Errorf("%s: %v", q.name, e)
			}
		}
	}
	calls := []struct {
		req    *authzv1.DecideRequest
		reason faultv1.Reason
		word   string // in the path, or of a refusal in the sentence
	}{
		{paid("", "transfer", "10.1.2.3", `{"amount":5000}`), 0, "from 10.0.0.0/8"},
		{paid("", "transfer", "192.0.2.7", `{"amount":"99.99"}`), 0, "at most 100.00 EUR"},
		{paid("", "transfer", "192.0.2.7", `{"amount":100.01}`), faultv1.Reason_REASON_CONDITION, "192.0.2.7"},
		{paid("", "transfer", "", ``), faultv1.Reason_REASON_CONDITION, "not known where this call came from"},
		{paid("", "quote", "192.0.2.7", `{"amount":1}`), faultv1.Reason_REASON_CONDITION, "192.0.2.7"},
		{paid("", "balance", "", ``), 0, "tool pay.balance"},
		{paid("", "other", "10.1.2.3", ``), faultv1.Reason_REASON_NOT_GRANTED, "no relation"},
		{paid("teller", "transfer", "10.1.2.3", `{"amount":50}`), 0, "agent teller → server pay with /amount at most 50 EUR"},
		{paid("teller", "transfer", "10.1.2.3", `{"amount":51}`), faultv1.Reason_REASON_CONDITION, "larger"},
		{paid("teller", "quote", "192.0.2.7", `{"amount":50}`), faultv1.Reason_REASON_CONDITION, "192.0.2.7"},
		{paid("teller", "balance", "", `{"amount":50}`), 0, "tool pay.balance and agent teller"},
		{paid("scout", "balance", "", ``), faultv1.Reason_REASON_AGENT, "scout"},
	}
	batch := &authzv1.BatchDecideRequest{Tenant: "acme"}
	for _, c := range calls {
		d := h.decide(c.req)
		said := d.GetSentence()
		if c.reason == 0 {
			said = d.GetVia()
		}
		if d.GetReason() != c.reason || (d.GetEffect() == "allow") != (c.reason == 0) || !strings.Contains(said, c.word) {
			t.Errorf("%v: %v", c.req, d)
		}
		batch.Calls = append(batch.Calls, proto.CloneOf(c.req))
	}
	for _, one := range batch.GetCalls() {
		one.Tenant = ""
	}
	all, err := h.as("acme", "desk", "app").BatchDecide(t.Context(), connect.NewRequest(batch))
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range all.Msg.GetDecisions() {
		if d.GetReason() != calls[i].reason {
			t.Errorf("in a batch, %v: %v", calls[i].req, d)
		}
	}
}

func TestTheConditionOfAGrantIsExplained(t *testing.T) {
	h := start(t, newAcme(t))
	for server, names := range map[string][]string{"pay": {"transfer", "quote", "balance"}, "books": {"read"}} {
		tools := map[string]string{}
		for _, name := range names {
			tools[name] = tool
		}
		h.trust.server(server, nil, tools)
	}
	h.settled(h.identity.apply(t, treasury("10.0.0.0/8")))
	const office, little = "from 10.0.0.0/8", "with /amount at most 100.00 EUR"
	var got []string
	eventually(t, 20*time.Second, func() bool {
		own, err := h.as("acme", "tess", "member").ListOwn(t.Context(), connect.NewRequest(&authzv1.ListOwnRequest{}))
		if err != nil || len(own.Msg.GetTools()) < 4 {
			return false
		}
		for _, one := range own.Msg.GetTools() {
			got = append(got, fmt.Sprintf("%s.%s %v %s", one.GetServer(), one.GetTool(), one.GetCanCall(), one.GetCallIf()))
		}
		return true
	})
	same(t, "what tess sees of herself", got, "books.read false "+office, "pay.balance true ", "pay.quote false "+office, "pay.transfer false "+office+", or "+little)
	allowed, err := h.as("acme", "desk", "app").ListAllowed(t.Context(), connect.NewRequest(&authzv1.ListAllowedRequest{Person: "tess", Agent: "teller", Server: "pay"}))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, one := range allowed.Msg.GetTools() {
		got = append(got, one.GetTool()+" "+one.GetCallIf())
	}
	const bots = "with /amount at most 50 EUR"
	same(t, "what she may call through the agent", got, "balance "+bots, "quote "+office+"; and for the agent "+bots, "transfer "+office+", or "+little+"; and for the agent "+bots)
	holders, err := h.as("acme", "sam", "security").ListHolders(t.Context(), connect.NewRequest(&authzv1.ListHoldersRequest{Server: "pay", Tool: "quote"}))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, one := range holders.Msg.GetHolders() {
		got = append(got, fmt.Sprintf("%s%s %v %s", one.GetPerson(), one.GetAgent(), one.GetCanCall(), one.GetCallIf()))
	}
	same(t, "who may", got, "tess false "+office, "teller false "+bots)
}

// The tuples are the same before and after: they say only that there is a condition.
func TestEdgesAreToldThatAConditionChanged(t *testing.T) {
	h := start(t, newAcme(t))
	h.settled(h.identity.apply(t, treasury("10.0.0.0/8")))
	f := h.follow()
	f.until(20*time.Second, func(m *authzv1.WatchResponse) bool { return m.GetSnapshot() })
	h.identity.apply(t, treasury("10.99.0.0/16"))
	f.until(20*time.Second, changedFor("acme", "tess", ""))
	if got := h.rights("acme", "tess", ""); !strings.HasSuffix(got[0], "from 10.99.0.0/16") {
		t.Errorf("after it was told: %q", got)
	}
	if d := h.decide(paid("", "quote", "10.1.2.3", "")); d.GetReason() != faultv1.Reason_REASON_CONDITION {
		t.Errorf("by the network before: %v", d)
	}
}
