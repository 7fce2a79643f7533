package policy

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy/hours"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Calendar is a calendar that a tenant shares among its policies, ready for rules. It never changes and is safe to share.
type Calendar struct {
	source *authzv1.Calendar
	days   *hours.Calendar
}

// ReadCalendar reads a declared calendar. What is not understood is a fault INVALID whose sentence names the calendar and its line.
func ReadCalendar(declared *authzv1.Calendar) (*Calendar, error) {
	name := declared.GetMetadata().GetName()
	days, err := hours.ReadCalendar(declared.GetSpec().GetIcal())
	if err != nil {
		return nil, fault.Invalid("Calendar %s: %s.", name, err.Error()).With("kind", declared.GetKind()).With("name", name)
	}
	return &Calendar{source: proto.CloneOf(declared), days: days}, nil
}

// Name is the calendar's name.
func (c *Calendar) Name() string { return c.source.GetMetadata().GetName() }

// Tenant is the tenant whose policies may name the calendar.
func (c *Calendar) Tenant() string { return c.source.GetMetadata().GetTenant() }

// Source is the calendar as it was declared; it must not be changed.
func (c *Calendar) Source() *authzv1.Calendar { return c.source }

// Calendars are those of one tenant, by name.
type Calendars map[string]*Calendar

// With is the calendars and one more, which takes the place of one with its name.
func (c Calendars) With(one *Calendar) Calendars {
	next := maps.Clone(c)
	if next == nil {
		next = Calendars{}
	}
	next[one.Name()] = one
	return next
}

// sameDays says whether policies name the same calendars with the same days.
func sameDays(a, b Calendars) bool {
	return maps.EqualFunc(a, b, func(one, other *Calendar) bool { return proto.Equal(one.source.GetSpec(), other.source.GetSpec()) })
}

// Names says whether an expression of the policy names this calendar of the tenant.
func (c *Compiled) Names(calendar string) bool { return c.shared[calendar] != nil }

// Uses says whether the policy was compiled with exactly these calendars, as far as it names any of the tenant's.
func (c *Compiled) Uses(shared Calendars) bool {
	for name, used := range c.shared {
		if shared[name] != used {
			return false
		}
	}
	return true
}

// share notes which calendars of the tenant an expression names: the policy's rules can ask those.
func (c *Compiled) share(named []string) {
	for _, name := range named {
		one := c.offered[name]
		if _, own := c.source.GetSpec().GetCalendars()[name]; own || one == nil {
			continue
		}
		if c.shared == nil {
			c.shared = Calendars{}
		}
		if c.calendars == nil {
			c.calendars = map[string]*hours.Calendar{}
		}
		c.shared[name], c.calendars[name] = one, one.days
	}
}

// calendarNames are the calendars that an expression of the policy may name: its own and those of the tenant.
func (c *Compiled) calendarNames() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(c.calendars)), maps.Keys(c.offered))
	slices.Sort(names)
	return slices.Compact(names)
}
