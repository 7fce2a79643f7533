package authz_test

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/record"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
)

// tamper writes to a tenant's store past the service, as somebody with the key of OpenFGA could.
func (f *faulty) tamper(t *testing.T, tenant string, gone, come []relations.Tuple) {
	t.Helper()
	server, err := openfga.Start(t.Context(), f.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	store, err := server.Store(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), gone, come); err != nil {
		t.Fatal(err)
	}
}

// checks are the records of comparisons.
func (h *harness) checks() []*eventsv1.Event {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.journal.events), func(ev *eventsv1.Event) bool { return ev.GetAction() != base.RelationsCheck })
}

func words3(of []*authzv1.RelationTuple) []string {
	var all []string
	for _, t := range of {
		all = append(all, t.GetObject()+" "+t.GetRelation()+" "+t.GetUser())
	}
	return all
}

func TestWhatSomebodyPlantedOrRemovedInOpenFGAIsFoundAndMended(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	admin := h.as("acme", "root", "admin")
	check := func() *authzv1.Drift {
		t.Helper()
		resp, err := admin.CheckRelations(t.Context(), connect.NewRequest(&authzv1.CheckRelationsRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Msg.GetDrift()
	}
	before := fga.tuples(t, "acme")
	if d := check(); len(d.GetPlanted())+len(d.GetMissing()) > 0 || int(d.GetTuples()) != len(before) {
		t.Fatalf("untouched: %v", d)
	}
	planted := relations.Tuple{Object: "role:support", Relation: "assignee", User: "user:carl"}
	missing := relations.Tuple{Object: "role:support", Relation: "assignee", User: "user:ana"}
	fga.tamper(t, "acme", []relations.Tuple{missing}, []relations.Tuple{planted})
	d := check()
	same(t, "planted", words3(d.GetPlanted()), planted.String())
	same(t, "missing", words3(d.GetMissing()), missing.String())
	same(t, "carl, by a tuple that the directory does not say", h.rights("acme", "carl", ""))
	if len(h.checks()) != 0 {
		t.Errorf("looking was recorded as finding: %v", h.checks())
	}
	for _, right := range []string{"app", "security"} {
		if _, err := h.as("acme", "eve", right).MendRelations(t.Context(), connect.NewRequest(&authzv1.MendRelationsRequest{})); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
			t.Errorf("%s mends: %v", right, err)
		}
	}
	h.journal.fill(true)
	if _, err := admin.MendRelations(t.Context(), connect.NewRequest(&authzv1.MendRelationsRequest{})); err == nil {
		t.Error("mended without a record")
	}
	h.journal.fill(false)
	resp, err := admin.MendRelations(t.Context(), connect.NewRequest(&authzv1.MendRelationsRequest{}))
	if err != nil || len(resp.Msg.GetDrift().GetPlanted()) != 1 || len(resp.Msg.GetDrift().GetMissing()) != 1 {
		t.Fatalf("mended %v (%v)", resp, err)
	}
	same(t, "tuples", fga.tuples(t, "acme"), before...)
	if found := h.checks(); len(found) != 1 || base.Alert(found[0]) != base.AlertRelations || found[0].GetPrincipal().GetPerson() != "root" ||
		!slices.Contains(found[0].GetFindings().GetNotes(), "planted: role:support assignee user:carl") {
		t.Errorf("the record of it: %v", found)
	} else if taken, given := base.Rights(found[0], base.GrantTaken), base.Rights(found[0], base.GrantGiven); !slices.Equal(taken, []string{"user:carl assignee of role:support"}) || len(given) != 1 {
		t.Errorf("taken %q, given %q", taken, given)
	}
	same(t, "ana", h.rights("acme", "ana", "")[2:], "call tickets/*: ana → role support → server tickets")
}

func TestTheNightFindsDriftAndRaisesAnAlert(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option, func(c *authz.Config) { c.Relations.Every = 5 * time.Millisecond })
	eventually(t, 30*time.Second, func() bool { return len(h.checks()) == 1 })
	if ev := h.checks()[0]; ev.GetAlert() || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS || ev.GetTenant() != "acme" {
		t.Errorf("a store that holds what it should: %v", ev)
	}
	planted := relations.Tuple{Object: "mcp_server:tickets", Relation: "caller", User: "role:other#assignee"}
	fga.tamper(t, "acme", nil, []relations.Tuple{planted})
	h.clock.forward(24 * time.Hour)
	eventually(t, 30*time.Second, func() bool { return len(h.checks()) == 2 })
	ev := h.checks()[1]
	if base.Alert(ev) != base.AlertRelations || !strings.Contains(strings.Join(ev.GetFindings().GetNotes(), "\n"), "planted: mcp_server:tickets caller role:other#assignee") {
		t.Errorf("drift of the night: %v", ev)
	}
	if !slices.Contains(fga.tuples(t, "acme"), planted.String()) {
		t.Error("what was planted is gone before anybody could look at it")
	}
}

// A tuple that is missing is seen as soon as somebody's rights are asked for; it is mended at once, and that is recorded.
func TestWhatIsMissingIsMendedWhenItIsMissedAndSaidSo(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	fga.tamper(t, "acme", []relations.Tuple{{Object: "mcp_server:tickets", Relation: "caller", User: "role:support#assignee"}}, nil)
	eventually(t, 30*time.Second, func() bool {
		return slices.Contains(h.rights("acme", "ana", ""), "call tickets/*: ana → role support → server tickets")
	})
	if found := h.checks(); len(found) != 1 || !found[0].GetAlert() || !strings.Contains(found[0].GetFindings().GetNotes()[1], "missing: mcp_server:tickets caller role:support#assignee") {
		t.Errorf("the record of it: %v", found)
	}
}
