package policies

import (
	"context"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// mostNamed is how many policies a refusal to remove a calendar names.
const mostNamed = 5

// read is a calendar as it is in force already, or read anew.
func (s state) read(declared *authzv1.Calendar) (*policy.Calendar, error) {
	if known := s.calendars[declared.GetMetadata().GetTenant()][declared.GetMetadata().GetName()]; known != nil && same(known.Source(), declared) {
		return known, nil
	}
	return policy.ReadCalendar(declared)
}

// compile is a policy as it is in force already, or compiled anew.
func (s state) compile(o resource.Object, calendars policy.Calendars) (*policy.Compiled, error) {
	declared, ok := o.(*authzv1.Policy)
	if !ok {
		return nil, fault.Invalid("This service does not keep resources of kind %s; %s does.", o.GetKind(), resource.Owner(o.GetKind()))
	}
	known := s.compiled[key{declared.GetMetadata().GetTenant(), declared.GetMetadata().GetName()}]
	if known != nil && same(known.Source(), declared) && known.Uses(calendars) {
		return known, nil
	}
	return policy.CompileWith(declared, calendars)
}

// trial judges, within the transaction of a change, what would be in force after it.
type trial struct {
	tx        *sqlstore.Tx
	now       state
	calendars map[string]policy.Calendars // by tenant, as they would be
}

func (p *Policies) trial(tx *sqlstore.Tx) *trial {
	return &trial{tx: tx, now: p.current(), calendars: map[string]policy.Calendars{}}
}

// fit asks about every policy among those given.
func (t *trial) fit(ctx context.Context, given []resource.Object, fits func(*policy.Compiled) error) error {
	for _, o := range given {
		if o.GetKind() == CalendarKind {
			continue
		}
		c, err := t.compile(ctx, o)
		if err != nil {
			return err
		}
		if err := fits(c); err != nil {
			return err
		}
	}
	return nil
}

// all compiles and tests the policies among the changed, and those that a changed calendar changes. It returns the former.
func (t *trial) all(ctx context.Context, changed []resource.Object) ([]*policy.Compiled, error) {
	given := map[string]bool{}
	for _, o := range changed {
		given[resource.Key(o)] = true
		if declared, ok := o.(*authzv1.Calendar); ok {
			if _, err := policy.ReadCalendar(declared); err != nil {
				return nil, err
			}
		}
	}
	compiled := make([]*policy.Compiled, 0, len(changed))
	for _, o := range changed {
		if o.GetKind() == CalendarKind {
			if err := t.others(ctx, o.GetMetadata().GetTenant(), o.GetMetadata().GetName(), given); err != nil {
				return nil, err
			}
			continue
		}
		c, err := t.compile(ctx, o)
		if err != nil {
			return nil, err
		}
		if err := policy.CheckProvided(c.Source()); err != nil {
			return nil, err
		}
		if err := test(c); err != nil {
			return nil, err
		}
		compiled = append(compiled, c)
	}
	return compiled, nil
}

// others tests the policies that name a calendar and were not given with it.
func (t *trial) others(ctx context.Context, tenant, name string, given map[string]bool) error {
	naming, err := t.naming(ctx, tenant, name)
	if err != nil {
		return err
	}
	for _, c := range naming {
		if given[resource.Key(c.Source())] {
			continue
		}
		if err := test(c); err != nil {
			return fault.Invalid("Calendar %s was not applied, because a policy that names it would not pass its tests. %s", name, fault.From(err).Sentence).
				With("kind", CalendarKind).With("name", name)
		}
	}
	return nil
}

// unnamed refuses to go without a calendar that policies name.
func (t *trial) unnamed(ctx context.Context, gone []resource.Object) error {
	for _, o := range gone {
		declared, ok := o.(*authzv1.Calendar)
		if !ok {
			continue
		}
		tenant, name := declared.GetMetadata().GetTenant(), declared.GetMetadata().GetName()
		removed, err := t.now.read(declared)
		if err != nil {
			return err
		}
		left, err := t.of(ctx, tenant)
		if err != nil {
			return err
		}
		t.calendars[tenant] = left.With(removed) // the policies that name it are found with it
		naming, err := t.naming(ctx, tenant, name)
		if err != nil {
			return err
		}
		if len(naming) > 0 {
			return named(name, naming)
		}
	}
	return nil
}

func named(calendar string, naming []*policy.Compiled) error {
	var names []string
	for _, c := range naming {
		if len(names) == mostNamed {
			names = append(names, "and more")
			break
		}
		names = append(names, c.Name())
	}
	return fault.Invalid("Calendar %s was not removed, because these policies name it: %s. Change or remove them first.", calendar, strings.Join(names, ", ")).
		With("kind", CalendarKind).With("name", calendar)
}

// naming are the tenant's policies that name a calendar, as the database has them.
func (t *trial) naming(ctx context.Context, tenant, name string) ([]*policy.Compiled, error) {
	declared, err := resourcestore.OfTenant(ctx, t.tx, Kind, tenant)
	if err != nil {
		return nil, err
	}
	var naming []*policy.Compiled
	for _, o := range declared {
		c, err := t.compile(ctx, o)
		if err != nil {
			return nil, err
		}
		if c.Names(name) {
			naming = append(naming, c)
		}
	}
	return naming, nil
}

func (t *trial) compile(ctx context.Context, o resource.Object) (*policy.Compiled, error) {
	calendars, err := t.of(ctx, o.GetMetadata().GetTenant())
	if err != nil {
		return nil, err
	}
	return t.now.compile(o, calendars)
}

// of are a tenant's calendars after the change.
func (t *trial) of(ctx context.Context, tenant string) (policy.Calendars, error) {
	if known, ok := t.calendars[tenant]; ok {
		return known, nil
	}
	declared, err := resourcestore.OfTenant(ctx, t.tx, CalendarKind, tenant)
	if err != nil {
		return nil, err
	}
	all := policy.Calendars{}
	for _, o := range declared {
		one, ok := o.(*authzv1.Calendar)
		if !ok {
			continue
		}
		read, err := t.now.read(one)
		if err != nil {
			return nil, err
		}
		all[read.Name()] = read
	}
	t.calendars[tenant] = all
	return all, nil
}

// test runs the policy's own tests; each that fails is named, with what came out.
func test(c *policy.Compiled) error {
	results := c.RunTests()
	var failed []string
	for _, r := range results {
		if !r.Passed {
			failed = append(failed, "test "+quote(r.Name)+": "+r.Problem)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fault.Invalid("Policy %s was not applied: %d of its %d tests failed. %s", c.Name(), len(failed), len(results), sentences(failed)).
		With("kind", Kind).With("name", c.Name())
}
