package identity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// watch opens a stream and gives its messages.
func watch(t *testing.T, h *house) func(want string, is func(*identityv1.WatchResponse) bool) *identityv1.WatchResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	stream, err := h.edge().Watch(ctx, connect.NewRequest(&identityv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = stream.Close() // it was cancelled
	})
	return func(want string, is func(*identityv1.WatchResponse) bool) *identityv1.WatchResponse {
		t.Helper()
		for stream.Receive() {
			if is(stream.Msg()) {
				return stream.Msg()
			}
		}
		t.Fatalf("no %s came: %v", want, stream.Err())
		return nil
	}
}

func TestWatchSendsASnapshotThenEveryChangeThenHeartbeats(t *testing.T) {
	h := start(t, nil)
	h.mustApply(acme)
	next := watch(t, h)
	snapshot := next("snapshot", func(m *identityv1.WatchResponse) bool { return m.GetSnapshot() })
	if len(snapshot.GetUpserts()) != 9 || !strings.Contains(snapshot.GetKeys(), `"kty":"EC"`) || strings.Contains(snapshot.GetKeys(), `"d":`) {
		t.Errorf("snapshot: %d resources, keys %s", len(snapshot.GetUpserts()), snapshot.GetKeys())
	}
	h.mustApply(strings.Replace(acme, "displayName: Ana", "displayName: Ana B", 1))
	change := next("change", func(m *identityv1.WatchResponse) bool { return len(m.GetUpserts()) > 0 })
	if change.GetSnapshot() || len(change.GetUpserts()) != 1 || change.GetUpserts()[0].GetPerson().GetSpec().GetDisplayName() != "Ana B" ||
		change.GetRevision() <= snapshot.GetRevision() || change.GetKeys() != "" {
		t.Errorf("change: %v", change)
	}
	if err := revokePerson(h, "ana"); err != nil {
		t.Fatal(err)
	}
	revoked := next("revocation", func(m *identityv1.WatchResponse) bool { return len(m.GetRevocations()) > 0 })
	if r := revoked.GetRevocations()[0]; r.GetPerson() != "ana" || r.GetTenant() != "acme" || r.GetBefore() == nil || r.GetUntil() == nil ||
		len(revoked.GetUpserts()) != 0 {
		t.Errorf("revocation: %v", revoked)
	}
	if _, err := h.as(h.admin()).Delete(t.Context(), connect.NewRequest(&identityv1.DeleteRequest{Kind: "Person", Name: "boss", Tenant: "acme"})); err != nil {
		t.Fatal(err)
	}
	gone := next("deletion", func(m *identityv1.WatchResponse) bool { return len(m.GetDeletions()) > 0 })
	if d := gone.GetDeletions()[0]; d.GetKind() != "Person" || d.GetTenant() != "acme" || d.GetName() != "boss" || len(gone.GetRevocations()) != 1 {
		t.Errorf("deletion: %v", gone)
	}
	if _, err := h.as(h.admin()).Rotate(t.Context(), connect.NewRequest(&identityv1.RotateRequest{})); err != nil {
		t.Fatal(err)
	}
	if rotated := next("keys", func(m *identityv1.WatchResponse) bool { return m.GetKeys() != "" }); strings.Count(rotated.GetKeys(), `"kid"`) != 2 {
		t.Errorf("keys: %v", rotated)
	}
	next("heartbeat", func(m *identityv1.WatchResponse) bool {
		return len(m.GetUpserts())+len(m.GetDeletions())+len(m.GetRevocations()) == 0 && m.GetKeys() == "" && m.GetRevision() > gone.GetRevision()
	})
}

func TestAChangeThroughOneProcessReachesTheOthers(t *testing.T) {
	one := start(t, nil)
	one.mustApply(acme)
	two := start(t, func(cfg *configuration) {
		cfg.Database, cfg.KeyFile, cfg.Issuer = one.cfg.Database, one.cfg.KeyFile, one.cfg.Issuer
	})
	raw := one.token("acme", "ana")
	next := watch(t, two)
	next("snapshot", func(m *identityv1.WatchResponse) bool { return m.GetSnapshot() })
	if _, err := two.authenticate(raw, mcp); err != nil {
		t.Errorf("a token of the other process: %v", err)
	}
	if err := revokePerson(one, "ana"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	next("revocation", func(m *identityv1.WatchResponse) bool { return len(m.GetRevocations()) > 0 })
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := two.authenticate(raw, mcp); err == nil {
		t.Error("revoked through one process, taken by the other")
	}
}
