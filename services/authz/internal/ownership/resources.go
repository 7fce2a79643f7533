// Package ownership keeps what applications say of their own resources: who owns a ticket, who may see a repository. OpenFGA is made from it.
package ownership

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Type begins every object that an application may name.
const Type = "resource"

// The relations that there are. An owner is an editor too, and an editor a viewer.
const (
	Owner    = "owner"
	Editor   = "editor"
	Viewer   = "viewer"
	Approver = "approver"
)

// Key is what there is at most once in a tenant.
type Key struct {
	// Object is resource:KIND/NAME, Subject is person:NAME, group:NAME or role:NAME.
	Object, Relation, Subject string
}

// Relation is one relation of people to a resource.
type Relation struct {
	Key

	// Until ends it by itself; zero means never.
	Until time.Time
	// Author put it there, at Written.
	Author  string
	Written time.Time
}

// Resources is what applications say in one tenant, at one revision. It never changes; nil is empty.
type Resources struct {
	revision int64
	all      []Relation
	byObject map[string][]Relation
	subjects map[string]bool
}

func newResources(revision int64, all []Relation) *Resources {
	r := &Resources{revision: revision, all: all, byObject: map[string][]Relation{}, subjects: map[string]bool{}}
	for _, one := range all {
		r.byObject[one.Object] = append(r.byObject[one.Object], one)
		r.subjects[one.Subject] = true
	}
	return r
}

// Revision counts the changes.
func (r *Resources) Revision() int64 {
	if r == nil {
		return 0
	}
	return r.revision
}

// All is everything. It must not be changed.
func (r *Resources) All() []Relation {
	if r == nil {
		return nil
	}
	return r.all
}

// Subjects names whom there is anything of, sorted.
func (r *Resources) Subjects() []string {
	if r == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(r.subjects))
}

// Names reports whether there is anything of a subject.
func (r *Resources) Names(subject string) bool { return r != nil && r.subjects[subject] }

// Holds reports whether somebody whom a function knows by their subjects has a relation to an object at a moment.
func (r *Resources) Holds(object, relation string, now time.Time, is func(kind, name string) bool) bool {
	if r == nil {
		return false
	}
	by := giving(relation)
	return slices.ContainsFunc(r.byObject[object], func(one Relation) bool {
		kind, name, _ := strings.Cut(one.Subject, ":")
		return slices.Contains(by, one.Relation) && (one.Until.IsZero() || now.Before(one.Until)) && is(kind, name)
	})
}

// giving are the relations from which one follows.
func giving(relation string) []string {
	switch relation {
	case Viewer:
		return []string{Viewer, Editor, Owner}
	case Editor:
		return []string{Editor, Owner}
	}
	return []string{relation}
}
