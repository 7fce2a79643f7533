// Package relations turns a tenant's directory into the tuples that OpenFGA decides by, and keeps the tenant's store equal to them.
package relations

import (
	"cmp"
	"slices"
	"time"

	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/ownership"
)

// Tuple is one relation between a user or userset and an object, as OpenFGA keeps it.
type Tuple struct {
	Object   string
	Relation string
	User     string
	// Until ends the relation by itself; zero means never.
	Until time.Time
}

// String is the tuple as people write it.
func (t Tuple) String() string {
	text := t.Object + " " + t.Relation + " " + t.User
	if !t.Until.IsZero() {
		text += " until " + t.Until.UTC().Format(time.RFC3339)
	}
	return text
}

// The types of the model.
const (
	TypeUser         = "user"
	TypeOrganization = "organization"
	TypeGroup        = "group"
	TypeDepartment   = directory.Department
	TypeTeam         = directory.Team
	TypeRole         = "role"
	TypeAgent        = "agent"
	TypeServer       = "mcp_server"
	TypeTool         = "tool"
	TypeResource     = ownership.Type
)

// Key is what a store holds at most once.
type Key struct{ Object, Relation, User string }

// Key returns the tuple without its end.
func (t Tuple) Key() Key { return Key{t.Object, t.Relation, t.User} }

func compare(a, b Tuple) int {
	return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Relation, b.Relation), cmp.Compare(a.User, b.User))
}

// Set holds tuples by key.
type Set map[Key]time.Time

// add keeps the stronger of two grants of the same relation: the one that ends later, or never.
func (s Set) add(t Tuple) {
	old, ok := s[t.Key()]
	if !ok || (!old.IsZero() && (t.Until.IsZero() || t.Until.After(old))) {
		s[t.Key()] = t.Until
	}
}

// NewSet makes a set of what a store holds.
func NewSet(ts []Tuple) Set {
	s := make(Set, len(ts))
	for _, t := range ts {
		s.add(t)
	}
	return s
}

// Diff says what must go from and come into a store that holds have to make it want. A tuple whose end changed is in both.
func Diff(have, want Set) Difference {
	var d Difference
	for key, until := range have {
		if now, ok := want[key]; !ok || !now.Equal(until) {
			d.Gone = append(d.Gone, tuple(key, until))
		}
	}
	for key, until := range want {
		if old, ok := have[key]; !ok || !old.Equal(until) {
			d.Come = append(d.Come, tuple(key, until))
		}
	}
	slices.SortFunc(d.Gone, compare)
	slices.SortFunc(d.Come, compare)
	return d
}

func tuple(k Key, until time.Time) Tuple {
	return Tuple{Object: k.Object, Relation: k.Relation, User: k.User, Until: until}
}
