// Package resourcestoretest holds what every store of resources must do, for each database that it runs on.
package resourcestoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.UTC)

// Person is a resource to store.
func Person(tenant, name, email string) *identityv1.Person {
	return &identityv1.Person{
		ApiVersion: resource.APIVersion, Kind: "Person", Metadata: &resourcev1.Metadata{Tenant: tenant, Name: name}, Spec: &identityv1.PersonSpec{Email: email},
	}
}

// Contract runs the suite. open gives a fresh database with the store's migrations.
func Contract(t *testing.T, open func(t *testing.T) *sqlstore.DB) {
	t.Helper()
	for name, rule := range map[string]func(*testing.T, *resourcestore.Store, *sqlstore.DB){
		"versions count changes and not attempts": versions,
		"all or none":                              allOrNone,
		"a dry run says what would change":         dryRun,
		"deleting forgets the resource":            deleting,
		"lists page through tenants and names":     paging,
		"what is refused is refused before writes": refusals,
		"writers do not lose each other's changes": concurrency,
		"hashes of before and after are known":     hashes,
		"what a resource was is known":             before,
		"what changed since a revision is known":   since,
		"what a source declares is read only":      owned,
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			rule(t, resourcestore.New(db).WithClock(clock.Fixed(start)), db)
		})
	}
}

func apply(t *testing.T, s *resourcestore.Store, objects ...resource.Object) ([]*resourcev1.Change, int64) {
	t.Helper()
	changes, revision, err := s.Apply(t.Context(), objects, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return changes, revision
}

func words(changes []*resourcev1.Change) string {
	var all []string
	for _, c := range changes {
		action := strings.ToLower(strings.TrimPrefix(c.GetAction().String(), "ACTION_"))
		all = append(all, fmt.Sprintf("%s %s/%s %s %d", c.GetKind(), c.GetTenant(), c.GetName(), action, c.GetVersion()))
	}
	return strings.Join(all, ", ")
}

func versions(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	changes, revision := apply(t, s, Person("acme", "ana", ""), Person("acme", "ben", ""))
	if words(changes) != "Person acme/ana created 1, Person acme/ben created 1" || revision != 1 {
		t.Errorf("created: %s at %d", words(changes), revision)
	}
	given := Person("acme", "ben", "ben@acme.example")
	before := proto.Clone(given)
	changes, revision = apply(t, s, Person("acme", "ana", ""), given)
	if words(changes) != "Person acme/ana unchanged 1, Person acme/ben updated 2" || revision != 2 {
		t.Errorf("updated: %s at %d", words(changes), revision)
	}
	if !proto.Equal(given, before) {
		t.Error("the caller's object was written to")
	}
	stored, err := s.Get(t.Context(), "Person", "acme", "ben")
	if err != nil {
		t.Fatal(err)
	}
	m := stored.GetMetadata()
	if m.GetVersion() != 2 || m.GetHash() != resource.Hash(given) || !m.GetUpdatedAt().AsTime().Equal(start) {
		t.Errorf("metadata %v", m)
	}
	stale := resource.Clone(stored)
	stale.GetMetadata().Version, stale.GetMetadata().Hash = 99, "sha256:made-up"
	if changes, revision = apply(t, s, stale); words(changes) != "Person acme/ben unchanged 2" || revision != 2 {
		t.Errorf("what the service sets was believed: %s at %d", words(changes), revision)
	}
}

func allOrNone(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	apply(t, s, Person("acme", "ana", ""))
	refusal := fault.New(faultv1.Reason_REASON_CONFLICT, "no")
	_, _, err := s.Apply(t.Context(), []resource.Object{Person("acme", "ana", "x@y.example"), Person("acme", "ben", "")}, false,
		func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
			if len(changed) != 2 || changed[0].GetMetadata().GetVersion() != 2 {
				t.Errorf("changed %v", changed)
			}
			if _, err := resourcestore.Read(ctx, tx, "Person", "acme", "ben"); err != nil {
				t.Errorf("the new state is not seen: %v", err)
			}
			return refusal
		})
	if !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	all, revision, err := s.All(t.Context())
	if err != nil || len(all) != 1 || revision != 1 || all[0].GetMetadata().GetVersion() != 1 {
		t.Errorf("after a refusal: %v at %d, %v", all, revision, err)
	}
}

func dryRun(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	apply(t, s, Person("acme", "ana", ""))
	asked := 0
	also := func(context.Context, *sqlstore.Tx, []resource.Object) error { asked++; return nil }
	changes, revision, err := s.Apply(t.Context(), []resource.Object{Person("acme", "ana", "x@y.example"), Person("acme", "ben", "")}, true, also)
	if err != nil || words(changes) != "Person acme/ana updated 2, Person acme/ben created 1" || revision != 1 || asked != 1 {
		t.Errorf("%s at %d, asked %d, %v", words(changes), revision, asked, err)
	}
	refusal := fault.New(faultv1.Reason_REASON_CONFLICT, "no")
	refuse := func(context.Context, *sqlstore.Tx, []resource.Object) error { return refusal }
	_, _, err = s.Apply(t.Context(), []resource.Object{Person("acme", "ben", "")}, true, refuse)
	if !errors.Is(err, refusal) {
		t.Errorf("a dry run hides a refusal: %v", err)
	}
	if all, revision, err := s.All(t.Context()); err != nil || len(all) != 1 || revision != 1 {
		t.Errorf("a dry run changed something: %v at %d, %v", all, revision, err)
	}
}

func deleting(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	apply(t, s, Person("acme", "ana", ""), Person("other", "ana", ""))
	if _, err := s.Delete(t.Context(), "Person", "acme", "nobody", nil); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("deleting what is not there: %v", err)
	}
	refusal := errors.New("no")
	refuse := func(context.Context, *sqlstore.Tx, []resource.Object) error { return refusal }
	if _, err := s.Delete(t.Context(), "Person", "acme", "ana", refuse); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	revision, err := s.Delete(t.Context(), "Person", "acme", "ana", nil)
	if err != nil || revision != 2 {
		t.Errorf("revision %d, %v", revision, err)
	}
	if _, err := s.Get(t.Context(), "Person", "acme", "ana"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("still there: %v", err)
	}
	if _, err := s.Get(t.Context(), "Person", "other", "ana"); err != nil {
		t.Errorf("another tenant's went with it: %v", err)
	}
}

func paging(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	var objects []resource.Object
	var want []string
	for _, tenant := range []string{"a", "a-b", "b"} {
		for i := range 5 {
			objects = append(objects, Person(tenant, fmt.Sprintf("p%d", i), ""))
			want = append(want, fmt.Sprintf("Person %s/p%d", tenant, i))
		}
	}
	slices.Reverse(objects)
	apply(t, s, objects...)
	list := func(tenant string, size int32) (got []string) {
		token := ""
		for range 100 {
			page, next, err := s.List(t.Context(), "Person", tenant, size, token)
			if err != nil || len(page) > int(size) && size > 0 {
				t.Fatalf("%d at once, %v", len(page), err)
			}
			for _, o := range page {
				got = append(got, resource.Key(o))
			}
			if token = next; token == "" {
				return got
			}
		}
		t.Fatal("the list has no end")
		return nil
	}
	slices.Sort(want)
	for _, size := range []int32{0, 1, 4, 5, 15, 1000} {
		got := list("", size)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v", size, got)
		}
		if got := list("a-b", size); len(got) != 5 || got[0] != "Person a-b/p0" {
			t.Errorf("one tenant, pages of %d: %v", size, got)
		}
	}
	if got := list("none", 3); len(got) != 0 {
		t.Errorf("of no tenant: %v", got)
	}
	for _, token := range []string{"%", "bm9uZQ"} {
		if _, _, err := s.List(t.Context(), "Person", "", 3, token); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("token %q: %v", token, err)
		}
	}
}

func refusals(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	for name, objects := range map[string][]resource.Object{
		"broken rule": {Person("acme", "ana", ""), Person("acme", "ben", "nonsense")},
		"no tenant":   {Person("", "ana", "")},
		"twice":       {Person("acme", "ana", ""), Person("acme", "ana", "")},
	} {
		if _, _, err := s.Apply(t.Context(), objects, false, nil); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, revision, err := s.All(t.Context()); err != nil || len(all) != 0 || revision != 0 {
		t.Errorf("something was written: %v at %d, %v", all, revision, err)
	}
}

func concurrency(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	const writers, each = 6, 5
	var wait sync.WaitGroup
	var mu sync.Mutex
	revisions := map[int64]bool{}
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				_, revision, err := s.Apply(t.Context(), []resource.Object{Person("acme", "shared", fmt.Sprintf("w%d-%d@acme.example", w, i))}, false, nil)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				revisions[revision] = true
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	stored, err := s.Get(t.Context(), "Person", "acme", "shared")
	if err != nil || stored.GetMetadata().GetVersion() != writers*each || len(revisions) != writers*each {
		t.Errorf("version %d, %d revisions, %v", stored.GetMetadata().GetVersion(), len(revisions), err)
	}
}

func hashes(t *testing.T, s *resourcestore.Store, db *sqlstore.DB) {
	first, second := Person("acme", "ana", ""), Person("acme", "ana", "x@y.example")
	apply(t, s, first)
	if hash, err := resourcestore.PreviousHash(t.Context(), db, "Person", "acme", "ana"); err != nil || hash != "" {
		t.Errorf("before the first: %q, %v", hash, err)
	}
	apply(t, s, second)
	if hash, err := resourcestore.PreviousHash(t.Context(), db, "Person", "acme", "ana"); err != nil || hash != resource.Hash(first) {
		t.Errorf("before the second: %q, %v", hash, err)
	}
}

func before(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	apply(t, s, Person("acme", "ana", "old@acme.example"), Person("acme", "ben", ""))
	was := map[string]string{}
	also := func(ctx context.Context, _ *sqlstore.Tx, changed []resource.Object) error {
		for _, o := range changed {
			p, ok := resourcestore.Before(ctx, o).(*identityv1.Person)
			if !ok {
				was[o.GetMetadata().GetName()] = "new"
				continue
			}
			was[o.GetMetadata().GetName()] = p.GetSpec().GetEmail()
		}
		return nil
	}
	next := []resource.Object{Person("acme", "ana", "new@acme.example"), Person("acme", "ben", ""), Person("acme", "cleo", "")}
	if _, _, err := s.Apply(t.Context(), next, false, also); err != nil {
		t.Fatal(err)
	}
	if len(was) != 2 || was["ana"] != "old@acme.example" || was["cleo"] != "new" {
		t.Errorf("before: %v", was)
	}
}

func since(t *testing.T, s *resourcestore.Store, db *sqlstore.DB) {
	read := func(revision int64) string {
		upserts, deletions, err := resourcestore.Since(t.Context(), db, revision)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, o := range upserts {
			all = append(all, resource.Key(o))
		}
		for _, d := range deletions {
			all = append(all, "no "+d.Kind+" "+d.Tenant+"/"+d.Name)
		}
		return strings.Join(all, ", ")
	}
	apply(t, s, Person("acme", "ana", ""), Person("acme", "ben", ""))
	apply(t, s, Person("acme", "ana", "x@y.example"), Person("acme", "ben", ""))
	if got := read(0); got != "Person acme/ana, Person acme/ben" {
		t.Errorf("since 0: %s", got)
	}
	if got := read(1); got != "Person acme/ana" {
		t.Errorf("since 1: %s", got)
	}
	if _, err := s.Delete(t.Context(), "Person", "acme", "ana", nil); err != nil {
		t.Fatal(err)
	}
	if got := read(2); got != "no Person acme/ana" {
		t.Errorf("since 2: %s", got)
	}
	apply(t, s, Person("acme", "ana", ""))
	if got := read(2); got != "Person acme/ana" {
		t.Errorf("since 2, there again: %s", got)
	}
	if got := read(4); got != "" {
		t.Errorf("since now: %s", got)
	}
	if n, err := resourcestore.Holds(t.Context(), db, "acme"); err != nil || n != 2 {
		t.Errorf("acme holds %d, %v", n, err)
	}
}
