package decide

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// next is the state after a message, and whether it differs. What is in force is not written to.
func (d *Decider) next(m *authzv1.WatchResponse) (map[string]*rules, bool) {
	touched := map[string]*rules{}
	of := func(tenant string) *rules {
		one := touched[tenant]
		if one == nil {
			one = &rules{compiled: map[string]*policy.Compiled{}, broken: map[string]*authzv1.Policy{}, calendars: policy.Calendars{}}
			if was := d.tenants[tenant]; was != nil && !m.GetSnapshot() {
				one.compiled, one.broken, one.calendars = maps.Clone(was.compiled), maps.Clone(was.broken), maps.Clone(was.calendars)
			}
			touched[tenant] = one
		}
		return one
	}
	for _, c := range m.GetCalendars() {
		tenant := c.GetMetadata().GetTenant()
		of(tenant).date(c, d.tenants[tenant])
	}
	for _, gone := range m.GetCalendarDeletions() {
		delete(of(gone.GetTenant()).calendars, gone.GetName())
	}
	for _, p := range m.GetUpserts() {
		tenant := p.GetMetadata().GetTenant()
		of(tenant).put(p, d.tenants[tenant])
	}
	for _, gone := range m.GetDeletions() {
		one := of(gone.GetTenant())
		delete(one.compiled, gone.GetName())
		delete(one.broken, gone.GetName())
	}
	for _, one := range touched {
		if len(m.GetCalendars())+len(m.GetCalendarDeletions()) > 0 {
			one.redate()
		}
		one.build()
	}
	next := touched
	if !m.GetSnapshot() {
		next = maps.Clone(d.tenants)
		maps.Copy(next, touched)
	}
	return next, m.GetSnapshot() || len(touched) > 0
}

// date adds a calendar. One that was read already, and is the same, is not read again.
func (r *rules) date(c *authzv1.Calendar, was *rules) {
	name := c.GetMetadata().GetName()
	if was != nil {
		if known := was.calendars[name]; known != nil && proto.Equal(known.Source(), c) {
			r.calendars[name] = known
			return
		}
	}
	read, err := policy.ReadCalendar(c)
	if err != nil {
		delete(r.calendars, name)
		return
	}
	r.calendars[name] = read
}

// put adds a policy. One that was compiled already, and is the same, is not compiled again.
func (r *rules) put(p *authzv1.Policy, was *rules) {
	name := p.GetMetadata().GetName()
	if was != nil {
		if known := was.compiled[name]; known != nil && known.Uses(r.calendars) && proto.Equal(known.Source(), p) {
			r.compiled[name] = known
			delete(r.broken, name)
			return
		}
	}
	compiled, err := policy.CompileWith(p, r.calendars)
	if err != nil {
		r.broken[name] = p
		delete(r.compiled, name)
		return
	}
	r.compiled[name] = compiled
	delete(r.broken, name)
}

// redate compiles again what names a calendar that changed or went, and what is broken: a calendar may be there that it lacked.
func (r *rules) redate() {
	for _, c := range slices.Collect(maps.Values(r.compiled)) {
		if !c.Uses(r.calendars) {
			r.put(c.Source(), nil)
		}
	}
	for _, p := range slices.Collect(maps.Values(r.broken)) {
		r.put(p, nil)
	}
}

func (r *rules) build() {
	all := make([]*policy.Compiled, 0, len(r.compiled))
	for _, one := range r.compiled {
		all = append(all, one)
	}
	r.bundle = policy.NewBundle(all)
}
