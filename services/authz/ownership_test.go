package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/record"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/relations"
)

// owned reads resource:ticket/17#owner@person:ana.
func owned(text string) *authzv1.ResourceRelation {
	object, rest, _ := strings.Cut(text, "#")
	relation, subject, _ := strings.Cut(rest, "@")
	return &authzv1.ResourceRelation{Object: object, Relation: relation, Subject: subject}
}

// put puts relations as an application of a tenant.
func (h *harness) put(tenant string, texts ...string) (*authzv1.PutRelationsResponse, error) {
	req := &authzv1.PutRelationsRequest{}
	for _, text := range texts {
		req.Relations = append(req.Relations, owned(text))
	}
	answer, err := h.as(tenant, "desk", "registrar").PutRelations(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (h *harness) mustPut(tenant string, texts ...string) {
	h.t.Helper()
	answer, err := h.put(tenant, texts...)
	if err != nil || int(answer.GetChanged()) != len(texts) || !answer.GetInForce() {
		h.t.Fatalf("put %v: %v %v", texts, answer, err)
	}
}

// relatedTo says which of the relations, as resource:ticket/17#owner, a person has by the word of authz.
func (h *harness) relatedTo(tenant, person string, texts ...string) []string {
	h.t.Helper()
	req := &authzv1.RelatedRequest{Tenant: tenant, Person: person}
	for _, text := range texts {
		object, relation, _ := strings.Cut(text, "#")
		req.Relationships = append(req.Relationships, &authzv1.Relationship{Object: object, Relation: relation})
	}
	answer, err := h.edge.Related(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		h.t.Fatal(err)
	}
	var held []string
	for i, text := range texts {
		if answer.Msg.GetHeld()[i] {
			held = append(held, text)
		}
	}
	return held
}

// listed is everything of a tenant, page by page.
func (h *harness) listed(tenant string, size int32) []string {
	h.t.Helper()
	var all []string
	req := &authzv1.ListRelationsRequest{PageSize: size}
	for {
		answer, err := h.as(tenant, "desk", "registrar").ListRelations(h.t.Context(), connect.NewRequest(req))
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range answer.Msg.GetRelations() {
			all = append(all, r.GetObject()+"#"+r.GetRelation()+"@"+r.GetSubject())
		}
		if req.PageToken = answer.Msg.GetNextPageToken(); req.GetPageToken() == "" {
			return all
		}
	}
}

const ticket = "resource:ticket/17"

func TestApplicationsSayWhoOwnsTheirResources(t *testing.T) {
	h := start(t, newAcme(t))
	all := []string{ticket + "#owner", ticket + "#editor", ticket + "#viewer", ticket + "#approver"}
	h.mustPut("acme", ticket+"#owner@person:carl", ticket+"#viewer@group:care", ticket+"#approver@role:support", "resource:customer/x=1/y#editor@person:ana")
	same(t, "carl, the owner", h.relatedTo("acme", "carl", all...), all[:3]...)
	same(t, "ben, of the group and through it of the role", h.relatedTo("acme", "ben", all...), all[2:]...)
	same(t, "ana, who holds the role", h.relatedTo("acme", "ana", append(all, "resource:customer/x=1/y#viewer")...), all[3], "resource:customer/x=1/y#viewer")
	same(t, "what nobody said", h.relatedTo("acme", "carl", "resource:ticket/18#owner", "resource:ticket/17/..#owner"))
	if answer, err := h.put("acme", ticket+"#owner@person:carl"); err != nil || answer.GetChanged() != 0 {
		t.Errorf("put again: %v %v", answer, err)
	}
	same(t, "listed", h.listed("acme", 3), "resource:customer/x=1/y#editor@person:ana", ticket+"#approver@role:support", ticket+"#owner@person:carl", ticket+"#viewer@group:care")
	same(t, "records", h.journal.of(base.ResourceRelations), "put ResourceRelations acme/acme by desk")

	desk := h.as("acme", "desk", "registrar")
	gone, err := desk.RemoveRelations(t.Context(), connect.NewRequest(&authzv1.RemoveRelationsRequest{
		Relations: []*authzv1.ResourceRelation{owned("resource:customer/x=1/y#editor@person:ana"), owned("resource:customer/z#owner@person:ana")},
	}))
	if err != nil || gone.Msg.GetRemoved() != 1 {
		t.Errorf("removed %v (%v), want the one that was there", gone, err)
	}
	if gone, err = desk.RemoveRelations(t.Context(), connect.NewRequest(&authzv1.RemoveRelationsRequest{Objects: []string{ticket}})); err != nil || gone.Msg.GetRemoved() != 3 {
		t.Errorf("removed %v (%v) with the resource, want all three", gone, err)
	}
	same(t, "carl, of what is gone", h.relatedTo("acme", "carl", all...))
	same(t, "what is left", h.listed("acme", 0))
}

func TestOnlyARegistrarPutsRelationsAndOnlyWhatCanBe(t *testing.T) {
	h := start(t, newAcme(t))
	for _, right := range []string{"app", "security", "member"} {
		_, err := h.as("acme", "desk", right).PutRelations(t.Context(), connect.NewRequest(&authzv1.PutRelationsRequest{Relations: []*authzv1.ResourceRelation{owned(ticket + "#owner@person:ana")}}))
		if !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
			t.Errorf("%s puts: %v", right, err)
		}
	}
	for text, says := range map[string]string{
		ticket + "#owner@person:zoe":      "There is no person zoe in tenant acme",
		ticket + "#owner@group:nobody":    "There is no group nobody in tenant acme",
		"role:support#assignee@person:a":  "object",
		ticket + "#member@person:ana":     "relation",
		ticket + "#owner@user:ana":        "subject",
		"resource:ticket#owner@person:a":  "object",
		"resource:ticket/1 2#owner@role:": "object",
	} {
		if _, err := h.put("acme", ticket+"#viewer@person:ana", text); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	past := owned(ticket + "#owner@person:ana")
	past.Until = timestamppb.New(time.Now().Add(-time.Hour))
	_, err := h.as("acme", "desk", "registrar").PutRelations(t.Context(), connect.NewRequest(&authzv1.PutRelationsRequest{Relations: []*authzv1.ResourceRelation{past}}))
	if err == nil || !strings.Contains(err.Error(), "would have ended") {
		t.Errorf("one that has ended: %v", err)
	}
	h.journal.fill(true)
	if _, err := h.put("acme", ticket+"#owner@person:ana"); err == nil {
		t.Error("put without a record")
	}
	h.journal.fill(false)
	same(t, "after the refusals", h.listed("acme", 0))
}

func TestRelationsEndByThemselvesAndWithThePerson(t *testing.T) {
	h := start(t, newAcme(t))
	ending := owned("resource:ticket/1#owner@person:ana")
	ending.Until = timestamppb.New(time.Now().Add(time.Hour))
	_, err := h.as("acme", "desk", "registrar").PutRelations(t.Context(), connect.NewRequest(&authzv1.PutRelationsRequest{Relations: []*authzv1.ResourceRelation{ending}}))
	if err != nil {
		t.Fatal(err)
	}
	h.mustPut("acme", ticket+"#owner@person:carl", ticket+"#viewer@person:ana")
	same(t, "before the end", h.relatedTo("acme", "ana", "resource:ticket/1#owner"), "resource:ticket/1#owner")
	h.clock.forward(2 * time.Hour)
	h.ready()
	same(t, "after it", h.relatedTo("acme", "ana", "resource:ticket/1#owner"))

	h.settled(h.identity.remove("Person", "acme", "carl"))
	same(t, "carl, who is gone", h.relatedTo("acme", "carl", ticket+"#owner"))
	eventually(t, 20*time.Second, func() bool { return !slices.Contains(h.listed("acme", 0), ticket+"#owner@person:carl") })
	h.settled(h.identity.apply(t, "{apiVersion: headgate/v1, kind: Person, metadata: {name: carl, tenant: acme}, spec: {}}"))
	same(t, "another carl", h.relatedTo("acme", "carl", ticket+"#owner"))
	same(t, "ana", h.relatedTo("acme", "ana", ticket+"#viewer"), ticket+"#viewer")
	if records := h.journal.of(base.ResourceRelations); !slices.Contains(records, "ended ResourceRelations acme/acme by ") {
		t.Errorf("records: %v", records)
	}
}

// What applications say is known to every comparison, and what somebody planted counts for nothing, though OpenFGA has it.
func TestRelationsOfApplicationsAreNoDriftAndPlantedOnesGiveNothing(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	h.mustPut("acme", ticket+"#owner@person:ana")
	planted := []relations.Tuple{{Object: ticket, Relation: "owner", User: "user:carl"}, {Object: "role:support", Relation: "assignee", User: "user:carl"}}
	fga.tamper(t, "acme", nil, planted)
	same(t, "carl, by planted tuples", h.relatedTo("acme", "carl", ticket+"#owner", "role:support#assignee", "mcp_server:tickets#caller", "mcp_server:tickets#can_call_all"))
	same(t, "ana", h.relatedTo("acme", "ana", ticket+"#owner", "role:support#assignee", "mcp_server:tickets#caller", "tool:tickets/x#can_call", "organization:acme#member"),
		ticket+"#owner", "role:support#assignee", "mcp_server:tickets#caller", "organization:acme#member")
	admin := h.as("acme", "root", "admin")
	found, err := admin.MendRelations(t.Context(), connect.NewRequest(&authzv1.MendRelationsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "planted", words3(found.Msg.GetDrift().GetPlanted()), planted[0].String(), planted[1].String())
	same(t, "ana after it was mended", h.relatedTo("acme", "ana", ticket+"#owner"), ticket+"#owner")
}

// A restart, also of the database's other reader, finds what was put, and OpenFGA keeps it meanwhile.
func TestRelationsOutliveAProcessAndReachTheOthers(t *testing.T) {
	fga, dir := newFaulty(t), t.TempDir()
	id := newAcme(t)
	one, two := start(t, id, on(dir), fga.option), start(t, id, on(dir), fga.option)
	one.mustPut("acme", ticket+"#owner@person:ana")
	eventually(t, 20*time.Second, func() bool { return len(two.relatedTo("acme", "ana", ticket+"#owner")) == 1 })
	one.stop()
	two.stop()
	again := start(t, id, on(dir), fga.option)
	same(t, "after a restart", again.relatedTo("acme", "ana", ticket+"#owner"), ticket+"#owner")
	if _, err := again.as("acme", "desk", "registrar").RemoveRelations(t.Context(), connect.NewRequest(&authzv1.RemoveRelationsRequest{Objects: []string{ticket}})); err != nil {
		t.Fatal(err)
	}
	same(t, "after it was removed", again.relatedTo("acme", "ana", ticket+"#owner"))
}

func TestRulesAskWhoseResourceItIs(t *testing.T) {
	h := start(t, newAcme(t))
	_, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, ownOnly)))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i := range 100 {
		texts = append(texts, fmt.Sprintf("resource:ticket/%d#owner@person:%s", i, []string{"ana", "ben"}[i%2]))
	}
	h.mustPut("acme", texts...)
	for person, want := range map[string][2]string{"ana": {"allow", "block"}, "ben": {"block", "allow"}} {
		for id, effect := range want {
			req := call(person, "", "tickets", "close_ticket")
			req.Arguments = fmt.Appendf(nil, `{"id":"%d"}`, 40+id)
			if d := h.decide(req); d.GetEffect() != effect {
				t.Errorf("%s closes ticket %d: %v", person, 40+id, d)
			}
		}
	}
}
