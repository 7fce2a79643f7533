package authz_test

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// alerts are those that the service has written.
func (h *harness) alerts() []*eventsv1.Event {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	var found []*eventsv1.Event
	for _, ev := range h.journal.events {
		if ev.GetAlert() {
			found = append(found, ev)
		}
	}
	return found
}

// Threat T26: OpenFGA that is down, slow, asked of another model, or asked without what its conditions need answers nothing that lets anybody do anything,
// and the record has an alert.
func TestT26EachFailureOfOpenFGARefusesAndIsAnAlert(t *testing.T) {
	for name, mode := range map[string]int32{
		"down": down, "slow": slow, "garbled": garbled, "mute": mute, "another model": modelless, "missing context": contextless,
	} {
		t.Run(name, func(t *testing.T) {
			fga := newFaulty(t)
			id := newAcme(t)
			id.apply(t, `{apiVersion: headgate/v1, kind: Role, metadata: {name: temp, tenant: acme}, spec: {grants: [{server: docs, tools: [x], can: call, until: "2099-01-01T00:00:00Z"}]}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: tia, tenant: acme}, spec: {roles: [temp]}}`)
			h := start(t, id, fga.option)
			if d := h.decide(call("tia", "", "docs", "x")); d.GetEffect() != "allow" {
				t.Fatalf("before: %v", d)
			}
			fga.mode.Store(mode)
			ask := authzv1.RelatedRequest{Tenant: "acme", Person: "tia", Relationships: []*authzv1.Relationship{{Object: "tool:docs/x", Relation: "can_call"}}}
			if r, err := h.edge.Related(t.Context(), connect.NewRequest(&ask)); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("related: %v, %v", r, err)
			}
			if len(h.alerts()) != 1 || h.alerts()[0].GetDecision().GetReason() != faultv1.Reason_REASON_UNAVAILABLE || h.alerts()[0].GetTenant() != "acme" {
				t.Errorf("alerts: %v", h.alerts())
			}
			if d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("tia", "", "docs", "x"))); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("decide: %v, %v", d, err)
			}
			if len(h.alerts()) != 1 {
				t.Errorf("one outage, %d alerts", len(h.alerts()))
			}
			fga.mode.Store(works)
			eventually(t, 30*time.Second, func() bool {
				r, err := h.edge.Related(t.Context(), connect.NewRequest(&ask))
				return err == nil && len(r.Msg.GetHeld()) == 1 && r.Msg.GetHeld()[0]
			})
		})
	}
}

func TestT26AuthzDoesNotDecideByAClockThatJumped(t *testing.T) {
	h := start(t, newAcme(t))
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		if d := h.decide(call("ana", "", "tickets", "x")); d.GetEffect() != "allow" {
			t.Fatalf("before: %v", d)
		}
		before := len(h.alerts())
		h.clock.jump(jump)
		eventually(t, 30*time.Second, func() bool { // what it hears is judged by the new time again
			_, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x")))
			return fault.Is(err, faultv1.Reason_REASON_CLOCK)
		})
		if found := h.alerts(); len(found) <= before || found[len(found)-1].GetDecision().GetReason() != faultv1.Reason_REASON_CLOCK {
			t.Errorf("%s: %v", jump, found)
		}
		h.clock.forward(61 * time.Second)
		eventually(t, 30*time.Second, func() bool {
			d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x")))
			return err == nil && d.Msg.GetDecision().GetEffect() == "allow"
		})
	}
}

func TestRelatedIsWhatTheDirectorySays(t *testing.T) {
	h := start(t, newAcme(t))
	for _, c := range []struct {
		person, object, relation string
		held                     bool
		reason                   faultv1.Reason
	}{
		{"ana", "role:support", "assignee", true, 0}, {"ana", "role:nobody", "assignee", false, 0}, {"nobody", "role:support", "assignee", false, 0},
		{"ana", "mcp_server:tickets", "can_call_all", true, 0}, {"ana", "ticket:1", "owner", false, faultv1.Reason_REASON_INVALID},
		{"ana", "role:support", "owner", false, faultv1.Reason_REASON_INVALID},
	} {
		r, err := h.edge.Related(t.Context(), connect.NewRequest(&authzv1.RelatedRequest{
			Tenant: "acme", Person: c.person, Relationships: []*authzv1.Relationship{{Object: c.object, Relation: c.relation}},
		}))
		switch {
		case c.reason != 0:
			if !fault.Is(err, c.reason) {
				t.Errorf("%+v: %v", c, err)
			}
		case err != nil || r.Msg.GetHeld()[0] != c.held:
			t.Errorf("%+v: %v %v", c, r, err)
		}
	}
}
