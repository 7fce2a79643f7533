package resourcestoretest

import (
	"errors"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func owned(t *testing.T, s *resourcestore.Store, _ *sqlstore.DB) {
	by := func(owner string, takeOver bool, objects ...resource.Object) error {
		ctx := resourcestore.Acting(t.Context(), resourcestore.Claim{Owner: owner, TakeOver: takeOver})
		_, _, err := s.Apply(ctx, objects, false, nil)
		return err
	}
	remove := func(owner string, takeOver bool) error {
		_, err := s.Delete(resourcestore.Acting(t.Context(), resourcestore.Claim{Owner: owner, TakeOver: takeOver}), "Person", "acme", "ana", nil)
		return err
	}
	refused := func(about string, err error) {
		t.Helper()
		if !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
			t.Errorf("%s: %v", about, err)
		}
	}
	owner := func(want string) {
		t.Helper()
		stored, err := s.Get(t.Context(), "Person", "acme", "ana")
		if err != nil || stored.GetMetadata().GetLabels()["headgate-owner"] != want {
			t.Errorf("declared by %q, not %q: %v", stored.GetMetadata().GetLabels()["headgate-owner"], want, err)
		}
	}
	if err := by("git", false, Person("acme", "ana", "")); err != nil {
		t.Fatal(err)
	}
	owner("git")
	copied := Person("acme", "ana", "x@acme.example")
	copied.Metadata.Labels = map[string]string{"headgate-owner": "git"}
	refused("by hand", by("", false, Person("acme", "ana", "x@acme.example")))
	refused("by hand, with the label", by("", false, copied))
	refused("by another source", by("other", false, Person("acme", "ana", "x@acme.example")))
	refused("a new one with another's label", by("", false, withLabel("carl")))
	refused("removed by hand", remove("", false))
	refused("removed by another source", remove("other", false))
	refused("together with one that is free", by("", false, Person("acme", "ben", ""), Person("acme", "ana", "")))
	if _, err := s.Get(t.Context(), "Person", "acme", "ben"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("half was applied: %v", err)
	}
	if err := by("git", false, copied); err != nil {
		t.Errorf("by its source: %v", err)
	}
	if err := by("other", true, Person("acme", "ana", "")); err != nil {
		t.Errorf("taken over: %v", err)
	}
	owner("other")
	if err := by("", true, copied); err != nil {
		t.Errorf("taken over by hand: %v", err)
	}
	owner("")
	if err := errors.Join(by("git", false, Person("acme", "ana", "")), remove("git", false)); err != nil {
		t.Errorf("taken by a source, and removed: %v", err)
	}
}

func withLabel(name string) resource.Object {
	p := Person("acme", name, "")
	p.Metadata.Labels = map[string]string{"headgate-owner": "git"}
	return p
}
