package policy

import (
	"slices"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Reach is what a person has relations to, alone or through an agent. It never changes.
type Reach struct {
	Person, Agent *Entitlements
	Acting        bool // through an agent
	Barred        bool // the agent may not act for the person
}

// Lookup is the relation to one tool at a moment, by its server's name for it.
func (r *Reach) Lookup(server, tool string, now time.Time) Relation {
	mine := r.Person.Lookup(server, tool, now)
	switch {
	case !r.Acting:
		return mine
	case r.Barred:
		return Smaller(mine, Relation{Reason: faultv1.Reason_REASON_AGENT})
	}
	return Smaller(mine, r.Agent.Lookup(server, tool, now))
}

// Servers names, in order, the servers that there is any relation to at a moment.
func (r *Reach) Servers(now time.Time) []string {
	mine := r.Person.Servers(now)
	switch {
	case !r.Acting:
		return mine
	case r.Barred:
		return nil
	}
	theirs := r.Agent.Servers(now)
	return slices.DeleteFunc(slices.Clone(mine), func(name string) bool { return !slices.Contains(theirs, name) })
}

// Until is when the relation that Lookup finds ends by itself; zero means never.
func (r *Reach) Until(server, tool string, now time.Time) time.Time {
	until := r.Person.Until(server, tool, now)
	if !r.Acting || r.Barred {
		return until
	}
	theirs := r.Agent.Until(server, tool, now)
	if until.IsZero() || !theirs.IsZero() && theirs.Before(until) {
		return theirs
	}
	return until
}
