package authz_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

const acme = `
{apiVersion: headgate/v1, kind: Tenant, metadata: {name: acme}, spec: {}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [support], department: care}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ben, tenant: acme}, spec: {}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: carl, tenant: acme}, spec: {}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: care, tenant: acme}, spec: {members: [ben, nobody], roles: [support]}}
---
apiVersion: headgate/v1
kind: Role
metadata: {name: support, tenant: acme}
spec:
  grants:
    - {server: tickets, tools: ["*"], can: call}
    - {server: crm, tools: ["*"], can: see}
    - {server: crm, tools: [read_customer], can: call}
---
apiVersion: headgate/v1
kind: Agent
metadata: {name: scout, tenant: acme}
spec:
  owner: ana
  delegators: {people: [carl], roles: [support]}
  grants:
    - {server: tickets, tools: [close_ticket], can: call}
    - {server: crm, tools: ["*"], can: see}
`

func newAcme(t testing.TB) *identity {
	t.Helper()
	id := newIdentity()
	id.apply(t, acme)
	return id
}

func call(person, agent, server, tool string) *authzv1.DecideRequest {
	return &authzv1.DecideRequest{Tenant: "acme", Person: person, Agent: agent, Server: server, Tool: tool}
}

func TestRolesGiveTheirHoldersToolsByThemselvesAndThroughGroups(t *testing.T) {
	h := start(t, newAcme(t))
	same(t, "ana", h.rights("acme", "ana", ""),
		"see crm/*: ana → role support → server crm",
		"call crm/read_customer: ana → role support → tool crm.read_customer",
		"call tickets/*: ana → role support → server tickets")
	same(t, "ben", h.rights("acme", "ben", ""),
		"see crm/*: ben → group care → role support → server crm",
		"call crm/read_customer: ben → group care → role support → tool crm.read_customer",
		"call tickets/*: ben → group care → role support → server tickets")
	for person, server := range map[string]string{"ana": "tickets", "ben": "tickets"} {
		if d := h.decide(call(person, "", server, "anything")); d.GetEffect() != "allow" || d.GetVia() == "" {
			t.Errorf("%s on %s: %v", person, server, d)
		}
	}
}

func TestRolesComeThroughGroupsWithinGroupsDepartmentsAndTeams(t *testing.T) {
	h := start(t, newAcme(t))
	h.settled(h.identity.apply(t, `
{apiVersion: headgate/v1, kind: Person, metadata: {name: dora, tenant: acme}, spec: {department: "Care: EU #1", teams: [desk]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: emea, tenant: acme}, spec: {members: [carl]}}
---
{apiVersion: headgate/v1, kind: Group, metadata: {name: world, tenant: acme}, spec: {groups: [emea], roles: [support]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: wiki, tenant: acme}, spec: {departments: ["Care: EU #1"], grants: [{server: wiki, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: desk, tenant: acme}, spec: {teams: [desk], grants: [{server: phone, tools: [ring], can: call}]}}`))
	same(t, "carl", h.rights("acme", "carl", ""),
		"see crm/*: carl → group emea → group world → role support → server crm",
		"call crm/read_customer: carl → group emea → group world → role support → tool crm.read_customer",
		"call tickets/*: carl → group emea → group world → role support → server tickets")
	same(t, "dora", h.rights("acme", "dora", ""),
		"call phone/ring: dora → team desk → role desk → tool phone.ring",
		"call wiki/*: dora → department Care: EU #1 → role wiki → server wiki")
	for who, tool := range map[string][2]string{"carl": {"tickets", "close_ticket"}, "dora": {"phone", "ring"}} {
		if d := h.decide(call(who, "", tool[0], tool[1])); d.GetEffect() != "allow" {
			t.Errorf("%s: %v", who, d)
		}
	}
	// The agent may act for who holds support, also far within.
	if d := h.decide(call("carl", "scout", "tickets", "close_ticket")); d.GetEffect() != "allow" {
		t.Errorf("carl through the agent: %v", d)
	}
	h.settled(h.identity.apply(t, `{apiVersion: headgate/v1, kind: Group, metadata: {name: world, tenant: acme}, spec: {groups: [], roles: [support]}}`))
	same(t, "carl outside", h.rights("acme", "carl", ""))
	if d := h.decide(call("carl", "", "tickets", "close_ticket")); d.GetReason() != faultv1.Reason_REASON_NOT_GRANTED {
		t.Errorf("carl outside: %v", d)
	}
}

func TestNobodyIsExplainedWhoIsNotThere(t *testing.T) {
	h := start(t, newAcme(t))
	for says, req := range map[string]*authzv1.DecideRequest{
		`In tenant acme the person "anna" is not known; the nearest is "ana".`:   call("anna", "", "tickets", "x"),
		`In tenant acme the agent "scuot" is not known; the nearest is "scout".`: call("ana", "scuot", "tickets", "x"),
	} {
		_, err := h.as("acme", "desk", "app").Explain(t.Context(), connect.NewRequest(&authzv1.ExplainRequest{Call: req}))
		if !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
	}
}

const blockLists = `
{apiVersion: headgate/v1, kind: BlockList, metadata: {name: no-closing, tenant: acme}, spec: {groups: [care], targets: [{server: tickets, tools: [close_ticket], cannot: call}]}}
---
{apiVersion: headgate/v1, kind: BlockList, metadata: {name: no-crm, tenant: acme}, spec: {people: [ana], targets: [{server: crm, tools: ["*"], cannot: see}]}}
---
{apiVersion: headgate/v1, kind: BlockList, metadata: {name: rogue, tenant: acme}, spec: {agents: [scout], targets: [{server: "*", tools: ["*"], cannot: call}]}}`

func TestWhatIsBlockListedIsRefusedWhateverIsGranted(t *testing.T) {
	h := start(t, newAcme(t))
	h.settled(h.identity.apply(t, blockLists))
	for name, test := range map[string]struct {
		req *authzv1.DecideRequest
		via string // of the list, empty where nothing keeps the caller from it
	}{
		"a member of a listed group":        {call("ben", "", "tickets", "close_ticket"), "ben → group care → block list no-closing"},
		"another tool":                      {call("ben", "", "tickets", "list_tickets"), ""},
		"somebody else":                     {call("ana", "", "tickets", "close_ticket"), ""},
		"a listed person":                   {call("ana", "", "crm", "read_customer"), "ana → block list no-crm"},
		"a listed agent, whoever it is for": {call("ana", "scout", "tickets", "close_ticket"), "agent scout → block list rogue"},
	} {
		d, batch := h.decide(test.req), h.batch(test.req)
		explained, err := h.as("acme", "desk", "app").Explain(t.Context(), connect.NewRequest(&authzv1.ExplainRequest{Call: test.req}))
		if err != nil {
			t.Fatal(err)
		}
		for way, one := range map[string]*authzv1.Decision{"decide": d, "batch": batch, "explain": explained.Msg.GetDecision()} {
			blocked := one.GetEffect() == "block" && one.GetReason() == faultv1.Reason_REASON_BLOCK_LISTED && strings.Contains(one.GetVia(), test.via) &&
				strings.Contains(one.GetSentence(), "a block list keeps "+test.req.GetPerson()) && strings.Contains(one.GetSentence(), test.via)
			if test.via == "" && one.GetEffect() != "allow" || test.via != "" && !blocked {
				t.Errorf("%s, %s: %v", name, way, one)
			}
		}
	}
	for name, about := range map[string]struct {
		object, relation string
		want             bool
	}{
		"may not call": {"mcp_server:crm", "can_see", false}, "is kept from it": {"mcp_server:crm", "hidden", true}, "not from that": {"mcp_server:tickets", "blocked", false},
	} {
		answer, err := h.edge.Related(t.Context(), connect.NewRequest(&authzv1.RelatedRequest{
			Tenant: "acme", Person: "ana", Relationships: []*authzv1.Relationship{{Object: about.object, Relation: about.relation}},
		}))
		if err != nil || answer.Msg.GetHeld()[0] != about.want {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
	h.settled(h.identity.remove("BlockList", "acme", "no-closing"))
	if d := h.decide(call("ben", "", "tickets", "close_ticket")); d.GetEffect() != "allow" {
		t.Errorf("after the list is gone: %v", d)
	}
}

// batch is the answer of BatchDecide about one call.
func (h *harness) batch(req *authzv1.DecideRequest) *authzv1.Decision {
	h.t.Helper()
	answer, err := h.as("acme", "desk", "app").BatchDecide(h.t.Context(), connect.NewRequest(&authzv1.BatchDecideRequest{Tenant: "acme", Calls: []*authzv1.DecideRequest{req}}))
	if err != nil {
		h.t.Fatal(err)
	}
	return answer.Msg.GetDecisions()[0]
}

func TestWhoHasNoRoleGetsNothing(t *testing.T) {
	h := start(t, newAcme(t))
	for _, person := range []string{"carl", "nobody", "who:is#this", "*"} {
		same(t, person, h.rights("acme", person, ""))
		d := h.decide(call(person, "", "tickets", "close_ticket"))
		if d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_NOT_GRANTED {
			t.Errorf("%s: %v", person, d)
		}
	}
	same(t, "a tenant that is not there", h.rights("nowhere", "ana", ""))
}

func TestSeeingIsNotCalling(t *testing.T) {
	h := start(t, newAcme(t))
	if d := h.decide(call("ana", "", "crm", "delete_customer")); d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_NOT_GRANTED {
		t.Errorf("a tool that is only seen: %v", d)
	}
	if d := h.decide(call("ana", "", "crm", "read_customer")); d.GetEffect() != "allow" {
		t.Errorf("a tool that is called: %v", d)
	}
}

func TestAnAgentHasTheSmallerRight(t *testing.T) {
	h := start(t, newAcme(t))
	same(t, "scout", h.rights("acme", "", "scout"),
		"see crm/*: agent scout → server crm",
		"call tickets/close_ticket: agent scout → tool tickets.close_ticket")
	resp, err := h.entitlements("acme", "", "scout")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "delegators", resp.GetDelegators(), "ana", "ben", "carl")
	for name, test := range map[string]struct {
		req    *authzv1.DecideRequest
		effect string
		reason faultv1.Reason
	}{
		"both may":                   {call("ana", "scout", "tickets", "close_ticket"), "allow", 0},
		"both may, through a group":  {call("ben", "scout", "tickets", "close_ticket"), "allow", 0},
		"the agent may not":          {call("ana", "scout", "tickets", "list_tickets"), "block", faultv1.Reason_REASON_AGENT},
		"the agent only sees":        {call("ana", "scout", "crm", "read_customer"), "block", faultv1.Reason_REASON_AGENT},
		"the person may not":         {call("carl", "scout", "tickets", "close_ticket"), "block", faultv1.Reason_REASON_NOT_GRANTED},
		"an agent that is not there": {call("ana", "ghost", "tickets", "close_ticket"), "block", faultv1.Reason_REASON_AGENT},
	} {
		if d := h.decide(test.req); d.GetEffect() != test.effect || d.GetReason() != test.reason {
			t.Errorf("%s: %v", name, d)
		}
	}

	h.identity.apply(t, `
apiVersion: headgate/v1
kind: Agent
metadata: {name: scout, tenant: acme}
spec: {owner: ana, delegators: {people: [carl]}, grants: [{server: tickets, tools: ["*"], can: call}]}`)
	eventually(t, time.Second, func() bool {
		return h.decide(call("ana", "scout", "tickets", "close_ticket")).GetReason() == faultv1.Reason_REASON_AGENT
	})
}

func TestTheNextGrantsEndIsWhatCounts(t *testing.T) {
	id := newAcme(t)
	h := start(t, id)
	end := h.clock.now().Add(time.Hour).Truncate(time.Second)
	h.settled(id.apply(t, `
apiVersion: headgate/v1
kind: Role
metadata: {name: support, tenant: acme}
spec:
  grants:
    - {server: tickets, tools: ["*"], can: call, until: "`+end.Format(time.RFC3339)+`"}
    - {server: tickets, tools: ["*"], can: see}`))
	same(t, "before", h.rights("acme", "ana", ""),
		"call tickets/*: ana → role support → server tickets until "+end.Format(time.RFC3339),
		"see tickets/*: ana → role support → server tickets")
	if d := h.decide(call("ana", "", "tickets", "close_ticket")); d.GetEffect() != "allow" {
		t.Errorf("before: %v", d)
	}

	h.clock.forward(time.Hour + time.Second)
	eventually(t, 5*time.Second, func() bool { // the next word of identity makes the directory fresh by the moved clock
		_, err := h.entitlements("acme", "ana", "")
		return err == nil
	})
	same(t, "after", h.rights("acme", "ana", ""), "see tickets/*: ana → role support → server tickets")
	if d := h.decide(call("ana", "", "tickets", "close_ticket")); d.GetEffect() != "block" {
		t.Errorf("after: %v", d)
	}
}

func TestTenantsWithTheSameNamesDoNotMix(t *testing.T) {
	id := newAcme(t)
	id.apply(t, `
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: b}, spec: {}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: b}, spec: {grants: [{server: tickets, tools: ["*"], can: call}]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: zoe, tenant: b}, spec: {roles: [support]}}`)
	h := start(t, id)
	same(t, "ana of b", h.rights("b", "ana", ""))
	same(t, "zoe of b", h.rights("b", "zoe", ""), "call tickets/*: zoe → role support → server tickets")
	same(t, "zoe of acme", h.rights("acme", "zoe", ""))
	request := call("ana", "", "tickets", "close_ticket")
	request.Tenant = "b"
	if d := h.decide(request); d.GetEffect() != "block" {
		t.Errorf("ana of b: %v", d)
	}
	h.identity.remove("Person", "acme", "ana")
	eventually(t, time.Second, func() bool { return len(h.rights("acme", "ana", "")) == 0 })
	same(t, "zoe of b, still", h.rights("b", "zoe", ""), "call tickets/*: zoe → role support → server tickets")
}
