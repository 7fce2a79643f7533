package entitlement

import (
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixed says the same about every tenant until it is changed.
type fixed struct {
	snapshot tenants.Snapshot
	doubts   int
}

func (f *fixed) Get(string) (tenants.Snapshot, error) { return f.snapshot, nil }
func (f *fixed) Doubt(tenants.Snapshot)               { f.doubts++ }

// acme has ana, who holds support, which calls all of tickets and one tool of crm.
func acme(t *testing.T, roles ...string) *directory.Tenant {
	t.Helper()
	meta := func(name string) *resourcev1.Metadata { return &resourcev1.Metadata{Name: name, Tenant: "acme"} }
	support := &identityv1.RoleSpec{Grants: []*identityv1.Grant{
		{Server: "tickets", Tools: []string{"*"}, Can: "call"}, {Server: "crm", Tools: []string{"read"}, Can: "call"},
	}}
	dir, _ := directory.View{}.Apply(&identityv1.WatchResponse{Snapshot: true, Upserts: []*identityv1.Resource{
		{Kind: &identityv1.Resource_Person{Person: &identityv1.Person{Metadata: meta("ana"), Spec: &identityv1.PersonSpec{Roles: roles}}}},
		{Kind: &identityv1.Resource_Role{Role: &identityv1.Role{Metadata: meta("support"), Spec: support}}},
	}}).Tenant("acme")
	return dir
}

// held is a real store that holds what the directory says.
func held(t *testing.T, dir *directory.Tenant) (*openfga.Server, *openfga.Store) {
	t.Helper()
	server, err := openfga.Start(t.Context(), openfga.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	store, err := server.Store(t.Context(), dir.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Write(t.Context(), nil, relations.Diff(nil, relations.Desired(dir)).Come); err != nil {
		t.Fatal(err)
	}
	return server, store
}

func TestRightsAreRememberedUntilSomethingChanges(t *testing.T) {
	dir := acme(t, "support")
	server, store := held(t, dir)
	source := &fixed{snapshot: tenants.Snapshot{Directory: dir, Store: store, Settled: true}}
	r := NewResolver(source, clock.System)
	for range 2 {
		if rights, err := r.Person(t.Context(), "acme", "ana"); err != nil || len(rights.Entitlements) != 2 {
			t.Fatalf("%v, %v", rights, err)
		}
		server.Close() // the second answer comes from memory
	}
	source.snapshot.Generation++ // an application said whose a ticket is: no right to a tool changed
	if _, err := r.Person(t.Context(), "acme", "ana"); err != nil {
		t.Errorf("after a change of owners, with OpenFGA down: %v", err)
	}
	source.snapshot.Rights++
	if rights, err := r.Person(t.Context(), "acme", "ana"); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("after a change, with OpenFGA down: %v, %v", rights, err)
	}
}

func TestWhatOpenFGADoesNotHoldIsNotGranted(t *testing.T) {
	for name, missing := range map[string]struct {
		tuple relations.Tuple
		left  int
	}{
		"the role's grant":   {relations.Tuple{Object: "mcp_server:tickets", Relation: "caller", User: "role:support#assignee"}, 1},
		"the person's role":  {relations.Tuple{Object: "role:support", Relation: "assignee", User: "user:ana"}, 0},
		"the person's place": {relations.Tuple{Object: "organization:acme", Relation: "member", User: "user:ana"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := acme(t, "support")
			_, store := held(t, dir)
			if err := store.Write(t.Context(), []relations.Tuple{missing.tuple}, nil); err != nil {
				t.Fatal(err)
			}
			source := &fixed{snapshot: tenants.Snapshot{Directory: dir, Store: store, Settled: true}}
			rights, err := NewResolver(source, clock.System).Person(t.Context(), "acme", "ana")
			if err != nil || len(rights.Entitlements) != missing.left || source.doubts != 1 {
				t.Errorf("%v, %v, doubted %d times", rights, err, source.doubts)
			}
			relation, err := Relation(t.Context(), source.snapshot, Call{Person: "ana", Server: "tickets", Tool: "x"}, time.Now())
			if err != nil || relation.Call || relation.See {
				t.Errorf("%+v, %v", relation, err)
			}
		})
	}
}

func TestWhatTheDirectoryDoesNotShowIsNotGrantedWhateverOpenFGAHolds(t *testing.T) {
	_, store := held(t, acme(t, "support"))
	source := &fixed{snapshot: tenants.Snapshot{Directory: acme(t), Store: store}}
	rights, err := NewResolver(source, clock.System).Person(t.Context(), "acme", "ana")
	if err != nil || len(rights.Entitlements) != 0 {
		t.Errorf("%v, %v", rights, err)
	}
	relation, err := Relation(t.Context(), source.snapshot, Call{Person: "ana", Server: "tickets", Tool: "x"}, time.Now())
	if err != nil || relation.Call || relation.See || relation.Reason != faultv1.Reason_REASON_NOT_GRANTED {
		t.Errorf("%+v, %v", relation, err)
	}
}
