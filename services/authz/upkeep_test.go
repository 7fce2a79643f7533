package authz_test

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/services/authz"
)

func about(tuples []string, who string) []string {
	return slices.DeleteFunc(slices.Clone(tuples), func(tuple string) bool { return !strings.HasSuffix(tuple, who) })
}

func TestRemovingARoleRemovesItsTuplesAndTellsWatchersWithinASecond(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	same(t, "tuples of ana", about(fga.tuples(t, "acme"), "user:ana"),
		"agent:scout owner user:ana", "department:care member user:ana", "organization:acme member user:ana", "role:support assignee user:ana")
	edge := h.follow()
	edge.until(time.Second, (*authzv1.WatchResponse).GetSnapshot)

	began := time.Now()
	h.identity.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {roles: []}}`)
	m := edge.until(time.Second, changedFor("acme", "ana", ""))
	t.Logf("from identity's word to the watcher: %s", time.Since(began))
	if len(m.GetChanged()) != 1 {
		t.Errorf("more than ana changed: %v", m.GetChanged())
	}
	same(t, "entitlements at the moment the watcher hears", h.rights("acme", "ana", ""))
	same(t, "tuples of ana", about(fga.tuples(t, "acme"), "user:ana"), "agent:scout owner user:ana", "organization:acme member user:ana")

	h.identity.remove("Role", "acme", "support")
	edge.until(time.Second, changedFor("acme", "ben", ""))
	same(t, "tuples of the role's grants", about(fga.tuples(t, "acme"), "role:support#assignee"), "agent:scout delegator role:support#assignee")
}

func TestADisabledPersonHasNoTuplesAndNoRights(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	edge := h.follow()
	h.identity.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ben, tenant: acme}, spec: {disabled: true}}`)
	edge.until(time.Second, changedFor("acme", "ben", ""))
	same(t, "tuples of ben", about(fga.tuples(t, "acme"), "user:ben"))
	same(t, "rights of ben", h.rights("acme", "ben", ""))
	if d := h.decide(call("ben", "", "tickets", "close_ticket")); d.GetEffect() != "block" {
		t.Errorf("decision for ben: %v", d)
	}
}

func TestRightsThatWereTakenWhileAuthzWasDownAreGoneWhenItIsUp(t *testing.T) {
	fga, dir := newFaulty(t), t.TempDir()
	id := newAcme(t)
	database := func(c *authz.Config) { c.Database.Path = filepath.Join(dir, "authz.db") }
	first := start(t, id, database, fga.option)
	before := fga.tuples(t, "acme")
	first.stop()
	writes := fga.writes.Load()

	again := start(t, id, database, fga.option)
	if n := fga.writes.Load() - writes; n != 0 {
		t.Errorf("a restart without a change wrote %d times", n)
	}
	same(t, "tuples", fga.tuples(t, "acme"), before...)
	again.stop()

	id.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {roles: []}}`)
	last := start(t, id, database, fga.option)
	same(t, "rights of ana", last.rights("acme", "ana", ""))
	same(t, "tuples of ana", about(fga.tuples(t, "acme"), "user:ana"), "agent:scout owner user:ana", "organization:acme member user:ana")
}

func TestATenantThatIsDeletedHasNothingAndCanComeBack(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	edge := h.follow()
	h.identity.remove("Tenant", "", "acme")
	edge.until(time.Second, changedFor("acme", "ana", ""))
	same(t, "rights of ana", h.rights("acme", "ana", ""))
	if _, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x"))); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("decide for a tenant that is gone: %v", err)
	}
	h.identity.apply(t, acme)
	eventually(t, 2*time.Second, func() bool {
		e, err := h.entitlements("acme", "ana", "")
		return err == nil && len(e.GetEntitlements()) == 3
	})
}

func TestWatchersGetASnapshotThenChangesThenHeartbeats(t *testing.T) {
	h := start(t, newAcme(t))
	admin := h.as("acme", "root", "admin")
	if _, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy))); err != nil {
		t.Fatal(err)
	}
	edge := h.follow()
	first := edge.until(time.Second, func(*authzv1.WatchResponse) bool { return true })
	if !first.GetSnapshot() || len(first.GetUpserts()) != 1 || first.GetDirectoryRevision() != 1 {
		t.Fatalf("first message: %v", first)
	}
	if _, err := admin.Delete(t.Context(), connect.NewRequest(&authzv1.DeleteRequest{Kind: "Policy", Name: "tickets"})); err != nil {
		t.Fatal(err)
	}
	gone := edge.until(time.Second, func(m *authzv1.WatchResponse) bool { return len(m.GetDeletions()) > 0 })
	if gone.GetRevision() <= first.GetRevision() || gone.GetDeletions()[0].GetName() != "tickets" {
		t.Errorf("deletion: %v", gone)
	}
	beat := edge.until(3*time.Second, func(m *authzv1.WatchResponse) bool { return m.GetRevision() == gone.GetRevision() })
	if beat.GetSnapshot() || len(beat.GetDeletions()) > 0 {
		t.Errorf("heartbeat: %v", beat)
	}
}

// T26: no failure on the way to an answer is an answer.
func TestT26NothingIsAllowedWhileIdentityIsSilent(t *testing.T) {
	id := newAcme(t)
	h := start(t, id)
	edge := h.follow()
	id.hush(true)
	h.clock.forward(6 * time.Second)
	unavailable(t, h)
	select {
	case err := <-edge.ended:
		if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(300 * time.Millisecond): // it may live on, in silence
	}
	another := h.follow()
	select {
	case m := <-another.messages:
		t.Errorf("a stale service vouched for %v", m)
	case err := <-another.ended:
		if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("a new stream ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a new stream was left hanging")
	}
	id.hush(false)
	eventually(t, 5*time.Second, func() bool { _, err := h.entitlements("acme", "ana", ""); return err == nil })
}

func TestT26NothingIsAllowedWhileOpenFGAIsDownOrWrong(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	for name, mode := range map[string]int32{"down": down, "garbled": garbled, "mute": mute} {
		t.Run(name, func(t *testing.T) {
			fga.mode.Store(mode)
			if d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x"))); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("decide: %v, %v", d, err)
			}
			e, err := h.entitlements("acme", "ana", "")
			if err == nil && len(e.GetEntitlements()) > 0 || err != nil && !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("entitlements: %v, %v", e, err)
			}
		})
	}
	fga.mode.Store(works)
	eventually(t, 5*time.Second, func() bool {
		d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x")))
		return err == nil && d.Msg.GetDecision().GetEffect() == "allow"
	})
}

func TestT26WhenOpenFGATakesNoWritesWatchersAreToldAndNothingIsAllowed(t *testing.T) {
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	edge := h.follow()
	edge.until(time.Second, (*authzv1.WatchResponse).GetSnapshot)
	fga.mode.Store(frozen)
	h.identity.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {roles: []}}`)
	edge.until(time.Second, changedFor("acme", "ana", ""))
	unavailable(t, h)
	fga.mode.Store(works)
	edge.until(5*time.Second, changedFor("acme", "ana", ""))
	same(t, "rights of ana", h.rights("acme", "ana", ""))
	if len(h.rights("acme", "ben", "")) != 3 {
		t.Error("ben has lost his rights")
	}
}

func TestT26AuthzIsNotReadyBeforeItKnowsWhatToDecideBy(t *testing.T) {
	fga := newFaulty(t)
	fga.mode.Store(down)
	h := launch(t, newAcme(t), fga.option)
	unavailable(t, h)
	fga.mode.Store(works)
	h.ready()
	if d := h.decide(call("ana", "", "tickets", "x")); d.GetEffect() != "allow" {
		t.Errorf("when ready: %v", d)
	}
}

// unavailable checks that neither question gets an answer.
func unavailable(t *testing.T, h *harness) {
	t.Helper()
	if d, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", "x"))); !notNow(err) {
		t.Errorf("decide: %v, %v", d, err)
	}
	if e, err := h.entitlements("acme", "ana", ""); err == nil && len(e.GetEntitlements()) > 0 || err != nil && !notNow(err) {
		t.Errorf("entitlements: %v, %v", e, err)
	}
}

// notNow: unavailable, or the tenant is not known yet.
func notNow(err error) bool {
	return fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || fault.Is(err, faultv1.Reason_REASON_NOT_FOUND)
}

func TestALargeImportDoesNotHoldUpARevocation(t *testing.T) {
	id := newAcme(t)
	id.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: b}, spec: {roles: [r]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: r, tenant: b}, spec: {grants: [{server: s, tools: ["*"], can: call}]}}`)
	h := start(t, id)
	edge := h.follow()
	edge.until(time.Second, (*authzv1.WatchResponse).GetSnapshot)
	var crowd strings.Builder
	for i := range 1500 {
		crowd.WriteString("---\n{apiVersion: headgate/v1, kind: Person, metadata: {name: p" + strconv.Itoa(i) + ", tenant: acme}, spec: {roles: [support]}}\n")
	}
	h.identity.apply(t, crowd.String())
	began := time.Now()
	for _, tenant := range []string{"acme", "b"} {
		h.identity.apply(t, `{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: `+tenant+`}, spec: {}}`)
	}
	told := map[string]bool{}
	edge.until(time.Second, func(m *authzv1.WatchResponse) bool {
		for _, tenant := range []string{"acme", "b"} {
			told[tenant] = told[tenant] || changedFor(tenant, "ana", "")(m)
		}
		return told["acme"] && told["b"]
	})
	t.Logf("both revocations were told after %s", time.Since(began))
	same(t, "ana of acme", h.rights("acme", "ana", ""))
	h.settled(id.revision)
	t.Logf("the import was whole after %s", time.Since(began))
	if len(h.rights("acme", "p1499", "")) != 3 {
		t.Error("the import is not whole")
	}
}
