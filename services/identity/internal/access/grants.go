package access

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy/terms"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resource"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// mostGrants is how many rights one record names; it says how many more there are. A group of a hundred thousand must not make a record that no journal
// takes.
const mostGrants = 200

// right is one right of one holder.
type right struct{ holder, what string }

// rights are what a resource gives and until when; the zero time is never.
type rights map[right]time.Time

func (r rights) give(holder, what string, until *timestamppb.Timestamp) {
	at := time.Time{}
	if until != nil {
		at = until.AsTime()
	}
	key := right{holder, what}
	if before, there := r[key]; there && (before.IsZero() || !at.IsZero() && at.Before(before)) {
		return // the longer one holds
	}
	r[key] = at
}

func (r rights) grants(holder string, grants []*identityv1.Grant) {
	for _, g := range grants {
		condition := terms.Behind(terms.Of(g))
		for _, tool := range g.GetTools() {
			r.give(holder, g.GetCan()+" "+g.GetServer()+"."+tool+condition, g.GetUntil())
		}
	}
}

// blocks names what a block list keeps its people, groups and agents from.
func (r rights) blocks(spec *identityv1.BlockListSpec) {
	var holders []string
	for kind, names := range map[string][]string{"person:": spec.GetPeople(), "group:": spec.GetGroups(), "agent:": spec.GetAgents()} {
		for _, name := range names {
			holders = append(holders, kind+name)
		}
	}
	for _, holder := range holders {
		for _, target := range spec.GetTargets() {
			for _, tool := range target.GetTools() {
				r.give(holder, "no "+target.GetCannot()+" "+target.GetServer()+"."+tool, spec.GetUntil())
			}
		}
	}
}

// rightsOf is what a resource gives, to whom; nil gives nothing.
func rightsOf(object resource.Object) rights {
	all := rights{}
	switch o := object.(type) {
	case *identityv1.Person:
		holder := "person:" + o.GetMetadata().GetName()
		for _, role := range o.GetSpec().GetRoles() {
			all.give(holder, "role:"+role, nil)
		}
		if department := o.GetSpec().GetDepartment(); department != "" {
			all.give(holder, "member of department:"+department, nil)
		}
		for _, team := range o.GetSpec().GetTeams() {
			all.give(holder, "member of team:"+team, nil)
		}
		if !o.GetSpec().GetDisabled() {
			all.give(holder, "sign in", nil)
		}
	case *identityv1.Group:
		name := "group:" + o.GetMetadata().GetName()
		for _, role := range o.GetSpec().GetRoles() {
			all.give(name, "role:"+role, nil)
		}
		for _, member := range o.GetSpec().GetMembers() {
			all.give("person:"+member, "member of "+name, nil)
		}
		for _, inner := range o.GetSpec().GetGroups() {
			all.give("group:"+inner, "member of "+name, nil)
		}
	case *identityv1.Role:
		name := "role:" + o.GetMetadata().GetName()
		all.grants(name, o.GetSpec().GetGrants())
		for _, department := range o.GetSpec().GetDepartments() {
			all.give("department:"+department, name, nil)
		}
		for _, team := range o.GetSpec().GetTeams() {
			all.give("team:"+team, name, nil)
		}
	case *identityv1.BlockList:
		all.blocks(o.GetSpec())
	case *identityv1.Agent:
		holder := "agent:" + o.GetMetadata().GetName()
		all.grants(holder, o.GetSpec().GetGrants())
		for _, person := range o.GetSpec().GetDelegators().GetPeople() {
			all.give(holder, "act for person:"+person, nil)
		}
		for _, role := range o.GetSpec().GetDelegators().GetRoles() {
			all.give(holder, "act for role:"+role, nil)
		}
		if !o.GetSpec().GetDisabled() {
			all.give(holder, "act", nil)
		}
	}
	return all
}

// moved is what a change gave and took: what was taken first, because a record names only so many. more is how many it does not name.
func moved(before, after resource.Object) (grants []*eventsv1.Grant, more int) {
	was, is := rightsOf(before), rightsOf(after)
	order := func(a, b right) int { return cmp.Or(cmp.Compare(a.holder, b.holder), cmp.Compare(a.what, b.what)) }
	var given []*eventsv1.Grant
	for _, r := range slices.SortedFunc(maps.Keys(was), order) {
		if _, kept := is[r]; !kept {
			grants = append(grants, grant(record.GrantTaken, r, was[r]))
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(is), order) {
		old, had := was[r]
		switch {
		case !had:
			given = append(given, grant(record.GrantGiven, r, is[r]))
		case !old.Equal(is[r]):
			g := grant(record.GrantChanged, r, is[r])
			g.PreviousUntil = ends(old)
			given = append(given, g)
		}
	}
	grants = append(grants, given...)
	if more = len(grants) - mostGrants; more > 0 {
		return grants[:mostGrants], more
	}
	return grants, 0
}

func grant(what string, r right, until time.Time) *eventsv1.Grant {
	return &eventsv1.Grant{What: what, Holder: r.holder, Right: r.what, Until: ends(until)}
}

func ends(at time.Time) *timestamppb.Timestamp {
	if at.IsZero() {
		return nil
	}
	return timestamppb.New(at)
}

// named puts what a change gave and took into its record.
func named(ev *eventsv1.Event, before, after resource.Object) {
	var more int
	if ev.Grants, more = moved(before, after); more > 0 {
		ev.Findings = &eventsv1.Findings{Notes: []string{fmt.Sprintf("%d more rights were given or taken", more)}}
	}
}
