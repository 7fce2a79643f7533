package tenants

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func view(revision int64, names ...string) *identityv1.WatchResponse {
	m := &identityv1.WatchResponse{Snapshot: true, Revision: revision}
	for _, name := range names {
		m.Upserts = append(m.Upserts, &identityv1.Resource{Kind: &identityv1.Resource_Person{Person: &identityv1.Person{
			Metadata: &resourcev1.Metadata{Name: "ana", Tenant: name}, Spec: &identityv1.PersonSpec{Roles: []string{"support"}},
		}}})
	}
	return m
}

// run keeps tenants on a real OpenFGA until the test ends. What is published comes through the channel.
func run(t *testing.T, open func(context.Context, *openfga.Server, string) (*openfga.Store, error)) (*Tenants, *openfga.Server, chan Changed) {
	t.Helper()
	server, err := openfga.Start(t.Context(), openfga.Config{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	published := make(chan Changed, 100)
	all := New(Config{
		Open:  func(ctx context.Context, name string) (*openfga.Store, error) { return open(ctx, server, name) },
		Fresh: func() bool { return true }, Publish: func(c Changed) { published <- c }, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := all.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait(); server.Close() })
	return all, server, published
}

func wait(t *testing.T, published chan Changed, wanted func(Changed) bool) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		select {
		case c := <-published:
			if wanted(c) {
				return
			}
		case <-deadline:
			t.Fatal("what was wanted was not published")
		}
	}
}

func TestATenantThatFailsDoesNotHoldUpTheOthers(t *testing.T) {
	var mu sync.Mutex
	broken := true
	all, _, published := run(t, func(ctx context.Context, server *openfga.Server, name string) (*openfga.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		if name == "bad" && broken {
			return nil, errors.New("no store")
		}
		return server.Store(ctx, name)
	})
	all.Hear(view(1, "bad", "good"))
	said := map[string]bool{}
	wait(t, published, func(c Changed) bool { said[c.Tenant] = true; return said["bad"] && said["good"] })
	if _, err := all.Get("good"); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if _, err := all.Get("bad"); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("the bad one: %v", err)
	}
	if all.Revision() != 0 {
		t.Error("the revision of the directory is said to hold, and does not")
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	wait(t, published, func(c Changed) bool { return c.Directory == 1 })
	if _, err := all.Get("bad"); err != nil {
		t.Errorf("when it is repaired: %v", err)
	}
}

func TestWhatIsKeptAboutATenantGoesBeforeItsStore(t *testing.T) {
	all, _, published := run(t, func(ctx context.Context, server *openfga.Server, name string) (*openfga.Store, error) {
		return server.Store(ctx, name)
	})
	removed := make(chan string, 10)
	failing := true
	all.cfg.Removed = func(_ context.Context, name string) error { // one job at a time calls it
		removed <- name
		if failing {
			failing = false
			return errors.New("no database")
		}
		return nil
	}
	all.Hear(view(1, "acme", "globex"))
	wait(t, published, func(c Changed) bool { return c.Directory == 1 })
	all.Hear(view(2, "globex"))
	wait(t, published, func(c Changed) bool { return c.Directory == 2 })
	if len(removed) != 2 || <-removed != "acme" || <-removed != "acme" {
		t.Errorf("%d calls, want a failed one and the one that is tried again", len(removed))
	}
}

func TestAStoreThatLostTuplesIsRepairedWhenItIsDoubted(t *testing.T) {
	all, server, published := run(t, func(ctx context.Context, server *openfga.Server, name string) (*openfga.Store, error) {
		return server.Store(ctx, name)
	})
	all.Hear(view(1, "acme"))
	wait(t, published, func(c Changed) bool { return c.Directory == 1 })
	store, err := server.Store(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	lost := relations.Tuple{Object: "role:support", Relation: "assignee", User: "user:ana"}
	if err := store.Write(t.Context(), []relations.Tuple{lost}, nil); err != nil {
		t.Fatal(err)
	}
	snapshot, err := all.Get("acme")
	if err != nil {
		t.Fatal(err)
	}
	all.Doubt(snapshot)
	wait(t, published, func(c Changed) bool {
		return c.Tenant == "acme" && len(c.Affected.People) == 1 && c.Affected.People[0] == "ana"
	})
	stored, err := store.Read(t.Context())
	if err != nil || len(stored) != 2 {
		t.Errorf("the store holds %v, %v", stored, err)
	}
	all.Doubt(snapshot)
	if again, err := all.Get("acme"); err != nil || again.Generation == snapshot.Generation {
		t.Errorf("generation %d after the repair, %d before: %v", again.Generation, snapshot.Generation, err)
	}
}

func TestAModelThatFailedIsNotTriedWithoutAPause(t *testing.T) {
	all := New(Config{Log: slog.New(slog.DiscardHandler)})
	store := &openfga.Store{}
	held := &tenant{name: "acme", store: store, reconciler: relations.NewReconciler(store)}
	all.held["acme"] = held
	tried := 0
	follow := func() {
		err := all.Following(t.Context(), "acme", "another", func(context.Context, *openfga.Store) (*openfga.Store, error) {
			tried++
			return &openfga.Store{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	follow()
	if tried != 1 || held.next == nil {
		t.Fatalf("tried %d times at first", tried)
	}
	all.finish(t.Context(), job{held: held, next: held.next}, errors.New("no"))
	follow()
	if tried != 1 {
		t.Error("tried again at once")
	}
	held.nextRetry = time.Now().Add(-time.Second)
	follow()
	if tried != 2 {
		t.Error("not tried again after the pause")
	}
}
