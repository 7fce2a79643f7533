package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Held is a right that somebody had at an instant.
type Held struct {
	Holder, Right string
	// Through says from whom a person has it who was not given it themselves, as group:emea, group:support.
	Through string
	// Since is when it was given, or the last of the memberships that lead to it; zero when no record says so.
	Since time.Time
	// Until is when it ends by itself; zero means never.
	Until time.Time
	// By is who gave it.
	By string
	// Events are the records that say so: of the giving, and of the last change of its end.
	Events []string
}

// moving is a record of a change of what rights come from.
type moving struct {
	at            time.Time
	of            string // the resource, as "Person ana"
	before, after string // its hashes
	grants        []*eventsv1.Grant
	notes         []string
	by, event     string
}

// Review finds who had which right at an instant, from the changes of one tenant's directory until then. It keeps them until all are there: they arrive out of order.
type Review struct {
	changes []moving
	first   time.Time
	event   string
}

// Add takes a record of the tenant from before the instant.
func (r *Review) Add(ev *eventsv1.Event) {
	at := ev.GetTime().AsTime()
	if r.event == "" || at.Before(r.first) {
		r.first, r.event = at, ev.GetId()
	}
	c := ev.GetChange()
	applied := ev.GetAction() == "resource-applied" || ev.GetAction() == "resource-deleted"
	if !applied || !slices.Contains([]string{"Person", "Group", "Role", "Agent", "BlockList"}, c.GetKind()) {
		return
	}
	r.changes = append(r.changes, moving{
		at: at, of: c.GetKind() + " " + c.GetName(), before: c.GetOldHash(), after: c.GetNewHash(), grants: ev.GetGrants(), notes: ev.GetFindings().GetNotes(),
		by: cmp.Or(record.PersonOf(ev), "service "+ev.GetPrincipal().GetService()), event: ev.GetId(),
	})
}

// Since says which record of the tenant is the first; empty when there is none.
func (r *Review) Since() string {
	if r.event == "" {
		return ""
	}
	return r.first.UTC().Format(time.RFC3339) + ", event " + r.event
}

// Rights are those that were held at the instant, by holder, and what is not certain of them. With a person, those of that person and of what they were in.
func (r *Review) Rights(asOf time.Time, person string) (held []Held, unsure []string) {
	slices.SortStableFunc(r.changes, func(a, b moving) int { return a.at.Compare(b.at) })
	all := map[string]*standing{}
	for _, c := range r.changes {
		if all[c.of] == nil {
			all[c.of] = &standing{of: c.of}
		}
		all[c.of].apply(c)
	}
	for _, of := range slices.Sorted(maps.Keys(all)) {
		unsure = append(unsure, all[of].unsure...)
		for _, h := range all[of].rights {
			if h.Until.IsZero() || h.Until.After(asOf) {
				held = append(held, h)
			}
		}
	}
	slices.SortFunc(held, byHolder)
	held = inherited(held, person)
	slices.SortFunc(held, byHolder)
	return held, unsure
}

func byHolder(a, b Held) int {
	return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.Right, b.Right), cmp.Compare(a.Through, b.Through), cmp.Compare(a.Events[0], b.Events[0]))
}

// standing is what one resource gives.
type standing struct {
	of     string
	known  bool
	hash   string
	rights map[[2]string]Held
	unsure []string
}

// apply makes the change. Each names the hash of what it changes, so that one that is missing is noticed.
func (s *standing) apply(c moving) {
	switch {
	case c.after == "": // deleted: nothing is left that could be uncertain
		*s = standing{of: s.of, known: true}
		return
	case s.known && c.after == s.hash:
		return // recorded, not done, and done later
	case !s.known && c.before != "":
		s.doubt("was there before its first record (%s, event %s): what it gave then and no record names since is missing", c.at.UTC().Format(time.RFC3339), c.event)
	case s.known && c.before != s.hash:
		s.doubt("event %s changes another version of it than the record before: a change between is missing or came at another time", c.event)
	}
	for _, note := range c.notes {
		s.doubt("event %s names %d rights, and says: %s", c.event, len(c.grants), note)
	}
	s.known, s.hash = true, c.after
	if s.rights == nil {
		s.rights = map[[2]string]Held{}
	}
	for _, g := range c.grants {
		s.move(g, c)
	}
}

func (s *standing) doubt(format string, args ...any) {
	s.unsure = append(s.unsure, s.of+" "+fmt.Sprintf(format, args...))
}

func (s *standing) move(g *eventsv1.Grant, c moving) {
	key := [2]string{g.GetHolder(), g.GetRight()}
	if g.GetWhat() == record.GrantTaken {
		delete(s.rights, key)
		return
	}
	h := Held{Holder: g.GetHolder(), Right: g.GetRight()}
	if g.GetWhat() == record.GrantGiven {
		h.Since, h.By = c.at, c.by
	} else if before, there := s.rights[key]; there {
		h.Since, h.By, h.Events = before.Since, before.By, before.Events[:1:1]
	}
	if g.GetUntil() != nil {
		h.Until = g.GetUntil().AsTime()
	}
	h.Events = append(h.Events, c.event)
	s.rights[key] = h
}

const memberOf = "member of "

// inherited adds to what was given the roles that people have through groups, departments and teams. With a person, it leaves out what is not theirs.
func inherited(given []Held, person string) []Held {
	of := map[string][]Held{}
	for _, h := range given {
		of[h.Holder] = append(of[h.Holder], h)
	}
	var added []Held
	theirs := map[string]bool{}
	for holder := range of {
		if !strings.HasPrefix(holder, "person:") || person != "" && holder != "person:"+person {
			continue
		}
		roles, within := reached(holder, of)
		added = append(added, roles...)
		maps.Copy(theirs, within)
	}
	if person != "" {
		given = slices.DeleteFunc(given, func(h Held) bool { return !theirs[h.Holder] })
	}
	return append(given, added...)
}

// reached are the roles that a person has through what they are in, and everything that they are in, roles and themselves too.
func reached(person string, of map[string][]Held) (roles []Held, within map[string]bool) {
	within = map[string]bool{person: true}
	queue := []Held{{Right: memberOf + person}}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		in := strings.TrimPrefix(at.Right, memberOf)
		for _, h := range of[in] {
			step := h
			step.Holder = person
			if at.Since.After(h.Since) {
				step.Since, step.By, step.Events = at.Since, at.By, at.Events
			}
			if in != person {
				step.Through = strings.TrimPrefix(at.Through+" → "+in, " → ")
			}
			next, member := strings.CutPrefix(h.Right, memberOf)
			switch {
			case member && !within[next]:
				within[next] = true
				queue = append(queue, step)
			case strings.HasPrefix(h.Right, "role:"):
				within[h.Right] = true
				if in != person {
					roles = append(roles, step)
				}
			}
		}
	}
	return roles, within
}

// heldNames are the columns of a review, and cells its row.
func heldNames() []string {
	return []string{"holder", "right", "through", "since", "until", "given by", "record"}
}

func (h Held) cells() []string {
	at := func(t time.Time, otherwise string) string {
		if t.IsZero() {
			return otherwise
		}
		return t.UTC().Format(time.RFC3339)
	}
	return []string{
		h.Holder, h.Right, h.Through, at(h.Since, "not known: before the first record of it"), at(h.Until, ""), cmp.Or(h.By, "not known"), strings.Join(h.Events, " "),
	}
}
